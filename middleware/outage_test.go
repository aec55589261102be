package middleware

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport/sallyport/client"
	"github.com/sallyport/sallyport/client/authtest"
	"github.com/sallyport/sallyport/session"
	"github.com/sallyport/sallyport/session/storetest"
)

// outages are the ways in which a store does not answer.
var outages = map[string]storetest.Fault{
	"refuses":                  {Kind: storetest.FailBefore},
	"fails when it is done":    {Kind: storetest.FailAfter},
	"hangs":                    {Kind: storetest.Hang},
	"hangs when it is done":    {Kind: storetest.HangAfter},
	"answers after 30 seconds": {Latency: 30 * time.Second},
	"is full":                  {Kind: storetest.FailBefore, Err: session.ErrFull},
}

// away runs f with each outage in each arrangement of several processes, with a clock that makes nobody wait.
func away(t *testing.T, f func(t *testing.T, b *bench, fault storetest.Fault)) {
	for _, p := range shared {
		for name, fault := range outages {
			bubble(t, string(p)+" that "+name, func(t *testing.T) { f(t, newBench(t, options{place: p}), fault) })
		}
	}
}

// swaps strikes the writes only.
func swaps(f storetest.Fault) storetest.Source {
	return func(c storetest.Call) storetest.Fault {
		if c.Op != storetest.Swap {
			return storetest.Fault{}
		}
		return f
	}
}

// isUnavailableAnswer checks what every answer must be while nobody can tell.
func (b *bench) isUnavailableAnswer(rec *httptest.ResponseRecorder) {
	b.t.Helper()
	h := rec.Header()
	if rec.Code != http.StatusServiceUnavailable || h.Get("Retry-After") == "" || h.Get("Cache-Control") != "no-store" {
		b.t.Errorf("%d %v %s", rec.Code, h, rec.Body)
	}
	if h.Get("Location") != "" || len(h["Set-Cookie"]) != 0 || strings.Contains(rec.Body.String(), "user-alice") {
		b.t.Errorf("%v %s", h, rec.Body)
	}
}

// ATK-K17, ATK-Q08: a store that does not answer opens nothing and logs nobody out.
func TestStoreAway(t *testing.T) {
	away(t, func(t *testing.T, b *bench, fault storetest.Fault) {
		br := b.browser()
		br.login()
		jar, calls := maps.Clone(br.jar), b.calls()
		b.faulty.Inject(storetest.Always(fault))
		for name, r := range map[string]*http.Request{
			"page": with("GET", rp+"/me", navigation...), "page, old browser": with("GET", rp+"/me", "Accept: text/html"),
			"end of a logout": with("GET", rp+"/auth/logout/callback?state=x", navigation...),
		} {
			rec := br.send(r)
			b.isUnavailableAnswer(rec)
			checkPage(t, rec, r)
			if e := b.last(EventRequestRefused); e.Code != session.ErrStore || !strings.Contains(rec.Body.String(), e.Correlation) || !strings.Contains(rec.Body.String(), "you still are") {
				t.Errorf("%s: %s, %+v", name, rec.Body, e)
			}
		}
		for _, r := range []*http.Request{with("GET", rp+"/me"), with("POST", rp+"/me", "Sec-Fetch-Site: same-origin"), with("GET", rp+"/api/me"), with("GET", rp+"/auth/session"),
			with("GET", rp+"/me", append(navigation, "Sec-Purpose: prefetch")...)} {
			rec := br.send(r)
			b.isUnavailableAnswer(rec)
			isProblem(t, rec, http.StatusServiceUnavailable, "unavailable")
		}
		r := logoutRequest("", "", "Sec-Fetch-Site: same-origin")
		rec := br.send(r)
		b.isUnavailableAnswer(rec)
		if checkPage(t, rec, r); !strings.Contains(rec.Body.String(), "You are still logged in") {
			t.Errorf("%s", rec.Body)
		}
		if b.calls() != calls || !maps.Equal(br.jar, jar) {
			t.Errorf("%d calls, cookies %d", b.calls()-calls, len(br.jar))
		}
		// Who has no session needs no store.
		nobody := b.browser()
		if rec := nobody.get("/me"); rec.Code != http.StatusSeeOther || nobody.loggedIn() {
			t.Errorf("nobody: %d", rec.Code)
		}
		b.faulty.Inject(nil)
		if br.get("/me").Body.String() != "user-alice" || !br.loggedIn() {
			t.Error("the outage has logged the user out")
		}
		if rec := br.send(logoutRequest("", "", "Sec-Fetch-Site: same-origin")); rec.Code != http.StatusSeeOther || br.loggedIn() {
			t.Errorf("the second logout: %d", rec.Code)
		}
	})
}

