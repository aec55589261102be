package session

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport/sallyport/client"
)

// wantStore checks that an error is the store's: to be tried again, and no logout.
func wantStore(t *testing.T, err error, reason string) {
	t.Helper()
	wantError(t, err, ErrStore, reason)
	var e *client.Error
	if errors.As(err, &e); e.Outcome != client.Transient || e.Action != client.ActionRetry || e.RetryAfter <= 0 {
		t.Fatalf("%+v", e)
	}
}

// lostWrites are the ways in which a write can fail without anybody knowing what became of it.
var lostWrites = map[string]func(b *bed, n int){
	"the answer is lost": func(b *bed, n int) { b.wire.set(nil, told(n, func(error) error { return errAway })) },
	"the write is lost":  func(b *bed, n int) { b.wire.set(nthSwap(n, func() error { return errAway }), nil) },
}

func eachLostWrite(t *testing.T, f func(t *testing.T, all []*bed, lose func(b *bed, n int))) {
	for name, lose := range lostWrites {
		t.Run(name, func(t *testing.T) {
			replicas(t, 2, func(t *testing.T, all []*bed) { f(t, all, lose) })
		})
	}
}

// dueBed is the first of two processes, whose browser has a session with a dead access token.
func dueBed(t *testing.T, all []*bed) (*bed, *browser) {
	br := newBrowser(t)
	all[0].login(br, "alice")
	time.Sleep(time.Hour)
	return all[0], br
}

// The lease: nothing was sent, so nothing counts as sent.
func TestLeaseWriteLost(t *testing.T) {
	eachLostWrite(t, func(t *testing.T, all []*bed, lose func(*bed, int)) {
		b, br := dueBed(t, all)
		lose(b, 1)
		a := b.ask(br, time.Minute)
		wantStore(t, a.err, "unavailable")
		e, _ := b.entry(b.load(br).rec.id)
		if b.as.count() != 0 || e.lease != (lease{}) || e.failed.spent != 0 {
			t.Fatalf("%d calls, %+v, %+v", b.as.count(), e.lease, e.failed)
		}
		began := time.Now()
		all[1].ask(br, time.Minute).wantToken(t, "access-2")
		if time.Since(began) != 0 {
			t.Fatal("somebody waited for a lease that nobody has")
		}
	})
}

// A renewal of the lease.
func TestRenewalWriteLost(t *testing.T) {
	eachLostWrite(t, func(t *testing.T, all []*bed, lose func(*bed, int)) {
		b, br := dueBed(t, all)
		b.as.then(slow(5 * time.Second))
		lose(b, 3)
		first := b.askAside(br, time.Minute)
		synctest.Wait()
		all[1].ask(br, time.Minute).wantToken(t, "access-2")
		(<-first).wantToken(t, "access-2")
		all[1].mustFresh(br, "access-2", 1)
	})
}

// The tokens: they are not lost, they are counted once, and those who wait have them meanwhile.
func TestResultWriteLost(t *testing.T) {
	eachLostWrite(t, func(t *testing.T, all []*bed, lose func(*bed, int)) {
		b, br := dueBed(t, all)
		lose(b, 2)
		b.ask(br, time.Minute).wantToken(t, "access-2")
		b.ask(br, time.Minute).wantToken(t, "access-2")
		time.Sleep(settleRetry)
		synctest.Wait()
		began := time.Now()
		all[1].ask(br, time.Minute).wantToken(t, "access-2")
		c := b.Counters()
		if b.as.count() != 1 || c.Refreshed != 1 || c.LeaseLost != 0 || b.said(client.EventTokenRefreshed, "") != 1 || time.Since(began) != 0 {
			t.Fatalf("%d calls, %+v, said %v", b.as.count(), c, b.events.kinds())
		}
	})
}

// A failure: what it says of the refresh token is neither forgotten nor counted twice.
func TestFailureWriteLost(t *testing.T) {
	for name, tt := range map[string]struct {
		failure *client.Error
		spent   uint64
	}{
		"in doubt":  {client.NewError(client.ErrRefreshInDoubt, "", nil), 1},
		"transient": {client.NewError(client.ErrTransport, "", nil), 0},
		"answered":  {client.NewError(client.ErrScope, "extra", nil), spentForCertain},
	} {
		t.Run(name, func(t *testing.T) {
			eachLostWrite(t, func(t *testing.T, all []*bed, lose func(*bed, int)) {
				b, br := dueBed(t, all)
				b.as.fail(tt.failure)
				lose(b, 2)
				a := b.ask(br, time.Minute)
				wantStore(t, a.err, "unavailable")
				if err := b.ask(br, time.Minute).err; tt.spent != spentForCertain || !errors.Is(err, ErrSessionEnded) { // the write took effect
					wantStore(t, err, "unavailable")
				}
				time.Sleep(settleRetry)
				synctest.Wait()
				if tt.spent == spentForCertain { // there is nothing left to try
					b.refuse(t, ErrSessionEnded, endedInDoubt, br.header())
					if b.as.count() != 1 || b.said(client.EventSessionEnded, endedInDoubt) != 1 || b.said(EventGrantLost, "") != 1 {
						t.Fatalf("%d calls, %v", b.as.count(), b.events.kinds())
					}
					return
				}
				e, _ := b.entry(b.load(br).rec.id)
				if e.failed.spent != tt.spent || e.failed.count != 1 || e.lease != (lease{}) || b.as.count() != 1 {
					t.Fatalf("%+v, %+v, %d calls", e.failed, e.lease, b.as.count())
				}
				if n := b.said(EventRefreshInDoubt, ""); n > 1 || n == 0 && tt.failure.Code == client.ErrRefreshInDoubt {
					t.Fatalf("said %v", b.events.kinds())
				}
			})
		})
	}
}

