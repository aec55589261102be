package session

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport/sallyport/client"
)

// slow is an answer that takes a while.
func slow(d time.Duration) func(int) error {
	return func(int) error { time.Sleep(d); return nil }
}

// R8, ATK-F03: 64 requests over two processes at the moment of expiry cost one call, and all get its token.
func TestR8OneCallForAll(t *testing.T) {
	replicas(t, 2, func(t *testing.T, all []*bed) {
		br := newBrowser(t)
		all[0].login(br, "alice")
		all[0].clock.add(time.Hour)
		all[0].as.then(slow(20 * time.Millisecond))
		began := time.Now()
		var wg sync.WaitGroup
		for i := range 64 {
			wg.Go(func() {
				a := all[i%2].ask(br, time.Minute)
				if a.err != nil || string(a.s.AccessToken()) != "access-2" || a.s.TokenGeneration() != 2 || !a.h.wrote() {
					t.Errorf("%v", a.err)
				}
			})
		}
		wg.Wait()
		if took := time.Since(began); took > 24*time.Millisecond {
			t.Errorf("a server of 20 ms took %v", took)
		}
		if all[0].as.count() != 1 {
			t.Fatalf("%d calls", all[0].as.count())
		}
		a, b := all[0].Counters(), all[1].Counters()
		if a.Won+b.Won != 1 || a.Refreshed+b.Refreshed != 1 || a.Adopted+b.Adopted != 1 || a.Waited+b.Waited != 62 {
			t.Errorf("%+v and %+v", a, b)
		}
		loser := all[0]
		if a.Won == 1 {
			loser = all[1]
		}
		if loser.said(EventRefreshWaited, "") != 1 || loser.said(EventRefreshAdopted, "") != 1 || loser.said(client.EventTokenRefreshed, "") != 0 {
			t.Errorf("the loser said %v", loser.events.kinds())
		}
	})
}

// R1: whoever refreshes, each generation is sent once, over many generations.
func TestR1EachGenerationOnce(t *testing.T) {
	replicas(t, 2, func(t *testing.T, all []*bed) {
		br := newBrowser(t)
		all[0].loginFor(br, "alice", time.Minute)
		all[0].as.next = func(tok *client.Tokens) { tok.Expiry = time.Now().Add(time.Minute) }
		all[0].as.then(slow(5 * time.Millisecond))
		for n := range 20 {
			time.Sleep(time.Minute)
			var wg sync.WaitGroup
			for i := range 6 {
				wg.Go(func() {
					if a := all[(i+n)%2].ask(br, time.Minute); a.err != nil || a.s.TokenGeneration() != uint64(n)+2 {
						t.Errorf("%v", a.err)
					}
				})
			}
			wg.Wait()
			a := all[n%2].ask(br, time.Minute)
			br.take(a.h)
		}
		all[0].sentAtMost(1)
		if all[0].as.count() != 20 {
			t.Fatalf("%d calls", all[0].as.count())
		}
	})
}

// R2: two users whose tokens are due at once never get each other's, on whichever process.
func TestR2NobodyElsesTokens(t *testing.T) {
	replicas(t, 2, func(t *testing.T, all []*bed) {
		alice, bob := newBrowser(t), newBrowser(t)
		all[0].login(alice, "alice")
		all[1].login(bob, "bob")
		time.Sleep(time.Hour)
		all[0].as.then(slow(time.Second))
		all[0].as.next = func(tok *client.Tokens) { tok.AccessToken = client.Secret("for " + tok.Subject) }
		var wg sync.WaitGroup
		for i := range 20 {
			for _, br := range []*browser{alice, bob} {
				wg.Go(func() {
					if a := all[i%2].ask(br, time.Minute); a.err != nil || string(a.s.AccessToken()) != "for "+a.s.Subject() {
						t.Errorf("%v", a.err)
					}
				})
			}
		}
		wg.Wait()
		if all[0].as.count() != 2 {
			t.Fatalf("%d calls", all[0].as.count())
		}
	})
}

// R4: the request that began it goes away; the answer is not lost, and another process has it.
func TestR4NoCancelledRequestLosesARotation(t *testing.T) {
	replicas(t, 2, func(t *testing.T, all []*bed) {
		br := newBrowser(t)
		all[0].login(br, "alice")
		time.Sleep(time.Hour)
		all[0].as.then(slow(2 * time.Second))
		// A loser waits for as long as its own request does, and no longer.
		first, second := all[0].askAside(br, time.Second), all[1].askAside(br, 1500*time.Millisecond)
		began := time.Now()
		for i, c := range []<-chan answer{first, second} {
			a := <-c
			if !errors.Is(a.err, client.ErrTimeout) || !errors.Is(a.err, context.DeadlineExceeded) || a.h.wrote() {
				t.Fatalf("request %d: %v", i, a.err)
			}
		}
		if time.Since(began) != 1500*time.Millisecond {
			t.Fatalf("waited %v", time.Since(began))
		}
		time.Sleep(time.Second)
		all[1].mustFresh(br, "access-2", 1)
	})
}

