package session

import (
	"context"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport/sallyport/client"
)

func TestWhoWaitedLongCountsNoStoreFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		defer time.Sleep(2 * settleTimeout)
		all := newReplicas(t, 2, true)
		a, b, br := all[0], all[1], newBrowser(t)
		a.login(br, "alice")
		time.Sleep(time.Hour)
		a.as.then(func(n int) error { time.Sleep(27 * time.Second); a.die(); return nil })
		first := a.askAside(br, time.Minute)
		synctest.Wait()
		a.as.then(nil)
		n := 0
		_, err := b.fresh(header{}, br.request(), ctxServer{b.server(), 5 * time.Second, &n}, b.load(br), false)
		<-first
		t.Logf("the taker-over: %v; store failures reported: %d, and the store never failed", err, b.Counters().StoreFailed)
		time.Sleep(time.Minute)
		_, err = b.fresh(header{}, br.request(), ctxServer{b.server(), 5 * time.Second, &n}, b.load(br), false)
		t.Logf("a minute later: %v", err)
		if err != nil {
			t.Error("the grant is lost, as the one guarded retry got 3 s of its 30 s")
		}
	})
}

type panicky struct{ *Memory }

func (panicky) Shared() bool { return true }

func (p panicky) Swap(ctx context.Context, key string, old int64, v []byte, ttl time.Duration) (int64, error) {
	if key[0] == keySession && old != 0 {
		panic("bug in a driver")
	}
	return p.Memory.Swap(ctx, key, old, v, ttl)
}

func TestStorePanics(t *testing.T) {
	b := newBedAt(t, Config{Store: panicky{NewMemory(MemoryOptions{})}}, newClock())
	br := newBrowser(t)
	b.login(br, "alice")
	b.clock.add(59*time.Minute + 50*time.Second)
	s := b.load(br)
	s.rec.accessExpiry = b.clock.now().Unix() // dead, so that the failure is not hidden by a token that still works
	_, err := b.fresh(header{}, br.request(), b.as, s, false)
	wantError(t, err, ErrStore, "panic")
	if b.as.count() != 0 || strings.Contains(err.Error(), "driver") {
		t.Errorf("%d calls, %v", b.as.count(), err)
	}
}

// Flood of gone events by who holds an old ticket

func TestGoneIsNotRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := newReplicas(t, 1, true)
		b, br := all[0], newBrowser(t)
		s := b.login(br, "alice")
		key := sessionKey(s.rec.id)
		_, v, _ := b.wire.store.Get(t.Context(), string(key[:]))
		_, _ = b.wire.store.Swap(t.Context(), string(key[:]), v, nil, 0)
		for range 50 {
			_, _ = b.Load(br.request())
		}
		if n := b.said(client.EventSessionEnded, gone); n != 1 {
			t.Errorf("told %d times", n)
		}
	})
}

// Concurrent logins of one subject (service account): conflicts.

func TestManyLoginsOfOneSubject(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := newReplicas(t, 4, true)
		failed := 0
		errs := make(chan error, 4000)
		for i := range 1600 {
			b := all[i%4]
			go func() {
				_, err := b.create(header{}, get(nil), testIssuer, testClient, testTokens("robot", 1, time.Now().Add(time.Hour)))
				errs <- err
			}()
		}
		for _, b := range all {
			b.wire.set(func(storeCall) error { time.Sleep(time.Millisecond); return nil }, nil)
		}
		var last error
		for range 1600 {
			if err := <-errs; err != nil {
				failed++
				last = err
			}
		}
		if failed > 0 {
			t.Errorf("%d of 1600 logins failed: %v", failed, last)
		}
	})
}

func TestTouchStorm(t *testing.T) {
	for _, n := range []int{16, 64, 200} {
		t.Run(itoa(n), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &wire{store: NewMemory(MemoryOptions{}), shared: true}
				b := newBedAt(t, Config{Store: w, IdleTimeout: time.Hour}, &clock{bubble: true})
				b.wire = w
				br := newBrowser(t)
				b.login(br, "alice")
				time.Sleep(7 * time.Minute)
				w.set(func(storeCall) error { time.Sleep(time.Millisecond); return nil }, nil)
				b.load(br)
				w.count()
				began := time.Now()
				var wg sync.WaitGroup
				for range n {
					wg.Go(func() {
						s, err := b.Load(br.request())
						if err == nil {
							err = b.Touch(header{}, br.request(), s)
						}
						if err != nil {
							t.Error(err)
						}
					})
				}
				wg.Wait()
				gets, swaps := w.count()
				// Each reads once to load and once to see that it is done; who writes is at most in each other's way for the first round.
				if swaps > 2*n || gets > 4*n || b.Counters().StoreFailed != 0 {
					t.Errorf("%d reads and %d writes, %d failures", gets, swaps, b.Counters().StoreFailed)
				}
				t.Logf("%d requests at once, seven minutes after the last: %d reads and %d writes, the last waits %v for a store of 1 ms; store failures reported %d", n, gets, swaps, time.Since(began), b.Counters().StoreFailed)
			})
		})
	}
}

func TestEndSubjectCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := newReplicas(t, 1, true)
		b, br := all[0], newBrowser(t)
		b.login(br, "alice")
		if _, err := b.endIn(br); err != nil {
			t.Fatal(err)
		}
		b.login(br, "alice")
		n, _ := b.endSubject(t.Context(), b.server(), "alice")
		m, _ := b.endSubject(t.Context(), b.server(), "alice")
		if n != 1 || m != 0 {
			t.Errorf("one session: ended %d, and again %d", n, m)
		}
	})
}

func TestCanceledRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := newReplicas(t, 1, true)
		b, br := all[0], newBrowser(t)
		b.login(br, "alice")
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		for range 50 {
			_, _ = b.Load(br.request().WithContext(ctx))
		}
		if b.Counters().StoreFailed != 0 || b.said(EventStoreFailed, "") != 0 {
			t.Errorf("requests that were given up are %d failures of the store", b.Counters().StoreFailed)
		}
	})
}

// Logout skew through EndEverySession

func TestEverySessionAndSkew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := newReplicas(t, 2, true)
		a, b, br := all[0], all[1], newBrowser(t)
		a.clock.ahead = 30 * time.Second
		a.login(br, "alice")
		time.Sleep(20 * time.Second)
		_ = b.EndEverySession(t.Context())
		time.Sleep(time.Minute)
		_, err := b.Load(br.request())
		wantError(t, err, ErrSessionEnded, everySession)
	})
}

// A session is ended on one; its tokens unsettled on another; the long handler of A goes on with tokens.

func TestLateSettleAgainstFailure(t *testing.T) {
	cookieReplicas(t, 3, func(t *testing.T, all []*bed) {
		// A's transient failure of n settles late over B's lease of n+1? A in doubt with n, store away, B takes over n -> n+1, C refreshes n+1.
		a, b, c, br := all[0], all[1], all[2], newBrowser(t)
		a.as.next = func(tok *client.Tokens) { tok.Expiry = time.Now().Add(time.Minute) }
		a.login(br, "alice")
		time.Sleep(time.Hour)
		a.as.then(func(int) error { a.wire.away(true); return client.NewError(client.ErrTransport, "", nil) })
		s := a.load(br)
		_, err := a.fresh(header{}, br.request(), a.server(), s, false)
		t.Logf("A %v", err)
		a.as.then(nil)
		x := b.ask(br, time.Minute)
		t.Logf("B %v", x.err)
		br.take(x.h)
		time.Sleep(2 * time.Minute)
		a.as.then(slow(10 * time.Second))
		first := b.askAside(br, time.Minute)
		synctest.Wait()
		a.wire.away(false)
		time.Sleep(time.Second)
		second := c.askAside(br, time.Minute)
		y, z := <-first, <-second
		if n := a.sentCount("refresh-3"); y.err != nil || z.err != nil || n != 1 {
			t.Errorf("%v, %v, sent %d times", y.err, z.err, n)
		}
	})
}

// a store of one process that survives it: SQLite, bbolt. Shared is false, as the contract asks.

type durable struct{ Store }

func (durable) Shared() bool { return false }

func TestDurableStoreOfOneProcess(t *testing.T) {
	for name, end := range map[string]func(b *bed) error{
		"logout token": func(b *bed) error {
			return b.endByLogoutToken(b.t.Context(), b.as, b.logoutToken("1", "", "s1"))
		},
		"subject": func(b *bed) error { _, err := b.endSubject(b.t.Context(), b.as, "alice"); return err },
		"every":   func(b *bed) error { return b.EndEverySession(b.t.Context()) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				st := durable{NewMemory(MemoryOptions{})}
				b := newBedAt(t, Config{Store: st, IdleTimeout: 12 * time.Hour}, &clock{bubble: true})
				br := newBrowser(t)
				if err := b.loginAt(br, testIssuer, "alice", "s1", time.Now()); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Second)
				if err := end(b); err != nil {
					t.Fatal(err)
				}
				// The process restarts before the browser comes.
				b2 := newBedAt(t, Config{Store: st, IdleTimeout: 12 * time.Hour}, &clock{bubble: true})
				if _, err := b2.Load(br.request()); err == nil {
					t.Error("the session lives again after a restart")
				}
			})
		})
	}
}
