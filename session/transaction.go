package session

import (
	"context"
	"crypto/rand"
	"errors"
	"time"

	"github.com/sallyport/sallyport/client"
)

const (
	// refreshTimeout bounds one refresh, which lives on when the request that caused it is gone.
	refreshTimeout = 30 * time.Second
	// revokeTimeout bounds the revocation of tokens that no session has.
	revokeTimeout = 10 * time.Second
	// maxSends is how often one refresh token is sent when no usable answer comes: once, and once more when
	// the access token is dead and there is nothing better to try.
	maxSends = 2
	// spentForCertain is how often one counts as sent when a whole answer came and was refused here.
	spentForCertain = 1 << 20
	// leaseTime is for how long a lease must have stood still before somebody else takes over.
	leaseTime = 4 * time.Second
	// beatTime is how often its holder moves it, and how long it waits for the store to say so. leaseTime is more than
	// storeTimeout and beatTime together: an answer that is late is not one that does not come.
	beatTime = time.Second
	// Who waits for another process looks at the session after firstPoll, later after a sixteenth of what it has waited.
	firstPoll = time.Millisecond
	lastPoll  = 100 * time.Millisecond
	// settleRetry is how often a result is offered to a store that does not take it: well within leaseTime, so that
	// nobody takes over what only waits to be written.
	settleRetry = 250 * time.Millisecond
	// settleTimeout is when that is given up.
	settleTimeout = 10 * time.Minute

	firstBackoff = time.Second
	lastBackoff  = time.Minute
)

// transaction is one process's part in the refresh of one token generation of one session.
type transaction struct {
	m       *Manager
	srv     server
	rec     record // as the request had it
	key     storeKey
	refused bool // a resource server has refused the access token
	patient bool // wait for whoever is at it
	holder  [16]byte

	before failure // what was known when we took the lease
	sentAt int64   // when this refresh token was sent the first time, milliseconds since 1970

	writing chan struct{}    // has room for one: who writes the entry at the moment
	held    versioned[entry] // what we wrote last
}

// verdict is what an entry means for a transaction.
type verdict int

const (
	newer verdict = iota // somebody has refreshed
	over                 // the session has ended
	notNow
	usedUp // and the access token is dead
	taken  // somebody is at it
	free
)

func (m *Manager) newTransaction(srv server, rec *record, refused, background bool) *transaction {
	t := &transaction{m: m, srv: srv, rec: *rec, key: sessionKey(rec.id), refused: refused, writing: make(chan struct{}, 1)}
	t.patient = background || refused || !rec.alive(m.now()) || srv.Rotation().Grace > 0
	rand.Read(t.holder[:])
	return t
}

// run refreshes, or waits for whoever does.
func (t *transaction) run(ctx context.Context) (*tokens, error) {
	m := t.m
	var leave func() // the room for calls to this server that we have
	defer func() {
		if leave != nil {
			leave()
		}
	}()
	var watched lease
	var since time.Time
	for began := time.Now(); ; {
		var h versioned[entry]
		var err error
		asked := time.Now()
		if h.version, _, err = m.shared.entries.get(ctx, &t.key, &h.value); err == errPast {
			h.value, err = entry{}, nil
		}
		if err != nil {
			return nil, m.storeFailed(ctx, &t.rec, err)
		}
		stood := watched.tokenGeneration != 0 && h.value.lease == watched && asked.Sub(since) >= leaseTime
		v, next, err := t.judge(ctx, &h, stood)
		switch {
		case v == newer:
			m.shared.counters.adopted.Add(1)
			if watched.tokenGeneration != 0 {
				m.report(ctx, EventRefreshAdopted, &t.rec, "", nil)
			}
			return next, nil
		case v == over, v == notNow:
			return nil, err
		case v == usedUp:
			if again, err := t.giveUp(ctx, &h); !again {
				return nil, err
			}
			continue
		case v == free && leave == nil:
			if leave = m.shared.calls.tryEnter(t.srv); leave == nil {
				if leave, err = m.shared.calls.enter(ctx, t.srv); err != nil {
					return nil, err
				}
				continue // that may have taken a while
			}
			fallthrough
		case v == free:
			if err := t.reachable(ctx, &h.value); err != nil {
				return nil, err
			}
			next, again, err := t.win(ctx, &h)
			if again {
				continue
			}
			return next, err
		}
		if leave != nil {
			leave()
			leave = nil
		}
		if !t.patient {
			return nil, later(client.NewError(client.ErrTimeout, "elsewhere", nil), time.Second)
		}
		if watched.tokenGeneration == 0 {
			m.report(ctx, EventRefreshWaited, &t.rec, "", nil)
		}
		if h.value.lease != watched {
			watched, since = h.value.lease, time.Now()
		}
		if err := pause(ctx, min(max(time.Since(began)/16, firstPoll), lastPoll)); err != nil {
			return nil, err
		}
	}
}