// A failure is shared by all that wait in the process that made it, and the other process does not repeat it.
func TestSharedFailure(t *testing.T) {
	replicas(t, 2, func(t *testing.T, all []*bed) {
		br := newBrowser(t)
		all[0].login(br, "alice")
		time.Sleep(time.Hour)
		all[0].as.reply = func(int) error {
			time.Sleep(20 * time.Millisecond)
			return client.NewError(client.ErrTransport, "", nil)
		}
		var wg sync.WaitGroup
		for i := range 64 {
			wg.Go(func() {
				a := all[i%2].ask(br, time.Minute)
				var e *client.Error
				if !errors.As(a.err, &e) || e.Code != client.ErrTransport || e.Outcome != client.Transient || e.RetryAfter <= 0 || a.h.wrote() {
					t.Errorf("%v", a.err)
				}
			})
		}
		wg.Wait()
		if all[0].as.count() != 1 {
			t.Fatalf("%d calls", all[0].as.count())
		}
		all[0].as.then(nil)
		time.Sleep(2 * time.Second)
		all[1].mustFresh(br, "access-3", 2)
	})
}

// A lease is taken over when it has stood still for leaseTime, and not before.
func TestLeaseOfTheDead(t *testing.T) {
	replicas(t, 2, func(t *testing.T, all []*bed) {
		br := newBrowser(t)
		all[0].login(br, "alice")
		time.Sleep(time.Hour)
		var calls []time.Time
		all[0].as.reply = func(n int) error {
			calls = append(calls, time.Now())
			if n == 1 {
				all[0].die()
			}
			return nil
		}
		all[0].askAside(br, time.Second)
		synctest.Wait()
		began := time.Now()
		a := all[1].ask(br, time.Minute)
		a.wantToken(t, "access-3")
		if took := calls[1].Sub(began); took < leaseTime || took > leaseTime+2*lastPoll {
			t.Fatalf("taken over after %v", took)
		}
		if all[1].said(EventRefreshInDoubt, "interrupted") != 1 || all[1].Counters().InDoubt != 1 {
			t.Fatalf("said %v", all[1].events.kinds())
		}
	})
}

// A lease is kept for as long as its holder lives, however slow the server is.
func TestLeaseIsRenewed(t *testing.T) {
	replicas(t, 2, func(t *testing.T, all []*bed) {
		br := newBrowser(t)
		all[0].login(br, "alice")
		time.Sleep(time.Hour)
		all[0].as.then(slow(3 * leaseTime))
		first := all[0].askAside(br, time.Minute)
		synctest.Wait()
		all[1].ask(br, time.Minute).wantToken(t, "access-2")
		(<-first).wantToken(t, "access-2")
		if all[0].as.count() != 1 || all[1].Counters().Adopted != 1 {
			t.Fatalf("%d calls", all[0].as.count())
		}
	})
}

// A store that answers slowly makes nobody take over: a lease is watched from when it was seen to when it was asked for.
func TestLeaseSeenSlowly(t *testing.T) {
	replicas(t, 2, func(t *testing.T, all []*bed) {
		br := newBrowser(t)
		all[0].login(br, "alice")
		time.Sleep(time.Hour)
		all[0].as.then(slow(20 * time.Second))
		first := all[0].askAside(br, time.Minute)
		synctest.Wait()
		// What the other process reads is 2 s old when it comes.
		all[1].wire.set(nil, func(c storeCall, err error) error { time.Sleep(2 * time.Second); return err })
		all[1].ask(br, time.Minute).wantToken(t, "access-2")
		(<-first).wantToken(t, "access-2")
		if all[0].as.count() != 1 {
			t.Fatalf("%d calls", all[0].as.count())
		}
	})
}

// stalled begins a refresh in the first process, which then does not reach the store for so long that the second takes
// over. The server answers the first with late, 10 s after it was asked, and the second after wait.
func stalled(t *testing.T, all []*bed, br *browser, late error, wait time.Duration, second error) (first, other <-chan answer) {
	all[0].login(br, "alice")
	time.Sleep(time.Hour)
	all[0].as.reply = func(n int) error {
		if n == 1 {
			time.Sleep(10 * time.Second)
			all[0].wire.away(false)
			return late
		}
		time.Sleep(wait)
		return second
	}
	first = all[0].askAside(br, time.Minute)
	synctest.Wait()
	all[0].wire.away(true)
	return first, all[1].askAside(br, time.Minute)
}

var errRevoked = client.NewError(client.ErrGrantRevoked, "", nil)

// R6: who was taken over and is told that the grant is over, as the other was faster, ends nothing.
func TestR6LoserEndsNothing(t *testing.T) {
	for name, wait := range map[string]time.Duration{"the winner is done": 0, "the winner is at it": 10 * time.Second} {
		t.Run(name, func(t *testing.T) {
			replicas(t, 2, func(t *testing.T, all []*bed) {
				br := newBrowser(t)
				first, second := stalled(t, all, br, errRevoked, wait, nil)
				(<-second).wantToken(t, "access-3")
				(<-first).wantToken(t, "access-3")
				for _, b := range all {
					b.mustFresh(br, "access-3", 2)
					if b.said(client.EventSessionEnded, "") != 0 {
						t.Fatal("ended")
					}
				}
			})
		})
	}
}

