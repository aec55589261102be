//go:build unix

package chaos

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/sallyport/sallyport/client"
	"github.com/sallyport/sallyport/session"
)

// Account is what became of a run.
type Account struct {
	Config Config

	Requests, Served, Later, Broken, Relogins int64
	Foreign                                   int64 // answers from somebody else's session, or with somebody else's token
	Tasteless                                 int64 // answers that are neither of the expected, such as 503 without Retry-After
	Odd                                       []string
	Dead                                      int64 // answers with an access token that had just expired
	Kills, Pauses, Restarts                   int64
	P50, P99, Slowest                         time.Duration

	Refreshes, Rotations, Repeats int
	Struck                        map[disturbance]int
	Events                        map[string]int

	Lost       int
	Causes     map[string]int // of losses
	Unexpected []string       // losses without a cause, and refresh tokens that were sent again without one
	Revoked    int            // families, because a refresh token came back
	Stuck      int            // sessions that were not served again in the end
	SetBack    int            // of these, those of which the store has an older state than the browser knows: they are not served until they expire
}

// What may happen to a refresh token.
const (
	causeKill  = "its call was in flight at a kill"
	causeAfter = "its answer was lost after the server had rotated"
	// One guarded retry is all that a refresh token gets (R1), in a grace window too.
	causeTwice = "two answers in a row were lost or in flight at a kill"
	causeStore = "the store lost what it had acknowledged"
)

// account joins what the browsers saw with the server's log and what the processes wrote.
func (r *run) account(stuck []int) (*Account, error) {
	events, err := readEvents(r.dir)
	if err != nil {
		return nil, err
	}
	slices.Sort(r.waits)
	stats, c := r.server.Stats(), &r.counts
	a := &Account{
		Config: r.cfg, Requests: c.requests.Load(), Served: c.served.Load(), Later: c.later.Load(), Broken: c.broken.Load(), Relogins: c.relogins.Load(),
		Foreign: c.foreign.Load(), Tasteless: c.tasteless.Load(), Odd: r.odd, Dead: c.dead.Load(),
		Kills: c.kills.Load(), Pauses: c.pauses.Load(), Restarts: c.restarts.Load(),
		P50: quantile(r.waits, .5), P99: quantile(r.waits, .99), Slowest: quantile(r.waits, 1),
		Refreshes: stats.Refreshes, Rotations: stats.Rotations, Repeats: stats.Repeats, Struck: r.server.struck,
		Events: map[string]int{}, Lost: len(r.losses), Causes: map[string]int{}, Revoked: len(stats.Reused), Stuck: len(stuck),
	}
	for _, list := range events {
		for _, e := range list {
			a.Events[e.Kind]++
		}
	}
	log := r.server.log()
	lost := map[string]bool{}
	owner := map[string]int{}
	for _, b := range r.browsers {
		owner[b.subject] = b.number
	}
	for _, l := range r.losses {
		lost[l.grant] = true
		cause, detail := r.explain(log[l.grant], events[l.browser], l.at)
		if cause != "" && !told(events[l.browser], l.at) {
			cause, detail = "", "no event says why; "+tail(events[l.browser])
		}
		if cause == "" {
			a.Unexpected = append(a.Unexpected, fmt.Sprintf("session of browser %d, status %d: %s", l.browser, l.status, detail))
			continue
		}
		a.Causes[cause]++
	}
	for _, g := range stats.Reused {
		cause, detail := r.explain(log[g.ID], events[owner[g.Subject]], g.Revoked)
		if cause == "" && !lost[g.ID] {
			a.Unexpected = append(a.Unexpected, fmt.Sprintf("family of browser %d revoked: %s", owner[g.Subject], detail))
		}
	}
	for _, list := range log {
		number := owner[list[0].whose]
		for _, text := range r.repeated(list, events[number]) {
			a.Unexpected = append(a.Unexpected, fmt.Sprintf("browser %d: %s", number, text))
		}
	}
	for _, number := range stuck {
		if n := len(events[number]); r.cfg.PowerLoss && n > 0 && events[number][n-1].Reason == "stale" {
			a.SetBack++
			continue
		}
		a.Unexpected = append(a.Unexpected, fmt.Sprintf("browser %d is not served: %s", number, tail(events[number])))
	}
	return a, nil
}

// inFlight reports whether a refresh was under way when its process was killed: the process never said that it kept the result. It
// may arrive when its process is dead already.
func (r *run) inFlight(a *arrival, events []event) bool {
	if _, killed := r.killed[a.run]; !killed {
		return false
	}
	return !slices.ContainsFunc(events, func(e event) bool {
		return e.Run == a.run && e.Kind == client.EventTokenRefreshed && e.At >= a.at.UnixMicro()
	})
}

