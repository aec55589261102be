package session

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport/sallyport/client"
)

func (b *bed) sentCount(tok client.Secret) (n int) {
	b.as.mu.Lock()
	defer b.as.mu.Unlock()
	for _, s := range b.as.sent {
		if s == tok {
			n++
		}
	}
	return n
}

func cookieReplicas(t *testing.T, n int, f func(t *testing.T, all []*bed)) {
	synctest.Test(t, func(t *testing.T) {
		all := newReplicas(t, n, false)
		defer time.Sleep(2 * settleTimeout)
		f(t, all)
	})
}

// A has n+1 unsettled, B refreshes n+1, A settles and wipes B's lease, C sends n+1 again.

func TestLateSettleLeavesANewerLease(t *testing.T) {
	cookieReplicas(t, 3, func(t *testing.T, all []*bed) {
		a, b, c, br := all[0], all[1], all[2], newBrowser(t)
		a.login(br, "alice")
		time.Sleep(time.Hour)
		a.as.next = func(tok *client.Tokens) { tok.Expiry = time.Now().Add(time.Minute) }
		a.as.then(func(int) error { a.wire.away(true); return nil })
		s := a.load(br)
		br.do(func(w http.ResponseWriter, r *http.Request) {
			if next, err := a.fresh(w, r, a.server(), s, false); err != nil || string(next.AccessToken()) != "access-2" {
				t.Fatal(err)
			}
		})
		time.Sleep(2 * time.Minute) // the outage of A's way to the store lasts; access-2 is due; the browser meets B
		a.as.then(slow(10 * time.Second))
		first := b.askAside(br, time.Minute)
		synctest.Wait()
		a.wire.away(false)
		time.Sleep(time.Second)
		second := c.askAside(br, time.Minute)
		x, y := <-first, <-second
		t.Logf("B: %v, C: %v", x.err, y.err)
		if n := a.sentCount("refresh-2"); n != 1 {
			e, _ := b.entry(s.rec.id)
			t.Fatalf("refresh-2 was sent %d times, both under way at once; nobody was in doubt; entry.failed %+v", n, e.failed)
		}
	})
}

// The same, and the first n+1 call failed transiently; then a late cookie n is sent again.

func TestLateCookieIsNotSentOverNewerState(t *testing.T) {
	cookieReplicas(t, 3, func(t *testing.T, all []*bed) {
		a, b, c, br := all[0], all[1], all[2], newBrowser(t)
		a.login(br, "alice")
		old := br.clone()
		time.Sleep(time.Hour)
		a.as.next = func(tok *client.Tokens) { tok.Expiry = time.Now().Add(time.Minute) }
		a.as.then(func(int) error { a.wire.away(true); return nil })
		s := a.load(br)
		br.do(func(w http.ResponseWriter, r *http.Request) {
			if next, err := a.fresh(w, r, a.server(), s, false); err != nil || string(next.AccessToken()) != "access-2" {
				t.Fatal(err)
			}
		})
		time.Sleep(2 * time.Minute)
		a.as.then(slow(10 * time.Second))
		first := b.askAside(br, time.Minute)
		synctest.Wait()
		second := c.ask(old, time.Minute) // a late tab with the old cookie
		x := <-first
		t.Logf("B: %v, C: %v", x.err, second.err)
		if n := a.sentCount("refresh-1"); n != 1 {
			e, _ := b.entry(s.rec.id)
			t.Fatalf("refresh-1 was sent %d times; the entry knew generation 2; now %+v rec %d", n, e.lease, e.rec.tokenGeneration)
		}
	})
}

// invalid_grant for n, while n+1 is held: the loser ends the winner's session.

func TestLoserOfAnOldGenerationEndsNothing(t *testing.T) {
	cookieReplicas(t, 3, func(t *testing.T, all []*bed) {
		a, b, c, br := all[0], all[1], all[2], newBrowser(t)
		a.login(br, "alice")
		old := br.clone()
		time.Sleep(time.Hour)
		a.as.next = func(tok *client.Tokens) { tok.Expiry = time.Now().Add(time.Minute) }
		a.as.then(func(int) error { a.wire.away(true); return nil })
		s := a.load(br)
		br.do(func(w http.ResponseWriter, r *http.Request) {
			if next, err := a.fresh(w, r, a.server(), s, false); err != nil || string(next.AccessToken()) != "access-2" {
				t.Fatal(err)
			}
		})
		time.Sleep(2 * time.Minute)
		a.as.then(func(n int) error {
			if n == 2 { // B's, with refresh-2: good
				time.Sleep(10 * time.Second)
				return nil
			}
			return errRevoked // refresh-1, which is over
		})
		first := b.askAside(br, time.Minute)
		synctest.Wait()
		second := c.ask(old, time.Minute)
		x := <-first
		t.Logf("B: %v, C: %v", x.err, second.err)
		if errors.Is(x.err, ErrSessionEnded) {
			t.Fatalf("the winner's session was ended by the holder of an old cookie: %v; reuse suspected %d", x.err, c.said(EventReuseSuspected, ""))
		}
	})
}

