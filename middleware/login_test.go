package middleware

import (
	"bufio"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/client"
	"github.com/sallyport/sallyport/client/authtest"
	"github.com/sallyport/sallyport/session"
)

// shape is an authorization request without what is fresh in each.
func shape(t *testing.T, location string) string {
	t.Helper()
	u, err := url.Parse(location)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	for _, name := range []string{"state", "nonce", "code_challenge"} {
		if len(q.Get(name)) < 43 {
			t.Errorf("%s is %q", name, q.Get(name))
		}
		q.Set(name, "fresh")
	}
	u.RawQuery = q.Encode()
	return u.String()
}

func TestLoginOutsideInputs(t *testing.T) {
	b := newBench(t, options{})
	want := shape(t, b.browser().get("/auth/login").Header().Get("Location"))
	if !strings.Contains(want, url.QueryEscape(rp+"/auth/callback")) {
		t.Fatalf("no redirect_uri in %s", want)
	}
	headers := []string{
		"X-Forwarded-Host: evil.example", "X-Forwarded-Host: evil2.example", "X-Forwarded-Proto: http", "X-Forwarded-Port: 8443", "X-Forwarded-Prefix: //evil", "X-Forwarded-Server: evil.example",
		"Forwarded: host=evil.example;proto=http", "X-Original-URL: /x", "X-Rewrite-URL: /x", "X-Original-Host: evil.example", "X-Host: evil.example",
	}
	t.Run("ATK-R02 forwarded headers", func(t *testing.T) {
		for _, h := range append(headers, strings.Join(headers, "\x00")) {
			rec := b.browser().get("/auth/login", append(strings.Split(h, "\x00"), navigation...)...)
			if got := shape(t, rec.Header().Get("Location")); got != want {
				t.Errorf("%q: %s", h, got)
			}
		}
	})
	t.Run("ATK-R01 Host", func(t *testing.T) { // ATK-R05: and its port
		for _, host := range []string{"rp.example:443", "rp.example:8443", "evil.example", "evil.example:443", "rp.example.evil.example", "rp.example@evil.example", "RP.EXAMPLE", "", "localhost", "127.0.0.1:8080"} {
			r := with("GET", rp+"/auth/login", navigation...)
			r.Host = host
			if got := shape(t, b.browser().send(r).Header().Get("Location")); got != want {
				t.Errorf("%q: %s", host, got)
			}
		}
	})
	t.Run("parameters of the request", func(t *testing.T) {
		rec := b.browser().get("/auth/login?redirect_uri=https://evil.example&client_id=evil&scope=evil&state=evil&prompt=none&login_hint=mallory&target_link_uri=https://evil.example")
		if got := shape(t, rec.Header().Get("Location")); got != want {
			t.Errorf("%s", got)
		}
	})
}

