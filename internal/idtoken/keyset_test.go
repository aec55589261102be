package idtoken

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// login verifies a token of a key under a kid.
func login(set *KeySet, kid string, key any, now time.Time) error {
	raw := token(header("ES256", kid).String(), claims("iat", now.Unix(), "exp", now.Unix()+300).String(), key)
	_, err := Verify(context.Background(), raw, set, expectation(), now)
	return err
}

func (p *provider) pass(d time.Duration) { p.set(func() { p.now = p.now.Add(d) }) }

// expect checks a login and the number of fetches so far.
func (p *provider) expect(t *testing.T, set *KeySet, kid string, key any, reason string, fetches int) {
	t.Helper()
	if got := reasonOf(login(set, kid, key, p.clock())); got != reason {
		t.Fatalf("reason %q, want %q", got, reason)
	}
	synctest.Wait() // a fetch in the background
	if p.count() != fetches {
		t.Fatalf("%d fetches, want %d", p.count(), fetches)
	}
}

func TestRotation(t *testing.T) {
	t.Run("ATK-J29", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			p := newProvider(jwk(p256A(), "a"))
			set := p.keySet()
			p.expect(t, set, "a", p256A(), "", 1)
			p.set(func() { p.document = jwks(jwk(p256A(), "a"), jwk(p256B(), "b")) })
			p.expect(t, set, "b", p256B(), "", 2)
			p.expect(t, set, "b", p256B(), "", 2)
			p.expect(t, set, "a", p256A(), "", 2)
			if !slices.Equal(p.events, []string{"jwks.refetched"}) {
				t.Fatal(p.events)
			}
		})
	})
	t.Run("ATK-J29/just before the first use", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			p := newProvider(jwk(p256A(), "a"))
			set := p.keySet()
			// The first load is not counted against the budget.
			p.expect(t, set, "b", p256B(), "kid", 2)
		})
	})
	t.Run("ATK-J24", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			p := newProvider(jwk(p256A(), "a"))
			set := p.keySet()
			p.expect(t, set, "a", p256A(), "", 1)
			p.expect(t, set, "x", p256B(), "kid", 2)
			for i := range 1000 {
				p.expect(t, set, fmt.Sprint("x", i), p256B(), "kid", 2)
			}
			p.pass(59 * time.Second)
			p.expect(t, set, "x", p256B(), "kid", 2)
			p.expect(t, set, "a", p256A(), "", 2) // nobody else suffers
			p.pass(time.Second)
			p.expect(t, set, "x", p256B(), "kid", 3)
			if n := len(p.events); p.events[n-2] != "jwks.budget_spent" || p.events[n-1] != "jwks.refetched" {
				t.Fatal(p.events)
			}
			p.pass(-time.Hour) // the clock is set back: neither the age nor the budget freezes
			p.expect(t, set, "x", p256B(), "kid", 5)
		})
	})
	t.Run("ATK-J24/known kid, bad signature", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			p := newProvider(jwk(p256A(), "a"))
			set := p.keySet()
			p.expect(t, set, "a", p256B(), "sig", 1)
			p.expect(t, set, "a", p256B(), "sig", 1)
		})
	})
	t.Run("ATK-J24/somebody else has fetched", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			p := newProvider(jwk(p256A(), "a"))
			set := p.keySet()
			p.expect(t, set, "a", p256A(), "", 1)
			seen := set.set
			p.expect(t, set, "x", p256B(), "kid", 2)
			newer, final, err := set.refetch(t.Context(), seen)
			if newer != set.set || newer == seen || final || err != nil || p.count() != 2 {
				t.Fatal(newer, final, err, p.count())
			}
		})
	})
	t.Run("ATK-J30", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			p := newProvider(jwk(p256A(), "a"))
			set := p.keySet()
			p.expect(t, set, "a", p256A(), "", 1)
			p.set(func() { p.document = jwks(jwk(p256B(), "b")) })
			p.pass(time.Hour)
			p.expect(t, set, "a", p256A(), "", 2) // soft age: one more, and the new set comes
			p.expect(t, set, "a", p256A(), "kid", 3)
		})
	})
	t.Run("ATK-J30/provider away", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			p := newProvider(jwk(p256A(), "a"))
			set := p.keySet()
			p.expect(t, set, "a", p256A(), "", 1)
			p.set(func() { p.err = errors.New("away") })
			p.pass(24*time.Hour - 1)
			p.expect(t, set, "a", p256A(), "", 2)
			p.pass(1)
			p.expect(t, set, "a", p256A(), "jwks", 3)
			p.set(func() { p.err = nil })
			p.pass(time.Second)
			p.expect(t, set, "a", p256A(), "", 4)
		})
	})
}

func TestSoftAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProvider(jwk(p256A(), "a"))
		p.cacheControl = "public, max-age=600"
		set := p.keySet()
		p.expect(t, set, "a", p256A(), "", 1)
		p.pass(10*time.Minute - 1)
		p.expect(t, set, "a", p256A(), "", 1)
		p.pass(1)
		p.expect(t, set, "a", p256A(), "", 2)
		p.expect(t, set, "a", p256A(), "", 2)
		p.pass(-time.Minute) // the clock is set back behind the fetch: not fresh for ever, but served
		p.expect(t, set, "a", p256A(), "", 3)
	})
}

// TestRetryPause: an outage is met with fewer and fewer fetches, and nobody is refused for it while the keys last.
func TestRetryPause(t *testing.T) {
	t.Run("stale", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			p := newProvider(jwk(p256A(), "a"))
			set := p.keySet()
			p.expect(t, set, "a", p256A(), "", 1)
			p.set(func() { p.err = errors.New("away") })
			p.pass(time.Hour)
			p.expect(t, set, "a", p256A(), "", 2)
			p.expect(t, set, "a", p256A(), "", 3)
			fetches := 3
			for _, pause := range []time.Duration{1, 2, 4, 8, 16, 32, 60, 60} {
				p.pass(pause*time.Second - 1)
				p.expect(t, set, "a", p256A(), "", fetches)
				p.pass(1)
				fetches++
				p.expect(t, set, "a", p256A(), "", fetches)
			}
			p.set(func() { p.err = nil })
			p.pass(time.Minute)
			p.expect(t, set, "a", p256A(), "", fetches+1)
			p.pass(time.Minute)
			p.expect(t, set, "a", p256A(), "", fetches+1)
			// Another outage begins at the beginning.
			p.set(func() { p.err = errors.New("away") })
			p.pass(time.Hour)
			p.expect(t, set, "a", p256A(), "", fetches+2)
			p.expect(t, set, "a", p256A(), "", fetches+3)
			p.expect(t, set, "a", p256A(), "", fetches+3)
			if p.events[0] != "jwks.unavailable" || p.events[fetches-1] != "jwks.refetched" || len(p.events) != fetches+2 {
				t.Fatal(p.events)
			}
		})
	})
	t.Run("cold", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			p := newProvider(jwk(p256A(), "a"))
			p.err = errors.New("https://as-a.example/jwks: evil\r\n")
			set := p.keySet()
			p.expect(t, set, "a", p256A(), "jwks", 1)
			p.expect(t, set, "a", p256A(), "jwks", 2)
			p.expect(t, set, "a", p256A(), "jwks", 2)
			p.pass(time.Second)
			err := login(set, "a", p256A(), p.clock())
			wantReason(t, err, "jwks", "")
			if !errors.Is(err, p.err) {
				t.Fatal("the cause is lost")
			}
			p.pass(-time.Hour) // the clock is set back: the pause does not freeze
			p.set(func() { p.err = nil })
			p.expect(t, set, "a", p256A(), "", 4)
		})
	})
	t.Run("unknown kid while the provider is away", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			p := newProvider(jwk(p256A(), "a"))
			set := p.keySet()
			p.expect(t, set, "a", p256A(), "", 1)
			p.set(func() { p.err = errors.New("away") })
			p.expect(t, set, "b", p256B(), "jwks", 2)
			p.expect(t, set, "a", p256A(), "", 2)
		})
	})
}

// gate is a fetch that the test lets through, one answer at a time.
type gate struct {
	mu      sync.Mutex
	calls   int
	answers chan string
	ended   []error
}

func (g *gate) fetch(ctx context.Context) ([]byte, string, error) {
	g.mu.Lock()
	g.calls++
	g.mu.Unlock()
	select {
	case a := <-g.answers:
		return []byte(a), "", nil
	case <-ctx.Done():
		g.mu.Lock()
		defer g.mu.Unlock()
		g.ended = append(g.ended, ctx.Err())
		return nil, "", ctx.Err()
	}
}

func (g *gate) count() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.calls
}

