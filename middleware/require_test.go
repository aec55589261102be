package middleware

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport/sallyport/client"
	"github.com/sallyport/sallyport/client/authtest"
	"github.com/sallyport/sallyport/session"
)

// isProblem checks an answer for programs and returns its code.
func isProblem(t *testing.T, rec *httptest.ResponseRecorder, status int, code string) {
	t.Helper()
	var p struct {
		Title, Detail, Code string
		Status              int
	}
	if err := json.Unmarshal(rec.Body.Bytes(), &p); err != nil || rec.Code != status || p.Status != status || p.Code != code || p.Title != http.StatusText(status) || rec.Header().Get("Content-Type") != "application/problem+json" {
		t.Errorf("%d %s %s, want %d %s", rec.Code, rec.Header().Get("Content-Type"), rec.Body, status, code)
	}
	if rec.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("Cache-Control %q", rec.Header().Get("Cache-Control"))
	}
}

func TestRequireLoginWithoutSession(t *testing.T) {
	b := newBench(t, options{})
	for target, want := range map[string]string{
		"/me":                     rp + "/auth/login?return_to=%2Fme",
		"/me?a=b%20c&return_to=x": rp + "/auth/login?return_to=" + url.QueryEscape("/me?a=b%20c&return_to=x"),
	} {
		rec := b.browser().get(target)
		if rec.Code != http.StatusSeeOther || rec.Header().Get("Location") != want || rec.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %d %s", target, rec.Code, rec.Header().Get("Location"))
		}
	}
	for name, r := range map[string]*http.Request{
		"command line": with("GET", rp+"/me"), "fetch": with("GET", rp+"/me", "Sec-Fetch-Site: same-origin", "Sec-Fetch-Mode: cors", "Sec-Fetch-Dest: empty", "Accept: text/html"),
		"image": with("GET", rp+"/me", "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: no-cors", "Sec-Fetch-Dest: image"), "post": with("POST", rp+"/me", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Site: same-origin"),
		"prefetch": with("GET", rp+"/me", append(navigation, "Sec-Purpose: prefetch")...),
	} {
		t.Run(name, func(t *testing.T) {
			rec := b.browser().send(r)
			isProblem(t, rec, http.StatusUnauthorized, "login_required")
			if len(rec.Header()["Set-Cookie"]) > 0 || rec.Header().Get("Location") != "" {
				t.Errorf("headers %v", rec.Header())
			}
		})
	}
	// A token alone never redirects.
	isProblem(t, b.browser().get("/api/me"), http.StatusUnauthorized, "login_required")
}

// A page behind the login is where the user ends up.
func TestRequireLoginComesBack(t *testing.T) {
	b := newBench(t, options{})
	br := b.browser()
	rec := br.get("/me?a=b%20c")
	p := br.begin(strings.TrimPrefix(rec.Header().Get("Location"), rp))
	if got := p.finish().Header().Get("Location"); got != "/me?a=b%20c" {
		t.Errorf("Location %q", got)
	}
}