// The end of a session whose grant is over: it ends, once, and is told once.
func TestTombstoneWriteLost(t *testing.T) {
	eachLostWrite(t, func(t *testing.T, all []*bed, lose func(*bed, int)) {
		b, br := dueBed(t, all)
		b.as.fail(errRevoked)
		lose(b, 2)
		wantStore(t, b.ask(br, time.Minute).err, "unavailable")
		time.Sleep(settleRetry)
		synctest.Wait()
		for _, b := range all {
			b.refuse(t, ErrSessionEnded, "grant_revoked", br.header())
		}
		if b.as.count() != 1 || b.said(client.EventSessionEnded, "grant_revoked") != 1 || b.said(EventReuseSuspected, "") != 1 {
			t.Fatalf("%d calls, said %v", b.as.count(), b.events.kinds())
		}
	})
}

// A logout whose write is lost is tried again by the user, and holds.
func TestLogoutWriteLost(t *testing.T) {
	eachLostWrite(t, func(t *testing.T, all []*bed, lose func(*bed, int)) {
		b, br := all[0], newBrowser(t)
		b.login(br, "alice")
		stolen, s := br.clone(), b.load(br)
		lose(b, 1)
		h := header{}
		_, err := b.End(h, br.request(), s)
		wantStore(t, err, "unavailable")
		if h.wrote() {
			t.Fatal("the cookie was taken away from a session that may live")
		}
		b.mustEnd(h, br.request(), s)
		all[1].refuse(t, ErrSessionEnded, "logout", stolen.header())
	})
}

// ATK-F13: the store goes away while the server answers. Those who wait get the tokens; they are kept and written when it is
// back; nobody takes over meanwhile; and Shutdown waits for it.
func TestStoreAwayAfterTheAnswer(t *testing.T) {
	for name, outage := range map[string]time.Duration{"for a moment": time.Second, "for minutes": 5 * time.Minute} {
		t.Run(name, func(t *testing.T) {
			replicas(t, 2, func(t *testing.T, all []*bed) {
				b, br := dueBed(t, all)
				b.as.reply = func(int) error {
					all[0].wire.away(true)
					all[1].wire.away(true)
					return nil
				}
				s := b.load(br)
				fresh := func() {
					t.Helper()
					h := header{}
					next, err := b.fresh(h, br.request(), b.server(), s, false)
					if err != nil || string(next.AccessToken()) != "access-2" {
						t.Fatal(err)
					}
					if b.shared.inStore && (h.wrote() || b.Touch(h, br.request(), next) != nil || h.wrote()) {
						t.Fatal("the ticket promises what the store does not have")
					}
				}
				fresh()
				fresh()
				if a := all[1].ask(br, time.Minute); a.h.wrote() {
					t.Fatal("wrote")
				} else {
					wantStore(t, a.err, "unavailable")
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				if err := b.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
					t.Fatalf("shut down: %v", err)
				}
				time.Sleep(outage)
				fresh()
				all[1].wire.away(false) // the other is the first to reach it again
				second := all[1].askAside(br, time.Minute)
				time.Sleep(time.Second)
				all[0].wire.away(false)
				b.settled()
				(<-second).wantToken(t, "access-2")
				all[1].mustFresh(br, "access-2", 1)
				if c := b.Counters(); c.Refreshed != 1 || c.StoreFailed == 0 || b.said(EventStoreFailed, "unavailable") == 0 {
					t.Fatalf("%+v", c)
				}
			})
		})
	}
}

// A store that is away for longer than anybody can wait: the tokens are lost, which is said, and what is left is one more try.
func TestStoreAwayForTooLong(t *testing.T) {
	replicas(t, 2, func(t *testing.T, all []*bed) {
		b, br := dueBed(t, all)
		b.as.then(func(int) error { b.wire.away(true); return nil })
		s := b.load(br)
		if _, err := b.fresh(header{}, br.request(), b.server(), s, false); err != nil {
			t.Fatal(err)
		}
		time.Sleep(settleTimeout - time.Second)
		if b.said(EventRefreshInDoubt, "") != 0 {
			t.Fatal("given up too soon")
		}
		time.Sleep(2 * time.Second)
		b.settled()
		if b.said(EventRefreshInDoubt, "unwritten") != 1 || b.Counters().InDoubt != 1 {
			t.Fatalf("said %v", b.events.kinds())
		}
		b.as.then(nil)
		all[1].ask(br, time.Minute).wantToken(t, "access-3")
	})
}