// R6, the other way: who took over is told that the grant is over, as the one it took over from was served after all.
func TestR6TakerOverEndsNothing(t *testing.T) {
	replicas(t, 2, func(t *testing.T, all []*bed) {
		br := newBrowser(t)
		first, second := stalled(t, all, br, nil, 10*time.Second, errRevoked)
		(<-first).wantToken(t, "access-2")
		(<-second).wantToken(t, "access-2")
		all[1].mustFresh(br, "access-2", 2)
		if all[0].said(EventLeaseLost, "") != 1 || all[0].Counters().LeaseLost != 1 || all[0].said(client.EventTokenRefreshed, "") != 1 {
			t.Fatalf("said %v", all[0].events.kinds())
		}
	})
}

// Fencing: what comes late does not replace what came since.
func TestLateTokensAreFenced(t *testing.T) {
	replicas(t, 2, func(t *testing.T, all []*bed) {
		br := newBrowser(t)
		first, second := stalled(t, all, br, nil, 0, nil)
		(<-second).wantToken(t, "access-3")
		(<-first).wantToken(t, "access-3")
		for _, b := range all {
			b.mustFresh(br, "access-3", 2)
		}
		if all[0].said(EventLeaseLost, "") != 1 || all[0].said(client.EventTokenRefreshed, "") != 0 || len(all[0].as.revoked) != 0 {
			t.Fatalf("said %v", all[0].events.kinds())
		}
	})
}

// R1: two processes that sent the token both, and got no answer, know of each other's try: there is no third.
func TestR1NoAnswerTwice(t *testing.T) {
	inDoubt := client.NewError(client.ErrRefreshInDoubt, "", nil)
	replicas(t, 3, func(t *testing.T, all []*bed) {
		br := newBrowser(t)
		first, second := stalled(t, all, br, inDoubt, 0, inDoubt)
		for _, c := range []<-chan answer{second, first} {
			if a := <-c; !errors.Is(a.err, client.ErrRefreshInDoubt) {
				t.Fatal(a.err)
			}
		}
		for range 3 {
			time.Sleep(5 * time.Minute)
			for _, b := range all {
				if err := b.ask(br, time.Minute).err; !errors.Is(err, client.ErrRefreshInDoubt) && !errors.Is(err, ErrSessionEnded) {
					t.Fatal(err)
				}
				b.refuse(t, ErrSessionEnded, endedInDoubt, br.header())
			}
		}
		if want := []client.Secret{"refresh-1", "refresh-1"}; !slices.Equal(all[0].as.sent, want) {
			t.Fatalf("sent %d times", len(all[0].as.sent))
		}
	})
}

// R7: while the server is away for hours nobody is logged out, and each process does not ask by itself.
func TestR7ServerOutage(t *testing.T) {
	replicas(t, 2, func(t *testing.T, all []*bed) {
		br := newBrowser(t)
		all[0].login(br, "alice")
		all[0].as.fail(client.NewError(client.ErrTransport, "", nil))
		time.Sleep(time.Hour)
		const requests = 600
		for i := range requests {
			if a := all[i%2].ask(br, time.Minute); !errors.Is(a.err, client.ErrTransport) || a.h.wrote() {
				t.Fatal(a.err)
			}
			time.Sleep(time.Second)
		}
		if n := all[0].as.count(); n > 20 { // 1, 2, 4 … 60 s apart
			t.Fatalf("%d calls in %d s", n, requests)
		}
		all[0].as.fail(nil)
		time.Sleep(2 * lastBackoff)
		if a := all[1].ask(br, time.Minute); a.err != nil || a.s.Subject() != "alice" || a.s.TokenGeneration() != 2 {
			t.Fatal(a.err)
		}
	})
}

// A resource server refuses the token at both processes: one refresh, and the other adopts it.
func TestRenewOnBoth(t *testing.T) {
	replicas(t, 2, func(t *testing.T, all []*bed) {
		br := newBrowser(t)
		all[0].login(br, "alice")
		all[0].as.then(slow(time.Second))
		var wg sync.WaitGroup
		for _, b := range all {
			wg.Go(func() {
				s, err := b.Load(br.request())
				if err == nil {
					s, err = b.fresh(header{}, br.request(), b.server(), s, true)
				}
				if err != nil || string(s.AccessToken()) != "access-2" {
					t.Errorf("%v", err)
				}
			})
		}
		wg.Wait()
		if all[0].as.count() != 1 {
			t.Fatalf("%d calls", all[0].as.count())
		}
		br.do(func(w http.ResponseWriter, r *http.Request) {
			if err := all[1].Touch(w, r, all[1].load(br)); err != nil {
				t.Fatal(err)
			}
		})
	})
}
