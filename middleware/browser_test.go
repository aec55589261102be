package middleware

import (
	"context"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/client"
	"github.com/sallyport/sallyport/client/authtest"
)

// browser is a cookie jar and nothing else.
type browser struct {
	*bench
	jar map[string]string
	lax map[string]bool // what a POST from another site does not bring along (RFC 6265bis §5.6.7)
}

func (b *bench) browser() *browser {
	return &browser{bench: b, jar: map[string]string{}, lax: map[string]bool{}}
}

// send sends r with the cookies of the jar and keeps what comes back.
func (br *browser) send(r *http.Request) *httptest.ResponseRecorder {
	br.t.Helper()
	crossSitePost := r.Method == http.MethodPost && r.Header.Get("Sec-Fetch-Site") == "cross-site"
	for _, name := range slices.Sorted(maps.Keys(br.jar)) {
		if crossSitePost && br.lax[name] {
			continue
		}
		r.AddCookie(&http.Cookie{Name: name, Value: br.jar[name]})
	}
	rec := answer(br.handler, r)
	br.keep(r, rec)
	return rec
}

// keep takes the cookies of an answer.
func (br *browser) keep(r *http.Request, rec *httptest.ResponseRecorder) {
	br.t.Helper()
	resp := rec.Result()
	for _, line := range resp.Header["Set-Cookie"] {
		c, err := http.ParseSetCookie(line)
		if err != nil {
			br.t.Errorf("a cookie does not parse: %v", err)
			continue
		}
		if strings.HasPrefix(br.auth.base, "https:") && (!strings.HasPrefix(c.Name, "__Host-") || !c.Secure || !c.HttpOnly || c.Path != "/" || c.Domain != "") {
			br.t.Errorf("cookie %s lacks an attribute: %s", c.Name, strings.ReplaceAll(line, c.Value, "…"))
		}
		if c.MaxAge < 0 || !c.Expires.IsZero() && c.Expires.Before(br.now()) {
			delete(br.jar, c.Name)
		} else {
			br.jar[c.Name] = c.Value
			br.lax[c.Name] = c.SameSite != http.SameSiteNoneMode
		}
		if cc := resp.Header.Get("Cache-Control"); !strings.Contains(cc, "no-store") {
			br.t.Errorf("%s sets a cookie with Cache-Control %q", r.URL.Path, cc)
		}
	}
	br.mu.Lock()
	br.said.WriteString(rec.Body.String())
	br.mu.Unlock()
}

func (br *browser) get(target string, headers ...string) *httptest.ResponseRecorder {
	br.t.Helper()
	if headers == nil {
		headers = navigation
	}
	return br.send(with("GET", rp+target, headers...))
}

// session is what BasePath/session says.
func (br *browser) session() string {
	br.t.Helper()
	rec := br.send(with("GET", rp+"/auth/session"))
	if rec.Code != http.StatusOK {
		br.t.Fatalf("session: %d", rec.Code)
	}
	return rec.Body.String()
}

func (br *browser) loggedIn() bool {
	br.t.Helper()
	return strings.Contains(br.session(), `"authenticated":true`)
}

// pending is a login between its two doors: the user has consented, the callback has not been sent.
type pending struct {
	br       *browser
	as       *authtest.Server
	start    *httptest.ResponseRecorder
	location string
	state    string
	cookies  map[string]string // set by the start
	answer   *authtest.Callback
}

// begin starts a login at target and consents.
func (br *browser) begin(target string) *pending {
	br.t.Helper()
	before := maps.Clone(br.jar)
	rec := br.get(target)
	p := &pending{br: br, start: rec, location: rec.Header().Get("Location"), cookies: map[string]string{}}
	u, err := url.Parse(p.location)
	if rec.Code != http.StatusSeeOther || err != nil {
		br.t.Fatalf("the login does not start: %d %s", rec.Code, rec.Body)
	}
	for name, v := range br.jar {
		if before[name] != v {
			p.cookies[name] = v
		}
	}
	p.state = u.Query().Get("state")
	br.canary("state", p.state)
	br.canary("nonce", u.Query().Get("nonce"))
	for _, as := range br.as {
		if strings.HasPrefix(p.location, as.Issuer()+"/") {
			p.as = as
		}
	}
	if p.as == nil {
		br.t.Fatalf("the login leads to no server: %s", u.Host)
	}
	if p.answer, err = p.as.Authorize(context.Background(), p.location); err != nil {
		br.t.Fatal(err)
	}
	br.canary("code", p.answer.Params.Get("code"))
	return p
}