func TestLoginStart(t *testing.T) {
	b := newBench(t, options{})
	rec := b.browser().get("/auth/login")
	checkPage(t, rec, with("GET", rp+"/auth/login")) // ATK-L41
	if rec.Code != http.StatusSeeOther || rec.Body.Len() > 0 {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
	for name, tt := range map[string]struct {
		headers []string
		want    outcome
	}{
		"ATK-L31 image":          {[]string{"Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: no-cors", "Sec-Fetch-Dest: image"}, outcome{status: http.StatusForbidden, code: ErrCSRF}},
		"ATK-L31 frame":          {[]string{"Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: iframe"}, outcome{status: http.StatusForbidden, code: ErrCSRF}},
		"ATK-L31 script":         {[]string{"Sec-Fetch-Site: same-site", "Sec-Fetch-Mode: no-cors", "Sec-Fetch-Dest: script"}, outcome{status: http.StatusForbidden, code: ErrCSRF}},
		"ATK-L31 fetch":          {[]string{"Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: cors", "Sec-Fetch-Dest: empty"}, outcome{status: http.StatusForbidden, code: ErrCSRF}},
		"ATK-L36 prefetch":       {append([]string{"Sec-Purpose: prefetch"}, navigation...), outcome{status: http.StatusServiceUnavailable, code: errSpeculative}},
		"ATK-L36 old prefetch":   {[]string{"X-Moz: prefetch"}, outcome{status: http.StatusServiceUnavailable, code: errSpeculative}},
		"ATK-L36 prerender hint": {[]string{"Sec-Purpose: prefetch;prerender"}, outcome{status: http.StatusServiceUnavailable, code: errSpeculative}},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, options{})
			br := b.browser()
			br.login()
			br.refuse(with("GET", rp+"/auth/login?return_to=/x", tt.headers...), tt.want)
		})
	}
	t.Run("ATK-L31 the link of another site starts a login and leaves the session", func(t *testing.T) {
		br := b.browser()
		br.login()
		was := br.session()
		rec := br.get("/auth/login", "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document")
		if rec.Code != http.StatusSeeOther || br.session() != was {
			t.Errorf("%d, %s", rec.Code, br.session())
		}
	})
	t.Run("ATK-L31 third-party initiated", func(t *testing.T) {
		br := b.browser()
		br.login()
		br.refuse(with("GET", rp+"/auth/login?iss=https://evil.example&target_link_uri=https://evil.example/x&login_hint=mallory", navigation...), outcome{code: errUnknownIssuer})
		br.refuse(with("GET", rp+"/auth/login?iss=https://as-a.example&iss=https://as-a.example", navigation...), outcome{code: errUnknownIssuer})
		if rec := br.get("/auth/initiate?iss=https://evil.example"); rec.Header().Get("Location") != "" {
			t.Errorf("initiate: %d", rec.Code)
		}
		rec := br.get("/auth/login?iss=https%3A%2F%2Fas-a.example&target_link_uri=https://evil.example/x")
		if rec.Code != http.StatusSeeOther || strings.Contains(rec.Header().Get("Location"), "evil") {
			t.Errorf("a known issuer: %d", rec.Code)
		}
		// OpenID Connect Core §4: the hint is passed on, and a target of ours is where the user ends.
		p := br.begin("/auth/login?iss=https%3A%2F%2Fas-a.example&login_hint=user-bob&target_link_uri=" + url.QueryEscape(rp+"/reports?year=2026"))
		if u, err := url.Parse(p.location); err != nil || u.Query().Get("login_hint") != "user-bob" {
			t.Errorf("sent on to %s", p.location)
		}
		if got := br.send(p.request()).Header().Get("Location"); got != "/reports?year=2026" {
			t.Errorf("ends at %s", got)
		}
		if u, _ := url.Parse(br.get("/auth/login?login_hint=mallory").Header().Get("Location")); u.Query().Has("login_hint") {
			t.Error("a hint that no provider gave")
		}
	})
}

func TestLoginManyPending(t *testing.T) { // ATK-K14
	b := newBench(t, options{})
	br := b.browser()
	for range 50 {
		br.get("/auth/login")
	}
	header := 0
	for name, v := range br.jar {
		header += len(name) + len(v) + 3
	}
	if len(br.jar) > 5 || header > 8<<10 {
		t.Errorf("%d cookies, %d bytes", len(br.jar), header)
	}
	br.login()
}

func TestLoginProviderDown(t *testing.T) {
	for name, tt := range map[string]struct {
		fault authtest.Fault
		want  outcome
	}{
		"503":                {authtest.Fault{Answer: &authtest.Response{Status: 503}}, outcome{status: 503, code: client.ErrDiscovery}},
		"hangs up":           {authtest.Fault{Wire: authtest.DropBefore}, outcome{status: 503, code: client.ErrDiscovery}},
		"names another":      {authtest.Fault{JSON: func(m map[string]any) { m["issuer"] = "https://evil.example" }}, outcome{status: 502, code: client.ErrIssuerMismatch}},
		"ATK-L29 plain only": {authtest.Fault{JSON: func(m map[string]any) { m["code_challenge_methods_supported"] = []string{"plain"} }}, outcome{status: 500, code: client.ErrConfig}},
		"ATK-L29 no list":    {authtest.Fault{JSON: func(m map[string]any) { delete(m, "code_challenge_methods_supported") }}, outcome{status: 500, code: client.ErrConfig}},
	} {
		bubble(t, name, func(t *testing.T) {
			b := newBench(t, options{})
			tt.fault.Endpoint = authtest.Metadata
			b.as[0].Misbehave(tt.fault)
			rec := b.browser().refuse(with("GET", rp+"/auth/login?return_to=/somewhere", navigation...), tt.want)
			if (tt.want.status == 503) != (rec.Header().Get("Retry-After") != "") {
				t.Errorf("Retry-After %q", rec.Header().Get("Retry-After"))
			}
		})
	}
}

