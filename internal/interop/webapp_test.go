package interop

import (
	"encoding/json"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/network"
	cdppage "github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
)

// webapp is examples/webapp as a process, as `go run ./examples/webapp` starts it, on a free port.
type webapp struct{ url string }

// buildWebapp builds the example into the test's own folder; go's build cache makes the second time cheap.
func buildWebapp(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "webapp")
	out, err := exec.Command("go", "build", "-buildvcs=false", "-o", program, "../../examples/webapp").CombinedOutput()
	if err != nil {
		t.Fatalf("building examples/webapp: %v\n%s", err, out)
	}
	return program
}

func startWebapp(t *testing.T, env ...string) webapp {
	t.Helper()
	program := buildWebapp(t)
	return webapp{startProcess(t, filepath.Dir(program), "listening on ", append([]string{"LISTEN=127.0.0.1:0"}, env...), program)}
}

const (
	cookieHost    = "127.0.0.1"
	sessionCookie = "sallyport"
	submit        = `button[type="submit"]`
)

// logInAs chooses a user on the embedded server's page, where the tab is now, and waits for the page that this leads to.
func (tb *tab) logInAs(user, prefix string) {
	tb.t.Helper()
	evaluate[bool](tb, `document.querySelector('input[value="`+user+`"]').checked = true`)
	tb.click(submit, prefix)
}

// session is what the application at home tells the browser about its session. The application's pages let no script
// fetch anything, so a tab of its own opens the address.
func (b *browser) session(home string) sessionInfo {
	b.t.Helper()
	tb := b.tab()
	tb.open(home+"/auth/session", home)
	var info sessionInfo
	decoder := json.NewDecoder(strings.NewReader(tb.text()))
	decoder.DisallowUnknownFields() // such as a token
	if err := decoder.Decode(&info); err != nil {
		b.t.Fatal(err)
	}
	return info
}

// ours are the cookies of the application, as the browser keeps them.
func (b *browser) ours(host string) []*network.Cookie {
	b.t.Helper()
	var ours []*network.Cookie
	for _, c := range b.cookies(host) {
		if strings.Contains(c.Name, sessionCookie) {
			ours = append(ours, c)
		}
	}
	return ours
}

func TestBrowserLogin(t *testing.T) {
	b := newBrowser(t)
	app := startWebapp(t)
	tb := b.tab()

	tb.open(app.url+"/", app.url+"/")
	tb.screenshot("home")
	if b.session(app.url).Authenticated {
		t.Error("logged in before the login")
	}
	tb.click(`a[href^="/auth/login"]`, "http://127.0.0.1:")
	if strings.HasPrefix(tb.location(), app.url) {
		t.Fatalf("the login did not leave for the server: %v", tb.shown())
	}
	tb.screenshot("server-login")
	pending := b.ours(cookieHost)
	if len(pending) != 1 {
		t.Fatalf("%d cookies while a login is pending", len(pending))
	}
	checkCookie(t, pending[0], network.CookieSameSiteLax)

	tb.logInAs("user-bob", app.url+"/me")
	tb.screenshot("me")
	if text := tb.text(); !strings.Contains(text, "Bob Brown") || !strings.Contains(text, "user-bob") {
		t.Errorf("the page does not say who is logged in:\n%s", text)
	}
	kept := b.ours(cookieHost)
	if len(kept) != 1 || kept[0].Name != sessionCookie {
		t.Fatalf("cookies after the login: %v", names(kept))
	}
	checkCookie(t, kept[0], network.CookieSameSiteLax)
	if script := evaluate[string](tb, "document.cookie"); strings.Contains(script, sessionCookie) {
		t.Error("a script of the page can read the session cookie")
	}
	info := b.session(app.url)
	if info.Subject != "user-bob" || !info.Authenticated {
		t.Errorf("session: %+v", info)
	}
	for _, d := range tb.shown() {
		if strings.HasPrefix(d.url, app.url) && d.header["set-cookie"] != "" && !strings.Contains(d.header["cache-control"], "no-store") {
			t.Errorf("%s sets a cookie and may be cached", d)
		}
	}

	tb.click(`form[action="/api/resource"] button`, app.url+"/api/resource")
	tb.screenshot("api")
	if !strings.Contains(tb.text(), `"sub":"user-bob"`) {
		t.Errorf("the API's answer: %s", tb.text())
	}
	tb.open(app.url+"/me", app.url+"/me")
	before := b.cookie(cookieHost, sessionCookie).Value
	tb.click(`form[action="/refresh"] button`, app.url+"/me")
	if b.cookie(cookieHost, sessionCookie).Value == before {
		t.Error("the cookie is the same after a refresh")
	}

	tb.click(`form[action="/auth/logout"] button`, app.url+"/")
	tb.screenshot("logged-out")
	if b.session(app.url).Authenticated {
		t.Error("logged in after the logout")
	}
	if left := b.ours(cookieHost); len(left) != 0 {
		t.Errorf("cookies after the logout: %v", names(left))
	}
	var end bool
	for _, d := range tb.shown() {
		end = end || strings.HasSuffix(d.url, "/end_session")
	}
	if !end {
		t.Errorf("the logout did not pass by the server: %v", tb.shown())
	}
	// Whoever sits down at this browser next presses the back button.
	tb.back("http://127.0.0.1:")
	if text := tb.text(); strings.Contains(text, "Hello") {
		t.Errorf("the back button shows the last user's page:\n%s", text)
	}
	tb.quiet()
}

