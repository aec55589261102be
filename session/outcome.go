package session

import (
	"context"
	"errors"
	mathrand "math/rand/v2"
	"time"

	"github.com/sallyport/sallyport/client"
)

// outcome writes what became of the call into the entry as it is now, and says what that means for those who wait. after runs
// once it is written.
type outcome struct {
	change func(e *entry, version int64) (write bool)
	after  func()
	next   *tokens // for those who wait: if nil, err
	err    error
	again  bool // look at the session again: somebody else has it
	// unwritten is the answer while the store does not take the result.
	unwritten *tokens
}

// settle writes the outcome, and goes on trying if the store is away: to lose it would be to lose the session. Those who
// wait get it meanwhile.
func (t *transaction) settle(ctx context.Context, stop func(), o *outcome) (*tokens, bool, error) {
	err := t.write(ctx, o)
	if err == nil {
		stop()
		o.after()
		return o.next, o.again, o.err
	}
	m := t.m
	if tooLong(err) && o.unwritten != nil {
		stop()
		return nil, false, t.outgrown(ctx, o.unwritten)
	}
	_ = m.storeFailed(ctx, &t.rec, err)
	m.shared.unsettled.put(t.rec.flight(), o.unwritten)
	m.shared.work.start(func() {
		defer m.shared.unsettled.drop(t.rec.flight())
		defer stop()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
		defer cancel()
		for pause(ctx, settleRetry) == nil {
			if t.write(ctx, o) == nil {
				o.after()
				return
			}
		}
		if o.unwritten != nil { // whoever comes next finds a lease of nobody
			m.shared.counters.inDoubt.Add(1)
			m.report(ctx, EventRefreshInDoubt, &t.rec, "unwritten", nil)
		}
	})
	if o.unwritten != nil {
		return o.unwritten, false, nil
	}
	return nil, false, err
}

// outgrown ends a session whose tokens no store takes: the refresh token that it has is spent, and nobody may send it again.
func (t *transaction) outgrown(ctx context.Context, next *tokens) error {
	if _, err := t.m.end(ctx, &t.rec, outgrown); err != nil {
		return err
	}
	lost := (&Session{rec: t.rec}).with(next).Tokens()
	t.m.shared.work.start(func() { t.m.revoke(ctx, t.srv, lost) })
	return fail(ErrSessionEnded, outgrown)
}

// write is one attempt.
func (t *transaction) write(ctx context.Context, o *outcome) error {
	t.writing <- struct{}{}
	defer func() { <-t.writing }()
	from := &t.held
	if from.version == 0 {
		from = nil
	}
	_, err := update(ctx, t.m.shared.entries, &t.key, from, func(e *entry, version int64) (time.Time, error) {
		if !o.change(e, version) {
			return time.Time{}, nil
		}
		return e.deadline(&t.m.shared.cfg, t.m.now(), t.absolute(), t.m.shared.inStore), nil
	})
	return err
}

// mine reports whether the entry still has our lease.
func (t *transaction) mine(e *entry) bool {
	return e.lease.held(t.rec.tokenGeneration) && e.lease.holder == t.holder
}

// keep is the outcome of a refresh that brought tokens.
func (t *transaction) keep(ctx context.Context, got *client.Tokens) *outcome {
	m, generation := t.m, t.rec.tokenGeneration
	now := m.now()
	next := newTokens(got, now, generation+1)
	o := &outcome{unwritten: &next}
	kind, why := "", "" // why it ends with this, if it does
	o.change = func(e *entry, version int64) bool {
		inStore := m.shared.inStore
		o.next, o.err, kind, why = nil, nil, "", ""
		if e.ended == "" { // a logout that no entry says yet
			if reason, _ := m.struck(ctx, &t.rec); reason != "" {
				kind, why, o.err = EventResurrectionBlocked, reason, fail(ErrSessionEnded, reason)
				*e = entry{ended: reason, keep: t.absolute().Unix()}
				return true
			}
		}
		switch {
		case e.ended != "": // R3: logout wins. ATK-F04
			kind, o.err = EventResurrectionBlocked, fail(ErrSessionEnded, e.ended)
			return false
		case inStore && e.rec.tokenGeneration == 0: // gone: a refresh makes no session
			kind, o.err = EventResurrectionBlocked, fail(ErrSessionEnded, gone)
			return false
		case e.rec.tokenGeneration > generation: // fenced: somebody took over and is ahead, or this is our own write
			if e.rec.accessToken != next.accessToken || e.rec.tokenGeneration > generation+1 {
				kind = EventLeaseLost
			}
			o.next = &e.rec.tokens
			return false
		}
		if !t.mine(e) {
			kind = EventLeaseLost // and nobody is ahead: there is nothing better than what we have
		}
		// Whatever else was written meanwhile stays.
		if e.ahead() <= generation { // else somebody has had these tokens from a cookie, and is at it
			e.lease, e.failed = lease{}, failure{}
		}
		e.rec.tokens, e.rec.id = next, t.rec.id
		o.next = &next
		return true
	}
	o.after = func() {
		rec := t.rec
		rec.tokens = next
		switch kind {
		case EventResurrectionBlocked:
			m.shared.counters.resurrectionBlocked.Add(1)
			m.report(ctx, kind, &rec, "", o.err)
			if why != "" {
				m.report(ctx, client.EventSessionEnded, &t.rec, why, nil)
			}
			m.shared.work.start(func() { m.revoke(ctx, t.srv, got) }) // no session has them
			return
		case EventLeaseLost:
			m.shared.counters.leaseLost.Add(1)
			m.report(ctx, kind, &rec, "", nil)
		}
		if o.next == &next || kind == "" {
			m.shared.counters.refreshed.Add(1)
			m.report(ctx, client.EventTokenRefreshed, &rec, "", nil)
		}
	}
	return o
}

