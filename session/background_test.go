package session

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport/sallyport/client"
)

// With sessions in a store, a token that is due is replaced in the background, once, and requests go on with it meanwhile. With
// sessions in cookies the new cookie leaves with the answer.
func TestBackgroundRefresh(t *testing.T) {
	arrangements(t, func(t *testing.T, b *bed) {
		br := newBrowser(t)
		b.login(br, "alice")
		b.as.then(slow(5 * time.Second))
		time.Sleep(time.Hour - 55*time.Second)
		began := time.Now()
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				a := b.ask(br, time.Minute)
				want := "access-2"
				if b.shared.inStore {
					want = "access-1"
				}
				if a.err != nil || string(a.s.AccessToken()) != want || a.h.wrote() == b.shared.inStore {
					t.Errorf("%v, wrote %v", a.err, a.h.wrote())
				}
			})
		}
		wg.Wait()
		if waited := time.Since(began) > 0; waited == b.shared.inStore {
			t.Fatalf("waited %v", time.Since(began))
		}
		time.Sleep(6 * time.Second)
		b.mustFresh(br, "access-2", 1)
		if b.shared.inStore && (b.said(EventRefreshServedStale, "") != 1 || b.Counters().ServedStale != 20) {
			t.Fatalf("%+v", b.Counters())
		}
	})
}

// Shortly before the end requests wait for it, so that nobody is sent on with a token that dies on its way.
func TestBackgroundRefreshNearTheEnd(t *testing.T) {
	arrangements(t, func(t *testing.T, b *bed) {
		br := newBrowser(t)
		b.login(br, "alice")
		b.as.then(slow(2 * time.Second))
		time.Sleep(time.Hour - 15*time.Second) // a quarter of the minute
		b.ask(br, time.Minute).wantToken(t, "access-2")
	})
}

// A failure in the background is nobody's as long as the token is good; then it is told, with the time to come back.
func TestBackgroundRefreshFails(t *testing.T) {
	arrangements(t, func(t *testing.T, b *bed) {
		br := newBrowser(t)
		b.login(br, "alice")
		b.as.fail(client.NewError(client.ErrTransport, "", nil))
		time.Sleep(time.Hour - 55*time.Second)
		for range 54 {
			b.ask(br, time.Minute).wantToken(t, "access-1")
			time.Sleep(time.Second)
		}
		time.Sleep(2 * time.Second)
		var e *client.Error
		if a := b.ask(br, time.Minute); !errors.As(a.err, &e) || e.Outcome != client.Transient || e.RetryAfter <= 0 {
			t.Fatal(a.err)
		}
		if n := b.as.count(); n < 3 || n > 8 {
			t.Fatalf("%d calls", n)
		}
	})
}

// Sessions that were made at once do not come back at once: each is due at a moment of its own, between one and two skews
// before the end, which is the same in all processes and another one for the next token.
func TestJitter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := newReplicas(t, 2, true)
		moments, changed := map[time.Duration]bool{}, 0
		at := func(b *bed, rec *record) time.Duration {
			end := time.Unix(rec.accessExpiry, 0)
			for early := 3 * time.Minute; early >= 0; early -= time.Second {
				if b.due(rec, end.Add(-early)) {
					return early
				}
			}
			return 0
		}
		for range 200 {
			rec := all[0].newRecord(testIssuer, testClient, testTokens("alice", 1, time.Now().Add(time.Hour)), time.Now())
			early := at(all[0], &rec)
			if early < time.Minute || early > 2*time.Minute || early != at(all[1], &rec) {
				t.Fatalf("due %v before the end in one process, %v in the other", early, at(all[1], &rec))
			}
			moments[early] = true
			rec.tokenGeneration++
			if at(all[0], &rec) != early {
				changed++
			}
		}
		if len(moments) < 40 || changed < 150 {
			t.Fatalf("%d moments for 200 sessions, %d changed", len(moments), changed)
		}
	})
}

// A request with a fresh token costs one read of the store and no write, a refresh three calls beyond it.
func TestCallsOfTheStore(t *testing.T) {
	replicas(t, 1, func(t *testing.T, all []*bed) {
		b, br := all[0], newBrowser(t)
		b.login(br, "alice")
		b.served(br, "access-1", 0)
		b.wire.count()
		for range 50 {
			if a := b.ask(br, time.Minute); a.err != nil || a.h.wrote() {
				t.Fatal(a.err)
			}
		}
		if gets, swaps := b.wire.count(); gets != 50 || swaps != 0 {
			t.Fatalf("50 requests: %d reads, %d writes", gets, swaps)
		}
		time.Sleep(time.Hour)
		_, _ = b.Load(br.request()) // whether every session was ended is looked up, too
		time.Sleep(time.Millisecond)
		b.wire.count()
		b.mustFresh(br, "access-2", 1)
		if gets, swaps := b.wire.count(); gets != 2 || swaps != 2 {
			t.Fatalf("a refresh: %d reads, %d writes", gets, swaps)
		}
		b.wire.count()
		b.mustFresh(br, "access-2", 1)
		if gets, swaps := b.wire.count(); gets != 1 || swaps != 0 {
			t.Fatalf("after it: %d reads, %d writes", gets, swaps)
		}
	})
}

