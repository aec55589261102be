package session

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport/sallyport/client"
)

// longBed is a bed whose sessions are not ended by idleness in the tests of this file.
func longBed(t *testing.T) *bed { return newBed(t, Config{IdleTimeout: 12 * time.Hour}) }

func longFamilies(t *testing.T, f func(t *testing.T, b *bed)) {
	families(t, func(t *testing.T, b *bed) {
		b.shared.cfg.IdleTimeout = 12 * time.Hour
		f(t, b)
	})
}

// freshen is what the middleware does with a request.
func (b *bed) freshen(w http.ResponseWriter, r *http.Request) (*Session, error) {
	s, err := b.Load(r)
	if err != nil {
		return nil, err
	}
	if err := b.Touch(w, r, s); err != nil {
		return nil, err
	}
	return b.fresh(w, r, b.server(), s, false)
}

// mustFresh does it in a browser and checks the token.
func (b *bed) mustFresh(br *browser, token string, calls int) (s *Session) {
	b.t.Helper()
	br.do(func(w http.ResponseWriter, r *http.Request) {
		b.t.Helper()
		var err error
		if s, err = b.freshen(w, r); err != nil || string(s.AccessToken()) != token || b.as.count() != calls {
			b.t.Fatalf("%d calls, %v; want %q, %d", b.as.count(), err, token, calls)
		}
	})
	return s
}

func TestFreshWhenDue(t *testing.T) {
	longFamilies(t, func(t *testing.T, b *bed) {
		// ATK-F15: due a minute before the end, or a tenth of a short life.
		for _, c := range []struct{ life, skew time.Duration }{{time.Hour, time.Minute}, {5 * time.Minute, 30 * time.Second}, {10 * time.Second, time.Second}} {
			b.as.calls = 0
			br := newBrowser(t)
			if _, err := b.loginWith(br, "alice", func(tok *client.Tokens) { tok.Expiry = b.clock.now().Add(c.life) }); err != nil {
				t.Fatal(err)
			}
			b.clock.add(c.life - c.skew - time.Second)
			b.mustFresh(br, "access-1", 0)
			b.clock.add(time.Second)
			s := b.mustFresh(br, "access-2", 1)
			if s.TokenGeneration() != 2 || b.load(br).TokenGeneration() != 2 {
				t.Fatal("the cookie has not got the new tokens")
			}
			b.mustFresh(br, "access-2", 1)
		}
		br := newBrowser(t)
		if _, err := b.loginWith(br, "alice", func(tok *client.Tokens) { tok.Expiry = time.Time{} }); err != nil {
			t.Fatal(err)
		}
		calls := b.as.count()
		b.clock.add(59 * time.Minute)
		b.mustFresh(br, "access-1", calls) // no expiry: not due before somebody refuses it
	})
}

func TestFreshKeepsWhatTheServerLeavesOut(t *testing.T) {
	b := longBed(t)
	br := newBrowser(t)
	if _, err := b.loginWith(br, "alice", bulk(100)); err != nil {
		t.Fatal(err)
	}
	b.as.next = func(tok *client.Tokens) { tok.RefreshToken = "refresh-1" }
	b.clock.add(time.Hour - time.Second)
	s := b.mustFresh(br, "access-2", 1)
	if string(s.Tokens().RefreshToken) != "refresh-1" || s.UserInfo(new(map[string]any)) != nil { // ATK-F06, ATK-F07
		t.Fatal("lost")
	}
}

func TestFreshSingleFlight(t *testing.T) {
	// ATK-F02, R8: 200 requests at the moment of expiry cost one call, and all get its token.
	synctest.Test(t, func(t *testing.T) {
		b := longBed(t)
		br := newBrowser(t)
		b.login(br, "alice")
		b.clock.add(time.Hour)
		b.as.hook = func() { time.Sleep(20 * time.Millisecond) }
		var wg sync.WaitGroup
		for range 200 {
			wg.Go(func() {
				h := header{}
				s, err := b.freshen(h, br.request())
				if err != nil || string(s.AccessToken()) != "access-2" || !h.wrote() {
					t.Errorf("%v", err)
				}
			})
		}
		wg.Wait()
		if b.as.count() != 1 || len(b.shared.flights.all) != 0 {
			t.Fatalf("%d calls, %d flights left", b.as.count(), len(b.shared.flights.all))
		}
		if got := b.events.kinds(); !slices.Equal(got, []string{client.EventSessionCreated, client.EventTokenRefreshed}) {
			t.Fatal(got)
		}
	})
}

func TestFreshSharesFailure(t *testing.T) {
	// x/oauth2's shared source repeats a dead refresh for each waiter.
	synctest.Test(t, func(t *testing.T) {
		b := longBed(t)
		br := newBrowser(t)
		b.login(br, "alice")
		b.clock.add(time.Hour)
		b.as.hook = func() { time.Sleep(20 * time.Millisecond) }
		b.as.err = client.NewError(client.ErrTransport, "", nil)
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				h := header{}
				if s, err := b.freshen(h, br.request()); !errors.Is(err, client.ErrTransport) || s != nil {
					t.Errorf("%v", err)
				}
			})
		}
		wg.Wait()
		if b.as.count() != 1 {
			t.Fatalf("%d calls", b.as.count())
		}
	})
}