func TestRequireLoginHead(t *testing.T) {
	b := newBench(t, options{})
	rec := b.browser().send(with("HEAD", rp+"/me"))
	if rec.Code != http.StatusUnauthorized || rec.Body.Len() > 0 {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
}

func TestRequireLoginUnderAnotherName(t *testing.T) {
	a, err := New(testManager(t), testClient(t, "", "https://as-a.example", "http://127.0.0.1:8080/auth/callback"))
	if err != nil {
		t.Fatal(err)
	}
	rec := answer(a.RequireLogin(other), with("GET", "http://localhost:8080/me", navigation...))
	if rec.Code != http.StatusTemporaryRedirect || rec.Header().Get("Location") != "http://127.0.0.1:8080/me" {
		t.Errorf("%d %s", rec.Code, rec.Header().Get("Location"))
	}
}

func TestRequireRefusesOtherOrigins(t *testing.T) { // ATK-K20
	b := newBench(t, options{})
	br := b.browser()
	br.login()
	var reached int
	h := b.auth.Handler(b.auth.RequireToken(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached++ })))
	b.handler = h
	for name, r := range map[string]*http.Request{
		"sibling, no-cors":   with("POST", rp+"/api/pay", "Sec-Fetch-Site: same-site", "Sec-Fetch-Mode: no-cors", "Content-Type: text/plain", "Origin: https://evil.rp.example"),
		"other site":         with("POST", rp+"/api/pay", "Sec-Fetch-Site: cross-site", "Origin: https://evil.example"),
		"old browser":        with("POST", rp+"/api/pay", "Origin: https://evil.rp.example"),
		"read with effect":   with("GET", rp+"/api/pay", "Sec-Fetch-Site: same-site", "Sec-Fetch-Mode: no-cors", "Sec-Fetch-Dest: image"),
		"read, cors":         with("GET", rp+"/api/pay", "Sec-Fetch-Site: same-site", "Sec-Fetch-Mode: cors", "Origin: https://evil.rp.example"),
		"form":               with("POST", rp+"/api/pay", "Sec-Fetch-Site: same-site", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document", "Content-Type: text/plain"),
		"delete":             with("DELETE", rp+"/api/pay", "Sec-Fetch-Site: cross-site"),
		"our host over http": with("POST", rp+"/api/pay", "Origin: http://rp.example"),
	} {
		was, calls := br.session(), b.calls()
		rec := br.send(r)
		isProblem(t, rec, http.StatusForbidden, "csrf")
		if e := b.last(EventRequestRefused); e.Code != ErrCSRF || e.Correlation == "" {
			t.Errorf("%s: the event is %+v", name, e)
		}
		if reached != 0 || br.session() != was || b.calls() != calls {
			t.Errorf("%s: reached %d", name, reached)
		}
	}
	for _, r := range []*http.Request{with("POST", rp+"/api/pay", "Sec-Fetch-Site: same-origin"), with("POST", rp+"/api/pay"), with("GET", rp+"/api/pay", "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate")} {
		if rec := br.send(r); rec.Code != http.StatusOK {
			t.Errorf("%s %v: %d", r.Method, r.Header, rec.Code)
		}
	}
	isProblem(t, b.browser().send(with("POST", rp+"/api/pay", "Sec-Fetch-Site: cross-site")), http.StatusForbidden, "csrf")
	if reached != 3 {
		t.Errorf("reached %d", reached)
	}
}

func TestRequireTokenRefreshes(t *testing.T) {
	b := newBench(t, options{server: func(c *authtest.Config) { c.AccessTokenLifetime = 10 * time.Minute }})
	br := b.browser()
	br.login()
	if rec := br.get("/api/me"); rec.Code != http.StatusOK || b.as[0].Requests(authtest.Token) != 1 || len(rec.Header()["Set-Cookie"]) > 0 {
		t.Errorf("fresh: %d, %d token requests", rec.Code, b.as[0].Requests(authtest.Token))
	}
	b.advance(9*time.Minute + 30*time.Second) // due, not dead
	rec := br.get("/api/me")
	if rec.Code != http.StatusOK || b.as[0].Requests(authtest.Token) != 2 || len(rec.Header()["Set-Cookie"]) == 0 || rec.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("due: %d, %d token requests, %v", rec.Code, b.as[0].Requests(authtest.Token), rec.Header())
	}
	// A login alone needs no token.
	b.advance(20 * time.Minute)
	if rec := br.get("/me"); rec.Code != http.StatusOK || b.as[0].Requests(authtest.Token) != 2 {
		t.Errorf("RequireLogin: %d, %d token requests", rec.Code, b.as[0].Requests(authtest.Token))
	}
}

func TestRequireTokenServerDown(t *testing.T) { synctest.Test(t, testRequireTokenServerDown) }

func testRequireTokenServerDown(t *testing.T) {
	b := newBench(t, options{server: func(c *authtest.Config) { c.AccessTokenLifetime = 10 * time.Minute }})
	br := b.browser()
	br.login()
	b.as[0].Misbehave(authtest.Fault{Endpoint: authtest.Token, Answer: &authtest.Response{Status: 503, Header: http.Header{"Retry-After": {"7"}}}})
	b.advance(9*time.Minute + 30*time.Second)
	if rec := br.get("/api/me"); rec.Code != http.StatusOK {
		t.Errorf("due and alive: %d %s", rec.Code, rec.Body)
	}
	b.advance(10 * time.Minute)
	rec := br.get("/api/me")
	isProblem(t, rec, http.StatusServiceUnavailable, "unavailable")
	if rec.Header().Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	if !br.loggedIn() {
		t.Error("an outage logged the user out")
	}
}

