package session

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// The explorer is a stateless model checker: it knows no states, only schedules. A run begins anew each time, follows a prefix
// of choices, and from then on takes the first one there is; the next run differs in the last choice that has an
// alternative left, until there is none. Sleep sets (Godefroid 1996) leave out what differs only in
// the order of moves that do not touch each other.

// everyone stands for all processes, or all requests of one.
const everyone = -1

// move is one thing that can happen next.
type move struct {
	name    string
	replica int    // whose it is; everyone if it concerns all, as when time passes
	group   int    // of the requests there that share a flight, or everyone
	key     string // of the store, empty if it is not about one
	write   bool   // of that key
	grant   string // of the authorization server, empty if it is not about one
	trouble bool   // a crash or a fault: there are only so many in a run
	do      func() // runs until nothing goes on any more
	rank    [2]int // where it stands among those that are possible, before its name
}

// independent reports whether two moves lead to the same state in either order, and neither makes the other impossible.
func (a *move) independent(b *move) bool {
	switch {
	case a.replica == everyone, b.replica == everyone, a.trouble && b.trouble, a.grant != "" && a.grant == b.grant:
		return false
	case a.replica == b.replica && (a.group == everyone || b.group == everyone || a.group == b.group):
		return false
	case a.key != "" && a.key == b.key:
		return !a.write && !b.write
	}
	return true
}

// frame is one step of the schedule that is being explored.
type frame struct {
	moves  []move
	asleep []string // explored elsewhere already
	at     int
}

// explorer walks through all schedules.
type explorer struct {
	stack  []frame
	depth  int
	replay []int // instead of a walk
	log    []string

	runs, redundant, moves, longest int
}

// choose returns which of moves is next, or -1 if all that can come has been seen in another order.
func (x *explorer) choose(moves []move) int {
	slices.SortFunc(moves, func(a, b move) int {
		return cmp.Or(slices.Compare(a.rank[:], b.rank[:]), cmp.Compare(a.name, b.name))
	})
	for i := 1; i < len(moves); i++ {
		if moves[i-1].name == moves[i].name {
			panic("model: two moves are called " + moves[i].name)
		}
	}
	d := x.depth
	x.depth++
	x.moves++
	x.longest = max(x.longest, x.depth)
	if x.replay != nil {
		at := 0
		if d < len(x.replay) {
			at = x.replay[d]
		}
		x.log = append(x.log, moves[at].name)
		return at
	}
	if d == len(x.stack) {
		f := frame{moves: moves}
		if d > 0 {
			f.asleep = x.stack[d-1].stillAsleep()
		}
		x.stack = append(x.stack, f)
	}
	f := &x.stack[d]
	same := len(moves) == len(f.moves)
	for i := 0; same && i < len(moves); i++ {
		same = moves[i].name == f.moves[i].name
	}
	if !same {
		panic(fmt.Sprintf("model: not deterministic at step %d: %v, was %v\nafter %s", d+1, names(moves), names(f.moves), numbered(x.log)))
	}
	f.moves = moves // of this run
	for f.at < len(moves) && slices.Contains(f.asleep, moves[f.at].name) {
		f.at++
	}
	if f.at == len(moves) {
		x.redundant++
		return -1
	}
	x.log = append(x.log, moves[f.at].name)
	return f.at
}

// stillAsleep is what the step after f need not begin with: what was explored instead of it, and does not depend on it.
func (f *frame) stillAsleep() (names []string) {
	taken := &f.moves[f.at]
	for i := range f.moves {
		m := &f.moves[i]
		if (i < f.at || slices.Contains(f.asleep, m.name)) && i != f.at && m.independent(taken) {
			names = append(names, m.name)
		}
	}
	return names
}

// next prepares the next run, and reports false if there is none.
func (x *explorer) next() bool {
	x.runs++
	x.depth, x.log = 0, nil
	for len(x.stack) > 0 {
		f := &x.stack[len(x.stack)-1]
		for f.at++; f.at < len(f.moves) && slices.Contains(f.asleep, f.moves[f.at].name); {
			f.at++
		}
		if f.at < len(f.moves) {
			return true
		}
		x.stack = x.stack[:len(x.stack)-1]
	}
	return false
}

// choices is the schedule for SALLYPORT_MODEL_REPLAY.
func (x *explorer) choices() string {
	var s []string
	for _, at := range x.replay {
		s = append(s, strconv.Itoa(at))
	}
	for _, f := range x.stack {
		s = append(s, strconv.Itoa(f.at))
	}
	return strings.Join(s, ".")
}

func names(moves []move) (all []string) {
	for _, m := range moves {
		all = append(all, m.name)
	}
	return all
}

// numbered is a schedule for people.
func numbered(log []string) string {
	var b strings.Builder
	for i, l := range log {
		fmt.Fprintf(&b, "\n%4d  %s", i+1, l)
	}
	return b.String()
}