func TestFlightsDoNotMix(t *testing.T) {
	// R2, CVE-2025-67490: two users whose tokens are due at once never get each other's.
	synctest.Test(t, func(t *testing.T) {
		b := longBed(t)
		alice, bob := newBrowser(t), newBrowser(t)
		b.login(alice, "alice")
		b.login(bob, "bob")
		b.clock.add(time.Hour)
		b.as.hook = func() { time.Sleep(time.Second) }
		b.as.next = func(tok *client.Tokens) { tok.AccessToken = client.Secret("for " + tok.Subject) }
		var wg sync.WaitGroup
		for range 10 {
			for _, br := range []*browser{alice, bob} {
				wg.Go(func() {
					s, err := b.freshen(header{}, br.request())
					if err != nil || string(s.AccessToken()) != "for "+s.Subject() {
						t.Errorf("%v", err)
					}
				})
			}
		}
		wg.Wait()
		if b.as.count() != 2 {
			t.Fatalf("%d calls", b.as.count())
		}
	})
}

func TestFreshIsDetached(t *testing.T) {
	// R4: a closed tab must not spend the token and lose the answer; the next request has it.
	synctest.Test(t, func(t *testing.T) {
		b := longBed(t)
		br := newBrowser(t)
		b.login(br, "alice")
		b.clock.add(time.Hour)
		b.as.hook = func() { time.Sleep(time.Second) }
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error)
		go func() {
			_, err := b.freshen(header{}, br.request().WithContext(ctx))
			done <- err
		}()
		synctest.Wait()
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) || !errors.Is(err, client.ErrTimeout) {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		b.mustFresh(br, "access-2", 1)
	})
}

func TestFreshHasADeadline(t *testing.T) {
	// ATK-Q05: a server that hangs holds nobody for ever, and no other session at all.
	synctest.Test(t, func(t *testing.T) {
		b := longBed(t)
		slow, other := newBrowser(t), newBrowser(t)
		b.login(slow, "slow")
		b.login(other, "other")
		b.clock.add(time.Hour)
		srv := &hanging{fakeServer: b.as}
		start := time.Now()
		s, err := b.Load(slow.request())
		if err != nil {
			t.Fatal(err)
		}
		errs := make(chan error)
		go func() {
			_, err := b.fresh(header{}, slow.request(), srv, s, false)
			errs <- err
		}()
		synctest.Wait()
		b.mustFresh(other, "access-2", 1)
		if time.Since(start) != 0 {
			t.Fatal("waited for another session")
		}
		if err := <-errs; err == nil || time.Since(start) != refreshTimeout {
			t.Fatalf("%v after %v", err, time.Since(start))
		}
	})
}

type hanging struct{ *fakeServer }

func (h *hanging) Refresh(ctx context.Context, _ *client.Tokens) (*client.Tokens, error) {
	<-ctx.Done()
	return nil, client.NewError(client.ErrTimeout, "", ctx.Err())
}

func TestLateCookieAdopts(t *testing.T) {
	longFamilies(t, func(t *testing.T, b *bed) {
		br := newBrowser(t)
		b.login(br, "alice")
		old := br.clone()
		b.clock.add(time.Hour - time.Second)
		b.mustFresh(br, "access-2", 1)
		// A request with the old cookie, a moment later and much later: the spent token is not sent again.
		b.mustFresh(old.clone(), "access-2", 1)
		b.clock.add(30 * time.Minute)
		late := old.clone()
		b.mustFresh(late, "access-2", 1)
		if s := b.load(late); s.TokenGeneration() != 2 || s.rec.tokens != b.load(br).rec.tokens {
			t.Fatal("the late browser did not get the cookie")
		}
		// An older Set-Cookie overtakes the newer one after the newer was seen.
		b.mustFresh(br, "access-2", 1)
		overtaken := old.clone()
		b.clock.add(10 * time.Minute)
		b.mustFresh(overtaken, "access-2", 1)
		// Twice refreshed, the oldest cookie gets the newest tokens.
		b.clock.add(30 * time.Minute)
		b.mustFresh(br, "access-3", 2)
		again := old.clone()
		if s := b.mustFresh(again, "access-3", 2); s.TokenGeneration() != 3 {
			t.Fatal(s.TokenGeneration())
		}
		// What a slow request saves does not set the tokens back.
		slow := old.clone()
		slow.do(func(w http.ResponseWriter, r *http.Request) {
			var first Session
			if _, err := b.shared.sessions.Open(b.sessionSeal, slow.jar[cookieName], &first.rec); err != nil {
				t.Fatal(err)
			}
			first.m = b.Manager
			if s, err := b.Save(w, r, &first); err != nil || s.TokenGeneration() != 3 {
				t.Fatal(err)
			}
		})
		if b.load(slow).TokenGeneration() != 3 {
			t.Fatal("set back")
		}
		if s, err := b.fresh(header{}, old.request(), b.as, &Session{rec: b.raw(old), m: b.Manager}, false); err != nil || s.TokenGeneration() != 3 {
			t.Fatal(err)
		}
	})
}