func TestRequireTokenGrantOver(t *testing.T) {
	b := newBench(t, options{server: func(c *authtest.Config) { c.AccessTokenLifetime = 10 * time.Minute }})
	both := b.auth.RequireLogin(b.auth.RequireToken(http.HandlerFunc(who)))
	mux := http.NewServeMux()
	mux.Handle("/both", both)
	mux.Handle("/api/me", b.auth.RequireToken(http.HandlerFunc(who)))
	b.handler = b.auth.Handler(mux)
	over := func() *browser {
		br := b.browser()
		br.login()
		b.advance(11 * time.Minute)
		b.as[0].Misbehave(authtest.Fault{Endpoint: authtest.Token, Times: 1, Answer: authtest.JSON(400, map[string]any{"error": "invalid_grant"})})
		return br
	}
	// ATK-F05: the browser does not keep the cookie either.
	br := over()
	isProblem(t, br.get("/api/me"), http.StatusUnauthorized, "login_required")
	if len(br.jar) != 0 {
		t.Error("the browser keeps a session that is over")
	}
	// Inside a RequireLogin a page leads into a login, once; a fetch does not.
	rec := over().get("/both")
	if rec.Code != http.StatusSeeOther || !strings.HasPrefix(rec.Header().Get("Location"), rp+"/auth/login?") {
		t.Errorf("%d %s", rec.Code, rec.Header().Get("Location"))
	}
	isProblem(t, over().send(with("GET", rp+"/both")), http.StatusUnauthorized, "login_required")
}

// A page that cannot be served for want of a token is a page, with a reference that the log has.
func TestOutageForAPerson(t *testing.T) {
	b := newBench(t, options{server: func(c *authtest.Config) { c.AccessTokenLifetime = 10 * time.Minute }})
	b.handler = b.auth.Handler(b.auth.RequireLogin(b.auth.RequireToken(http.HandlerFunc(who))))
	br := b.browser()
	br.login()
	b.advance(11 * time.Minute)
	b.as[0].Misbehave(authtest.Fault{Endpoint: authtest.Token, Answer: authtest.JSON(503, map[string]any{})})
	rec := br.get("/page")
	e := b.last(EventRequestRefused)
	if rec.Code != http.StatusServiceUnavailable || rec.Header().Get("Retry-After") == "" || !strings.HasPrefix(rec.Header().Get("Content-Type"), "text/html") || e.Correlation == "" || !strings.Contains(rec.Body.String(), e.Correlation) {
		t.Errorf("%d %v %+v", rec.Code, rec.Header(), e)
	}
	if !br.loggedIn() {
		t.Error("an outage logged the user out")
	}
}

func TestRequireNested(t *testing.T) {
	b := newBench(t, options{})
	br := b.browser()
	br.login()
	b.handler = b.auth.Handler(b.auth.RequireLogin(b.auth.RequireToken(b.auth.RequireLogin(http.HandlerFunc(who)))))
	if rec := br.get("/x"); rec.Body.String() != "user-alice" {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
	// The session of another Auth is none here.
	elsewhere := newBench(t, options{})
	b.handler = b.auth.Handler(b.auth.RequireLogin(elsewhere.auth.RequireToken(http.HandlerFunc(who))))
	isProblem(t, br.get("/x"), http.StatusUnauthorized, "login_required")
	// Nor is it to a handler that asks.
	b.handler = b.auth.Handler(b.auth.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s, err := elsewhere.auth.Session(r); !errors.Is(err, session.ErrNoSession) && !errors.Is(err, session.ErrCookie) {
			t.Errorf("got %v, %v", s, err)
		}
	})))
	br.get("/x")
}

// The writer goes through untouched, so streaming and hijacking keep working.
func TestResponseWriterIsNotWrapped(t *testing.T) {
	b := newBench(t, options{})
	br := b.browser()
	br.login()
	var got http.ResponseWriter
	h := b.auth.Handler(b.auth.RequireLogin(b.auth.RequireToken(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { got = w }))))
	r := with("GET", rp+"/x")
	for name, v := range br.jar {
		r.AddCookie(&http.Cookie{Name: name, Value: v})
	}
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, r)
	if got != http.ResponseWriter(rec) {
		t.Errorf("the handler got %T", got)
	}
}

func TestWithSession(t *testing.T) {
	a := testAuth(t, Config{})
	s := testSession(t)
	for name, h := range map[string]http.Handler{
		"bare": http.HandlerFunc(who), "RequireLogin": a.RequireLogin(http.HandlerFunc(who)), "RequireToken": a.RequireToken(http.HandlerFunc(who)), "both": a.RequireLogin(a.RequireToken(http.HandlerFunc(who))),
	} {
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, WithSession(httptest.NewRequest("POST", "/x", nil), s))
		if rec.Body.String() != "user-alice" {
			t.Errorf("%s: %d %s", name, rec.Code, rec.Body)
		}
	}
	if got, err := a.Session(WithSession(httptest.NewRequest("GET", "/", nil), s)); err != nil || got != s {
		t.Errorf("%v %v", got, err)
	}
	if _, ok := FromContext(httptest.NewRequest("GET", "/", nil).Context()); ok {
		t.Error("a session out of nowhere")
	}
}

