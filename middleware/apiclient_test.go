package middleware

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/oauth2"

	"github.com/sallyport/sallyport/client"
	"github.com/sallyport/sallyport/client/authtest"
	"github.com/sallyport/sallyport/session"
)

// acting logs a user in and runs f inside a RequireToken handler.
func acting(t *testing.T, b *bench, f func(w http.ResponseWriter, r *http.Request)) *browser {
	t.Helper()
	br := b.browser()
	br.login()
	ran := false
	b.handler = b.auth.Handler(b.auth.RequireToken(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { ran = true; f(w, r) })))
	br.get("/x")
	if !ran {
		t.Fatal("the handler was not reached")
	}
	b.handler = b.auth.Handler(b.auth.RequireToken(http.HandlerFunc(who)))
	return br
}

func TestClientSendsTheToken(t *testing.T) {
	b := newBench(t, options{})
	var seen *http.Request
	b.upstream = func(w http.ResponseWriter, r *http.Request) {
		seen = r
		w.Header().Set("Set-Cookie", "upstream=1")
		fmt.Fprint(w, "hello")
	}
	acting(t, b, func(_ http.ResponseWriter, r *http.Request) {
		s, _ := FromContext(r.Context())
		req, _ := http.NewRequestWithContext(r.Context(), "GET", "https://api.example/v1?x=access_tokens", nil)
		req.Header.Set("Authorization", "Basic c3RyYW5nZXI=")
		req.Header.Set("Cookie", r.Header.Get("Cookie")) // ATK-K22: a proxy forwards what the browser sent
		resp, err := b.auth.Client(r.Context()).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if body, _ := io.ReadAll(resp.Body); string(body) != "hello" || resp.Header.Get("Set-Cookie") != "" {
			t.Errorf("%s %v", body, resp.Header)
		}
		if got := seen.Header["Authorization"]; len(got) != 1 || got[0] != "Bearer "+string(s.AccessToken()) {
			t.Errorf("%d Authorization headers", len(got))
		}
		if seen.Header.Get("Cookie") != "" {
			t.Error("the API sees the browser's cookies")
		}
		if req.Header.Get("Authorization") != "Basic c3RyYW5nZXI=" {
			t.Error("the caller's request was changed")
		}
	})
}

// A handler that passes an API's answer on tells the browser nothing of its cookies and challenges.
func TestClientBehindAHandler(t *testing.T) { // ATK-K22
	b := newBench(t, options{})
	b.upstream = func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Cookie") != "" {
			t.Error("the API sees a cookie")
		}
		w.Header().Set("Set-Cookie", "upstream=1")
		w.Header().Set("WWW-Authenticate", `Bearer error="insufficient_scope"`)
		w.WriteHeader(http.StatusForbidden)
	}
	br := b.browser()
	br.login()
	b.handler = b.auth.Handler(b.auth.RequireToken(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		resp, err := b.auth.Client(r.Context()).Get("https://api.example/")
		if err != nil {
			t.Fatal(err)
		}
		w.WriteHeader(resp.StatusCode)
		_, _ = io.Copy(w, resp.Body)
	})))
	rec := br.get("/x")
	if rec.Code != http.StatusForbidden || rec.Header().Get("Set-Cookie") != "" || rec.Header().Get("WWW-Authenticate") != "" {
		t.Errorf("%d %v", rec.Code, rec.Header())
	}
}

func TestClientRefuses(t *testing.T) {
	b := newBench(t, options{cfg: Config{Resources: []string{"https://api.example", "http://127.0.0.1:9"}}})
	sent := 0
	b.upstream = func(http.ResponseWriter, *http.Request) { sent++ }
	acting(t, b, func(_ http.ResponseWriter, r *http.Request) {
		c := b.auth.Client(r.Context())
		for target, reason := range map[string]string{
			"http://api.example/": "scheme", "ftp://api.example/": "scheme", "https://other.example/": "origin", "https://api.example:8443/": "origin", "https://api.example.evil.example/": "origin",
			"https://api.example/?access_token=x": "query", "https://api.example/?a=b&access%5Ftoken=x": "query", "https://api.example/?ACCESS_TOKEN=x": "query",
		} {
			_, err := c.Post(target, "text/plain", strings.NewReader("body"))
			var e *client.Error
			if !errors.As(err, &e) || e.Code != ErrResourceRefused || e.Reason != reason {
				t.Errorf("%s: %v", target, err)
			}
		}
		if sent != 0 {
			t.Errorf("%d requests were sent", sent)
		}
		for _, target := range []string{"https://api.example/", "https://API.example:443/", "http://127.0.0.1:9/"} {
			if _, err := c.Get(target); err != nil {
				t.Errorf("%s: %v", target, err)
			}
		}
	})
	// Without a list: any https origin.
	b = newBench(t, options{})
	b.upstream = func(http.ResponseWriter, *http.Request) {}
	acting(t, b, func(_ http.ResponseWriter, r *http.Request) {
		if _, err := b.auth.Client(r.Context()).Get("https://anywhere.example/"); err != nil {
			t.Error(err)
		}
		if _, err := b.auth.Client(r.Context()).Get("http://anywhere.example/"); err == nil {
			t.Error("sent in clear")
		}
	})
}