// lateTokens is how many refresh tokens before the last one a slow call may be of, which the server takes when its process is long dead.
const lateTokens = 3

// explain says why a session was lost: an answer about the last refresh token that was presented has not reached the store, or the
// server took a call of a dead process late, for a token that had been replaced meanwhile.
func (r *run) explain(arrivals []*arrival, events []event, at time.Time) (cause, detail string) {
	var tokens []uint64 // newest first
	for _, a := range slices.Backward(arrivals) {
		if !a.at.After(at) && !slices.Contains(tokens, a.token) {
			tokens = append(tokens, a.token)
		}
	}
	n, causes := 0, map[string]bool{}
	for _, a := range arrivals {
		age := slices.Index(tokens, a.token)
		switch dead := r.inFlight(a, events); {
		case a.at.After(at):
		case age > 0:
			if age <= lateTokens && dead && a.fault == slow && r.cfg.Grace == 0 {
				causes[causeKill] = true
			}
		case a.fault == resetAfter:
			n, causes[causeAfter] = n+1, true
		case dead:
			n, causes[causeKill] = n+1, true
		case a.fault == resetBefore:
			n++
		}
	}
	switch {
	case r.cfg.Grace == 0 && causes[causeAfter]:
		return causeAfter, ""
	case r.cfg.Grace == 0 && causes[causeKill]:
		return causeKill, ""
	case n > 1, r.diedTwice(n, events, at):
		return causeTwice, ""
	}
	if r.cfg.PowerLoss && slices.ContainsFunc(r.blackouts, func(b blackout) bool { return b.from.Before(at) }) {
		return causeStore, ""
	}
	return "", r.history(arrivals, at) + tail(events)
}

// history is what arrived at the server of a session that was lost, the end of it.
func (r *run) history(arrivals []*arrival, at time.Time) string {
	s := "lost at " + at.Format(clock) + " after"
	for _, a := range arrivals[max(0, len(arrivals)-8):] {
		s += fmt.Sprintf(" [%s %s token %04x %s", a.at.Format(clock), a.run, a.token>>48, a.fault)
		if k, killed := r.killed[a.run]; killed {
			s += " killed " + k.Format(clock)
		}
		s += "]"
	}
	return s + "; "
}

// clock is how moments are written.
const clock = "04:05.000"

// diedTwice reports whether a refresh token has had its two tries though only n of them, or none, are known to have arrived: who
// takes a lease and is killed before it has sent anything counts as if it had, for nobody can know.
func (r *run) diedTwice(n int, events []event, at time.Time) bool {
	since, interrupted, over := time.Time{}, 0, false // since it was last well
	for _, e := range events {
		switch {
		case e.At > at.UnixMicro():
		case e.Kind == client.EventTokenRefreshed, e.Kind == client.EventSessionCreated:
			since, interrupted, over = time.UnixMicro(e.At), 0, false
		case e.Kind == session.EventRefreshInDoubt && e.Reason == "interrupted":
			interrupted++
		case e.Kind == session.EventGrantLost:
			over = true
		}
	}
	kills := 0
	for _, killed := range r.killed {
		if killed.After(since) && !killed.After(at) {
			kills++
		}
	}
	return n+interrupted > 1 && kills >= interrupted || over && n+kills > 1
}

// told reports whether the log says of its own why the user was logged out.
func told(events []event, at time.Time) bool {
	for _, e := range slices.Backward(events) {
		switch {
		case e.At > at.UnixMicro():
		case e.Kind == client.EventSessionCreated:
			return false
		case e.Kind == session.EventGrantLost, e.Kind == client.EventSessionEnded && e.Reason != "replaced",
			e.Kind == client.EventRefreshFailed && (e.Code == string(client.ErrRefreshInDoubt) || e.Code == string(client.ErrGrantRevoked)):
			return true
		}
	}
	return false
}

// repeated finds refresh tokens that were sent again though nothing had gone wrong with them (R1).
func (r *run) repeated(arrivals []*arrival, events []event) (wrong []string) {
	last := map[uint64]*arrival{}
	for _, a := range arrivals {
		before := last[a.token]
		last[a.token] = a
		switch {
		case before == nil, before.lost(), before.fault == unavailable, r.killedAt(before), r.cfg.PowerLoss:
		case r.away(before.at, a.at): // the result was not written, or the lease could not be moved
		default:
			wrong = append(wrong, fmt.Sprintf("a refresh token was sent again after %v (%q first, then %q); %s", a.at.Sub(before.at).Round(time.Millisecond), before.fault, a.fault, tail(events)))
		}
	}
	return wrong
}

