package middleware

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

// answer serves r and returns what came.
func answer(h http.Handler, r *http.Request) *httptest.ResponseRecorder {
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, r)
	return rec
}

// other stands for the application behind Auth.Handler.
var other = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.Header().Set("X-Other", "1") })

func isOther(rec *httptest.ResponseRecorder) bool { return rec.Header().Get("X-Other") != "" }

// checkHeaders is what every answer of ours carries.
func checkHeaders(t *testing.T, rec *httptest.ResponseRecorder, r *http.Request) {
	t.Helper()
	for name, want := range map[string]string{
		"Cache-Control": "no-store", "Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY",
		"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin", "Content-Security-Policy": contentSecurityPolicy,
	} {
		if got := rec.Result().Header.Get(name); got != want {
			t.Errorf("%s %s: %s is %q, want %q", r.Method, r.URL.Path, name, got, want)
		}
	}
	for _, part := range []string{"frame-ancestors 'none'", "default-src 'none'", "base-uri 'none'", "form-action 'none'"} {
		if !strings.Contains(contentSecurityPolicy, part) {
			t.Errorf("the policy lacks %s", part)
		}
	}
}

// checkPage is code G: our headers, and not a byte of the request on the page.
func checkPage(t *testing.T, rec *httptest.ResponseRecorder, r *http.Request) {
	t.Helper()
	checkHeaders(t, rec, r)
	body := rec.Body.String()
	values, _ := url.ParseQuery(r.URL.RawQuery)
	for name, list := range values {
		for _, v := range append(list, url.QueryEscape(strings.Join(list, ""))) {
			if len(v) > 4 && strings.Contains(body, v) {
				t.Errorf("%s: the page reflects parameter %s", r.URL.Path, name)
			}
		}
	}
	if strings.Contains(strings.ToLower(body), "<script") || strings.Contains(body, "http://") || strings.Contains(body, "https://") {
		t.Errorf("%s: the page holds a script or another address", r.URL.Path)
	}
}

func TestMethods(t *testing.T) {
	a := testAuth(t, Config{})
	for _, tt := range []struct{ path, allowed, allow string }{
		{"/auth/login", "GET", "GET"}, {"/auth/logout", "POST", "POST"}, {"/auth/logout/callback", "GET", "GET"}, {"/auth/backchannel-logout", "POST", "POST"}, {"/auth/session", "GET HEAD", "GET, HEAD"}, {"/auth/callback", "GET", "GET"},
	} {
		for _, m := range []string{"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PURGE", "get", ""} {
			if strings.Contains(" "+tt.allowed+" ", " "+m+" ") || m == "" {
				continue
			}
			r := with(m, "https://rp.example"+tt.path+"?code=reflected&state=reflected")
			rec := answer(a, r)
			if rec.Code != http.StatusMethodNotAllowed || rec.Header().Get("Allow") != tt.allow {
				t.Errorf("%s %s: %d, Allow %q", m, tt.path, rec.Code, rec.Header().Get("Allow"))
			}
			if m == "HEAD" && rec.Body.Len() > 0 {
				t.Errorf("HEAD %s has a body", tt.path)
			}
			if len(rec.Header()["Set-Cookie"]) > 0 {
				t.Errorf("%s %s sets a cookie", m, tt.path)
			}
			checkPage(t, rec, r)
		}
	}
}

func TestOnlyExactPathsAreOurs(t *testing.T) {
	a := testAuth(t, Config{})
	h := a.Handler(other)
	for _, p := range []string{
		// ATK-R03
		"/auth/./callback", "/auth/x/../callback", "//auth/callback", "/auth/callback;a=b", `/auth\callback`, "/auth/callback/.", "/auth//callback", "/auth/%63allback", "/auth/%2563allback", "/auth%2fcallback", "/auth;x/callback", "/./auth/callback",
		// ATK-R04
		"/auth/callback/", "/Auth/Callback", "/AUTH/CALLBACK", "/auth/Callback",
		"/auth/login/", "/auth/Login", "/auth/./logout", "/auth/session/",
	} {
		r := with("GET", "https://rp.example/x?code=CODE0001&state=STATE0001")
		u, err := url.ParseRequestURI(p + "?code=CODE0001&state=STATE0001")
		if err != nil {
			t.Fatal(err)
		}
		r.URL, r.RequestURI = u, p
		for name, handler := range map[string]http.Handler{"Handler": h, "ServeHTTP": a} {
			rec := answer(handler, r)
			if rec.Code != http.StatusNotFound || isOther(rec) || rec.Header().Get("Location") != "" {
				t.Errorf("%s: %q is answered with %d %s", name, p, rec.Code, rec.Header().Get("Location"))
			}
			checkPage(t, rec, r)
		}
	}
	for _, p := range []string{"/", "/auth", "/auth/", "/auth/profile", "/callback", "/x/auth/callback", "/auth/callbackx", "/auth/callback/x"} {
		if rec := answer(h, with("GET", "https://rp.example"+p)); !isOther(rec) {
			t.Errorf("%q does not reach the application: %d", p, rec.Code)
		}
		if rec := answer(a, with("GET", "https://rp.example"+p)); rec.Code != http.StatusNotFound {
			t.Errorf("%q: %d", p, rec.Code)
		}
	}
}