// returns starts a login that wants to go to the raw query value and says where it ends.
func returns(b *bench, value string) string {
	p := b.browser().begin("/auth/login?return_to=" + value)
	for name, v := range p.cookies {
		if len(name)+len(v) > 4000 {
			b.t.Errorf("a cookie of %d bytes", len(v))
		}
	}
	return p.finish().Header().Get("Location")
}

func TestReturnTo(t *testing.T) {
	b := newBench(t, options{cfg: Config{DefaultReturnTo: "/home"}})
	for _, target := range []string{"/", "/a/b?c=d&e=f#g", "/caf%C3%A9", "/search?q=//x"} {
		if got := returns(b, url.QueryEscape(target)); got != target {
			t.Errorf("%q ends at %q", target, got)
		}
	}
	for id, values := range map[string][]string{
		"ATK-R09": {"//evil.example", "///evil.example", "////evil.example/%2f.."},
		"ATK-R10": {`/\evil.example`, `\\evil.example`, `/\/evil.example`, "/%5cevil.example", "//%5cevil.example", "/%255cevil.example"},
		"ATK-R11": {"%2f%2fevil.example", "/%2f%2fevil.example", "%252f%252fevil", "/%2fevil.example", "/%252fevil.example"},
		"ATK-R12": {"/%09/evil.example", "/%0a/evil", "/%0d%0aLocation:%20https://evil", "%01https://evil", "/%00//evil", "/%2509/evil.example", "/\t/evil"},
		"ATK-R13": {"https://evil.example", "http:evil.example", "http:/evil.example", "https://rp.example@evil.example", "https://rp.example.evil.example", "//good@evil", "/.evil.example", "@evil.example"},
		"ATK-R15": {"//evil%E3%80%82example", "／／evil", "/%EF%BC%8Fevil", "/%25EF%25BC%258Fevil", "/%E2%93%94vil", "/a%E2%80%A8b"},
		"ATK-R16": {"/auth/login", "/auth/logout", "/auth/callback?code=x", "/auth/login/", "/AUTH/login", "/auth%252flogin", "/auth/session", "/auth/logout/callback"},
		"ATK-R17": {"/" + strings.Repeat("a", 100<<10), "/" + strings.Repeat("a", 2048)},
		"twice":   {"/a&return_to=/b"},
		"broken":  {"%zz"},
	} {
		t.Run(id, func(t *testing.T) {
			for _, v := range values {
				if got := returns(b, v); got != "/home" {
					t.Errorf("%.60q ends at %q", v, got)
				}
			}
		})
	}
}