func TestClientRedirects(t *testing.T) {
	b := newBench(t, options{})
	var hosts []string
	b.upstream = func(w http.ResponseWriter, r *http.Request) {
		hosts = append(hosts, r.URL.Host+r.URL.Path)
		if to := r.URL.Query().Get("to"); to != "" {
			http.Redirect(w, r, to, http.StatusTemporaryRedirect)
		}
	}
	acting(t, b, func(_ http.ResponseWriter, r *http.Request) {
		c := b.auth.Client(r.Context())
		for _, to := range []string{"https://evil.example/", "https://api.example:8443/", "http://api.example/", "https://sub.api.example/", "//evil.example/"} {
			hosts = nil
			if _, err := c.Get("https://api.example/?to=" + to); err == nil || len(hosts) != 1 {
				t.Errorf("%s is followed: %v", to, hosts)
			}
		}
		hosts = nil
		if _, err := c.Get("https://api.example/?to=/next"); err != nil || len(hosts) != 2 {
			t.Errorf("own redirect: %v, %v", hosts, err)
		}
		// The same when somebody else's client drives the transport.
		careless := &http.Client{Transport: c.Transport, CheckRedirect: func(*http.Request, []*http.Request) error { return nil }}
		if _, err := careless.Get("https://api.example/?to=https://evil.example/"); !errors.Is(err, client.ErrRedirectRefused) {
			t.Errorf("got %v", err)
		}
	})
}

func TestClientRefreshesOnce(t *testing.T) { // C-21-23, C-21-37
	challenge := `Bearer realm="api", error="invalid_token"`
	for _, tt := range []struct {
		name      string
		status    int
		challenge string
		body      io.Reader
		accepts   int // the request from which on the API is content; 0: never
		requests  int
		refreshes int
		want      int
	}{
		{"refused early", 401, challenge, nil, 2, 2, 1, 200},
		{"with a body that can be sent again", 401, challenge, strings.NewReader("payload"), 2, 2, 1, 200},
		{"with a body that cannot", 401, challenge, io.NopCloser(bytes.NewReader([]byte("payload"))), 2, 1, 0, 401},
		{"refused twice", 401, challenge, nil, 0, 2, 1, 401},
		{"unquoted", 401, "bearer error=invalid_token", nil, 2, 2, 1, 200},
		{"another challenge", 401, `Basic realm="x"`, nil, 2, 1, 0, 401},
		{"no challenge", 401, "", nil, 2, 1, 0, 401},
		{"a scope is missing", 403, `Bearer error="insufficient_scope"`, nil, 2, 1, 0, 403},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t, options{})
			var tokens, bodies []string
			b.upstream = func(w http.ResponseWriter, r *http.Request) {
				tokens = append(tokens, r.Header.Get("Authorization"))
				if r.Body != nil {
					body, _ := io.ReadAll(r.Body)
					bodies = append(bodies, string(body))
				}
				if tt.accepts == 0 || len(tokens) < tt.accepts {
					w.Header().Set("WWW-Authenticate", tt.challenge)
					w.WriteHeader(tt.status)
				}
			}
			br := acting(t, b, func(_ http.ResponseWriter, r *http.Request) {
				calls := b.as[0].Requests(authtest.Token)
				req, _ := http.NewRequestWithContext(r.Context(), "POST", "https://api.example/", tt.body)
				resp, err := b.auth.Client(r.Context()).Do(req)
				if err != nil || resp.StatusCode != tt.want || len(tokens) != tt.requests || b.as[0].Requests(authtest.Token)-calls != tt.refreshes {
					t.Fatalf("%v, %d requests, %d refreshes", err, len(tokens), b.as[0].Requests(authtest.Token)-calls)
				}
				if tt.requests == 2 && tokens[0] == tokens[1] {
					t.Error("the same token was sent again")
				}
				for _, body := range bodies {
					if tt.body != nil && body != "payload" {
						t.Errorf("the API read %q", body)
					}
				}
				if s, _ := FromContext(r.Context()); tt.requests == 2 && "Bearer "+string(s.AccessToken()) != tokens[1] {
					t.Error("the session does not have the new token")
				}
			})
			// What was rotated while the handler ran is not lost: the browser still has the old cookie.
			if rec := br.get("/x"); rec.Code != http.StatusOK || !br.loggedIn() {
				t.Errorf("afterwards: %d", rec.Code)
			}
		})
	}
}

