package session

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport/sallyport/client"
)

// logoutToken is one that has just been verified.
func (b *bed) logoutToken(jti, subject, sid string) *client.LogoutToken {
	now := b.clock.now()
	return &client.LogoutToken{
		Issuer: testIssuer, Subject: subject, SID: sid, ID: jti, IssuedAt: now, Expiry: now.Add(2 * time.Minute),
		ReceivedAt: now, ReplayableUntil: now.Add(3 * time.Minute),
	}
}

func (b *bed) logOut(jti, subject, sid string) {
	b.t.Helper()
	if err := b.endByLogoutToken(context.Background(), b.as, b.logoutToken(jti, subject, sid)); err != nil {
		b.t.Fatal(err)
	}
}

// loginAt gives a browser a session whose tokens were asked for at that time.
func (b *bed) loginAt(br *browser, issuer, subject, sid string, obtained time.Time) (err error) {
	t := testTokens(subject, 1, b.clock.now().Add(time.Hour))
	t.ObtainedAt = obtained
	if sid != "" {
		t.IDToken = &client.IDToken{SID: sid}
	}
	br.do(func(w http.ResponseWriter, r *http.Request) { _, err = b.create(w, r, issuer, testClient, t) })
	return err
}

func TestLogoutTokenEndsWhatItNames(t *testing.T) {
	for name, tt := range map[string]struct {
		subject, sid string   // of the token
		ended        []string // of the sessions below
	}{
		"sid":                 {"", "s1", []string{"alice s1"}},
		"sid and sub":         {"alice", "s1", []string{"alice s1", "alice"}},
		"sub":                 {"alice", "", []string{"alice s1", "alice s2", "alice"}},
		"another's":           {"carol", "", nil},
		"a sub that is a sid": {"s1", "", nil},
		"a sid that is a sub": {"", "alice", nil},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBed(t, Config{})
			browsers := map[string]*browser{}
			for _, who := range []string{"alice s1", "alice s2", "alice", "bob s3", "alice s1 elsewhere"} {
				f := append(strings.Fields(who), "", "")
				issuer := testIssuer
				if f[2] != "" {
					issuer = "https://as-b.example"
				}
				browsers[who] = newBrowser(t)
				if err := b.loginAt(browsers[who], issuer, f[0], f[1], b.clock.now()); err != nil {
					t.Fatal(err)
				}
			}
			b.logOut("1", tt.subject, tt.sid)
			for who, br := range browsers {
				s, err := b.Load(br.request())
				if ended := strings.Contains(","+strings.Join(tt.ended, ",")+",", ","+who+","); !ended {
					if err != nil || s.Subject() == "" {
						t.Errorf("%s: %v", who, err)
					}
				} else {
					wantError(t, err, ErrSessionEnded, "backchannel_logout")
					_, err = b.Load(br.request())
					wantError(t, err, ErrSessionEnded, endedByServer)
				}
			}
			told := 0
			for _, e := range b.events.all {
				if e.Kind == client.EventSessionEnded && e.Reason == "backchannel_logout" && e.Session != "" {
					told++
				}
			}
			if told != len(tt.ended) {
				t.Errorf("%d events for %d sessions", told, len(tt.ended))
			}
		})
	}
}

// ATK-O04, ATK-O19: what counts is when the tokens were asked for, to the millisecond, and not when the session was written.
func TestLogoutTokenAndLoginAtOnce(t *testing.T) {
	b := newBed(t, Config{})
	before := b.clock.now()
	b.clock.add(time.Millisecond)
	b.logOut("1", "", "s1")
	arrived := b.clock.now()
	b.clock.add(time.Millisecond)
	for _, obtained := range []time.Time{before, arrived} {
		br := newBrowser(t)
		wantError(t, b.loginAt(br, testIssuer, "alice", "s1", obtained), ErrSessionEnded, "backchannel_logout")
		if len(br.jar) != 0 {
			t.Fatal("a cookie was written")
		}
	}
	br := newBrowser(t)
	if err := b.loginAt(br, testIssuer, "alice", "s1", b.clock.now()); err != nil {
		t.Fatal(err)
	}
	if s := b.load(br); !s.Tokens().ObtainedAt.Equal(b.clock.now()) {
		t.Fatalf("obtained at %s", s.Tokens().ObtainedAt)
	}
	// The same token once more, and a token that arrived before but was verified after it.
	wantError(t, b.endByLogoutToken(context.Background(), b.as, b.logoutToken("1", "", "s1")), client.ErrLogoutToken, "jti")
	late := b.logoutToken("2", "", "s1")
	late.ReceivedAt = before
	if err := b.endByLogoutToken(context.Background(), b.as, late); err != nil {
		t.Fatal(err)
	}
	b.load(br)
	wantError(t, b.loginAt(newBrowser(t), testIssuer, "alice", "s1", arrived), ErrSessionEnded, "backchannel_logout")
	// The write of a session that is ended a moment later.
	b.clock.add(time.Millisecond)
	b.logOut("3", "", "s1")
	br.do(func(w http.ResponseWriter, r *http.Request) {
		s := &Session{m: b.Manager, rec: record{issuer: testIssuer, subject: "alice", sid: "s1", obtained: before.UnixMilli()}}
		_, err := b.Save(w, r, s)
		wantError(t, err, ErrSessionEnded, "backchannel_logout")
	})
	// The id of a token belongs to its issuer, and is forgotten when nobody would accept it.
	other := b.logoutToken("1", "", "s1")
	other.Issuer = "https://as-b.example"
	if err := b.endByLogoutToken(context.Background(), b.as, other); err != nil {
		t.Fatal(err)
	}
	b.clock.add(3 * time.Minute)
	b.logOut("1", "", "s1")
}