func TestSingleFlight(t *testing.T) {
	a, b := jwks(jwk(p256A(), "a")), jwks(jwk(p256A(), "a"), jwk(p256B(), "b"))
	start := func(t *testing.T) (*gate, *KeySet, func(n int, kid string, key any) chan error) {
		g := &gate{answers: make(chan string)}
		set := NewKeySet(KeySetConfig{Fetch: g.fetch})
		return g, set, func(n int, kid string, key any) chan error {
			results := make(chan error, n)
			for range n {
				go func() { results <- login(set, kid, key, time.Now()) }()
			}
			synctest.Wait()
			return results
		}
	}
	t.Run("first load", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			g, _, logins := start(t)
			results := logins(100, "a", p256A())
			g.answers <- a
			for range 100 {
				if err := <-results; err != nil {
					t.Fatal(err)
				}
			}
			if g.count() != 1 {
				t.Fatalf("%d fetches", g.count())
			}
		})
	})
	t.Run("unknown kid", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			g, _, logins := start(t)
			first := logins(1, "a", p256A())
			g.answers <- a
			<-first
			good, bad := logins(50, "b", p256B()), logins(50, "x", p256B())
			g.answers <- b
			for range 50 {
				if err := <-good; err != nil {
					t.Fatal(err)
				}
				if got := reasonOf(<-bad); got != "kid" {
					t.Fatal(got)
				}
			}
			if g.count() != 2 {
				t.Fatalf("%d fetches", g.count())
			}
		})
	})
	t.Run("unknown kid during a fetch that began before the key was there", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			g, _, logins := start(t)
			first := logins(1, "a", p256A())
			g.answers <- a
			<-first
			time.Sleep(2 * time.Hour) // fake time: past the soft age
			background := logins(1, "a", p256A())
			if err := <-background; err != nil {
				t.Fatal(err)
			}
			results := logins(10, "b", p256B())
			if g.count() != 2 {
				t.Fatalf("%d fetches", g.count())
			}
			g.answers <- a // what was begun before the rotation
			synctest.Wait()
			g.answers <- b
			for range 10 {
				if err := <-results; err != nil {
					t.Fatal(err)
				}
			}
			if g.count() != 3 {
				t.Fatalf("%d fetches", g.count())
			}
		})
	})
	t.Run("who gives up does not take the fetch along", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			g, set, logins := start(t)
			raw := token(header("ES256", "a").String(), claims().String(), p256A())
			ctx, cancel := context.WithCancel(t.Context())
			impatient := make(chan error)
			go func() {
				_, err := Verify(ctx, raw, set, expectation(), testNow)
				impatient <- err
			}()
			synctest.Wait()
			patient := logins(1, "a", p256A())
			cancel()
			err := <-impatient
			wantReason(t, err, "jwks", raw)
			if !errors.Is(err, context.Canceled) {
				t.Fatal(err)
			}
			g.answers <- a
			if err := <-patient; err != nil || g.count() != 1 || len(g.ended) != 0 {
				t.Fatal(err, g.count(), g.ended)
			}
			// With the keys at hand nobody waits, so a cancelled caller is served.
			if _, err := Verify(ctx, raw, set, expectation(), testNow); err != nil {
				t.Fatal(err)
			}
		})
	})
	t.Run("ATK-J28/slow", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			g, _, logins := start(t)
			begun := time.Now()
			err := <-logins(1, "a", p256A())
			wantReason(t, err, "jwks", "")
			if passed := time.Since(begun); passed != 5*time.Second || !errors.Is(err, context.DeadlineExceeded) {
				t.Fatal(passed, err)
			}
			_ = g
		})
	})
}

// Without a key id nothing in the token says that its key is a new one: one fetch, within the same budget, finds out.
func TestRotationWithoutKeyID(t *testing.T) {
	t.Run("ATK-J29/the one key is another", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			p := newProvider(jwk(p256A(), ""))
			set := p.keySet()
			p.expect(t, set, "", p256A(), "", 1)
			p.set(func() { p.document = jwks(jwk(p256B(), "")) })
			p.expect(t, set, "", p256B(), "", 2)
			p.expect(t, set, "", p256A(), "sig", 2) // ATK-J30, and the budget is spent
			p.pass(time.Minute)
			p.expect(t, set, "", p256A(), "sig", 3)
		})
	})
	t.Run("ATK-J25/of two keys one is left", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			p := newProvider(jwk(p256A(), "a"), jwk(p256B(), "b"))
			set := p.keySet()
			p.expect(t, set, "", p256B(), "kid", 2)
			p.set(func() { p.document = jwks(jwk(p256B(), "b")) })
			p.pass(time.Minute)
			p.expect(t, set, "", p256B(), "", 3)
		})
	})
}
