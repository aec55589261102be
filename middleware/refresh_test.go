package middleware

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/sallyport/sallyport/client"
	"github.com/sallyport/sallyport/client/authtest"
	"github.com/sallyport/sallyport/session"
)

func TestRefresh(t *testing.T) {
	b := newBench(t, options{})
	br := b.browser()
	br.login()
	var before, after client.Secret
	b.handler = b.auth.Handler(b.auth.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s, _ := FromContext(r.Context())
		before = s.AccessToken()
		s, err := b.auth.Refresh(w, r)
		if err != nil {
			t.Fatal(err)
		}
		after = s.AccessToken()
		if now, _ := FromContext(r.Context()); now != s {
			t.Error("the context has the old session")
		}
	})))
	rec := br.send(with("POST", rp+"/refresh", "Sec-Fetch-Site: same-origin"))
	if before == after || b.as[0].Requests(authtest.Token) != 2 || len(rec.Header()["Set-Cookie"]) == 0 || rec.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("%d token requests, %v", b.as[0].Requests(authtest.Token), rec.Header())
	}
	var kept client.Secret
	b.handler = b.auth.Handler(b.auth.RequireLogin(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		s, _ := FromContext(r.Context())
		kept = s.AccessToken()
	})))
	if br.get("/"); kept != after {
		t.Error("the browser does not have the new tokens")
	}
}

func TestRefreshRefused(t *testing.T) {
	b := newBench(t, options{})
	br := b.browser()
	br.login()
	b.as[0].Misbehave(authtest.Fault{Endpoint: authtest.Token, Times: 1, Answer: authtest.JSON(400, map[string]any{"error": "invalid_grant"})})
	b.handler = b.auth.Handler(b.auth.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := b.auth.Refresh(w, r); !errors.Is(err, client.ErrGrantRevoked) {
			t.Errorf("got %v", err)
		}
	})))
	br.send(with("POST", rp+"/refresh"))
	if br.loggedIn() {
		t.Error("the session outlives its grant")
	}
}

func TestRefreshWithoutSession(t *testing.T) {
	a := testAuth(t, Config{})
	rec := httptest.NewRecorder()
	if _, err := a.Refresh(rec, with("GET", "/")); !errors.Is(err, session.ErrNoSession) {
		t.Errorf("got %v", err)
	}
	s := testSession(t)
	if got, err := a.Refresh(rec, WithSession(with("GET", "/"), s)); err != nil || got != s {
		t.Errorf("under test: %v", err)
	}
	// The context of another Auth is no licence here.
	b := newBench(t, options{})
	acting(t, b, func(w http.ResponseWriter, r *http.Request) {
		if _, err := a.Refresh(w, r); !errors.Is(err, session.ErrNoSession) {
			t.Errorf("got %v", err)
		}
	})
	if len(rec.Header()) != 0 {
		t.Errorf("written: %v", rec.Header())
	}
}

func TestKeepWithoutSession(t *testing.T) {
	a := testAuth(t, Config{})
	rec := httptest.NewRecorder()
	if err := a.Keep(rec, with("GET", "/")); !errors.Is(err, session.ErrNoSession) {
		t.Errorf("got %v", err)
	}
	if err := a.Keep(rec, WithSession(with("GET", "/"), testSession(t))); err != nil || len(rec.Header()) != 0 {
		t.Errorf("under test: %v, %v", err, rec.Header())
	}
}

// A session that ends while its handler runs is not written again (R3).
func TestKeepAfterLogout(t *testing.T) {
	b := newBench(t, options{})
	acting(t, b, func(w http.ResponseWriter, r *http.Request) {
		sc := r.Context().Value(sessionKey{}).(*sessionContext)
		sc.unwritten.Store(true)
		b.auth.sessions.End(httptest.NewRecorder(), r, sc.session.Load())
		if err := b.auth.Keep(w, r); !errors.Is(err, session.ErrSessionEnded) || len(w.Header()["Set-Cookie"]) != 0 {
			t.Errorf("got %v, %v", err, w.Header())
		}
	})
}