// Behind http.StripPrefix the user comes back to where he was, not to what is left of the path.
func TestRequireLoginBehindStripPrefix(t *testing.T) {
	a := testAuth(t, Config{})
	r := with("GET", "/app/reports", navigation...)
	r.RequestURI, r.URL.RawQuery = "/app/reports?year=2026", "year=2026"
	rec := answer(http.StripPrefix("/app", a.RequireLogin(other)), r)
	if got := rec.Header().Get("Location"); got != rp+"/auth/login?return_to="+url.QueryEscape("/app/reports?year=2026") {
		t.Errorf("Location %q", got)
	}
	// What the request line says is a stranger's, too.
	for _, uri := range []string{"//evil.example/x", "/auth/logout", "/%2f/evil.example", "/" + strings.Repeat("a", 4000)} {
		r := with("GET", "/x", navigation...)
		r.RequestURI = uri
		if got := answer(a.RequireLogin(other), r).Header().Get("Location"); got != rp+"/auth/login" {
			t.Errorf("%.40s: Location %.80q", uri, got)
		}
	}
}

// A refused read costs no refresh.
func TestForeignReadSendsNothing(t *testing.T) { // ATK-K20
	b := newBench(t, options{server: func(c *authtest.Config) { c.AccessTokenLifetime = 10 * time.Minute }})
	br := b.browser()
	br.login()
	b.advance(11 * time.Minute)
	for _, h := range [][]string{{"Sec-Fetch-Site: same-site", "Sec-Fetch-Mode: no-cors"}, {"Origin: https://evil.rp.example", "Connection: Upgrade", "Upgrade: websocket"}} {
		calls := b.calls()
		rec := br.send(with("GET", rp+"/api/me", h...))
		isProblem(t, rec, http.StatusForbidden, "csrf")
		if b.calls() != calls || len(rec.Header()["Set-Cookie"]) > 0 {
			t.Errorf("%d calls", b.calls()-calls)
		}
	}
}

func TestRequireTokenPanickingSecret(t *testing.T) { // ATK-S03
	armed := false
	b := newBench(t, options{server: func(c *authtest.Config) { c.AccessTokenLifetime = 10 * time.Minute }, secret: client.SecretFunc(func(context.Context) (client.Secret, error) {
		if armed {
			panic("canary-panic-value")
		}
		return secret, nil
	})})
	b.canary("panic value", "canary-panic-value")
	br := b.browser()
	br.login()
	b.advance(11 * time.Minute)
	armed = true
	if rec := br.get("/api/me"); rec.Code < 500 || !br.loggedIn() {
		t.Errorf("%d", rec.Code)
	}
	// The logout of a user does not depend on it either.
	if rec := br.send(logoutRequest("", "")); rec.Code >= 400 || br.loggedIn() {
		t.Errorf("logout: %d", rec.Code)
	}
}

// Using a session keeps it alive, a coarse step at a time.
func TestRequireTouches(t *testing.T) {
	for _, target := range []string{"/me", "/api/me"} {
		b := newBench(t, options{})
		br := b.browser()
		br.login()
		if rec := br.get(target); len(rec.Header()["Set-Cookie"]) > 0 {
			t.Errorf("%s: a cookie with every request", target)
		}
		for range 5 {
			b.advance(45 * time.Minute)
			if rec := br.get(target); rec.Code != http.StatusOK || len(rec.Header()["Set-Cookie"]) == 0 || rec.Header().Get("Cache-Control") != "no-store" {
				t.Fatalf("%s: %d %v", target, rec.Code, rec.Header())
			}
		}
	}
}

// The handler sees the tokens of the refresh that the inner guard made.
func TestRequireNestedRefresh(t *testing.T) {
	b := newBench(t, options{server: func(c *authtest.Config) { c.AccessTokenLifetime = 10 * time.Minute }})
	br := b.browser()
	br.login()
	b.advance(11 * time.Minute)
	b.handler = b.auth.Handler(b.auth.RequireLogin(b.auth.RequireToken(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if s, _ := FromContext(r.Context()); !s.AccessTokenExpiry().After(b.now()) {
			t.Error("the context has the dead token")
		}
	}))))
	if rec := br.get("/x"); rec.Code != http.StatusOK || b.as[0].Requests(authtest.Token) != 2 {
		t.Errorf("%d, %d token requests", rec.Code, b.as[0].Requests(authtest.Token))
	}
}
