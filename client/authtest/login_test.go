package authtest_test

import (
	"crypto/sha256"
	"encoding/base64"
	"html"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/client/authtest"
)

// person is somebody with a real browser at an interactive server.
func person(g *rig) *rig {
	g.t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		g.t.Fatal(err)
	}
	return &rig{t: g.t, as: g.as, id: g.id, http: &http.Client{Transport: g.http.Transport, Jar: jar, CheckRedirect: noRedirect}}
}

var (
	hidden  = regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)">`)
	action  = regexp.MustCompile(`<form method="post" action="([^"]*)">`)
	checked = regexp.MustCompile(`value="([^"]*)" required checked`)
)

func formOf(t *testing.T, page []byte) (target string, v url.Values) {
	t.Helper()
	found := action.FindSubmatch(page)
	if found == nil {
		t.Fatalf("no form in %s", page)
	}
	v = url.Values{}
	for _, m := range hidden.FindAllSubmatch(page, -1) {
		v.Add(html.UnescapeString(string(m[1])), html.UnescapeString(string(m[2])))
	}
	return html.UnescapeString(string(found[1])), v
}

func (g *rig) submit(path string, form url.Values, header ...string) (*http.Response, []byte) {
	g.t.Helper()
	u, err := url.Parse(g.as.Issuer())
	if err != nil {
		g.t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(g.t.Context(), "POST", u.Scheme+"://"+u.Host+path, strings.NewReader(form.Encode()))
	if err != nil {
		g.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return g.do(r)
}

func TestInteractiveLogin(t *testing.T) {
	for _, issuer := range []string{"https://as.example", "https://as.example/tenant/"} {
		g := person(newRig(t, authtest.Config{Issuer: issuer, Interactive: true}))
		verifier := newVerifier()
		resp, page := g.get(g.request(verifier, "login_hint", "bob"))
		if resp.StatusCode != 200 || resp.Header.Get("Cache-Control") != "no-store" {
			t.Fatalf("%d %v", resp.StatusCode, resp.Header)
		}
		for _, want := range []string{"Alice Adams", "bob@example.com", "Continue", "<strong>app</strong>", "openid profile email"} {
			if !strings.Contains(string(page), want) {
				t.Errorf("no %q on the page", want)
			}
		}
		if m := checked.FindAllSubmatch(page, -1); len(m) != 1 || string(m[0][1]) != "user-bob" {
			t.Errorf("checked: %q", m)
		}
		target, form := formOf(t, page)
		form.Set("user", "user-carol")
		// The hint is a proposal: the person decides.
		resp, _ = g.submit(target, form)
		location, err := resp.Location()
		if err != nil || resp.StatusCode != 303 {
			t.Fatalf("%d %v", resp.StatusCode, err)
		}
		_, tokens := g.post("token", codeForm(location.Query().Get("code"), verifier))
		if sub := g.verify(tokens["id_token"], "ES256")["sub"]; sub != "user-carol" {
			t.Errorf("sub %v", sub)
		}
		// The login stays.
		if resp, _ = g.get(g.request(newVerifier())); resp.StatusCode != 303 {
			t.Errorf("second visit: %d", resp.StatusCode)
		}
		// And is proposed again where it has to be renewed.
		if _, page = g.get(g.request(newVerifier(), "prompt", "login")); string(checked.FindSubmatch(page)[1]) != "user-carol" {
			t.Errorf("checked: %s", checked.Find(page))
		}
	}
}

func TestInteractiveCancelAndNonsense(t *testing.T) {
	g := person(newRig(t, authtest.Config{Interactive: true}))
	_, page := g.get(g.request(newVerifier()))
	target, form := formOf(t, page)
	with := func(name, value string) url.Values {
		v := url.Values{"user": {"user-alice"}}
		for n, values := range form {
			v[n] = values
		}
		v.Set(name, value)
		return v
	}
	resp, _ := g.submit(target, with("cancel", "1"))
	if location, err := resp.Location(); err != nil || location.Query().Get("error") != "access_denied" || location.Query().Get("state") != "the state" {
		t.Errorf("cancel: %v %v", location, err)
	}
	if resp, body := g.submit(target, with("user", "stranger")); resp.StatusCode != 200 || !strings.Contains(string(body), "Who are you today?") {
		t.Errorf("unknown user: %d", resp.StatusCode)
	}
	for name, request := range map[string]string{
		"malformed request":  "%zz",
		"no request":         "",
		"tampered redirect":  strings.Replace(form.Get("request"), "app.example", "evil.example", 1),
		"tampered client id": strings.Replace(form.Get("request"), "client_id=app", "client_id=x", 1),
	} {
		if resp, _ := g.submit(target, with("request", request)); resp.StatusCode != 400 {
			t.Errorf("%s: %d", name, resp.StatusCode)
		}
	}
	resp, _ = g.submit(target, with("request", strings.Replace(form.Get("request"), "S256", "plain", 1)))
	if location, err := resp.Location(); err != nil || location.Query().Get("error") != "invalid_request" {
		t.Errorf("tampered PKCE: %v %v", location, err)
	}
	// A hint that the person does not follow, where the protocol says it must be.
	hint := g.logIn("login_hint", "bob")["id_token"].(string)
	_, page = g.get(g.request(newVerifier(), "id_token_hint", hint))
	if string(checked.FindSubmatch(page)[1]) != "user-bob" {
		t.Errorf("checked: %s", checked.Find(page))
	}
	target, form = formOf(t, page)
	resp, _ = g.submit(target, with("user", "user-alice"))
	if location, err := resp.Location(); err != nil || location.Query().Get("error") != "login_required" {
		t.Errorf("somebody else: %v %v", location, err)
	}
}

func TestLoginFormIsBoundToTheBrowser(t *testing.T) {
	base := newRig(t, authtest.Config{Interactive: true})
	victim, attacker := person(base), person(base)
	_, page := attacker.get(attacker.request(newVerifier()))
	target, form := formOf(t, page)
	form.Set("user", "user-alice")
	if resp, _ := victim.submit(target, form); resp.StatusCode != 400 {
		t.Errorf("no cookie: %d", resp.StatusCode)
	}
	_, page = victim.get(victim.request(newVerifier()))
	if resp, _ := victim.submit(target, form); resp.StatusCode != 400 {
		t.Errorf("the attacker's token: %d", resp.StatusCode)
	}
	target, form = formOf(t, page)
	form.Set("user", "user-alice")
	for _, header := range [][2]string{{"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"}, {"Origin", "https://evil.example"}} {
		if resp, _ := victim.submit(target, form, header[0], header[1]); resp.StatusCode != 400 {
			t.Errorf("%v: %d", header, resp.StatusCode)
		}
	}
	if resp, _ := victim.submit(target, url.Values{"form_token": {"x", "x"}}); resp.StatusCode != 400 {
		t.Errorf("twice: %d", resp.StatusCode)
	}
	form.Add("user", "user-bob")
	if resp, _ := victim.submit(target, form); resp.StatusCode != 400 {
		t.Errorf("two users: %d", resp.StatusCode)
	}
	form.Set("user", "user-alice")
	if resp, _ := victim.submit(target, form, "Sec-Fetch-Site", "same-origin"); resp.StatusCode != 303 {
		t.Errorf("the form as shown: %d", resp.StatusCode)
	}
}

func TestCookies(t *testing.T) {
	for issuer, secure := range map[string]bool{"https://as.example/t": true, "http://127.0.0.1:1/t": false} {
		g := newRig(t, authtest.Config{Issuer: issuer})
		resp, _ := g.get(g.request(newVerifier()))
		cookies := resp.Cookies()
		if len(cookies) != 1 {
			t.Fatalf("%v", cookies)
		}
		c := cookies[0]
		if !c.HttpOnly || c.Secure != secure || c.SameSite != http.SameSiteLaxMode || c.Path != "/t/" || !strings.HasPrefix(c.Name, "authtest_") {
			t.Errorf("%+v", c)
		}
		visit := func(value string) bool {
			r, err := http.NewRequestWithContext(t.Context(), "GET", g.request(newVerifier(), "prompt", "none"), nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Cookie", value)
			resp, _ := g.do(r)
			return strings.Contains(resp.Header.Get("Location"), "code=")
		}
		if !visit(c.Name + "=" + c.Value) {
			t.Error("the cookie is not accepted")
		}
		raw, err := base64.RawURLEncoding.DecodeString(c.Value)
		if err != nil {
			t.Fatal(err)
		}
		// Whoever has the ID token knows the sid; that must not be enough.
		forged := base64.RawURLEncoding.EncodeToString(append(raw[:16:16], make([]byte, 16)...))
		for _, wrong := range []string{
			c.Name + "=" + forged,
			c.Name + "=" + c.Value + "; " + c.Name + "=" + c.Value,
			c.Name + "=" + strings.ToLower(c.Value),
			c.Name + "=" + c.Value[:len(c.Value)-4],
			c.Name + "=!",
			c.Name + "_form=" + c.Value,
		} {
			if visit(wrong) {
				t.Errorf("%q is accepted", wrong)
			}
		}
	}
	// Ports do not separate cookies, names do.
	a, b := newRig(t, authtest.Config{Issuer: "http://127.0.0.1:1"}), newRig(t, authtest.Config{Issuer: "http://127.0.0.1:2"})
	first, _ := a.get(a.request(newVerifier()))
	second, _ := b.get(b.request(newVerifier()))
	if first.Cookies()[0].Name == second.Cookies()[0].Name {
		t.Error("two servers share a cookie")
	}
}

func TestSwitchingUsersEndsTheLoginBefore(t *testing.T) {
	g := newRig(t, authtest.Config{})
	resp, _ := g.get(g.request(newVerifier()))
	old := resp.Cookies()[0]
	visit := func(overrides ...string) url.Values {
		r, err := http.NewRequestWithContext(t.Context(), "GET", g.request(newVerifier(), overrides...), nil)
		if err != nil {
			t.Fatal(err)
		}
		r.AddCookie(old)
		resp, _ := g.do(r)
		location, err := resp.Location()
		if err != nil {
			t.Fatal(err)
		}
		return location.Query()
	}
	if v := visit("prompt", "none"); v.Get("code") == "" {
		t.Fatalf("%v", v)
	}
	visit("login_hint", "bob")
	if v := visit("prompt", "none"); v.Get("error") != "login_required" {
		t.Errorf("the old login lives: %v", v)
	}
}

func TestLoginEndpointOfAnAutomaticServer(t *testing.T) {
	g := newRig(t, authtest.Config{})
	if resp, _ := g.submit("/login", url.Values{}); resp.StatusCode != 404 {
		t.Errorf("%d", resp.StatusCode)
	}
}

func TestInteractiveLogout(t *testing.T) {
	g := person(newRig(t, authtest.Config{Interactive: true}))
	logIn := func() string {
		verifier := newVerifier()
		_, page := g.get(g.request(verifier))
		target, form := formOf(t, page)
		form.Set("user", "user-alice")
		resp, _ := g.submit(target, form)
		location, err := resp.Location()
		if err != nil {
			t.Fatal(err)
		}
		_, tokens := g.post("token", codeForm(location.Query().Get("code"), verifier))
		return tokens["id_token"].(string)
	}
	loggedIn := func() bool {
		resp, _ := g.get(g.request(newVerifier(), "prompt", "none"))
		return strings.Contains(resp.Header.Get("Location"), "code=")
	}
	// OpenID Connect RP-Initiated Logout 1.0 §2: without a hint, ask.
	logIn()
	resp, page := g.get(g.endSession("client_id", "app", "post_logout_redirect_uri", postLogout, "state", "s"))
	if resp.StatusCode != 200 || !strings.Contains(string(page), "Log out?") || !strings.Contains(string(page), "Alice Adams") || !loggedIn() {
		t.Fatalf("%d %s", resp.StatusCode, page)
	}
	if !strings.Contains(resp.Header.Get("Content-Security-Policy"), "form-action 'self' https://app.example;") {
		t.Errorf("CSP %s", resp.Header.Get("Content-Security-Policy"))
	}
	target, form := formOf(t, page)
	forged := url.Values{"client_id": {"app"}, "form_token": {"x"}}
	if resp, _ := g.submit(target, forged); resp.StatusCode != 200 || !loggedIn() {
		t.Error("a forged confirmation ends the login")
	}
	if resp, _ := g.submit(target, form); resp.Header.Get("Location") != postLogout+"?state=s" || loggedIn() {
		t.Errorf("confirmed: %d %q", resp.StatusCode, resp.Header.Get("Location"))
	}
	// The right hint needs no question.
	hint := logIn()
	if resp, page := g.get(g.endSession("id_token_hint", hint)); resp.StatusCode != 200 || !strings.Contains(string(page), "<h1>Logged out</h1>") || loggedIn() {
		t.Errorf("%d %s", resp.StatusCode, page)
	}
	// Nor has anybody to be asked who is not logged in.
	if resp, _ := g.get(g.endSession()); resp.StatusCode != 200 {
		t.Errorf("%d", resp.StatusCode)
	}
	// Another login's hint does.
	logIn()
	if _, page := g.get(g.endSession("id_token_hint", hint)); !strings.Contains(string(page), "Log out?") || !loggedIn() {
		t.Errorf("%s", page)
	}
}

func TestPages(t *testing.T) {
	g := person(newRig(t, authtest.Config{Interactive: true, Users: []authtest.User{
		{Subject: `"><script>alert(1)</script>`, Claims: map[string]any{"name": `</style><img src=x>`}}, {Subject: "x"},
	}}))
	g.as.SetUser("")
	pages := map[string]string{
		"login":      g.request(newVerifier(), "state", `"><script>alert(1)</script>`),
		"error":      g.endpoint("authorize"),
		"logged out": g.endSession(),
	}
	for name, target := range pages {
		resp, body := g.get(target)
		checkPage(t, name, resp, body)
		if strings.Contains(string(body), "<script>alert") || strings.Contains(string(body), "<img") {
			t.Errorf("%s: not escaped: %s", name, body)
		}
	}
}

// checkPage asserts that a page loads nothing and that its policy allows
// exactly the style and the script in it.
func checkPage(t *testing.T, name string, resp *http.Response, body []byte) {
	t.Helper()
	policy := resp.Header.Get("Content-Security-Policy")
	for _, want := range []string{"default-src 'none'", "base-uri 'none'", "frame-ancestors 'none'", "form-action "} {
		if !strings.Contains(policy, want) {
			t.Errorf("%s: no %s in %q", name, want, policy)
		}
	}
	if strings.Contains(policy, "unsafe") {
		t.Errorf("%s: %q", name, policy)
	}
	for header, want := range map[string]string{
		"Content-Type": "text/html; charset=utf-8", "X-Frame-Options": "DENY", "X-Content-Type-Options": "nosniff",
		"Cache-Control": "no-store", "Referrer-Policy": "same-origin",
	} {
		if got := resp.Header.Get(header); got != want {
			t.Errorf("%s: %s %q", name, header, got)
		}
	}
	for _, inline := range regexp.MustCompile(`(?s)<(style|script)>(.*?)</`).FindAllSubmatch(body, -1) {
		sum := sha256.Sum256(inline[2])
		if hash := "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"; !strings.Contains(policy, string(inline[1])+"-src "+hash) {
			t.Errorf("%s: the policy does not allow its own %s", name, inline[1])
		}
	}
	if bad := regexp.MustCompile(`(?i)<[^>]+ (src|on[a-z]+|style|href)=`).Find(body); bad != nil {
		t.Errorf("%s: %s", name, bad)
	}
}

func TestFormPostPage(t *testing.T) {
	g := newRig(t, authtest.Config{})
	resp, body := g.get(g.request(newVerifier(), "response_mode", "form_post", "state", `"><b>`))
	checkPage(t, "form_post", resp, body)
	target, form := formOf(t, body)
	if target != callback || form.Get("state") != `"><b>` || form.Get("code") == "" || form.Get("iss") != g.as.Issuer() {
		t.Errorf("%s %v", target, form)
	}
	if !strings.Contains(string(body), "<script>document.forms[0].submit()</script>") || !strings.Contains(string(body), "<noscript>") {
		t.Errorf("%s", body)
	}
	if policy := resp.Header.Get("Content-Security-Policy"); !strings.Contains(policy, "form-action https://app.example;") {
		t.Errorf("%s", policy)
	}
	// Errors go the same way.
	resp, body = g.get(g.request(newVerifier(), "response_mode", "form_post", "prompt", "none"))
	checkPage(t, "form_post error", resp, body)
	if _, form = formOf(t, body); form.Get("error") != "login_required" {
		t.Errorf("%v", form)
	}
}

func TestFormPostToAnApp(t *testing.T) {
	c := app()
	c.RedirectURIs = []string{"com.example.app:/callback"}
	g := newRig(t, authtest.Config{Clients: []authtest.Client{c}})
	resp, body := g.get(g.request(newVerifier(), "response_mode", "form_post", "redirect_uri", c.RedirectURIs[0]))
	if target, _ := formOf(t, body); target != c.RedirectURIs[0] || !strings.Contains(resp.Header.Get("Content-Security-Policy"), "form-action com.example.app:;") {
		t.Errorf("%s %s", target, resp.Header.Get("Content-Security-Policy"))
	}
}
