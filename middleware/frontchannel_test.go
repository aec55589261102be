package middleware

import (
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/client"
	"github.com/sallyport/sallyport/client/authtest"
	"github.com/sallyport/sallyport/session"
	"github.com/sallyport/sallyport/session/storetest"
)

// framed is what a browser sends for a frame in the provider's page.
var framed = []string{"Sec-Fetch-Site: same-site", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: iframe", "Accept: text/html", "Referer: https://as-a.example/"}

func frontchannel(query string) *http.Request {
	return with("GET", rp+"/auth/frontchannel-logout"+query, framed...)
}

// checkFrontchannel is what every answer must be. ancestors is who may frame it.
func checkFrontchannel(t *testing.T, rec *httptest.ResponseRecorder, status int, ancestors string) {
	t.Helper()
	h := rec.Header()
	csp := h.Get("Content-Security-Policy")
	if rec.Code != status || h.Get("Cache-Control") != "no-store" || rec.Body.Len() != 0 || h.Get("Location") != "" {
		t.Errorf("%d %v %s", rec.Code, h, rec.Body)
	}
	if !strings.Contains(csp+";", "; frame-ancestors "+ancestors+";") || !strings.Contains(csp, "default-src 'none'") || (h.Get("X-Frame-Options") == "DENY") != (ancestors == "'none'") || len(h["Content-Security-Policy"]) != 1 {
		t.Errorf("framed by %q, %q", csp, h.Get("X-Frame-Options"))
	}
	if (h.Get("Retry-After") != "") != (status == http.StatusServiceUnavailable) {
		t.Errorf("Retry-After %q", h.Get("Retry-After"))
	}
}

const asA, asB = "https%3A%2F%2Fas-a.example", "https%3A%2F%2Fas-b.example"

func TestFrontchannelLogout(t *testing.T) {
	b := newBench(t, options{cfg: Config{FrontchannelLogout: true}, two: true})
	br, other := b.browser(), b.browser()
	br.begin("/auth/login/a").finish()
	other.begin("/auth/login/a").finish()
	sid, id := br.sid(), other.sid()
	copied := br.browser()
	copied.jar = maps.Clone(br.jar)
	for name, tt := range map[string]struct {
		query     string
		status    int
		ancestors string
	}{
		"ATK-O15 nobody":                {"", 200, "'none'"},
		"ATK-O15 evil iss":              {"?iss=https://evil.example&sid=" + sid, 200, "'none'"},
		"ATK-O15 evil iss, nearly ours": {"?iss=" + asA + "%2F&sid=" + sid, 200, "'none'"},
		"ATK-O15 another issuer":        {"?iss=" + asB + "&sid=" + sid, 200, "https://as-b.example"},
		"ATK-O15 sid of another":        {"?iss=" + asA + "&sid=" + id, 200, "https://as-a.example"},
		"ATK-O15 sid unknown":           {"?iss=" + asA + "&sid=x", 200, "https://as-a.example"},
		"ATK-O15 sid empty":             {"?iss=" + asA + "&sid=", 200, "https://as-a.example"},
		"ATK-O15 both empty":            {"?iss=&sid=", 200, "'none'"},
		"ATK-O15 iss only":              {"?iss=" + asA, 400, "https://as-a.example"},
		"ATK-O15 sid only":              {"?sid=" + sid, 400, "'none'"},
		"ATK-O15 iss twice":             {"?iss=" + asA + "&iss=" + asA + "&sid=" + sid, 400, "'none'"},
		"ATK-O15 sid twice":             {"?iss=" + asA + "&sid=" + sid + "&sid=" + id, 400, "https://as-a.example"},
		"ATK-O15 sid twice, equal":      {"?iss=" + asA + "&sid=" + sid + "&sid=" + sid, 400, "https://as-a.example"},
		"ATK-O15 broken":                {"?iss=" + asA + "&sid=" + sid + "&x=%zz", 400, "'none'"},
		"ATK-O15 semicolon":             {"?iss=" + asA + ";sid=" + sid, 400, "'none'"},
	} {
		jar, calls := maps.Clone(br.jar), b.calls()
		rec := br.send(frontchannel(tt.query))
		checkFrontchannel(t, rec, tt.status, tt.ancestors)
		if e := b.last(EventLogoutRefused); !maps.Equal(br.jar, jar) || b.calls() != calls || !br.loggedIn() || e.Kind == "" {
			t.Errorf("%s changes something, or says nothing: %+v", name, e)
		}
		if duplicate := b.last(EventLogoutRefused).Code == client.ErrDuplicateParam; duplicate != strings.Contains(name, "twice") {
			t.Errorf("%s: %+v", name, b.last(EventLogoutRefused))
		}
		b.mu.Lock()
		b.events = nil
		b.mu.Unlock()
	}
	// ATK-O15: without the cookie, as a browser that blocks it sends it, nothing ends; nor with one that is broken.
	good := "?iss=" + asA + "&sid=" + url.QueryEscape(sid)
	checkFrontchannel(t, b.browser().send(frontchannel(good)), 200, "https://as-a.example")
	broken := b.browser()
	for name := range br.jar {
		broken.jar[name] = "broken"
	}
	checkFrontchannel(t, broken.send(frontchannel(good)), 200, "https://as-a.example")
	for _, m := range []string{"POST", "HEAD", "PUT"} {
		r := frontchannel(good)
		r.Method = m
		if rec := br.send(r); rec.Code != http.StatusMethodNotAllowed || rec.Header().Get("Allow") != "GET" {
			t.Errorf("%s: %d", m, rec.Code)
		}
	}
	if !br.loggedIn() || len(broken.jar) == 0 {
		t.Fatal("a session is gone")
	}
	// The session's own, and a parameter that the registered address may have.
	calls := b.calls()
	checkFrontchannel(t, br.send(frontchannel(good+"&tenant=7")), 200, "https://as-a.example")
	if e := b.last(EventLogoutReceived); e.Reason != "frontchannel" || e.Session == "" || e.Issuer != "https://as-a.example" {
		t.Errorf("the event is %+v", e)
	}
	if len(br.jar) != 0 || br.loggedIn() || copied.loggedIn() || !other.loggedIn() {
		t.Errorf("%d cookies, %v, a copy %v, another session %v", len(br.jar), br.loggedIn(), copied.loggedIn(), other.loggedIn())
	}
	if b.settle(); b.calls() != calls {
		t.Error("tokens were revoked")
	}
	checkFrontchannel(t, copied.send(frontchannel(good)), 200, "https://as-a.example") // again
}

// A session for which the provider gave no sid is nobody's to end in a frame.
func TestFrontchannelLogoutWithoutSID(t *testing.T) { // ATK-O15
	b := newBench(t, options{cfg: Config{FrontchannelLogout: true}})
	b.as[0].Misbehave(authtest.Fault{Endpoint: authtest.Token, JWT: claim("sid", nil)})
	br := b.browser()
	br.login()
	checkFrontchannel(t, br.send(frontchannel("?iss="+asA+"&sid=")), 200, "https://as-a.example")
	if !br.loggedIn() {
		t.Error("logged out")
	}
}

func TestFrontchannelLogoutIsOff(t *testing.T) {
	b := newBench(t, options{})
	br := b.browser()
	br.login()
	rec := br.send(frontchannel("?iss=" + asA + "&sid=" + br.sid()))
	if rec.Body.String() != "public" || !br.loggedIn() {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
	if rec := answer(b.auth, frontchannel("")); rec.Code != http.StatusNotFound {
		t.Errorf("%d", rec.Code)
	}
}

func TestFrontchannelLogoutStoreAway(t *testing.T) { // ATK-K17
	for _, p := range shared {
		b := newBench(t, options{place: p, cfg: Config{FrontchannelLogout: true}})
		br := b.browser()
		br.login()
		r := "?iss=" + asA + "&sid=" + br.sid()
		for _, source := range []storetest.Source{storetest.Always(storetest.Fault{Kind: storetest.FailBefore}), swaps(storetest.Fault{Kind: storetest.FailBefore})} {
			b.faulty.Inject(source)
			rec := br.send(frontchannel(r))
			checkFrontchannel(t, rec, http.StatusServiceUnavailable, "https://as-a.example")
			if e := b.last(EventLogoutRefused); e.Code != session.ErrStore || len(rec.Header()["Set-Cookie"]) != 0 {
				t.Errorf("%+v %v", e, rec.Header())
			}
		}
		b.faulty.Inject(nil)
		if !br.loggedIn() {
			t.Error("logged out")
		}
	}
}

// Its path is ours only if it is on: then no login ends there, and no redirect URI may be it.
func TestFrontchannelLogoutRoute(t *testing.T) {
	c := testClient(t, "", "https://as-a.example", "https://rp.example/auth/frontchannel-logout")
	if _, err := (Config{FrontchannelLogout: true}).New(testManager(t), c); err == nil || !strings.Contains(err.Error(), "frontchannel-logout") {
		t.Errorf("got %v", err)
	}
	if _, err := New(testManager(t), c); err != nil {
		t.Error(err)
	}
	if got := testAuth(t, Config{FrontchannelLogout: true}).LoginURL("/auth/frontchannel-logout"); got != "/auth/login" {
		t.Errorf("return_to: %s", got)
	}
	if got := framedBy("https://AS.example:443/tenant/"); !strings.HasSuffix(got, "frame-ancestors https://as.example") {
		t.Errorf("framed by %s", got)
	}
}
