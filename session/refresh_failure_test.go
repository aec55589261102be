package session

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport/sallyport/client"
)

func TestGrantRevoked(t *testing.T) {
	// ATK-F05, ATK-F21: the grant is over, so is the session, and no further call is made.
	longFamilies(t, func(t *testing.T, b *bed) {
		br := newBrowser(t)
		b.login(br, "alice")
		b.clock.add(time.Hour)
		b.as.err = client.NewError(client.ErrGrantRevoked, "", nil)
		h := header{}
		s, err := b.freshen(h, br.request())
		if !errors.Is(err, client.ErrGrantRevoked) || s != nil {
			t.Fatal(err)
		}
		for range 3 {
			b.refuse(t, ErrSessionEnded, "grant_revoked", br.header())
		}
		if b.as.count() != 1 {
			t.Fatalf("%d calls", b.as.count())
		}
		got := b.events.kinds()
		if !slices.Equal(got[len(got)-3:], []string{client.EventRefreshFailed, EventReuseSuspected, client.EventSessionEnded}) {
			t.Fatal(got)
		}
		// The other waiter's look at the session is as old as its request.
		if _, err := b.fresh(h, br.request(), b.as, &Session{rec: b.raw(br), m: b.Manager}, false); !errors.Is(err, ErrSessionEnded) {
			t.Fatal(err)
		}
	})
}

func TestTransientFailure(t *testing.T) {
	// ATK-F10, R7: an outage logs nobody out, and the server is not hammered.
	for _, failure := range []*client.Error{
		client.NewError(client.ErrTransport, "", nil),
		client.NewError(client.ErrTokenEndpoint, "invalid_client", nil), // ATK-F11: an operator's mistake
	} {
		b := longBed(t)
		br := newBrowser(t)
		b.login(br, "alice")
		b.as.err = failure
		b.clock.add(time.Hour - time.Minute)
		b.mustFresh(br, "access-1", 1) // still alive: served
		b.mustFresh(br, "access-1", 1) // backing off
		b.clock.add(2 * time.Second)
		b.mustFresh(br, "access-1", 2)
		b.clock.add(time.Minute)
		h := header{}
		_, err := b.freshen(h, br.request())
		var e *client.Error
		if !errors.As(err, &e) || e.Code != failure.Code || e.Outcome != client.Transient || e.Action != client.ActionRetry || e.RetryAfter <= 0 {
			t.Fatalf("%#v", err)
		}
		calls := b.as.count()
		_, err = b.freshen(h, br.request())
		if errors.As(err, &e); b.as.count() != calls || e.RetryAfter <= 0 || e.RetryAfter > 5*time.Second {
			t.Fatalf("%d calls, retry after %v", b.as.count(), e.RetryAfter)
		}
		b.as.err = nil
		b.clock.add(5 * time.Second)
		b.mustFresh(br, "access-"+itoa(calls+2), calls+1)
	}
}

func TestRetryAfter(t *testing.T) {
	b := longBed(t)
	br := newBrowser(t)
	b.login(br, "alice")
	failure := client.NewError(client.ErrTokenEndpoint, "", nil)
	failure.Outcome, failure.RetryAfter = client.Transient, 40*time.Second
	b.as.err = failure
	b.clock.add(time.Hour)
	_, err := b.freshen(header{}, br.request())
	var e *client.Error
	if errors.As(err, &e); e.RetryAfter < 40*time.Second || e.RetryAfter > 50*time.Second {
		t.Fatal(e.RetryAfter)
	}
	b.clock.add(39 * time.Second)
	if _, err := b.freshen(header{}, br.request()); err == nil || b.as.count() != 1 {
		t.Fatal("asked again too soon")
	}
}

func TestBackoffIsBounded(t *testing.T) {
	b := longBed(t)
	br := newBrowser(t)
	b.login(br, "alice")
	b.as.err = client.NewError(client.ErrTransport, "", nil)
	b.clock.add(time.Hour)
	var e *client.Error
	for i := range 20 {
		_, err := b.freshen(header{}, br.request())
		if errors.As(err, &e); e.RetryAfter > lastBackoff*5/4 || b.as.count() != i+1 {
			t.Fatalf("retry after %v, %d calls", e.RetryAfter, b.as.count())
		}
		b.clock.add(e.RetryAfter)
	}
	if e.RetryAfter < lastBackoff {
		t.Fatal(e.RetryAfter)
	}
}

