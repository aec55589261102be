package middleware

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/sallyport/sallyport/client"
	"github.com/sallyport/sallyport/session"
)

func TestRequireBadCookies(t *testing.T) { // ATK-K04
	b := newBench(t, options{})
	br := b.browser()
	br.login()
	good := merged(br.jar, nil)
	for name, change := range map[string]func(string) string{
		"cut": func(v string) string { return v[:len(v)-1] }, "half": func(v string) string { return v[:len(v)/2] }, "empty": func(string) string { return "" },
		"flipped": func(v string) string { return v[:10] + swapCase(v[10:]) }, "garbage": func(string) string { return "garbage" },
	} {
		for cookie, v := range good {
			br.jar = map[string]string{cookie: change(v)}
		}
		if got := br.session(); got != `{"authenticated":false}` {
			t.Errorf("%s: %s", name, got)
		}
		isProblem(t, br.send(with("GET", rp+"/me")), http.StatusUnauthorized, "login_required")
	}
	// ATK-K12: the key was retired.
	rotated := newBench(t, options{}).browser()
	rotated.jar = good
	if rotated.loggedIn() {
		t.Error("a cookie of a retired key is accepted")
	}
	isProblem(t, rotated.send(with("GET", rp+"/me")), http.StatusUnauthorized, "login_required")
	// ATK-K09: a pending login is no session, and a session is no pending login.
	p := b.browser().begin("/auth/login")
	for name := range good {
		for _, v := range p.cookies {
			br.jar = map[string]string{name: v}
		}
	}
	isProblem(t, br.send(with("GET", rp+"/me")), http.StatusUnauthorized, "login_required")
	for name := range p.cookies {
		for _, v := range good {
			p.br.jar[name] = v
		}
	}
	p.br.refuse(p.request(), outcome{code: session.ErrCookie, public: publicState})
	// ATK-K09: a session of a provider that is configured no more.
	other := sameBench(t, b, nil, func(c *client.Config) { c.Issuer = "https://as-z.example" })
	br2 := other.browser()
	br2.jar = good
	if br2.loggedIn() {
		t.Error("a session of an unknown provider is accepted")
	}
	isProblem(t, br2.send(with("GET", rp+"/me")), http.StatusUnauthorized, "login_required")
}

func TestSessionEndpoint(t *testing.T) {
	b := newBench(t, options{})
	br := b.browser()
	if got := br.session(); got != `{"authenticated":false}` {
		t.Errorf("nobody: %s", got)
	}
	br.login()
	var info map[string]any
	rec := br.send(with("GET", rp+"/auth/session"))
	if err := json.Unmarshal(rec.Body.Bytes(), &info); err != nil || rec.Header().Get("Content-Type") != "application/json" {
		t.Fatalf("%v: %s", err, rec.Body)
	}
	if info["authenticated"] != true || info["subject"] != "user-alice" || info["issuer"] != "https://as-a.example" || fmt.Sprint(info["scopes"]) != "[openid profile offline_access]" || len(info) != 6 {
		t.Errorf("%s", rec.Body)
	}
	for _, name := range []string{"expires_at", "access_token_expires_at"} {
		if at, err := time.Parse(time.RFC3339, fmt.Sprint(info[name])); err != nil || at.Before(b.now()) {
			t.Errorf("%s: %v", name, info[name])
		}
	}
	checkHeaders(t, rec, with("GET", rp+"/auth/session"))
	if rec := br.send(with("HEAD", rp+"/auth/session")); rec.Code != http.StatusOK || rec.Body.Len() > 0 {
		t.Errorf("HEAD: %d %s", rec.Code, rec.Body)
	}
	isProblem(t, br.send(with("GET", rp+"/auth/session", "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: no-cors")), http.StatusForbidden, "csrf")
	// Asking does not keep a session alive.
	for range 9 {
		b.advance(7 * time.Minute)
		br.session()
	}
	if br.loggedIn() {
		t.Error("a page that polls keeps its session alive")
	}
}

func TestSessionOfOpenPages(t *testing.T) {
	b := newBench(t, options{})
	br := b.browser()
	b.handler = b.auth.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s, err := b.auth.Session(r); err == nil {
			fmt.Fprint(w, s.Subject())
		} else {
			fmt.Fprint(w, err)
		}
	}))
	if got := br.get("/").Body.String(); got != session.ErrNoSession.Error() {
		t.Errorf("nobody: %s", got)
	}
	br.login()
	if got := br.get("/").Body.String(); got != "user-alice" {
		t.Errorf("alice: %s", got)
	}
}

// A cookie that somebody cut is an event; one that is merely old is none.
func TestCookieEvents(t *testing.T) {
	b := newBench(t, options{})
	br := b.browser()
	br.login()
	good := merged(br.jar, nil)
	b.advance(2 * time.Hour)
	br.get("/me")
	if e := b.last(EventCookieRefused); e.Kind != "" {
		t.Errorf("an expired session: %+v", e)
	}
	for _, r := range []*http.Request{with("GET", rp+"/me"), with("GET", rp+"/me", navigation...), with("GET", rp+"/auth/session")} {
		b.mu.Lock()
		b.events = nil
		b.mu.Unlock()
		for name, v := range good {
			br.jar = map[string]string{name: v[:len(v)-1]} // ATK-K04
		}
		br.send(r)
		if e := b.last(EventCookieRefused); e.Code != session.ErrCookie || e.Reason != "auth" {
			t.Errorf("%s: %+v", r.URL.Path, e)
		}
	}
}

func TestCookieTwice(t *testing.T) { // ATK-K01, ATK-K02
	b := newBench(t, options{})
	one, two := b.browser(), b.browser()
	one.login()
	two.login()
	for name, v := range one.jar {
		w := two.jar[name]
		for _, lines := range [][]string{{name + "=" + v + "; " + name + "=" + w}, {name + "=" + w + "; " + name + "=" + v}, {name + "=" + v, name + "=" + w}, {name + "=" + v + "; " + name + "=" + v}} {
			r := with("GET", rp+"/me")
			r.Header["Cookie"] = lines
			isProblem(t, answer(b.handler, r), http.StatusUnauthorized, "login_required")
			r = with("GET", rp+"/auth/session")
			r.Header["Cookie"] = lines
			if got := answer(b.handler, r).Body.String(); got != `{"authenticated":false}` {
				t.Errorf("%s", got)
			}
		}
	}
}