// killedAt reports whether the process that sent a refresh was killed later.
func (r *run) killedAt(a *arrival) bool {
	at, killed := r.killed[a.run]
	return killed && at.Sub(a.at) < settling
}

// away reports whether the store was away for a part of that time.
func (r *run) away(from, to time.Time) bool {
	return slices.ContainsFunc(r.blackouts, func(b blackout) bool { return b.from.Before(to) && b.to.After(from) })
}

// tail is the end of a browser's log.
func tail(events []event) string {
	s := ""
	for _, e := range events[max(0, len(events)-12):] {
		s += fmt.Sprintf(" [%s %s g%d %s %s %s]", time.UnixMicro(e.At).Format(clock), e.Run, e.Generation, e.Kind, e.Code, e.Reason)
	}
	return "last events:" + s
}

// Failures lists what must not be. Where the server has a grace window nothing may be lost; where it has none, only what is explained.
func (a *Account) Failures() (list []string) {
	add := func(bad bool, format string, v ...any) {
		if bad {
			list = append(list, fmt.Sprintf(format, v...))
		}
	}
	add(a.Foreign > 0, "%d answers belonged to somebody else", a.Foreign)
	add(a.Tasteless > 0, "%d answers were unexpected: %q", a.Tasteless, a.Odd)
	add(a.Config.Grace > 0 && a.Lost > a.Causes[causeStore], "%d sessions were lost, and the server has a grace window", a.Lost)
	add(a.Config.Grace > 0 && a.Revoked > 0, "%d families were revoked, and the server has a grace window", a.Revoked)
	add(a.Stuck > a.SetBack, "%d sessions are not served", a.Stuck)
	add(a.Served == 0 || a.Rotations == 0, "nothing happened")
	for _, text := range a.Unexpected[:min(10, len(a.Unexpected))] {
		add(true, "unexplained: %s", text)
	}
	add(len(a.Unexpected) > 10, "and %d more", len(a.Unexpected)-10)
	return list
}

// Print writes the account.
func (a *Account) Print(out io.Writer) {
	c := &a.Config
	placement := "store"
	if c.Cookie {
		placement = "cookie"
	}
	fmt.Fprintf(out, "%s placement, %s, %d processes, %d sessions, tokens of %v, %v, grace %v, power loss %v\n", placement, c.Store, c.Processes, c.Sessions, c.Lifetime, c.Duration, c.Grace, c.PowerLoss)
	fmt.Fprintf(out, "  requests %d: served %d, told to wait (503 with Retry-After) %d, without an answer %d, unexpected %d; p50 %v, p99 %v, slowest %v\n",
		a.Requests, a.Served, a.Later, a.Broken, a.Tasteless, a.P50.Round(time.Millisecond), a.P99.Round(time.Millisecond), a.Slowest.Round(time.Millisecond))
	fmt.Fprintf(out, "  refreshes %d, rotations %d, repeats within the grace %d; kills %d, store pauses %d, crashes %d; disturbed refreshes %v\n",
		a.Refreshes, a.Rotations, a.Repeats, a.Kills, a.Pauses, a.Restarts, a.Struck)
	fmt.Fprintf(out, "  tokens or sessions seen by somebody else: %d; served with a token that had just expired: %d\n", a.Foreign, a.Dead)
	fmt.Fprintf(out, "  families revoked %d; sessions lost %d; unexplained %d; not served in the end %d, for the store was set back %d\n", a.Revoked, a.Lost, len(a.Unexpected), a.Stuck, a.SetBack)
	for _, cause := range slices.Sorted(maps.Keys(a.Causes)) {
		fmt.Fprintf(out, "    %d: %s\n", a.Causes[cause], cause)
	}
	fmt.Fprint(out, "  events:")
	for _, kind := range []string{client.EventTokenRefreshed, client.EventRefreshFailed, session.EventRefreshWaited, session.EventRefreshAdopted, session.EventRefreshServedStale,
		session.EventRefreshInDoubt, session.EventLeaseLost, session.EventGrantLost, session.EventReuseSuspected, session.EventResurrectionBlocked, session.EventStoreFailed, client.EventSessionEnded} {
		fmt.Fprintf(out, " %s %d", kind, a.Events[kind])
	}
	fmt.Fprintln(out)
	for _, f := range a.Failures() {
		fmt.Fprintln(out, "  FAILED:", f)
	}
}