func TestInDoubt(t *testing.T) {
	// ATK-F01, R1: the refresh token is sent once, and once more when the access token is dead. Never a third time.
	for name, failure := range map[string]error{
		"no answer":       client.NewError(client.ErrRefreshInDoubt, "", nil),
		"useless answer":  client.NewError(client.ErrTokenResponse, "", nil),
		"unknown failure": errors.New("CANARY"),
	} {
		t.Run(name, func(t *testing.T) {
			b := longBed(t)
			br := newBrowser(t)
			b.login(br, "alice")
			b.as.err = failure
			b.clock.add(time.Hour - time.Minute)
			b.mustFresh(br, "access-1", 1)
			b.clock.add(30 * time.Second)
			b.mustFresh(br, "access-1", 1) // alive: not sent again
			b.clock.add(31 * time.Second)
			_, err := b.freshen(header{}, br.request())
			var e *client.Error
			if !errors.As(err, &e) || e.Code != client.ErrRefreshInDoubt || e.Action != client.ActionLogin || e.Outcome != client.Rejected || b.as.count() != 2 {
				t.Fatalf("%v, %d calls", err, b.as.count())
			}
			if strings.Contains(err.Error(), "CANARY") {
				t.Fatal("a stranger's text in the error")
			}
			b.load(br) // a call whose answer is late may still bring tokens
			for n := range 3 {
				b.clock.add(10 * time.Minute)
				if n == 0 { // it cannot any more
					if _, err := b.freshen(header{}, br.request()); !errors.Is(err, client.ErrRefreshInDoubt) {
						t.Fatal(err)
					}
				}
				b.refuse(t, ErrSessionEnded, endedInDoubt, br.header())
			}
			if b.as.count() != 2 || b.said(EventGrantLost, "") == 0 || b.said(client.EventSessionEnded, endedInDoubt) != 1 {
				t.Fatalf("%d calls, %v", b.as.count(), b.events.kinds())
			}
		})
		t.Run(name+" and then it works", func(t *testing.T) {
			b := longBed(t)
			br := newBrowser(t)
			b.login(br, "alice")
			b.as.err = failure
			b.clock.add(time.Hour - time.Minute)
			b.mustFresh(br, "access-1", 1)
			b.as.err = nil
			b.clock.add(time.Minute)
			b.mustFresh(br, "access-3", 2)
			if !slices.Equal(b.as.sent, []client.Secret{"refresh-1", "refresh-1"}) {
				t.Fatal("another token was sent")
			}
			b.clock.add(time.Hour - time.Second)
			b.mustFresh(br, "access-4", 3) // the count was of the other generation
		})
	}
}

// R1, ATK-F09 (d) to (g): a whole answer came and was refused, so the refresh token is spent: it is not sent again, not even
// when the access token is dead.
func TestWholeAnswerRefused(t *testing.T) {
	for _, failure := range []*client.Error{
		client.NewError(client.ErrIDToken, "nonce", nil), client.NewError(client.ErrTokenType, "", nil), client.NewError(client.ErrScope, "extra", nil),
	} {
		b := longBed(t)
		br := newBrowser(t)
		b.login(br, "alice")
		b.as.err = failure
		b.clock.add(time.Hour - time.Minute)
		b.mustFresh(br, "access-1", 1)
		b.as.err = nil
		for range 3 {
			b.clock.add(10 * time.Minute)
			_, err := b.freshen(header{}, br.request())
			var e *client.Error
			if !errors.As(err, &e) || e.Action != client.ActionLogin || e.Outcome != client.Rejected || b.as.count() != 1 {
				t.Fatalf("%v: %v, %d calls", failure.Code, err, b.as.count())
			}
		}
	}
}

func TestRefreshForSomebodyElse(t *testing.T) {
	// ATK-F09 (a) to (c): the grant cannot be trusted, alive or not.
	for _, reason := range []string{"sub", "iss", "aud"} {
		b := longBed(t)
		br := newBrowser(t)
		b.login(br, "alice")
		b.as.err = client.NewError(client.ErrIDToken, reason, nil)
		b.clock.add(time.Hour - 30*time.Second)
		_, err := b.freshen(header{}, br.request())
		if !errors.Is(err, ErrSessionEnded) || !errors.Is(err, client.ErrIDToken) {
			t.Fatal(err)
		}
		b.refuse(t, ErrSessionEnded, "id_token", br.header())
		b.settled()
		if !slices.Equal(b.as.revoked, []client.Secret{"refresh-1"}) {
			t.Fatal("not revoked")
		}
	}
}

func TestFreshForAnotherRegistration(t *testing.T) {
	// ATK-F19, ATK-K09: a session of provider A under provider B.
	b := longBed(t)
	br := newBrowser(t)
	s := b.login(br, "alice")
	b.clock.add(time.Hour)
	b.as.issuer = "https://as-b.example"
	_, err := b.fresh(header{}, br.request(), b.as, s, false)
	wantError(t, err, ErrSessionEnded, "client")
	if b.as.count() != 0 {
		t.Fatal("a token went to another server")
	}
}