func TestTokenSource(t *testing.T) {
	b := newBench(t, options{server: func(c *authtest.Config) { c.AccessTokenLifetime = 10 * time.Minute }})
	acting(t, b, func(_ http.ResponseWriter, r *http.Request) {
		source := b.auth.TokenSource(r.Context())
		first, err := source.Token()
		if err != nil || first.AccessToken == "" || first.RefreshToken != "" || first.TokenType != "Bearer" {
			t.Fatalf("%v, refresh token given away: %v", err, first.RefreshToken != "")
		}
		again, _ := source.Token()
		if again.AccessToken != first.AccessToken {
			t.Error("a fresh token was replaced")
		}
		b.advance(10 * time.Minute)
		next, err := source.Token()
		if err != nil || next.AccessToken == first.AccessToken {
			t.Errorf("a dead token was not replaced: %v", err)
		}
		b.advance(10 * time.Minute)
		b.as[0].Misbehave(authtest.Fault{Endpoint: authtest.Token, Wire: authtest.DropBefore})
		if _, err := source.Token(); err == nil {
			t.Error("a dead token is given out")
		}
		if _, err := b.auth.Client(r.Context()).Post("https://api.example/", "text/plain", strings.NewReader("x")); err == nil {
			t.Error("a request goes out with a dead token")
		}
	})
}

func TestClientWithoutSession(t *testing.T) {
	a := testAuth(t, Config{})
	if _, err := a.TokenSource(context.Background()).Token(); !errors.Is(err, session.ErrNoSession) {
		t.Errorf("got %v", err)
	}
	if _, err := a.Client(context.Background()).Get("https://api.example/"); !errors.Is(err, session.ErrNoSession) {
		t.Errorf("got %v", err)
	}
	// A context of another Auth is no licence here.
	b := newBench(t, options{})
	acting(t, b, func(_ http.ResponseWriter, r *http.Request) {
		if _, err := a.TokenSource(r.Context()).Token(); !errors.Is(err, session.ErrNoSession) {
			t.Errorf("got %v", err)
		}
	})
}

func TestClientInTests(t *testing.T) {
	var got string
	a := testAuth(t, Config{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
		got = r.Header.Get("Authorization")
		return &http.Response{StatusCode: 200, Header: http.Header{}, Body: http.NoBody, Request: r}, nil
	})})
	r := WithSession(httptest.NewRequest("GET", "/", nil), testSession(t))
	if _, err := a.Client(r.Context()).Get("https://api.example/"); err != nil || got != "Bearer test-access-token" {
		t.Errorf("%v %q", err, got)
	}
}

func TestNowhere(t *testing.T) {
	var w nowhere
	w.Header().Set("Set-Cookie", "x=y")
	w.WriteHeader(200)
	if n, err := w.Write([]byte("abc")); n != 3 || err != nil || len(w.Header()) != 0 {
		t.Errorf("%d %v", n, err)
	}
}

// A server that gives the refused token out again is not asked for ever.
func TestClientSameTokenAgain(t *testing.T) {
	b := newBench(t, options{})
	requests := 0
	b.upstream = func(w http.ResponseWriter, r *http.Request) {
		requests++
		w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
		w.WriteHeader(http.StatusUnauthorized)
	}
	acting(t, b, func(_ http.ResponseWriter, r *http.Request) {
		s, _ := FromContext(r.Context())
		b.as[0].Misbehave(authtest.Fault{Endpoint: authtest.Token, JSON: func(m map[string]any) { m["access_token"] = string(s.AccessToken()); delete(m, "id_token") }})
		resp, err := b.auth.Client(r.Context()).Get("https://api.example/")
		if err != nil || resp.StatusCode != http.StatusUnauthorized || requests != 1 || b.as[0].Requests(authtest.Token) != 2 {
			t.Errorf("%v, %d requests, %d token requests", err, requests, b.as[0].Requests(authtest.Token))
		}
	})
}

// The caller's context bounds the refresh; one that is detached outlives the request.
func TestClientContext(t *testing.T) {
	b := newBench(t, options{server: func(c *authtest.Config) { c.AccessTokenLifetime = 10 * time.Minute }})
	var ended, detached oauth2.TokenSource
	acting(t, b, func(_ http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithCancel(r.Context())
		ended, detached = b.auth.TokenSource(ctx), b.auth.TokenSource(context.WithoutCancel(ctx))
		cancel()
	})
	b.advance(11 * time.Minute)
	gate := make(chan struct{})
	b.as[0].Misbehave(authtest.Fault{Endpoint: authtest.Token, Wire: authtest.StallAfter, Gate: gate})
	if _, err := ended.Token(); !errors.Is(err, context.Canceled) {
		t.Errorf("an ended context: %v", err)
	}
	close(gate)
	if _, err := detached.Token(); err != nil {
		t.Errorf("a detached context: %v", err)
	}
}

// A transport that does not say which request it answered is no way around the check of a redirect's origin.
func TestRedirectOfTerseTransport(t *testing.T) {
	var evil atomic.Int32
	b := newBench(t, options{cfg: Config{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
		if r.URL.Host == "evil.example" {
			evil.Add(1)
		}
		return &http.Response{StatusCode: 307, Header: http.Header{"Location": {"https://evil.example/"}}, Body: http.NoBody}, nil
	})}})
	acting(t, b, func(w http.ResponseWriter, r *http.Request) {
		_, err := b.auth.Client(r.Context()).Get("https://api.example/")
		if !errors.Is(err, client.ErrRedirectRefused) || evil.Load() != 0 {
			t.Errorf("got %v, %d requests", err, evil.Load())
		}
	})
}