// pause waits, or says that nobody waits any more.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return client.NewError(client.ErrTimeout, "canceled", ctx.Err())
	}
}

// judge decides what an entry means. stood is that its lease has not moved for leaseTime.
func (t *transaction) judge(ctx context.Context, h *versioned[entry], stood bool) (v verdict, next *tokens, err error) {
	e, generation := &h.value, t.rec.tokenGeneration
	inStore := t.m.shared.inStore
	if e.ended == "" { // a logout that no entry says yet
		if err := t.m.checkStruck(ctx, &t.rec); err != nil {
			return over, nil, err
		}
	}
	switch {
	case e.ended != "":
		return over, nil, fail(ErrSessionEnded, e.ended)
	case inStore && e.rec.tokenGeneration == 0:
		return over, nil, fail(ErrSessionEnded, gone)
	case e.rec.tokenGeneration > generation:
		return newer, &e.rec.tokens, nil
	case inStore && e.rec.tokenGeneration < generation: // ATK-F17
		return notNow, nil, t.m.storeFailed(ctx, &t.rec, storeFault("stale", nil))
	case t.heldByOther(e) && !stood:
		return taken, nil, nil
	case t.mine(e): // the answer to our write was lost
		return free, nil, nil
	case e.lease.tokenGeneration > generation && !stood:
		return taken, nil, nil
	case e.ahead() > generation: // ours is spent, and what it brought is in another cookie of this session
		return notNow, nil, later(client.NewError(client.ErrRefreshInDoubt, "superseded", nil), time.Second)
	}
	f, now := e.failed.of(generation), t.m.now()
	needless := t.rec.alive(now) && !t.refused
	switch {
	case !t.rec.renewable(now): // ATK-F16
		err := fail(ErrNoToken, "refresh_expired")
		t.m.report(ctx, client.EventRefreshFailed, &t.rec, "", err)
		return notNow, nil, err
	case t.usedUp(f, now) && needless:
		return notNow, nil, f.err()
	case t.usedUp(f, now): // there is no third time, so only a login helps
		return usedUp, nil, nil
	case now.UnixMilli() < f.until && !t.heldByOther(e):
		return notNow, nil, later(f.err(), time.UnixMilli(f.until).Sub(now))
	case f.spent > 0 && needless && !t.inGrace(f, now): // the token may be spent: not again before we must
		return notNow, nil, f.err()
	}
	return free, nil, nil
}

func (t *transaction) heldByOther(e *entry) bool {
	return e.lease.held(t.rec.tokenGeneration) && e.lease.holder != t.holder
}

// giveUp is for a refresh token that was sent as often as may be without an answer, when the access token is dead: only a login
// helps, and the session ends. again is that somebody has moved since it was read. Who stands still with a lease may only
// be cut off, and have the answer, and a call whose lease was lost may still get one: as long as that can be, nothing is ended.
func (t *transaction) giveUp(ctx context.Context, h *versioned[entry]) (again bool, err error) {
	f := h.value.failed.of(t.rec.tokenGeneration)
	m, cause := t.m, lost(f.err())
	pending := f.spent < spentForCertain && m.now().Before(time.UnixMilli(f.sentAt).Add(2*refreshTimeout))
	if pending || t.heldByOther(&h.value) {
		m.reportOnce(ctx, EventGrantLost, &t.rec, "", cause)
		return false, cause
	}
	e := entry{ended: endedInDoubt, keep: t.absolute().Unix()}
	_, err = m.shared.entries.swap(ctx, &t.key, h.version, &e, e.deadline(&m.shared.cfg, m.now(), t.absolute(), m.shared.inStore))
	switch {
	case errors.Is(err, ErrConflict):
		return true, nil
	case err != nil:
		return false, m.storeFailed(ctx, &t.rec, err)
	}
	m.reportOnce(ctx, EventGrantLost, &t.rec, "", cause)
	m.report(ctx, client.EventSessionEnded, &t.rec, endedInDoubt, nil)
	return false, cause
}

// reachable returns an error if this would be the last time that the refresh token can be sent, and the server does not answer at
// all: an outage must not use that up (R7).
func (t *transaction) reachable(ctx context.Context, e *entry) error {
	f := e.failed.of(t.rec.tokenGeneration)
	if f.spent == 0 || t.mine(e) || t.inGrace(f, t.m.now()) {
		return nil
	}
	if err := t.m.shared.probes.ask(ctx, t.srv); err != nil {
		return later(err, storeRetry)
	}
	return nil
}