// raw is the record in the cookie, without what the ledger knows.
func (b *bed) raw(br *browser) (r record) {
	b.t.Helper()
	if _, err := b.shared.sessions.Open(b.sessionSeal, br.jar[cookieName], &r); err != nil {
		b.t.Fatal(err)
	}
	return r
}

func TestAnotherProcessIsAhead(t *testing.T) {
	// Two processes refresh in turn: what one remembers does not set back what the other has written.
	a, b := longBed(t), longBed(t)
	br := newBrowser(t)
	a.login(br, "alice")
	for _, bed := range []*bed{a, b} {
		bed.clock.add(time.Hour - time.Second)
	}
	a.mustFresh(br, "access-2", 1)
	b.as.calls = 1 // one server for both
	for _, bed := range []*bed{a, b} {
		bed.clock.add(time.Hour - time.Second)
	}
	b.mustFresh(br, "access-3", 2)
	s := a.mustFresh(br, "access-3", 1)
	if s.TokenGeneration() != 3 {
		t.Fatal("set back")
	}
	br.do(func(w http.ResponseWriter, r *http.Request) {
		if s, err := a.Save(w, r, s); err != nil || s.TokenGeneration() != 3 {
			t.Fatal("set back")
		}
	})
}

// A hand-off is kept for as long as a cookie with the older tokens can come back, and no longer.
func TestHandOffEndsWithOldCookies(t *testing.T) {
	b := newBed(t, Config{AbsoluteTimeout: 24 * time.Hour, IdleTimeout: 2 * time.Hour})
	br := newBrowser(t)
	s := b.login(br, "alice")
	b.clock.add(time.Hour - time.Second)
	old := br.clone()
	b.mustFresh(br, "access-2", 1)
	b.clock.add(time.Hour)
	if b.load(old).TokenGeneration() != 2 {
		t.Fatal("the hand-off is gone before the old cookie")
	}
	b.clock.add(time.Hour + 2*time.Minute)
	if _, version := b.entry(s.rec.id); version != 0 {
		t.Fatal("kept for nobody")
	}
	b.refuse(t, ErrSessionExpired, "idle", old.header())
}

func TestLogoutWinsOverRefresh(t *testing.T) {
	// ATK-F04, R3
	synctest.Test(t, func(t *testing.T) {
		b := longBed(t)
		br := newBrowser(t)
		b.login(br, "alice")
		b.clock.add(time.Hour - time.Second)
		b.as.hook = func() { time.Sleep(time.Second) }
		errs := make(chan error)
		r := br.request()
		h := header{}
		go func() {
			_, err := b.freshen(h, r)
			errs <- err
		}()
		synctest.Wait()
		stolen := br.clone()
		br.do(func(w http.ResponseWriter, r *http.Request) { b.mustEnd(w, r, b.load(br)) })
		if err := <-errs; !errors.Is(err, ErrSessionEnded) {
			t.Fatal(err)
		}
		if string(h.Header().Get("Set-Cookie")) != "" && strings.Contains(h.Header().Get("Set-Cookie"), "access") {
			t.Fatal("a cookie for the dead")
		}
		b.refuse(t, ErrSessionEnded, "logout", stolen.header())
		b.settled()
		if !slices.Equal(b.as.revoked, []client.Secret{"refresh-2"}) {
			t.Fatalf("revoked %d", len(b.as.revoked))
		}
	})
	t.Run("the other order", func(t *testing.T) {
		b := longBed(t)
		br := newBrowser(t)
		b.login(br, "alice")
		old := br.clone()
		b.clock.add(time.Hour - time.Second)
		b.mustFresh(br, "access-2", 1)
		old.do(func(w http.ResponseWriter, r *http.Request) {
			// The request that logs out still has the old cookie: what it revokes is the newest.
			if tok := b.mustEnd(w, r, &Session{rec: b.raw(old), m: b.Manager}); tok.RefreshToken != "refresh-2" {
				t.Fatal("the old token")
			}
		})
		b.refuse(t, ErrSessionEnded, "logout", br.header())
	})
}

func TestRenew(t *testing.T) {
	b := longBed(t)
	br := newBrowser(t)
	s := b.login(br, "alice")
	renew := func(s *Session) (*Session, error) { return b.fresh(header{}, br.request(), b.as, s, true) }
	next, err := renew(s)
	if err != nil || string(next.AccessToken()) != "access-2" {
		t.Fatal(err)
	}
	if again, err := renew(s); err != nil || string(again.AccessToken()) != "access-2" || b.as.count() != 1 { // somebody had already
		t.Fatal(err)
	}
	b.as.err = client.NewError(client.ErrTransport, "", nil)
	if _, err := renew(next); !errors.Is(err, client.ErrTransport) { // alive, but refused: no use in serving it
		t.Fatal(err)
	}
	if _, err := b.loginWith(br, "bob", func(tok *client.Tokens) { tok.RefreshToken = "" }); err != nil {
		t.Fatal(err)
	}
	_, err = renew(b.load(br))
	wantError(t, err, ErrNoToken, "")
}