func TestNoRefreshToken(t *testing.T) {
	b := longBed(t)
	br := newBrowser(t)
	if _, err := b.loginWith(br, "alice", func(tok *client.Tokens) { tok.RefreshToken = "" }); err != nil {
		t.Fatal(err)
	}
	b.clock.add(time.Hour - time.Second)
	b.mustFresh(br, "access-1", 0)
	b.clock.add(time.Second)
	_, err := b.freshen(header{}, br.request())
	wantError(t, err, ErrNoToken, "")
}

func TestRefreshedButTooLong(t *testing.T) {
	// ATK-F13: tokens that the browser cannot hold end the session: a page that fails until the absolute deadline is no
	// answer, and the refresh token in the cookie, which is spent, is never sent again.
	for name, touch := range map[string]bool{"with the request that refreshed": false, "with the next": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := longBed(t)
				br := newBrowser(t)
				b.login(br, "alice")
				b.as.next = func(tok *client.Tokens) { tok.AccessToken = client.Secret(strings.Repeat("!", 9000)) }
				b.clock.add(time.Hour)
				r := br.request()
				s := b.load(br)
				if touch { // the request is gone when the tokens come
					gone, cancel := context.WithCancel(context.Background())
					b.as.hook = cancel
					if _, err := b.fresh(header{}, r.WithContext(gone), b.as, s, false); err == nil {
						t.Fatal("it was not gone")
					}
					synctest.Wait()
					wantError(t, b.Touch(header{}, r, b.load(br)), ErrSessionEnded, "size")
				}
				for range 3 {
					h := header{}
					_, err := b.fresh(h, r, b.as, s, false)
					wantError(t, err, ErrSessionEnded, "size")
					if h.wrote() || b.as.count() != 1 {
						t.Fatalf("wrote %v, %d calls", h.wrote(), b.as.count())
					}
				}
				synctest.Wait()
				if want := []client.Secret{"refresh-2"}; !touch && !slices.Equal(b.as.revoked, want) { // and no session holds the new ones
					t.Fatalf("%d revoked", len(b.as.revoked))
				}
				b.refuse(t, ErrSessionEnded, "size", br.header())
				if got := b.events.kinds(); slices.Index(got, client.EventSessionEnded) != len(got)-1 { // once
					t.Fatal(got)
				}
				b.login(br, "alice")
				b.load(br)
			})
		})
	}
}

func TestRefreshPanics(t *testing.T) {
	// ATK-S03: a hook or secret source that panics.
	b := longBed(t)
	br := newBrowser(t)
	b.login(br, "alice")
	b.as.hook = func() { panic("CANARY") }
	b.clock.add(time.Hour)
	_, err := b.freshen(header{}, br.request())
	if !errors.Is(err, client.ErrRefreshInDoubt) || strings.Contains(err.Error(), "CANARY") {
		t.Fatal(err)
	}
	if b.load(br).Subject() != "alice" || len(b.shared.flights.all) != 0 {
		t.Fatal("left behind")
	}
	b.revoke(context.Background(), panicking{b.as}, nil)
}

type panicking struct{ *fakeServer }

func (panicking) Revoke(context.Context, *client.Tokens) error { panic("CANARY") }

// R7: the one more time that a refresh token can be sent is not used up while the server does not answer at all.
func TestOutageDoesNotUseUpTheLastTry(t *testing.T) {
	arrangements(t, func(t *testing.T, b *bed) {
		br := newBrowser(t)
		b.loginFor(br, "alice", time.Minute)
		time.Sleep(time.Minute)
		b.as.fail(client.NewError(client.ErrRefreshInDoubt, "", nil))
		if a := b.ask(br, time.Minute); !errors.Is(a.err, client.ErrRefreshInDoubt) || b.as.count() != 1 {
			t.Fatalf("%v, %d calls", a.err, b.as.count())
		}
		b.as.unreachable = client.NewError(client.ErrDiscovery, "", nil)
		for range 20 {
			time.Sleep(time.Minute)
			var e *client.Error
			if a := b.ask(br, time.Minute); !errors.As(a.err, &e) || e.Outcome != client.Transient || e.RetryAfter <= 0 || b.as.count() != 1 {
				t.Fatalf("%v, %d calls", a.err, b.as.count())
			}
		}
		b.as.unreachable = nil
		b.as.fail(nil)
		time.Sleep(time.Minute)
		b.ask(br, time.Minute).wantToken(t, "access-3")
		if b.as.count() != 2 {
			t.Fatalf("%d calls", b.as.count())
		}
	})
}