// The lease's write is answered late: the send begins with a lease that has stood still for nearly leaseTime.

func TestLeaseWhoseAnswerIsSlow(t *testing.T) {
	for _, inStore := range []bool{false, true} {
		t.Run("", func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				all := newReplicas(t, 2, inStore)
				a, b, br := all[0], all[1], newBrowser(t)
				a.login(br, "alice")
				time.Sleep(time.Hour)
				a.as.then(slow(5 * time.Second))
				a.wire.set(nil, told(1, func(err error) error { time.Sleep(2500 * time.Millisecond); return err }))
				first := a.askAside(br, time.Minute)
				synctest.Wait()
				second := b.askAside(br, time.Minute)
				x, y := <-first, <-second
				t.Logf("A: %v, B: %v", x.err, y.err)
				if n := a.sentCount("refresh-1"); n != 1 {
					t.Errorf("inStore %v: refresh-1 was sent %d times, no process ended or was cut off, the store answered within its limit; lease lost %d", inStore, n, a.said(EventLeaseLost, ""))
				}
				time.Sleep(2 * settleTimeout)
			})
		})
	}
}

// One beat whose answer does not come within the store's limit costs the lease.

func TestLeaseWithOneSlowBeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := newReplicas(t, 2, true)
		a, b, br := all[0], all[1], newBrowser(t)
		a.login(br, "alice")
		time.Sleep(time.Hour)
		a.as.then(slow(8 * time.Second))
		a.wire.set(nthSwap(2, func() error { time.Sleep(2500 * time.Millisecond); return errAway }), nil) // swap 1 is the lease
		first := a.askAside(br, time.Minute)
		synctest.Wait()
		second := b.askAside(br, time.Minute)
		x, y := <-first, <-second
		t.Logf("A: %v, B: %v", x.err, y.err)
		if n := a.sentCount("refresh-1"); n != 1 {
			t.Errorf("refresh-1 was sent %d times", n)
		}
		time.Sleep(2 * settleTimeout)
	})
}

// A send that begins late in a flight has little of its 30 s.

func TestWhoWaitedLongHasItsWholeTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := newReplicas(t, 2, true)
		a, b, br := all[0], all[1], newBrowser(t)
		a.login(br, "alice")
		time.Sleep(time.Hour)
		var left []time.Duration
		a.as.then(func(n int) error {
			if n == 1 {
				time.Sleep(27 * time.Second)
				a.die()
				return nil
			}
			time.Sleep(5 * time.Second) // the server takes 5 s
			return nil
		})
		first := a.askAside(br, time.Minute)
		synctest.Wait()
		y := b.ask(br, time.Minute)
		<-first
		e, _ := b.entry(b.load(br).rec.id)
		t.Logf("B: %v, %v, spent %d; %v", y.err, left, e.failed.spent, b.events.kinds())
		time.Sleep(time.Minute)
		z := b.ask(br, time.Minute)
		t.Logf("a minute later: %v, sent %d", z.err, a.sentCount("refresh-1"))
		if y.err != nil {
			t.Errorf("the server answered in 5 s of 30, and the answer was thrown away: %v", y.err)
		}
		time.Sleep(2 * settleTimeout)
	})
}

// A user cannot log out while the store is behind the ticket.

// The natural ends: which event says why?

func TestNaturalExpiryIsReported(t *testing.T) {
	for _, inStore := range []bool{false, true} {
		for name, wait := range map[string]time.Duration{"idle": time.Hour + 5*time.Minute, "absolute": 12*time.Hour + time.Second} {
			t.Run(name+itoa(map[bool]int{true: 1}[inStore]), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := &wire{store: NewMemory(MemoryOptions{}), shared: true}
					cfg := Config{IdleTimeout: time.Hour}
					if name == "absolute" {
						cfg.IdleTimeout = 12 * time.Hour
					}
					if inStore {
						cfg.Store = w
					} else {
						cfg.Coordination = w
					}
					b := newBedAt(t, cfg, &clock{bubble: true})
					b.wire = w
					br := newBrowser(t)
					b.login(br, "alice")
					time.Sleep(wait)
					_, err := b.Load(br.request())
					if b.said(client.EventSessionEnded, name) != 1 {
						t.Errorf("inStore %v, %s: Load says %v, events %v", inStore, name, err, b.events.kinds())
					}
				})
			})
		}
	}
}

// EndEverySession: how long does another process serve?

func TestEverySessionWithinFiveSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := newReplicas(t, 2, true)
		a, b, br := all[0], all[1], newBrowser(t)
		a.login(br, "alice")
		b.load(br) // b looks at the epoch
		time.Sleep(100 * time.Millisecond)
		if err := a.EndEverySession(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(9800 * time.Millisecond)
		if _, err := b.Load(br.request()); err == nil {
			t.Error("served 9.8 s after EndEverySession returned; 'each process knows within five seconds'")
		}
		synctest.Wait()
	})
}

// A replica whose clock is six minutes behind.

func TestSlowClockLogsNobodyOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := newReplicas(t, 2, true)
		a, b, br := all[0], all[1], newBrowser(t)
		b.clock.ahead = -6 * time.Minute
		a.login(br, "alice")
		_, err := b.Load(br.request())
		t.Logf("%v", err)
		if errors.Is(err, ErrSessionExpired) {
			t.Errorf("a session that began this moment: %v; middleware takes its cookie away (Forget)", err)
		}
	})
}

// Logout token at a process whose clock is behind the one that logged the user in.

func TestLogoutAndSkew(t *testing.T) {
	replicas(t, 2, func(t *testing.T, all []*bed) {
		a, b, br := all[0], all[1], newBrowser(t)
		a.clock.ahead = 30 * time.Second
		if err := a.loginAt(br, testIssuer, "alice", "s1", a.clock.now()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Second)
		if err := b.endByLogoutToken(t.Context(), b.server(), b.logoutToken("1", "", "s1")); err != nil {
			t.Fatal(err)
		}
		if _, err := b.Load(br.request()); err == nil {
			t.Error("200 to the provider, and the session lives, for ever: 30 s of skew, logout 20 s after the login")
		}
		n, err := b.endSubject(t.Context(), b.server(), "alice")
		t.Logf("EndSubject: %d %v", n, err)
	})
}

// Tokens are not given back by a process that has not seen the client yet.

func TestHandInByAFreshProcess(t *testing.T) {
	cookieReplicas(t, 2, func(t *testing.T, all []*bed) {
		a, b, br := all[0], all[1], newBrowser(t)
		a.withSID(br)
		a.shared.servers.remember(a.server())
		if err := a.endByLogoutToken(t.Context(), a.server(), a.logoutToken("1", "", "s1")); err != nil {
			t.Fatal(err)
		}
		_, err := b.Load(br.request()) // restarted, say
		synctest.Wait()
		_, _ = a.Load(br.request())
		synctest.Wait()
		if len(a.as.revoked) == 0 {
			t.Errorf("%v: the note to give the tokens back is used up, and they were not", err)
		}
	})
}

// Rosters lost (flushed coordination, failover of another slot): 200 and nothing ends.

// Events per request for a lost grant and a session that is gone.

func TestEventsAreNotRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := newReplicas(t, 1, true)
		b, br := all[0], newBrowser(t)
		b.login(br, "alice")
		time.Sleep(time.Hour)
		for range 2 {
			b.as.fail(client.NewError(client.ErrRefreshInDoubt, "", nil))
			b.ask(br, time.Minute)
			time.Sleep(time.Minute)
		}
		for range 50 {
			b.ask(br, time.Minute)
		}
		if n := b.said(EventGrantLost, ""); n != 1 {
			t.Errorf("%s: %d for one grant", EventGrantLost, n)
		}
	})
}

// New tokens are longer than a store's record.

func TestTokensTooLongForTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := newReplicas(t, 1, true)
		b, br := all[0], newBrowser(t)
		b.login(br, "alice")
		time.Sleep(time.Hour)
		long := make([]byte, 100<<10)
		for i := range long {
			long[i] = 'a' + byte(i*7%23)
		}
		b.as.next = func(tok *client.Tokens) { tok.AccessToken = client.Secret(long) }
		_ = b.ask(br, time.Minute)
		time.Sleep(settleTimeout + time.Minute)
		a := b.ask(br, time.Minute)
		time.Sleep(settleTimeout + time.Minute)
		t.Logf("%v; sent %d; %v", a.err, b.sentCount("refresh-1"), b.events.kinds()[:2])
		gets, swaps := b.wire.count()
		t.Logf("%d %d", gets, swaps)
		if b.sentCount("refresh-1") > 1 {
			t.Error("a spent refresh token was sent again although the answer had come")
		}
	})
}

var _ = context.Background

type ctxServer struct {
	server
	takes time.Duration
	n     *int
}

func (c ctxServer) Refresh(ctx context.Context, t *client.Tokens) (*client.Tokens, error) {
	*c.n++
	select {
	case <-time.After(c.takes):
		return c.server.Refresh(ctx, t)
	case <-ctx.Done():
		e := client.NewError(client.ErrRefreshInDoubt, "", nil)
		e.Outcome = client.InDoubt
		return nil, e
	}
}