// A logout whose end cannot be written is not done, whatever the store has done. ATK-K17
func TestStoreAwayAtLogout(t *testing.T) {
	away(t, func(t *testing.T, b *bench, fault storetest.Fault) {
		br := b.browser()
		br.login()
		calls := b.calls()
		b.faulty.Inject(swaps(fault))
		rec := br.send(logoutRequest("", ""))
		b.isUnavailableAnswer(rec)
		if b.calls() != calls || len(br.jar) == 0 || b.last(EventRequestRefused).Code != session.ErrStore {
			t.Errorf("%d calls, %d cookies", b.calls()-calls, len(br.jar))
		}
		b.faulty.Inject(nil)
		if rec := br.send(logoutRequest("", "")); rec.Code >= 400 || br.loggedIn() {
			t.Errorf("the second logout: %d", rec.Code)
		}
	})
}

func TestStoreAwayAtCallback(t *testing.T) { // ATK-K17
	answered := func(t *testing.T, b *bench, rec *httptest.ResponseRecorder) {
		t.Helper()
		if e := b.last(client.EventLoginRejected); rec.Code != http.StatusServiceUnavailable || rec.Header().Get("Retry-After") == "" || e.Code != session.ErrStore || !strings.Contains(rec.Body.String(), e.Correlation) || strings.Contains(rec.Body.String(), "provider") {
			t.Errorf("%d %v %s, %+v", rec.Code, rec.Header(), rec.Body, e)
		}
	}
	t.Run("before the code is sent", func(t *testing.T) {
		away(t, func(t *testing.T, b *bench, fault storetest.Fault) {
			for name, source := range map[string]storetest.Source{"all": storetest.Always(fault), "writes": swaps(fault)} {
				p := b.browser().begin("/auth/login")
				calls := b.calls()
				b.faulty.Inject(source)
				rec := p.br.send(p.request())
				b.faulty.Inject(nil)
				answered(t, b, rec)
				if b.calls() != calls || len(rec.Header()["Set-Cookie"]) != 0 {
					t.Errorf("%s: %d calls, %v", name, b.calls()-calls, rec.Header())
				}
				// Used up or not, the code is sent once at most.
				if rec := p.br.send(p.request()); rec.Code != http.StatusSeeOther && (rec.Code != http.StatusBadRequest || b.calls() != calls) {
					t.Errorf("%s: %d", name, rec.Code)
				}
			}
		})
	})
	t.Run("after it was sent", func(t *testing.T) {
		away(t, func(t *testing.T, b *bench, fault storetest.Fault) {
			br := b.browser()
			br.login()
			old := maps.Clone(br.jar)
			p := br.begin("/auth/login")
			stop := b.as[0].Misbehave(authtest.Fault{Endpoint: authtest.Token, Response: func(*authtest.Request, *authtest.Response) {
				b.faulty.Inject(storetest.Always(fault))
			}})
			calls := b.calls()
			rec := br.send(p.request())
			stop()
			b.faulty.Inject(nil)
			answered(t, b, rec)
			if n := b.calls() - calls; n != 1+givenBack {
				t.Errorf("%d calls", n)
			}
			if !maps.Equal(br.jar, old) || !br.loggedIn() {
				t.Error("the session of before is gone")
			}
		})
	})
}