// request is the callback as the server sent it, with changes.
func (p *pending) request(changes ...func(url.Values)) *http.Request {
	params := url.Values{}
	for k, v := range p.answer.Params {
		params[k] = slices.Clone(v)
	}
	for _, change := range changes {
		change(params)
	}
	u, _, _ := strings.Cut(p.answer.URL, "?")
	if p.answer.Method == http.MethodPost {
		r := httptest.NewRequest("POST", p.answer.URL, strings.NewReader(params.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Sec-Fetch-Site", "cross-site")
		return r
	}
	return with("GET", u+"?"+params.Encode(), navigation...)
}

// finish sends the honest callback and expects the login to work.
func (p *pending) finish() *httptest.ResponseRecorder {
	p.br.t.Helper()
	rec := p.br.send(p.request())
	if rec.Code != http.StatusSeeOther {
		p.br.t.Fatalf("the honest callback is answered with %d: %s %+v", rec.Code, rec.Body, p.br.last(client.EventLoginRejected))
	}
	return rec
}

func (br *browser) login() { br.t.Helper(); br.begin("/auth/login").finish() }

// outcome is what the catalogue asks of a row beyond its default.
type outcome struct {
	status   int         // 0: 400
	code     client.Code // of the event
	reason   string      // of the event, if not empty
	public   string      // on the page; empty: code
	calls    int         // at all servers together
	consumes bool        // C: the pending login concerned is over; else it is kept (K)
}

// stateFailure is the outcome of every failure to find the pending login.
func stateFailure(code client.Code) outcome { return outcome{code: code, public: publicState} }

// refuse sends r from br and asserts the default outcome: nothing stored (N), the session as it was (S), no call (0), a generic page (G), the event, and the pending logins kept or consumed.
func (br *browser) refuse(r *http.Request, want outcome, concerned ...*pending) *httptest.ResponseRecorder {
	t := br.t
	t.Helper()
	jar, was, calls := maps.Clone(br.jar), br.session(), br.calls()
	at := br.nodes.next()
	rec := br.send(r)
	if want.status == 0 {
		want.status = http.StatusBadRequest
	}
	if want.public == "" {
		want.public = string(want.code)
	}
	if rec.Code != want.status {
		t.Errorf("status %d, want %d", rec.Code, want.status)
	}
	checkPage(t, rec, r)
	e := br.last(client.EventLoginRejected)
	if e.Code != want.code || want.reason != "" && e.Reason != want.reason {
		t.Errorf("the event says %q (%s), want %q (%s)", e.Code, e.Reason, want.code, want.reason)
	}
	if r.Method != http.MethodHead && (!strings.Contains(rec.Body.String(), "<code>"+want.public+"</code>") || e.Correlation == "" || !strings.Contains(rec.Body.String(), e.Correlation)) {
		t.Errorf("the page lacks the code %q or the reference %q of the event: %s", want.public, e.Correlation, rec.Body)
	}
	if n := br.calls() - calls; n != want.calls {
		t.Errorf("%d calls to the servers, want %d", n, want.calls)
	}
	if got := br.session(); got != was {
		t.Errorf("the session changed from %s to %s", was, got)
	}
	for name, v := range br.jar {
		if jar[name] != v {
			t.Errorf("cookie %s was set or changed", name)
		}
	}
	for name := range jar {
		if _, kept := br.jar[name]; !kept && !(want.consumes && slices.ContainsFunc(concerned, func(p *pending) bool { return p.cookies[name] != "" })) {
			t.Errorf("cookie %s was taken away", name)
		}
	}
	for _, p := range concerned {
		if want.consumes {
			// Not even with the cookie added by hand again.
			for name, v := range p.cookies {
				p.br.jar[name] = v
			}
			calls := br.calls()
			br.nodes.turn(at) // a login that ended without sending its code is over in that process
			if again := p.br.send(p.request()); again.Code != http.StatusBadRequest || br.calls() != calls {
				t.Errorf("the pending login is not consumed: %d", again.Code)
			}
			for name := range p.cookies {
				delete(p.br.jar, name)
			}
		} else {
			p.finish()
		}
	}
	return rec
}
