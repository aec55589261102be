package middleware

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/client/authtest"
)

// logout is what a form of our own sends.
func logoutRequest(query, form string, headers ...string) *http.Request {
	r := with("POST", rp+"/auth/logout"+query, append([]string{"Content-Type: application/x-www-form-urlencoded"}, headers...)...)
	r.Body = http.NoBody
	if form != "" {
		r.Body = readCloser{strings.NewReader(form)}
		r.ContentLength = int64(len(form))
	}
	return r
}

type readCloser struct{ *strings.Reader }

func (readCloser) Close() error { return nil }

func TestLogout(t *testing.T) {
	b := newBench(t, options{})
	br := b.browser()
	br.login()
	copied := merged(br.jar, nil)
	rec := br.send(logoutRequest("", "", "Sec-Fetch-Site: same-origin"))
	checkPage(t, rec, logoutRequest("", ""))
	location, err := url.Parse(rec.Header().Get("Location"))
	if err != nil || rec.Code != http.StatusSeeOther || !strings.HasPrefix(location.String(), b.as[0].Issuer()+"/") {
		t.Fatalf("%d %s", rec.Code, location)
	}
	q := location.Query()
	if q.Get("post_logout_redirect_uri") != rp+"/auth/logout/callback" || q.Get("client_id") != "app" || q.Get("id_token_hint") == "" || len(q.Get("state")) < 22 {
		t.Errorf("the provider gets %v", q)
	}
	if br.loggedIn() {
		t.Error("still logged in")
	}
	if n := b.as[0].Requests(authtest.Revocation); n != 2 {
		t.Errorf("%d revocations, want refresh and access token", n)
	}
	// ATK-K15: a copy of the cookie is no session any more.
	thief := b.browser()
	thief.jar = copied
	if thief.loggedIn() {
		t.Error("a copied cookie survives the logout")
	}
	// The way back.
	cb, err := b.as[0].NewBrowser().Open(context.Background(), location.String())
	if err != nil || cb == nil {
		t.Fatalf("the provider does not send the browser back: %v", err)
	}
	back := strings.TrimPrefix(cb.URL, rp)
	rec = br.get(back)
	if rec.Code != http.StatusOK || !strings.Contains(rec.Body.String(), "You are logged out") {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
	if len(br.jar) != 0 {
		t.Errorf("cookies are left: %v", br.jar)
	}
	// Again, or without a state: nobody is logged in, which is what the page says, and nothing happens.
	for _, again := range []string{back, "/auth/logout/callback", "/auth/logout/callback?state=other"} {
		if rec := br.get(again); rec.Code != http.StatusOK || !strings.Contains(rec.Body.String(), "You are logged out") || len(br.jar) != 0 {
			t.Errorf("%s: %d %s", again, rec.Code, rec.Body)
		}
	}
}

func TestLogoutCSRF(t *testing.T) { // ATK-O01
	for name, r := range map[string]func() *http.Request{
		"image": func() *http.Request {
			return with("GET", rp+"/auth/logout", "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: no-cors", "Sec-Fetch-Dest: image")
		},
		"form of another site": func() *http.Request {
			return logoutRequest("", "", "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate", "Origin: https://evil.example")
		},
		"form of a sibling": func() *http.Request {
			return logoutRequest("", "", "Sec-Fetch-Site: same-site", "Origin: https://evil.rp.example")
		},
		"form, old browser":       func() *http.Request { return logoutRequest("", "", "Origin: https://evil.example") },
		"our host over http":      func() *http.Request { return logoutRequest("", "", "Origin: http://rp.example") },
		"method in the parameter": func() *http.Request { return with("GET", rp+"/auth/logout?_method=POST") },
		"override header":         func() *http.Request { return with("GET", rp+"/auth/logout", "X-HTTP-Method-Override: POST") },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, options{})
			br := b.browser()
			br.login()
			was, calls := br.session(), b.calls()
			rec := br.send(r())
			if rec.Code != http.StatusForbidden && rec.Code != http.StatusMethodNotAllowed {
				t.Errorf("%d", rec.Code)
			}
			if rec.Code == http.StatusForbidden && b.last(EventRequestRefused).Code != ErrCSRF {
				t.Errorf("the event is %+v", b.last(EventRequestRefused))
			}
			checkPage(t, rec, r())
			if br.session() != was || b.calls() != calls || rec.Header().Get("Location") != "" {
				t.Errorf("the session changed to %s, %d calls", br.session(), b.calls()-calls)
			}
		})
	}
}

func TestLogoutTakesNoAddress(t *testing.T) { // ATK-R18, ATK-O03
	b := newBench(t, options{})
	br := b.browser()
	br.login()
	const evil = "return_to=//evil.example&post_logout_redirect_uri=https://evil.example&state=evilstate&id_token_hint=evil&client_id=evil"
	rec := br.send(logoutRequest("?"+evil, evil, "Sec-Fetch-Site: same-origin"))
	location := rec.Header().Get("Location")
	u, _ := url.Parse(location)
	if strings.Contains(location, "evil") || u.Query().Get("post_logout_redirect_uri") != rp+"/auth/logout/callback" || len(u.Query()["post_logout_redirect_uri"]) != 1 {
		t.Errorf("Location %q", location)
	}
}

