package middleware

import (
	"context"
	"maps"
	"net/http"
	"net/url"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport/sallyport/client"
	"github.com/sallyport/sallyport/client/authtest"
	"github.com/sallyport/sallyport/session"
	"github.com/sallyport/sallyport/session/storetest"
)

// On a bench of two processes, A and B are the first and the second.
const (
	processA = 0
	processB = 1
)

// replicas runs f in each arrangement of two processes.
func replicas(t *testing.T, o options, f func(t *testing.T, b *bench)) {
	for _, p := range shared {
		o.place = p
		bubble(t, string(p), func(t *testing.T) { f(t, newBench(t, o)) })
	}
}

// at sends r to one process.
func (br *browser) at(process int, r *http.Request) int {
	br.t.Helper()
	br.nodes.turn(process)
	return br.send(r).Code
}

// servedBy reports whether a process lets the browser's session in.
func (br *browser) servedBy(process int) bool {
	br.t.Helper()
	switch code := br.at(process, with("GET", rp+"/me")); code {
	case http.StatusOK:
		return true
	case http.StatusUnauthorized:
		return false
	default:
		br.t.Errorf("%d", code)
		return false
	}
}

// copyCookies is another browser with the same cookies.
func (br *browser) copyCookies() *browser {
	c := br.browser()
	c.jar, c.lax = maps.Clone(br.jar), maps.Clone(br.lax)
	return c
}

// A login that begins at one process ends at another, once. ATK-L11
func TestLoginOverProcesses(t *testing.T) {
	replicas(t, options{}, func(t *testing.T, b *bench) {
		br := b.browser()
		b.nodes.turn(processA)
		p := br.begin("/auth/login")
		b.nodes.turn(processB)
		p.finish()
		if !br.servedBy(processA) || !br.servedBy(processB) {
			t.Error("one process does not know the session")
		}
		replay := b.browser()
		for _, process := range []int{processA, processB} {
			replay.jar = merged(nil, p.cookies)
			if code := replay.at(process, p.request()); code != http.StatusBadRequest || b.last(client.EventLoginRejected).Code != client.ErrStateReplayed {
				t.Errorf("a replay at %d: %d, %+v", process, code, b.last(client.EventLoginRejected))
			}
		}
		if n := b.as[0].Requests(authtest.Token); n != 1 {
			t.Errorf("%d token requests", n)
		}
	})
}

// Logged out at one process is logged out at the other, for copies of the cookie too. ATK-K15
func TestLogoutOverProcesses(t *testing.T) {
	replicas(t, options{}, func(t *testing.T, b *bench) {
		br := b.browser()
		br.login()
		thief := br.copyCookies()
		if !thief.servedBy(processB) {
			t.Fatal("not logged in")
		}
		if code := br.at(processA, logoutRequest("", "")); code != http.StatusSeeOther {
			t.Errorf("%d", code)
		}
		if thief.servedBy(processB) || thief.servedBy(processA) {
			t.Error("a copied cookie survives the logout")
		}
	})
}

// A logout token that one process gets ends the sessions that others serve, and is used up in all of them. ATK-O14, ATK-O04
func TestBackchannelLogoutOverProcesses(t *testing.T) {
	for name, bySID := range map[string]bool{"by sid": true, "by sub": false} {
		t.Run(name, func(t *testing.T) {
			replicas(t, options{two: true}, func(t *testing.T, b *bench) {
				var alice []*browser
				for i := range 3 {
					br := b.browser()
					b.nodes.turn(i)
					br.begin("/auth/login/a").finish()
					if !br.servedBy(i) || !br.servedBy(i+1) {
						t.Fatal("not logged in")
					}
					alice = append(alice, br)
				}
				elsewhere, bob := b.browser(), b.browser()
				elsewhere.begin("/auth/login/b").finish() // the same sub of another issuer
				b.as[0].SetUser("user-bob")
				bob.begin("/auth/login/a").finish()
				b.as[0].SetUser("user-alice")

				subject, sid, concerned := "user-alice", "", alice
				if bySID {
					subject, sid, concerned = "", alice[0].sid(), alice[:1]
				}
				token := b.logoutToken(0, subject, sid, nil)
				b.nodes.turn(processA)
				b.tell(token, http.StatusOK)
				for i, br := range alice {
					if lives := br.servedBy(processB); lives != (i >= len(concerned)) {
						t.Errorf("session %d lives: %v", i, lives)
					}
					if lives := br.servedBy(processA); lives != (i >= len(concerned)) {
						t.Errorf("session %d lives in the process that was told: %v", i, lives)
					}
				}
				if !elsewhere.servedBy(processB) || !bob.servedBy(processB) {
					t.Error("somebody else is logged out")
				}
				// The user comes back, and the token, too.
				b.advance(time.Second)
				alice[0].begin("/auth/login/a").finish()
				for _, process := range []int{processB, processA} {
					b.nodes.turn(process)
					b.tell(token, http.StatusBadRequest)
					if e := b.last(EventLogoutRefused); e.Reason != "jti" || !alice[0].servedBy(processA) || !alice[0].servedBy(processB) {
						t.Errorf("a replay at %d: %+v", process, e)
					}
				}
			})
		})
	}
}