// The provider sends it again, and then it is done. ATK-K17
func TestStoreAwayAtBackchannelLogout(t *testing.T) {
	away(t, func(t *testing.T, b *bench, fault storetest.Fault) {
		for _, source := range []storetest.Source{storetest.Always(fault), swaps(fault), storetest.Script(storetest.Fault{}, storetest.Fault{}, fault, fault)} {
			br := b.browser()
			br.login()
			token := b.logoutToken(0, "user-alice", br.sid(), nil)
			b.faulty.Inject(source)
			b.tell(token, http.StatusServiceUnavailable)
			if e := b.last(EventLogoutRefused); e.Code != session.ErrStore {
				t.Errorf("%+v", e)
			}
			b.faulty.Inject(nil)
			b.tell(token, http.StatusOK)
			if br.loggedIn() {
				t.Error("still logged in")
			}
			b.tell(token, http.StatusBadRequest)
			b.advance(time.Second)
		}
	})
}

// A token that is due, and a store in which nobody can say so: no refresh token is sent twice. ATK-K17
func TestStoreAwayAtRefresh(t *testing.T) {
	for _, p := range shared {
		bubble(t, string(p), func(t *testing.T) {
			b := newBench(t, options{place: p, server: func(c *authtest.Config) { c.AccessTokenLifetime = 10 * time.Minute }})
			br := b.browser()
			br.login()
			b.faulty.Inject(swaps(storetest.Fault{Kind: storetest.FailBefore}))
			b.advance(9*time.Minute + 50*time.Second)
			if rec := br.get("/api/me"); rec.Code != http.StatusOK {
				t.Errorf("due and alive: %d", rec.Code)
			}
			b.advance(time.Minute)
			rec := br.get("/api/me")
			b.isUnavailableAnswer(rec)
			isProblem(t, rec, http.StatusServiceUnavailable, "unavailable")
			if n := b.as[0].Requests(authtest.Token); n != 1 {
				t.Errorf("%d token requests", n)
			}
			b.faulty.Inject(nil)
			time.Sleep(time.Second)
			if rec := br.get("/api/me"); rec.Code != http.StatusOK || b.as[0].Requests(authtest.Token) != 2 {
				t.Errorf("afterwards: %d, %d token requests", rec.Code, b.as[0].Requests(authtest.Token))
			}
		})
	}
}

// What handlers are told.
func TestStoreAwayInHandlers(t *testing.T) {
	for _, p := range shared {
		bubble(t, string(p), func(t *testing.T) {
			b := newBench(t, options{place: p})
			b.upstream = func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "upstream") }
			br := acting(t, b, func(w http.ResponseWriter, r *http.Request) {
				down := storetest.Always(storetest.Fault{Kind: storetest.FailBefore})
				b.faulty.Inject(down)
				if resp, err := b.auth.Client(r.Context()).Get("https://api.example/"); err != nil || resp.StatusCode != http.StatusOK {
					t.Errorf("a token that is good: %v", err)
				}
				if _, err := b.auth.Refresh(w, r); !errors.Is(err, session.ErrStore) || len(w.Header()["Set-Cookie"]) != 0 {
					t.Errorf("Refresh: %v, %v", err, w.Header())
				}
				if _, err := b.auth.Session(with("GET", rp+"/")); !errors.Is(err, session.ErrNoSession) {
					t.Errorf("Session of nobody: %v", err)
				}
				open := with("GET", rp+"/")
				open.Header["Cookie"] = r.Header["Cookie"]
				if _, err := b.auth.Session(open); !errors.Is(err, session.ErrStore) {
					t.Errorf("Session: %v", err)
				}
				sc := r.Context().Value(sessionKey{}).(*sessionContext)
				sc.unwritten.Store(true)
				if err := b.auth.Keep(w, r); !errors.Is(err, session.ErrStore) || len(w.Header()["Set-Cookie"]) != 0 {
					t.Errorf("Keep: %v, %v", err, w.Header())
				}
				b.faulty.Inject(nil)
				if err := b.auth.Keep(w, r); err != nil || len(w.Header()["Set-Cookie"]) == 0 {
					t.Errorf("Keep, later: %v", err)
				}
				w.Header().Set("Cache-Control", "no-store")
				b.advance(2 * time.Hour)
				b.faulty.Inject(down)
				if _, err := b.auth.TokenSource(r.Context()).Token(); !errors.Is(err, session.ErrStore) {
					t.Errorf("a token that is not: %v", err)
				}
				b.faulty.Inject(nil)
				b.advance(-2 * time.Hour)
			})
			synctest.Wait()
			if !br.loggedIn() {
				t.Error("logged out")
			}
		})
	}
}