// checkCookie holds a cookie of the application on http://127.0.0.1 to what the browser made of it.
func checkCookie(t *testing.T, c *network.Cookie, site network.CookieSameSite) {
	t.Helper()
	if !c.HTTPOnly || c.SameSite != site || c.Path != "/" || c.Domain != cookieHost || c.Secure || strings.HasPrefix(c.Name, "__Host-") {
		t.Errorf("cookie %s: HttpOnly %t, SameSite %s, Path %s, Domain %s, Secure %t", c.Name, c.HTTPOnly, c.SameSite, c.Path, c.Domain, c.Secure)
	}
	if size := len(c.Name) + len(c.Value); size > 4096 {
		t.Errorf("cookie %s has %d bytes", c.Name, size)
	}
}

func names(cookies []*network.Cookie) (names []string) {
	for _, c := range cookies {
		names = append(names, c.Name)
	}
	return names
}

// ATK-L10: two logins that are pending in one browser at the same time do not disturb each other.
func TestBrowserTwoTabs(t *testing.T) {
	b := newBrowser(t)
	app := startWebapp(t)
	one, two := b.tab(), b.tab()

	one.open(app.url+"/me?from=one", "http://127.0.0.1:")
	two.open(app.url+"/me?from=two", "http://127.0.0.1:")
	if n := len(b.ours(cookieHost)); n != 2 {
		t.Fatalf("%d cookies for two pending logins", n)
	}
	two.logInAs("user-carol", app.url+"/me?from=two")
	if got := b.session(app.url).Subject; got != "user-carol" {
		t.Errorf("subject in the second tab: %q", got)
	}
	one.logInAs("user-carol", app.url+"/me?from=one")
	if got := b.session(app.url).Subject; got != "user-carol" {
		t.Errorf("subject in the first tab: %q", got)
	}
	if got := names(b.ours(cookieHost)); len(got) != 1 || got[0] != sessionCookie {
		t.Errorf("cookies after both logins: %v", got)
	}
	one.quiet()
	two.quiet()
}

// ATK-L12: neither the back button nor a reload on the callback sends a code again or touches the session.
func TestBrowserBackAndReload(t *testing.T) {
	b := newBrowser(t)
	app := startWebapp(t)
	tb := b.tab()
	tb.open(app.url+"/me", "http://127.0.0.1:")
	tb.logInAs("user-alice", app.url+"/me")
	callback := ""
	for _, d := range tb.shown() {
		if d.url == app.url+"/auth/callback" {
			callback = d.full
		}
	}
	session := b.cookie(cookieHost, sessionCookie).Value
	unchanged := func(when string) {
		t.Helper()
		if c := b.cookie(cookieHost, sessionCookie); c == nil || c.Value != session {
			t.Errorf("the session cookie changed %s", when)
		}
		if d := tb.last(); d.status < 400 || d.status > 499 {
			t.Errorf("%s: status %d", when, d.status)
		}
		if strings.Contains(tb.text(), "code=") {
			t.Errorf("%s: the page shows the request", when)
		}
	}

	// The callback answered 303, so "back" goes to the server. It knows her by now and answers the same request again.
	tb.back(app.url + "/auth/callback")
	tb.screenshot("callback-again")
	unchanged("after the back button")

	tb.reload(app.url + "/auth/callback")
	unchanged("after a reload of the callback")

	tb.open(callback, app.url+"/auth/callback")
	unchanged("after the first callback was opened again")

	tb.open(app.url+"/me", app.url+"/me")
	if !strings.Contains(tb.text(), "Alice Adams") {
		t.Errorf("no longer logged in:\n%s", tb.text())
	}
}

func TestBrowserDeepLink(t *testing.T) {
	b := newBrowser(t)
	app := startWebapp(t)
	tb := b.tab()
	deep := app.url + "/me?month=2026-01&view=caf%C3%A9%20list"
	tb.open(deep, "http://127.0.0.1:")
	tb.logInAs("user-alice", app.url+"/me")
	if got := tb.location(); got != deep {
		t.Errorf("came back to %s", got)
	}

	// A fetch without a session is told so and not sent into a login.
	other := newBrowser(t).tab()
	if _, err := chromedp.Call(other.ctx, cdppage.SetBypassCSP, cdppage.SetBypassCSPParams{Enabled: true}); err != nil {
		t.Fatal(err)
	}
	other.open(app.url+"/", app.url+"/")
	if got := evaluate[string](other, `fetch("/me").then(r => r.status + " " + r.headers.get("content-type"))`); got != "401 application/problem+json" {
		t.Errorf("fetch without a session: %s", got)
	}
}

// The application has one origin. Under another name of this machine, a user is sent there before the login starts.
func TestBrowserLocalhost(t *testing.T) {
	b := newBrowser(t)
	app := startWebapp(t)
	alias := strings.Replace(app.url, "127.0.0.1", "localhost", 1)
	tb := b.tab()
	tb.open(alias+"/", app.url+"/")
	tb.open(alias+"/me?x=1", "http://127.0.0.1:")
	tb.logInAs("user-alice", app.url+"/me")
	if got := tb.location(); got != app.url+"/me?x=1" {
		t.Errorf("came back to %s", got)
	}
	if foreign := b.cookies("localhost"); len(foreign) != 0 {
		t.Errorf("cookies under localhost: %v", names(foreign))
	}
	tb.open(alias+"/auth/callback?code=x&state=y", alias)
	if d := tb.last(); d.status < 400 {
		t.Errorf("callback under localhost: %s", d)
	}
}

func TestBrowserRefusal(t *testing.T) {
	b := newBrowser(t)
	app := startWebapp(t)
	tb := b.tab()
	tb.open(app.url+"/me", "http://127.0.0.1:")
	tb.click(`button[name="cancel"]`, app.url+"/auth/callback")
	tb.screenshot("cancelled")
	if d := tb.last(); d.status < 400 || d.status > 499 {
		t.Errorf("status %d", d.status)
	}
	if b.session(app.url).Authenticated {
		t.Error("logged in after a refusal")
	}
	tb.quiet()
}