// What one process has refreshed another takes over, whatever the browser shows it.
func TestRefreshOverProcesses(t *testing.T) {
	o := options{server: func(c *authtest.Config) { c.AccessTokenLifetime = 10 * time.Minute }}
	replicas(t, o, func(t *testing.T, b *bench) {
		br := b.browser()
		br.login()
		late := br.copyCookies() // a request that was sent before the answer to the other came
		b.advance(11 * time.Minute)
		for i, r := range []struct {
			br      *browser
			process int
		}{{br, processA}, {late, processB}, {br, processB}, {late, processA}} {
			if code := r.br.at(r.process, with("GET", rp+"/api/me")); code != http.StatusOK {
				t.Errorf("request %d: %d", i, code)
			}
		}
		if n := b.as[0].Requests(authtest.Token); n != 2 {
			t.Errorf("%d token requests, want one for the login and one more", n)
		}
		if a, ours := late.session(), br.session(); a != ours {
			t.Errorf("%s and %s", a, ours)
		}
	})
}

// With sessions in a store nobody waits for a token that is due and good for a while.
func TestRequireTokenInTheBackground(t *testing.T) {
	for _, p := range []arrangement{inStore, sharedStore} {
		bubble(t, string(p), func(t *testing.T) {
			b := newBench(t, options{place: p, server: func(c *authtest.Config) { c.AccessTokenLifetime = 10 * time.Minute }})
			br := b.browser()
			br.login()
			gate := make(chan struct{})
			stop := b.as[0].Misbehave(authtest.Fault{Endpoint: authtest.Token, Wire: authtest.StallAfter, Gate: gate})
			b.advance(9*time.Minute + 10*time.Second)
			before := br.session()
			for range 3 {
				if rec := br.get("/api/me"); rec.Code != http.StatusOK {
					t.Errorf("%d", rec.Code)
				}
			}
			close(gate)
			stop()
			synctest.Wait()
			if n := b.as[0].Requests(authtest.Token); n != 2 || br.session() == before {
				t.Errorf("%d token requests, %s", n, br.session())
			}
		})
	}
}

// However a session has ended, the browser loses the cookie, and a person goes into a login.
func TestSessionEnded(t *testing.T) {
	lost := func(b *bench) { b.faulty.Store = session.NewMemory(session.MemoryOptions{Now: b.now}) }
	for reason, end := range map[string]func(t *testing.T, b *bench){
		"subject_ended": func(t *testing.T, b *bench) {
			if n, err := b.nodes.auths[processB].sessions.EndSubject(context.Background(), b.nodes.auths[processB].clients[0], "user-alice"); err != nil || n != 1 {
				t.Errorf("%d, %v", n, err)
			}
		},
		"every_session_ended": func(t *testing.T, b *bench) {
			if err := b.nodes.auths[processB].sessions.EndEverySession(context.Background()); err != nil {
				t.Error(err)
			}
			time.Sleep(time.Minute) // the other process looks when it is asked
		},
		"gone": func(t *testing.T, b *bench) { lost(b) },
		"not_before": func(t *testing.T, b *bench) {
			after := newBench(t, options{of: b, place: b.place, config: func(c *session.Config) { c.NotBefore = b.now().Add(time.Second) }})
			b.auth, b.handler = after.auth, after.handler
		},
	} {
		t.Run(reason, func(t *testing.T) {
			replicas(t, options{}, func(t *testing.T, b *bench) {
				if reason == "gone" && !b.place.stores() {
					return // cookies hold it themselves
				}
				br := b.browser()
				br.login()
				copied := br.copyCookies()
				b.advance(time.Millisecond)
				end(t, b)
				b.nodes.turn(processA)
				rec := br.get("/me")
				if rec.Code != http.StatusSeeOther || rec.Header().Get("Location") != rp+"/auth/login?return_to=%2Fme" || len(br.jar) != 0 {
					t.Errorf("%d %v, %d cookies", rec.Code, rec.Header(), len(br.jar))
				}
				for _, target := range []string{"/me", "/api/me"} {
					br := copied.copyCookies()
					isProblem(t, br.send(with("GET", rp+target)), http.StatusUnauthorized, "login_required")
					if len(br.jar) != 0 {
						t.Errorf("%s leaves the cookie", target)
					}
				}
				if br := copied.copyCookies(); br.loggedIn() || len(br.jar) != 0 {
					t.Error("the page's script is not told, or the cookie stays")
				}
			})
		})
	}
}

// Who closes the tab with the logout button is logged out, and tokens that came for a tab that was closed have a session.
func TestBrowserDoesNotWait(t *testing.T) { // ATK-T31, ATK-K15
	for _, p := range shared {
		b := newBench(t, options{place: p, cfg: Config{FrontchannelLogout: true}})
		br, other := b.browser(), b.browser()
		br.login()
		other.login()
		copied, framedCopy := br.copyCookies(), other.copyCookies()
		for _, gone := range []struct {
			br *browser
			r  *http.Request
		}{{br, logoutRequest("", "")}, {other, frontchannel("?iss=" + asA + "&sid=" + other.sid())}} {
			gone.br.send(gone.r.WithContext(canceled()))
		}
		if copied.loggedIn() || framedCopy.loggedIn() {
			t.Error("still logged in")
		}
		again := b.browser()
		again.login()
		b.deliver(logoutForm("logout_token="+url.QueryEscape(b.logoutToken(0, "user-alice", again.sid(), nil))).WithContext(b.hangUp()), http.StatusOK)
		if again.loggedIn() {
			t.Error("still logged in after the provider's logout")
		}
		if e := b.last(client.EventSessionEnded); e.Reason != "backchannel_logout" {
			t.Errorf("%+v", e)
		}
	}
}

func canceled() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// hangUp is a request's context that ends with the first call of the store.
func (b *bench) hangUp() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	b.faulty.Inject(func(storetest.Call) storetest.Fault {
		cancel()
		return storetest.Fault{}
	})
	return ctx
}