// usedUp reports whether a refresh token is not to be sent any more. Within the server's grace period it may be, as often as
// answers are lost.
func (t *transaction) usedUp(f failure, now time.Time) bool {
	return f.spent >= spentForCertain || f.spent >= maxSends && !t.inGrace(f, now)
}

// inGrace reports whether a refresh token that may be spent can be sent again without harm.
func (t *transaction) inGrace(f failure, now time.Time) bool { return t.graceLeft(f, now) > 0 }

// graceLeft is for how long that is so.
func (t *transaction) graceLeft(f failure, now time.Time) time.Duration {
	return time.UnixMilli(f.sentAt).Add(t.srv.Rotation().Grace).Sub(now)
}

// win takes the lease on the entry that was read, which writes the intent down, calls the server, and settles what comes of
// it. again is that somebody else was faster.
func (t *transaction) win(ctx context.Context, read *versioned[entry]) (next *tokens, again bool, err error) {
	m, generation := t.m, t.rec.tokenGeneration
	e, version, began := read.value, read.version, time.Now()
	interrupted := t.heldByOther(&e)
	if !t.mine(&e) {
		t.before = e.failed.of(generation)
		now, f := m.now(), t.before
		if !t.srv.Rotation().Reusable {
			f.spent++
		}
		if f.sentAt == 0 {
			f.sentAt = now.UnixMilli()
		}
		t.sentAt = f.sentAt
		e.failed, e.lease = f, lease{tokenGeneration: generation, holder: t.holder, beat: 1}
		// Compare-and-swap with the version that was just read: this is the re-read under the lease.
		version, err = m.shared.entries.swap(ctx, &t.key, read.version, &e, e.deadline(&m.shared.cfg, now, t.absolute(), m.shared.inStore))
		if errors.Is(err, ErrConflict) {
			return nil, true, nil
		}
		if err != nil { // it may have been written, and nothing was sent
			return t.settle(ctx, func() {}, t.withdraw(m.storeFailed(ctx, &t.rec, err)))
		}
	}
	if interrupted {
		m.shared.counters.inDoubt.Add(1)
		m.report(ctx, EventRefreshInDoubt, &t.rec, "interrupted", failure{}.err())
	}
	t.held = versioned[entry]{e, version}
	if time.Since(began) > beatTime { // somebody may have watched it for that long
		if lost, err := t.beat(ctx); lost || err != nil {
			return t.settle(ctx, func() {}, t.withdraw(later(client.NewError(client.ErrTimeout, "late", nil), time.Second)))
		}
	}
	ctx = context.WithoutCancel(ctx) // it may have waited long for its turn; from here on nothing may be cut off
	m.shared.counters.won.Add(1)
	stop := t.renew(ctx)
	got, failed := t.send(ctx)
	if failed == nil {
		next, again, err = t.settle(ctx, stop, t.keep(ctx, got))
	} else {
		next, again, err = t.settle(ctx, stop, t.failure(ctx, failed))
	}
	return next, again, err
}

func (t *transaction) absolute() time.Time { return t.rec.absoluteDeadline(&t.m.shared.cfg) }

// send calls the server, once, on a context that the request's end does not reach.
func (t *transaction) send(ctx context.Context) (*client.Tokens, *client.Error) {
	ctx, cancel := context.WithTimeout(ctx, refreshTimeout)
	defer cancel()
	return refreshOnce(ctx, t.srv, (&Session{rec: t.rec}).Tokens())
}

// renew moves the lease while the call runs and until its result is in the store. The function that it returns ends that.
func (t *transaction) renew(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx)) // the flight may be over before the store takes its result
	done := make(chan struct{})
	go func() {
		defer close(done)
		for next := time.Now().Add(beatTime); pause(ctx, time.Until(next)) == nil; next = next.Add(beatTime) {
			if lost, _ := t.beat(ctx); lost {
				return // what becomes of the call is settled with whoever has it now
			}
		}
	}()
	return func() {
		cancel()
		<-done
	}
}

// beat moves the lease once. lost is that we have it no more.
func (t *transaction) beat(ctx context.Context) (lost bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, beatTime)
	defer cancel()
	t.writing <- struct{}{}
	defer func() { <-t.writing }()
	h, err := update(ctx, t.m.shared.entries, &t.key, &t.held, func(e *entry, version int64) (time.Time, error) {
		if lost = e.ended != "" || e.lease.holder != t.holder; lost {
			return time.Time{}, nil
		}
		e.lease.beat++
		return e.deadline(&t.m.shared.cfg, t.m.now(), t.absolute(), t.m.shared.inStore), nil
	})
	if err == nil && !lost {
		t.held = h
	}
	return lost, err
}
