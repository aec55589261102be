package session

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/client"
)

// modelSession is a session as one sees it who looks into the store after every write.
type modelSession struct {
	subject  string
	key      storeKey
	cookie   []string
	last     entry
	happened int // in the entry, beats aside
	tokens   map[uint64]string
	first    string // the refresh token of the login
	atEnd    string // the newest when the session ended, in the store or else in the cookie
	overtook uint64 // the token generation then
	endedBy  string // which part of the engine
	lost     []string
	alive    int
}

func (w *world) fail(invariant, format string, args ...any) {
	w.wrongMu.Lock()
	defer w.wrongMu.Unlock()
	w.wrong = append(w.wrong, invariant+": "+fmt.Sprintf(format, args...))
}

// look is told of every read.
func (w *world) look(o *op) {
	w.mu.Lock()
	defer w.mu.Unlock()
	ms := w.sessions[o.key]
	if ms == nil {
		return
	}
	if !o.who.looked {
		o.who.looked, o.who.late = true, ms.last.ended != ""
	}
	if o.role == "refresh" {
		o.who.seen = ms.happened
	}
}

// observe is told of every write that took effect.
func (w *world) observe(o *op) {
	w.mu.Lock()
	defer w.mu.Unlock()
	ms := w.sessions[o.key]
	if ms == nil || w.over {
		return
	}
	var now entry
	if _, _, err := w.probe.get(context.Background(), &ms.key, &now); err != nil {
		w.fail("store", "what was written cannot be read: %v", err)
		return
	}
	was := ms.last
	ms.last = now
	if !sameButBeat(&was, &now) {
		ms.happened++
	}
	generation := now.rec.tokenGeneration
	switch {
	case now.ended != "" && generation != 0:
		w.fail("R3", "%s wrote tokens of a session that has ended", o)
	case was.ended != "" && now.ended == "":
		w.fail("R3", "%s brought a session back", o)
	case was.ended != "" && (now.ended != was.ended || now.keep != was.keep || now.failed != was.failed || now.lease != was.lease):
		w.fail("R3", "%s wrote over the end of a session", o)
	case now.ended == "" && generation < was.rec.tokenGeneration:
		w.fail("fencing", "%s set the token generation back from %d to %d", o, was.rec.tokenGeneration, generation)
	}
	if generation != 0 {
		if had := ms.tokens[generation]; had != "" && had != now.rec.accessToken {
			w.fail("fencing", "%s replaced the tokens of generation %d", o, generation)
		}
		ms.tokens[generation] = now.rec.accessToken
		if !strings.HasPrefix(now.rec.accessToken, ms.subject+"-") || !strings.HasPrefix(now.rec.refreshToken, ms.subject+"-") {
			w.fail("R2", "%s wrote tokens of somebody else", o)
		}
		for _, c := range w.server.calls {
			if c.got != nil && string(c.got.AccessToken) == now.rec.accessToken {
				c.settled = true
				if c.child != nil {
					c.child.stored = true
				}
			}
		}
	}
	switch who := o.who; {
	case o.role == "lease":
		who.leased, who.holder = now.lease.tokenGeneration, now.lease.holder
	case now.ended != "" && was.ended == "":
		ms.endedBy, ms.overtook = o.role, was.rec.tokenGeneration
		ms.atEnd = cmp.Or(was.rec.refreshToken, ms.first)
		if o.role != "settle" {
			break
		}
		if was.rec.tokenGeneration > who.leased {
			w.fail("R6", "%s ended a session that has been refreshed", o)
		}
		if was.lease.held(who.leased) && was.lease.holder != who.holder {
			w.fail("R6", "%s ended a session that somebody else is refreshing", o)
		}
	}
}

func sameButBeat(a, b *entry) bool {
	return a.ended == b.ended && a.due == b.due && a.lease.tokenGeneration == b.lease.tokenGeneration && a.lease.holder == b.lease.holder &&
		a.failed == b.failed && a.rec.tokenGeneration == b.rec.tokenGeneration && a.rec.accessToken == b.rec.accessToken &&
		a.rec.seen == b.rec.seen && slices.Equal(a.rec.attributes, b.rec.attributes)
}

// lived is that a request was served at the end.
func (ms *modelSession) lived(w *world) {
	w.mu.Lock()
	defer w.mu.Unlock()
	ms.alive++
	if ms.last.ended != "" {
		w.fail("R3", "a session that has ended serves a request")
	}
}

// judge is what must hold at the end of every run.
func (w *world) judge() {
	for _, ms := range w.sessions {
		g := w.server.grants[ms.subject]
		for generation, calls := range g.processed {
			w.judgeCalls(generation, calls)
		}
		switch {
		case w.loggedOut(ms):
			w.judgeLogout(ms, g)
		case len(ms.lost) == 0, ms.endedBy == "end": // a logout that failed may have had its effect
		case !w.maySpend(g):
			w.fail(w.blame(), "the session of %s is lost: %s", ms.subject, strings.Join(ms.lost, ", "))
		case !w.told:
			w.fail("events", "nothing says why the session of %s is lost", ms.subject)
		}
	}
	for _, a := range w.actors {
		w.judgeActor(a)
	}
	crashed := slices.ContainsFunc(w.replicas, func(r *replica) bool { return r.dead })
	if w.doubted && !crashed && !slices.ContainsFunc(w.server.calls, func(c *call) bool { return c.orphan || c.overtaken }) {
		w.fail("events", "a refresh token is said to be in doubt, and all calls were answered")
	}
}