// ATK-O04: a login after the user's own logout is not taken for an older one when somebody else's logout arrives.
func TestLogoutTokenAndTheNextUser(t *testing.T) {
	for name, tt := range map[string]struct{ subject, sid string }{"sid": {"", "s1"}, "sub": {"alice", ""}} {
		t.Run(name, func(t *testing.T) {
			b := newBed(t, Config{})
			b.logOut("1", tt.subject, tt.sid)
			b.clock.add(time.Second)
			br := newBrowser(t)
			if err := b.loginAt(br, testIssuer, "alice", "s1", b.clock.now()); err != nil {
				t.Fatal(err)
			}
			b.clock.add(time.Second)
			b.logOut("2", "bob", "")
			b.load(br)
		})
	}
}

// A logout is remembered until the last session that it could concern has ended.
func TestLogoutTokenIsRemembered(t *testing.T) {
	b := newBed(t, Config{AbsoluteTimeout: 2 * time.Hour, IdleTimeout: 2 * time.Hour})
	br := newBrowser(t)
	if err := b.loginAt(br, testIssuer, "alice", "s1", b.clock.now()); err != nil {
		t.Fatal(err)
	}
	b.clock.add(time.Millisecond)
	b.logOut("1", "", "s1")
	b.clock.add(2*time.Hour - time.Second)
	b.logOut("2", "", "s2") // sweeps
	_, err := b.Load(br.request())
	wantError(t, err, ErrSessionEnded, "backchannel_logout")
}

// A full memory refuses: nothing is forgotten, and what was not done can be tried again with the same token.
func TestLogoutTokenWithoutRoom(t *testing.T) {
	b := newBed(t, Config{})
	br := newBrowser(t)
	if err := b.loginAt(br, testIssuer, "alice", "s1", b.clock.now()); err != nil {
		t.Fatal(err)
	}
	b.clock.add(time.Millisecond)
	rosters := b.shared.rosters
	b.shared.rosters = newVault(NewMemory(MemoryOptions{Limit: 1, Now: b.clock.now}), b.shared.stored, b.clock.now)
	token := b.logoutToken("1", "alice", "s1")
	wantError(t, b.endByLogoutToken(t.Context(), b.as, token), ErrStore, "full")
	b.load(br)
	b.shared.rosters = rosters
	if err := b.endByLogoutToken(t.Context(), b.as, token); err != nil {
		t.Fatal(err)
	}
	_, err := b.Load(br.request())
	wantError(t, err, ErrSessionEnded, "backchannel_logout")
	wantError(t, b.endByLogoutToken(t.Context(), b.as, token), client.ErrLogoutToken, "jti")
	b.shared.once = newVault(NewMemory(MemoryOptions{Limit: 1, Now: b.clock.now}), b.shared.stored, b.clock.now)
	wantError(t, b.endByLogoutToken(t.Context(), b.as, b.logoutToken("3", "", "s1")), ErrStore, "full")
}