func TestHandlerBehindNoMux(t *testing.T) { // ATK-R03: with a mux inside, nothing is cleaned before it is judged
	a := testAuth(t, Config{})
	mux := http.NewServeMux()
	mux.Handle("/", other)
	rec := answer(a.Handler(mux), with("GET", "https://rp.example/auth//callback?code=CODE0001&state=STATE0001"))
	if rec.Code != http.StatusNotFound || strings.Contains(rec.Header().Get("Location"), "code") {
		t.Errorf("%d, Location %q", rec.Code, rec.Header().Get("Location"))
	}
}

func TestSendHome(t *testing.T) {
	manager := testManager(t)
	a, err := New(manager, testClient(t, "", "https://as-a.example", "http://127.0.0.1:8080/auth/callback"))
	if err != nil {
		t.Fatal(err)
	}
	const nav = "Sec-Fetch-Mode: navigate"
	for _, tt := range []struct {
		host, target string
		headers      []string
		want         string
	}{
		{"localhost:8080", "/me?a=b%20c", []string{nav}, "http://127.0.0.1:8080/me?a=b%20c"},
		{"LOCALHOST:8080", "/", []string{nav}, "http://127.0.0.1:8080/"},
		{"[::1]:8080", "/", []string{nav}, "http://127.0.0.1:8080/"},
		{"127.0.0.2:8080", "/", []string{nav}, "http://127.0.0.1:8080/"},
		{"localhost:8080", "//evil.example/x", []string{nav}, "http://127.0.0.1:8080//evil.example/x"},
		{"127.0.0.1:8080", "/", []string{nav}, ""},
		{"localhost:9090", "/", []string{nav}, ""},
		{"localhost", "/", []string{nav}, ""},
		{"evil.example:8080", "/", []string{nav}, ""},
		{"localhost.evil.example:8080", "/", []string{nav}, ""},
		{"localhost:8080@evil.example", "/", []string{nav}, ""},
		{"", "/", []string{nav}, ""},
		{"localhost:8080", "/api", nil, ""},
	} {
		r := with("GET", "/", tt.headers...)
		r.URL, _ = url.ParseRequestURI(tt.target)
		r.RequestURI = tt.target
		r.Host = tt.host
		rec := answer(a.Handler(other), r)
		if got := rec.Header().Get("Location"); got != tt.want || tt.want != "" && rec.Code != http.StatusTemporaryRedirect || tt.want == "" && !isOther(rec) {
			t.Errorf("%s%s: %d to %q, want %q", tt.host, tt.target, rec.Code, got, tt.want)
		}
	}
	// The login itself is sent home too, the callback never is: its code belongs to the registered address alone.
	r := with("GET", "http://localhost:8080/auth/login?return_to=/x", nav)
	if rec := answer(a, r); rec.Header().Get("Location") != "http://127.0.0.1:8080/auth/login?return_to=/x" {
		t.Errorf("login: %d %q", rec.Code, rec.Header().Get("Location"))
	}
	r = with("GET", "http://localhost:8080/auth/callback?code=CODE0001&state=STATE0001", nav)
	rec := answer(a, r)
	if rec.Code != http.StatusMisdirectedRequest || rec.Header().Get("Location") != "" {
		t.Errorf("callback: %d %q", rec.Code, rec.Header().Get("Location"))
	}
	checkPage(t, rec, r)
	// A production origin has no other names.
	prod := testAuth(t, Config{})
	if rec := answer(prod.Handler(other), with("GET", "http://localhost/", nav)); !isOther(rec) {
		t.Errorf("production: %d %q", rec.Code, rec.Header().Get("Location"))
	}
}

func TestPageEscapes(t *testing.T) {
	rec := httptest.NewRecorder()
	page{status: 400, title: "<b>&", text: `"'><i>`, code: "<c>", correlation: "<d>", links: []link{{`/"x`, "<e>"}}}.write(rec, with("GET", "/"))
	for _, raw := range []string{"<b>", "<i>", "<c>", "<d>", "<e>", `/"x`} {
		if strings.Contains(rec.Body.String(), raw) {
			t.Errorf("%s is not escaped", raw)
		}
	}
}

// Whoever quotes the reference of a page finds it in the log.
func TestMethodIsReported(t *testing.T) {
	b := newBench(t, options{})
	rec := b.browser().get("/auth/logout")
	e := b.last(EventRequestRefused)
	if rec.Code != http.StatusMethodNotAllowed || e.Code != "method" || e.Correlation == "" || !strings.Contains(rec.Body.String(), e.Correlation) {
		t.Errorf("%d, %+v", rec.Code, e)
	}
}