func TestLoggedOutForged(t *testing.T) { // ATK-O02
	b := newBench(t, options{})
	br := b.browser()
	br.login()
	// A pending logout of another browser.
	other := b.browser()
	other.login()
	loc, _ := url.Parse(other.send(logoutRequest("", "")).Header().Get("Location"))
	for name, target := range map[string]string{
		"forged state": "/auth/logout/callback?state=EVILSTATE", "no state": "/auth/logout/callback", "empty": "/auth/logout/callback?state=", "two states": "/auth/logout/callback?state=a&state=b",
		"another browser's": "/auth/logout/callback?state=" + url.QueryEscape(loc.Query().Get("state")), "broken": "/auth/logout/callback?state=%zz",
	} {
		was := br.session()
		rec := br.get(target)
		if rec.Code != http.StatusBadRequest || !strings.Contains(rec.Body.String(), "Nothing was changed") || br.session() != was || rec.Header().Get("Location") != "" {
			t.Errorf("%s: %d %s", name, rec.Code, rec.Body)
		}
		checkPage(t, rec, with("GET", rp+target))
	}
}

func TestLogoutWithoutProvider(t *testing.T) {
	loggedOut := func(t *testing.T, b *bench, br *browser) {
		t.Helper()
		rec := br.send(logoutRequest("", "", "Sec-Fetch-Site: same-origin"))
		if rec.Code != http.StatusOK || !strings.Contains(rec.Body.String(), "You are logged out") || br.loggedIn() {
			t.Errorf("%d %s", rec.Code, rec.Body)
		}
	}
	t.Run("ATK-O17 no end_session_endpoint", func(t *testing.T) {
		b := newBench(t, options{})
		b.as[0].Misbehave(authtest.Fault{Endpoint: authtest.Metadata, JSON: func(m map[string]any) { delete(m, "end_session_endpoint") }})
		br := b.browser()
		br.login()
		loggedOut(t, b, br)
	})
	bubble(t, "ATK-O17 metadata not to be had", func(t *testing.T) {
		b := newBench(t, options{})
		br := b.browser()
		br.login()
		cookies := merged(br.jar, nil)
		again := sameBench(t, b, func(as *authtest.Server) { as.Misbehave(authtest.Fault{Answer: &authtest.Response{Status: 503}}) })
		br = again.browser()
		br.jar = cookies
		loggedOut(t, again, br)
	})
	for name, fault := range map[string]authtest.Fault{
		"503":         {Answer: &authtest.Response{Status: 503, Header: http.Header{"Retry-After": {"1"}}}},
		"unsupported": {Answer: authtest.JSON(400, map[string]any{"error": "unsupported_token_type"})},
		"hangs up":    {Wire: authtest.DropAfter},
		"redirects":   {Answer: authtest.Redirect(307, "https://evil.example/")},
	} {
		bubble(t, "ATK-O18 revocation "+name, func(t *testing.T) {
			b := newBench(t, options{})
			br := b.browser()
			br.login()
			fault.Endpoint = authtest.Revocation
			b.as[0].Misbehave(fault)
			rec := br.send(logoutRequest("", "", "Sec-Fetch-Site: same-origin"))
			if rec.Code != http.StatusSeeOther || br.loggedIn() {
				t.Errorf("%d, logged in %v", rec.Code, br.loggedIn())
			}
			if n := b.as[0].Requests(authtest.Revocation); n > 6 {
				t.Errorf("%d requests: the retry is not bounded", n)
			}
		})
	}
}

func TestLogoutWithoutSession(t *testing.T) {
	b := newBench(t, options{})
	br := b.browser()
	rec := br.send(logoutRequest("", "", "Sec-Fetch-Site: same-origin"))
	if rec.Code != http.StatusOK || !strings.Contains(rec.Body.String(), "You are logged out") || b.calls() != 0 {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
	// A cookie that is none is taken away all the same.
	br.login()
	for name := range br.jar {
		br.jar[name] = "broken"
	}
	if rec := br.send(logoutRequest("", "")); rec.Code != http.StatusOK || len(br.jar) != 0 {
		t.Errorf("%d, %v", rec.Code, br.jar)
	}
}

func TestLogoutHint(t *testing.T) { // ATK-O20: the scanner of the bench sees that no event and no page has it
	b := newBench(t, options{server: func(c *authtest.Config) { c.IDTokenLifetime = time.Minute }})
	br := b.browser()
	br.login()
	b.advance(30 * time.Minute) // an expired hint is allowed
	rec := br.send(logoutRequest("", ""))
	u, _ := url.Parse(rec.Header().Get("Location"))
	if u.Query().Get("id_token_hint") == "" || rec.Header().Get("Referrer-Policy") != "no-referrer" || rec.Body.Len() > 0 {
		t.Errorf("%d %q %s", rec.Code, rec.Header().Get("Referrer-Policy"), rec.Body)
	}
}

// Chunks that have piled up beyond what a request may carry keep nobody logged in: all go, and the tokens are revoked. ATK-K15
func TestLogoutOfManyChunks(t *testing.T) {
	b := newBench(t, options{})
	b.as[0].Misbehave(authtest.Fault{Endpoint: authtest.Token, JWT: func(j *authtest.JWT) { j.Claims["padding"] = strings.Repeat("x", 3500) }})
	br := b.browser()
	br.login()
	if len(br.jar) < 2 {
		t.Fatal("not split")
	}
	for i := range 70 {
		br.jar["__Host-sallyport."+strconv.FormatInt(b.now().Add(-time.Minute).UnixMilli()-int64(i), 36)+".0"] = "2.x.y"
	}
	br.send(logoutRequest("", "", "Sec-Fetch-Site: same-origin"))
	for name := range br.jar {
		if !strings.HasSuffix(name, "-logout") {
			t.Errorf("%s is left", name)
		}
	}
	if n := b.as[0].Requests(authtest.Revocation); n != 2 {
		t.Errorf("%d revocations, want refresh and access token", n)
	}
}