func TestLogoutTokenStopsRefresh(t *testing.T) {
	for name, tt := range map[string]struct {
		scope string
		want  []client.Secret // what is revoked
	}{
		"without offline_access": {"profile", []client.Secret{"refresh-2"}},
		"with it":                {"offline_access", nil},
	} {
		t.Run(name+", under way", func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBed(t, Config{})
				br := newBrowser(t)
				tokens := testTokens("alice", 1, b.clock.now().Add(time.Second))
				tokens.Scopes = []string{"openid", tt.scope}
				br.do(func(w http.ResponseWriter, r *http.Request) {
					if _, err := b.create(w, r, testIssuer, testClient, tokens); err != nil {
						t.Fatal(err)
					}
				})
				b.as.next = func(t *client.Tokens) { t.Scopes = tokens.Scopes }
				b.as.hook = func() { b.logOut("1", "alice", "") }
				s := b.load(br)
				b.clock.add(time.Second)
				br.do(func(w http.ResponseWriter, r *http.Request) {
					_, err := b.fresh(w, r, b.as, s, false)
					wantError(t, err, ErrSessionEnded, "backchannel_logout")
				})
				synctest.Wait()
				if !slices.Equal(b.as.revoked, []client.Secret{"refresh-2"}) { // nobody has them, so nobody misses them: ATK-F04
					t.Fatalf("revoked %d", len(b.as.revoked))
				}
				if slices.Contains(b.events.kinds(), client.EventTokenRefreshed) {
					t.Fatal("a dead session was refreshed")
				}
				// And none is begun.
				br.do(func(w http.ResponseWriter, r *http.Request) {
					_, err := b.fresh(w, r, b.as, s, false)
					wantError(t, err, ErrSessionEnded, endedByServer)
				})
				if b.as.count() != 1 {
					t.Fatalf("%d refreshes", b.as.count())
				}
			})
		})
		t.Run(name+", at rest", func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBed(t, Config{})
				br := newBrowser(t)
				tokens := testTokens("alice", 2, b.clock.now().Add(time.Second))
				tokens.Scopes = []string{"openid", tt.scope}
				br.do(func(w http.ResponseWriter, r *http.Request) {
					if _, err := b.create(w, r, testIssuer, testClient, tokens); err != nil {
						t.Fatal(err)
					}
				})
				s := b.load(br)
				b.clock.add(time.Second)
				b.logOut("1", "alice", "")
				br.do(func(w http.ResponseWriter, r *http.Request) {
					_, err := b.fresh(w, r, b.as, s, false)
					wantError(t, err, ErrSessionEnded, "backchannel_logout")
				})
				synctest.Wait()
				if !slices.Equal(b.as.revoked, tt.want) || b.as.count() != 0 {
					t.Fatalf("revoked %d, %d refreshes", len(b.as.revoked), b.as.count())
				}
			})
		})
	}
}

// Another request notices the logout while the refresh is under way: neither the old tokens nor the new are left alive.
func TestLogoutTokenNoticedDuringRefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, Config{})
		br := newBrowser(t)
		s := b.login(br, "alice")
		b.as.hook = func() {
			b.logOut("1", "alice", "")
			_, err := b.Load(br.request())
			wantError(t, err, ErrSessionEnded, "backchannel_logout")
		}
		br.do(func(w http.ResponseWriter, r *http.Request) {
			_, err := b.fresh(w, r, b.as, s, true)
			wantError(t, err, ErrSessionEnded, "backchannel_logout")
		})
		synctest.Wait()
		slices.Sort(b.as.revoked)
		if !slices.Equal(b.as.revoked, []client.Secret{"refresh-1", "refresh-2"}) {
			t.Fatalf("revoked %d", len(b.as.revoked))
		}
	})
}

// A read costs no allocation more, whether or not there are logouts.
func TestLogoutTokenReadCost(t *testing.T) {
	b := newBed(t, Config{})
	c, _ := testClientFor(t, b.clock.now)
	for _, logouts := range []int{0, 2} {
		rec := &record{issuer: testIssuer, subject: "alice", sid: "s1", obtained: b.clock.now().UnixMilli()}
		struck := func() {
			if err := b.checkStruck(t.Context(), rec); err != nil {
				t.Fatal(err)
			}
		}
		if n := testing.AllocsPerRun(100, struck); n > 0 {
			t.Fatalf("%v allocations with %d logouts", n, logouts)
		}
		b.clock.add(time.Second)
		if err := b.EndByLogoutToken(context.Background(), c, b.logoutToken(itoa(logouts), "bob", "s2")); err != nil {
			t.Fatal(err)
		}
	}
}

type otherClient struct{ *fakeServer }

func (otherClient) ClientID() string { return "other-app" }

// A logout that another client of the issuer received ends the session, and does not send its tokens with that client's credentials.
func TestLogoutOfAnotherClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, Config{})
		br := newBrowser(t)
		b.login(br, "alice")
		other := &fakeServer{clock: b.clock}
		b.clock.add(time.Second)
		if err := b.endByLogoutToken(t.Context(), otherClient{other}, b.logoutToken("j1", "alice", "")); err != nil {
			t.Fatal(err)
		}
		if _, err := b.Load(br.request()); !errors.Is(err, ErrSessionEnded) {
			t.Errorf("got %v", err)
		}
		synctest.Wait()
		if len(other.revoked) != 0 {
			t.Error("tokens were sent with another client's credentials")
		}
	})
}