// ATK-Q05: at most 64 calls to one server at once. Who finds no room in time is told to come back; who finds it looks at the session
// again; another server's users wait for nobody.
func TestCallsToOneServerAreBounded(t *testing.T) {
	arrangements(t, func(t *testing.T, b *bed) {
		var browsers []*browser
		for range maxCalls + 10 {
			br := newBrowser(t)
			b.login(br, "alice")
			browsers = append(browsers, br)
		}
		other := newBrowser(t)
		if err := b.loginAt(other, "https://as-b.example", "bob", "", time.Now()); err != nil {
			t.Fatal(err)
		}
		elsewhere := &fakeServer{clock: b.clock, issuer: "https://as-b.example"}
		time.Sleep(time.Hour)
		var now, most atomic.Int64
		b.as.reply = func(int) error {
			for n := now.Add(1); ; {
				if m := most.Load(); n <= m || most.CompareAndSwap(m, n) {
					break
				}
			}
			time.Sleep(4*time.Second + time.Duration(now.Load())*50*time.Millisecond)
			now.Add(-1)
			return nil
		}
		var wg sync.WaitGroup
		var served, busy atomic.Int64
		for _, br := range browsers {
			wg.Go(func() {
				a := b.ask(br, time.Minute)
				var e *client.Error
				switch {
				case a.err == nil && a.s.TokenGeneration() == 2:
					served.Add(1)
				case errors.As(a.err, &e) && e.Code == client.ErrTimeout && e.Reason == "busy" && e.Outcome == client.Transient && e.RetryAfter > 0:
					busy.Add(1)
				default:
					t.Errorf("%v", a.err)
				}
			})
		}
		synctest.Wait()
		began := time.Now()
		s, err := b.fresh(header{}, other.request(), elsewhere, b.load(other), false)
		if err != nil || s.TokenGeneration() != 2 || time.Since(began) != 0 {
			t.Fatalf("another server's: %v after %v", err, time.Since(began))
		}
		wg.Wait()
		if most.Load() != maxCalls || served.Load()+busy.Load() != maxCalls+10 || served.Load() < maxCalls {
			t.Fatalf("%d at once, %d served, %d told to come back", most.Load(), served.Load(), busy.Load())
		}
		b.as.then(slow(20 * time.Second))
		time.Sleep(2 * time.Hour)
		for _, br := range browsers[:maxCalls] {
			b.askAside(br, time.Second)
		}
		synctest.Wait()
		began = time.Now()
		a := b.ask(browsers[maxCalls], time.Minute)
		wantError(t, a.err, client.ErrTimeout, "busy")
		if time.Since(began) != maxQueue {
			t.Fatalf("waited %v", time.Since(began))
		}
		time.Sleep(time.Minute)
	})
}

// ATK-F16: a refresh token that has passed the time which the server gave it is not sent. The access token is served while it lives; then only a
// login helps; the user is known all the same.
func TestRefreshTokenHasExpired(t *testing.T) {
	arrangements(t, func(t *testing.T, b *bed) {
		br := newBrowser(t)
		expiry := time.Now().Add(59 * time.Minute)
		if _, err := b.loginWith(br, "alice", func(tok *client.Tokens) { tok.RefreshExpiry = expiry }); err != nil {
			t.Fatal(err)
		}
		if got := b.load(br).Tokens().RefreshExpiry; !got.Equal(expiry) {
			t.Fatalf("%v, want %v", got, expiry)
		}
		time.Sleep(time.Hour - 59*time.Second)
		for range 3 {
			b.served(br, "access-1", 0)
			time.Sleep(10 * time.Second)
		}
		if n := b.said(client.EventRefreshFailed, ""); n != 0 {
			t.Fatalf("said %v", b.events.kinds())
		}
		_, err := b.fresh(header{}, br.request(), b.server(), b.load(br), true) // a resource server has refused it
		wantError(t, err, ErrNoToken, "refresh_expired")
		time.Sleep(30 * time.Second)
		a := b.ask(br, time.Minute)
		wantError(t, a.err, ErrNoToken, "refresh_expired")
		if b.as.count() != 0 || a.h.wrote() || b.said(client.EventRefreshFailed, "refresh_expired") != 2 || b.said(client.EventSessionEnded, "") != 0 {
			t.Fatalf("%d calls, said %v", b.as.count(), b.events.kinds())
		}
		if s := b.load(br); s.Subject() != "alice" {
			t.Fatal(s.Subject())
		}
	})
}

func TestRefreshTokenExpiryMoves(t *testing.T) {
	replicas(t, 2, func(t *testing.T, all []*bed) {
		b, br := all[0], newBrowser(t)
		start := time.Now()
		if _, err := b.loginWith(br, "alice", func(tok *client.Tokens) { tok.RefreshExpiry = start.Add(61 * time.Minute) }); err != nil {
			t.Fatal(err)
		}
		old, r := all[1].load(br), br.request()
		b.as.next = func(tok *client.Tokens) { tok.RefreshExpiry = start.Add(10 * time.Hour) }
		time.Sleep(time.Hour)
		b.mustFresh(br, "access-2", 1)
		if got := all[1].load(br).Tokens().RefreshExpiry; !got.Equal(start.Add(10 * time.Hour)) {
			t.Fatal(got)
		}
		// Who comes with the old one, after its end, gets the new tokens: they are there.
		time.Sleep(2 * time.Minute)
		if s, err := all[1].fresh(header{}, r, all[1].server(), old, true); err != nil || string(s.AccessToken()) != "access-2" {
			t.Fatal(err)
		}
		b.as.next = func(tok *client.Tokens) { tok.RefreshExpiry = time.Time{} }
		time.Sleep(time.Hour)
		b.mustFresh(br, "access-3", 2)
		if got := b.load(br).Tokens().RefreshExpiry; !got.IsZero() {
			t.Fatal(got)
		}
	})
}