func TestReturnToCorpus(t *testing.T) { // ATK-R20
	b := newBench(t, options{})
	f, err := os.Open("../internal/returnto/testdata/refused.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	n := 0
	for s := bufio.NewScanner(f); s.Scan(); n++ {
		if line := s.Text(); !strings.HasPrefix(line, "# ") {
			// A browser reads nothing but one slash as anything but the root of this origin.
			if got := returns(b, line); got != "/" {
				t.Errorf("%.80q ends at %.80q", line, got)
			}
		}
	}
	if n < 485 {
		t.Errorf("%d lines only", n)
	}
}

func TestChooser(t *testing.T) {
	b := newBench(t, options{two: true})
	br := b.browser()
	rec := br.get("/auth/login?return_to=/x%3Fa%3Db")
	for _, want := range []string{`href="/auth/login/a?return_to=%2Fx%3Fa%3Db"`, `href="/auth/login/b?return_to=%2Fx%3Fa%3Db"`, "Log in with A", "Log in with B"} {
		if !strings.Contains(rec.Body.String(), want) {
			t.Errorf("the page lacks %s: %s", want, rec.Body)
		}
	}
	if rec.Code != http.StatusOK || len(br.jar) != 0 {
		t.Errorf("%d, %v", rec.Code, br.jar)
	}
	checkPage(t, rec, with("GET", rp+"/auth/login"))
	for _, target := range []string{"//evil.example", "/auth/logout"} {
		if rec := br.get("/auth/login?return_to=" + target); strings.Contains(rec.Body.String(), "return_to") {
			t.Errorf("the page leads to %s", target)
		}
	}
	for i, name := range []string{"a", "b"} {
		br := b.browser()
		p := br.begin("/auth/login/" + name + "?return_to=/x")
		if p.as != b.as[i] || p.finish().Header().Get("Location") != "/x" {
			t.Errorf("%s leads to %s", name, p.as.Issuer())
		}
	}
	// One browser, both providers: the later login replaces the earlier.
	both := b.browser()
	pa, pb := both.begin("/auth/login/a"), both.begin("/auth/login/b")
	pa.finish()
	was := maps.Clone(both.jar)
	pb.finish()
	if !strings.Contains(both.session(), "as-b") {
		t.Errorf("logged in at %s", both.session())
	}
	old := b.browser()
	old.jar = was
	if old.loggedIn() {
		t.Error("the session at the other provider lives on")
	}
	if rec := b.browser().get("/auth/login/c"); rec.Code != http.StatusNotFound || strings.Contains(rec.Body.String(), "public") {
		t.Errorf("a provider that is not configured: %d", rec.Code)
	}
}

func TestLoginURL(t *testing.T) {
	a := testAuth(t, Config{})
	for in, want := range map[string]string{"/a?b=c": "/auth/login?return_to=%2Fa%3Fb%3Dc", "": "/auth/login", "//evil.example": "/auth/login", "/auth/login": "/auth/login"} {
		if got := a.LoginURL(in); got != want {
			t.Errorf("LoginURL(%q) = %q", in, got)
		}
	}
}

// What an older release sealed is judged by this one's rules.
func TestReturnToSealedBefore(t *testing.T) { // ATK-R19
	b := newBench(t, options{})
	for _, old := range []string{"//evil.example", "https://evil.example", "/auth/logout"} {
		br := b.browser()
		req, err := b.auth.clients[0].AuthorizationRequest(t.Context(), client.AuthorizationOptions{})
		if err != nil {
			t.Fatal(err)
		}
		rec := httptest.NewRecorder()
		if err := b.auth.sessions.SaveLogin(rec, with("GET", rp+"/auth/login"), req, session.LoginOptions{ReturnTo: old}); err != nil {
			t.Fatal(err)
		}
		for _, c := range rec.Result().Cookies() {
			br.jar[c.Name] = c.Value
		}
		answer, err := b.as[0].Authorize(t.Context(), req.URL())
		if err != nil {
			t.Fatal(err)
		}
		if got := br.send((&pending{answer: answer}).request()).Header().Get("Location"); got != "/" {
			t.Errorf("%s ends at %q", old, got)
		}
	}
}

// What the application asks of each login goes along; what panics or cannot be sent starts none.
func TestAuthorizationOptions(t *testing.T) {
	var opts client.AuthorizationOptions
	b := newBench(t, options{cfg: Config{Authorization: func(r *http.Request) client.AuthorizationOptions {
		if r.URL.Path != "/auth/login" {
			t.Errorf("asked for %s", r.URL.Path)
		}
		if opts.LoginHint == "panic" {
			panic("canary of a hook")
		}
		return opts
	}}})
	opts = client.AuthorizationOptions{MaxAge: time.Minute, ACRValues: []string{"2"}}
	location, err := url.Parse(b.browser().get("/auth/login").Header().Get("Location"))
	if err != nil || location.Query().Get("max_age") != "60" || location.Query().Get("acr_values") != "2" {
		t.Errorf("asked with %v", location)
	}
	for _, opts = range []client.AuthorizationOptions{{LoginHint: "panic"}, {Extra: url.Values{"state": {"mine"}}}} {
		if rec := b.browser().get("/auth/login"); rec.Code != http.StatusInternalServerError || len(rec.Header()["Set-Cookie"]) != 0 {
			t.Errorf("%d %v", rec.Code, rec.Header())
		}
	}
}