// judgeCalls is R1 and R8, for one token generation of one session.
func (w *world) judgeCalls(generation uint64, calls []*call) {
	if w.troubles == 0 && len(calls) > 1 {
		w.fail("R8", "token generation %d was sent %d times, and nothing had failed", generation, len(calls))
	}
	if w.s.server == static || len(calls) < 2 {
		return
	}
	for i, again := range calls[1:] {
		switch {
		case w.s.server == grace && again.at.Sub(calls[0].at) < modelGrace:
		case i+2 > maxSends:
			w.fail("R1", "token generation %d was sent %d times", generation, i+2)
		case !again.dead:
			w.fail("R1", "token generation %d was sent again, and the access token was alive", generation)
		}
	}
}

// loggedOut reports whether somebody was told that the session is over.
func (w *world) loggedOut(ms *modelSession) bool {
	return slices.ContainsFunc(w.actors, func(a *actor) bool {
		return a.logsOut && a.done && a.err == nil && !a.at.dead && ms.subject == "alice"
	})
}

// judgeLogout is R3.
func (w *world) judgeLogout(ms *modelSession, g *modelGrant) {
	if ms.alive > 0 {
		w.fail("R3", "the session serves requests after the logout")
	}
	if ms.last.ended == "" {
		w.fail("R3", "nothing in the store says that the session has ended")
	}
	if w.troubles > 0 && w.s.crash || g.dead {
		return // who had the tokens may be no more
	}
	for token, r := range g.refresh {
		if r.revoked || !r.used.IsZero() {
			continue
		}
		switch {
		case token == ms.atEnd:
			w.fail("R3", "the tokens that the session had were not revoked")
		case r.delivered && !r.stored && ms.overtook <= w.generationOf(r):
			w.fail("R3", "tokens that came after the logout were not revoked")
		}
	}
}

// generationOf is the token generation that was sent for a refresh token.
func (w *world) generationOf(r *refreshToken) uint64 {
	for _, c := range w.server.calls {
		if c.child == r {
			return c.generation
		}
	}
	return 0
}

// maySpend reports whether the loss of the session is the server's doing, after what has happened: without a grace period the
// call that was in flight may cost the session, and no other; with one, none.
func (w *world) maySpend(g *modelGrant) bool {
	return slices.ContainsFunc(w.server.calls, func(c *call) bool {
		switch hit := c.orphan || c.overtaken; {
		case c.grant != g || !hit || w.s.server == static || w.s.server == grace:
			return false
		}
		return c.child != nil || c.overtaken && w.s.server == strict
	})
}

// blame names the invariant that a loss breaks.
func (w *world) blame() string {
	switch s := w.s; {
	case slices.ContainsFunc(w.actors, func(a *actor) bool { return a.canceled }):
		return "R4"
	case w.troubles > 0 && slices.ContainsFunc(w.replicas, func(r *replica) bool { return r.dead }):
		return "R5"
	case w.troubles > 0 && s.apart:
		return "R6"
	case w.troubles > 0:
		return "R7"
	}
	return "R8"
}

// judgeActor is what one who asked must have got.
func (w *world) judgeActor(a *actor) {
	if a.at.dead || !a.done {
		return
	}
	var e *client.Error
	ended := errors.As(a.err, &e) && (e.Code == ErrSessionEnded || errors.Is(e, client.ErrGrantRevoked))
	if a.late && !a.logsOut && a.err == nil {
		w.fail("R3", "%s came after the end and was served", a.name)
	}
	if a.got != nil && a.err == nil {
		g := w.server.grants[a.got.Subject()]
		if _, ours := g.access[string(a.got.AccessToken())]; !ours || !strings.HasPrefix(w.subjectOf(a), a.got.Subject()) {
			w.fail("R2", "%s got tokens of somebody else", a.name)
		}
	}
	anyEnd := slices.ContainsFunc(w.actors, func(a *actor) bool { return a.logsOut })
	if anyEnd || a.canceled {
		return
	}
	if a.err != nil && w.troubles == 0 {
		w.fail("R8", "%s failed, and nothing had: %v", a.name, a.err)
	}
	if a.saves && a.err == nil {
		if ms := w.of(w.subjectOf(a)); ms.last.ended == "" && !slices.Contains(ms.last.rec.attributes, attribute{"colour", "blue"}) {
			w.fail("merge", "what %s wrote is lost", a.name)
		}
	}
	if ended && !w.maySpend(w.server.grants[w.subjectOf(a)]) {
		w.fail(w.blame(), "%s was told that the session is over: %v", a.name, a.err)
	}
}

func (w *world) subjectOf(a *actor) string { return w.s.actors[a.n].subjectName() }