// withdraw is the outcome of a lease that may have been taken, and nothing was sent.
func (t *transaction) withdraw(err error) *outcome {
	return &outcome{err: err, after: func() {}, change: func(e *entry, _ int64) bool {
		switch {
		case e.ended != "", e.lease.tokenGeneration != 0 && !t.mine(e):
			return false
		case t.mine(e):
			e.lease, e.failed = lease{}, t.before
		}
		return true // a new version: our write may still be on its way, and must find that it is late
	}}
}

// failure is the outcome of a call that brought none.
func (t *transaction) failure(ctx context.Context, err *client.Error) *outcome {
	m, generation := t.m, t.rec.tokenGeneration
	m.shared.counters.failed.Add(1)
	m.report(ctx, client.EventRefreshFailed, &t.rec, "", err)
	now := m.now()
	reason, final := "", error(err)
	switch {
	case errors.Is(err, client.ErrGrantRevoked): // ATK-F05
		reason = "grant_revoked"
	case otherUser(err): // ATK-F09: the grant cannot be trusted
		reason = "id_token"
		final = client.NewError(ErrSessionEnded, reason, err)
	}
	f := t.before
	wasInDoubt := false
	switch {
	case t.srv.Rotation().Reusable:
	case answered(err):
		f.spent = spentForCertain
	case spent(err):
		f.spent++
		wasInDoubt = true
	}
	if f.spent > 0 {
		f.sentAt = t.sentAt
	}
	wait := max(min(firstBackoff<<min(f.count, 10), lastBackoff), err.RetryAfter)
	if left := t.graceLeft(f, now); f.spent > 0 && left > 0 { // to wait longer would lose the session
		wait = min(wait, max(left/16, firstBackoff))
	}
	wait += mathrand.N(wait/4 + 1) // so that sessions that failed together do not come back together
	f.count, f.until = f.count+1, now.Add(wait).UnixMilli()
	f.code, f.reason, f.outcome = string(err.Code), err.Reason, err.Outcome

	ended := false
	o := &outcome{}
	lostNow, dead := false, f.spent >= spentForCertain && (t.refused || !t.rec.alive(now)) // for good, and nothing is left
	o.change = func(e *entry, version int64) bool {
		own := ended && e.ended == reason || lostNow && dead && e.ended == endedInDoubt // the answer to our write was lost
		ended, lostNow, o.next, o.err, o.again = false, false, nil, nil, false
		switch {
		case own && e.ended == endedInDoubt:
			lostNow, o.err = true, lost(err)
			return false
		case own:
			ended, o.err = true, final
			return false
		case e.ended != "":
			o.err = fail(ErrSessionEnded, e.ended)
			return false
		case m.shared.inStore && e.rec.tokenGeneration == 0:
			o.err = fail(ErrSessionEnded, gone)
			return false
		case e.rec.tokenGeneration > generation: // a loser never ends a winner's session
			o.next = &e.rec.tokens
			return false
		case e.ahead() > generation: // the same, where only a cookie has the newer tokens
			o.again = true
			return false
		case !t.mine(e) && e.lease.held(generation): // somebody has taken over, and will know better
			o.again = true
			return false
		case reason != "": // compare-and-delete: this version, of exactly this generation
			ended = true
			*e = entry{ended: reason, keep: t.absolute().Unix()}
			o.err = final
			return true
		}
		known := f
		if !t.mine(e) { // somebody took over, and has failed by now: each of us counts
			known.spent = max(f.spent, e.failed.of(generation).spent)
		}
		e.lease, e.failed = lease{}, known
		o.err = later(err, wait)
		if lostNow = t.usedUp(known, now); lostNow {
			o.err = lost(err)
		}
		if lostNow && dead {
			*e = entry{ended: endedInDoubt, keep: t.absolute().Unix()}
		}
		return true
	}
	o.after = func() {
		if ended {
			if reason == "grant_revoked" && t.before.spent == 0 { // ATK-F21
				m.shared.counters.reuseSuspected.Add(1)
				m.report(ctx, EventReuseSuspected, &t.rec, "", err)
			}
			m.report(ctx, client.EventSessionEnded, &t.rec, reason, nil)
			if reason == "id_token" {
				m.shared.work.start(func() { m.revoke(ctx, t.srv, (&Session{rec: t.rec}).Tokens()) })
			}
			return
		}
		if wasInDoubt {
			m.shared.counters.inDoubt.Add(1)
			m.report(ctx, EventRefreshInDoubt, &t.rec, err.Reason, err)
		}
		if lostNow {
			m.reportOnce(ctx, EventGrantLost, &t.rec, "", o.err)
		}
		if lostNow && dead {
			m.report(ctx, client.EventSessionEnded, &t.rec, endedInDoubt, nil)
		}
	}
	return o
}