// entryIn opens what is written.
func (b *bed) entryIn(c storeCall) (e entry) {
	if c.swap && c.key[0] == keySession {
		_, _ = b.shared.stored.OpenRaw(time.Now(), c.key, c.value, &e)
	}
	return e
}

// A store that takes everything but the result, as it is full, say: the lease is kept meanwhile, and nobody takes over.
func TestStoreWithoutRoomForTheResult(t *testing.T) {
	replicas(t, 2, func(t *testing.T, all []*bed) {
		b, br := dueBed(t, all)
		b.wire.set(func(c storeCall) error {
			if b.entryIn(c).rec.tokenGeneration == 2 {
				return ErrFull
			}
			return nil
		}, nil)
		b.ask(br, time.Minute).wantToken(t, "access-2")
		second := all[1].ask(br, time.Minute)
		if !errors.Is(second.err, client.ErrTimeout) || b.as.count() != 1 {
			t.Fatalf("%v, %d calls", second.err, b.as.count())
		}
		if b.said(EventStoreFailed, "full") == 0 {
			t.Fatalf("said %v", b.events.kinds())
		}
		b.wire.away(false)
		time.Sleep(time.Second)
		all[1].mustFresh(br, "access-2", 1)
	})
}

// The process ends while the store does not have its tokens: where the server has a grace period another gets them again. The
// ticket in the browser does not stand in the way.
func TestR5CrashWhileUnsettled(t *testing.T) {
	replicas(t, 2, func(t *testing.T, all []*bed) {
		b, br := all[0], newBrowser(t)
		b.as.rotation = client.Rotation{Grace: time.Minute}
		b.login(br, "alice")
		time.Sleep(time.Hour)
		b.as.reply = func(int) error { b.wire.away(true); return nil }
		s := b.load(br)
		br.do(func(w http.ResponseWriter, r *http.Request) {
			next, err := b.fresh(w, r, b.server(), s, false)
			if err != nil || string(next.AccessToken()) != "access-2" {
				t.Fatal(err)
			}
		})
		b.die()
		b.as.then(nil)
		time.Sleep(time.Second)
		a := all[1].ask(br, time.Minute)
		want := "access-3"
		if !b.shared.inStore {
			want = "access-2" // the cookie has them
		}
		a.wantToken(t, want)
	})
}

// Save keeps tokens that the store does not have yet, and does not promise them either.
func TestSaveWhileUnsettled(t *testing.T) {
	replicas(t, 2, func(t *testing.T, all []*bed) {
		b, br := dueBed(t, all)
		if !b.shared.inStore {
			return
		}
		b.wire.set(func(c storeCall) error {
			if b.entryIn(c).rec.tokenGeneration == 2 {
				return ErrFull
			}
			return nil
		}, nil)
		a := b.ask(br, time.Minute)
		a.wantToken(t, "access-2")
		s, err := a.s.With("colour", "blue")
		if err != nil {
			t.Fatal(err)
		}
		br.do(func(w http.ResponseWriter, r *http.Request) {
			if s, err = b.Save(w, r, s); err != nil || string(s.AccessToken()) != "access-2" || s.Get("colour") != "blue" {
				t.Fatal(err)
			}
			if err := b.Touch(w, r, s); err != nil {
				t.Fatal(err)
			}
		})
		for _, b := range all {
			if s := b.load(br); s.TokenGeneration() != 1 || s.Get("colour") != "blue" {
				t.Fatalf("generation %d", s.TokenGeneration())
			}
		}
		b.wire.away(false)
		time.Sleep(time.Second)
		if s := all[1].mustFresh(br, "access-2", 1); s.Get("colour") != "blue" {
			t.Fatal("the attribute is lost")
		}
	})
}

// A logout while the result waits to be written: the session stays ended, and the new tokens are given back.
func TestLogoutWhileUnsettled(t *testing.T) {
	replicas(t, 2, func(t *testing.T, all []*bed) {
		b, br := dueBed(t, all)
		stolen := br.clone()
		b.as.reply = func(int) error { b.wire.away(true); return nil }
		s := b.load(br)
		if _, err := b.fresh(header{}, br.request(), b.server(), s, false); err != nil {
			t.Fatal(err)
		}
		if _, err := all[1].endIn(br); err != nil {
			t.Fatal(err)
		}
		b.wire.away(false)
		b.settled()
		for _, b := range all {
			b.refuse(t, ErrSessionEnded, "logout", stolen.header())
		}
		if !slices.Contains(b.as.revoked, "refresh-2") || b.said(EventResurrectionBlocked, "logout") != 1 || b.Counters().Refreshed != 0 {
			t.Fatalf("revoked %d, said %v", len(b.as.revoked), b.events.kinds())
		}
	})
}
