package middleware

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/client"
	"github.com/sallyport/sallyport/client/authtest"
)

func set(name, value string) func(url.Values) { return func(v url.Values) { v.Set(name, value) } }
func del(name string) func(url.Values)        { return func(v url.Values) { v.Del(name) } }

// raw replaces the query by one that url.Values cannot express.
func (p *pending) raw(query string) *http.Request {
	r := p.request()
	r.URL.RawQuery = strings.NewReplacer("{code}", url.QueryEscape(p.answer.Params.Get("code")), "{state}", p.state, "{iss}", url.QueryEscape(p.answer.Params.Get("iss"))).Replace(query)
	return r
}

func TestLogin(t *testing.T) {
	b := newBench(t, options{})
	br := b.browser()
	if br.loggedIn() {
		t.Fatal("logged in before the login")
	}
	p := br.begin("/auth/login?return_to=/me%3Fa%3Db")
	rec := p.finish()
	if got := rec.Header().Get("Location"); got != "/me?a=b" {
		t.Errorf("Location %q", got)
	}
	if rec.Body.Len() > 0 { // OAuth 2.1 §2.3.6: nothing runs on the page that has the code
		t.Errorf("the answer has a body: %s", rec.Body)
	}
	checkPage(t, rec, p.request())
	if !br.loggedIn() || br.get("/me").Body.String() != "user-alice" {
		t.Errorf("not logged in: %s", br.session())
	}
	if e := b.last(client.EventLoginCompleted); e.Session == "" || e.Issuer != "https://as-a.example" || e.ClientID != "app" || e.Code != "" {
		t.Errorf("the event is %+v", e)
	}
	if e := b.last(client.EventLoginStarted); e.Issuer != "https://as-a.example" {
		t.Errorf("the event is %+v", e)
	}
	if n := b.as[0].Requests(authtest.Token); n != 1 {
		t.Errorf("%d token requests", n)
	}
}

func TestCallbackOfSomebodyElse(t *testing.T) {
	t.Run("ATK-L01 login CSRF, naked", func(t *testing.T) {
		b := newBench(t, options{})
		theirs := b.browser().begin("/auth/login")
		b.browser().refuse(theirs.request(), stateFailure(client.ErrStateMismatch), theirs)
	})
	t.Run("ATK-L02 login CSRF against a pending login", func(t *testing.T) {
		b := newBench(t, options{})
		theirs, ours := b.browser().begin("/auth/login"), b.browser().begin("/auth/login")
		ours.br.refuse(theirs.request(), stateFailure(client.ErrStateMismatch), theirs, ours)
	})
	t.Run("ATK-L06 foreign state", func(t *testing.T) {
		b := newBench(t, options{})
		foreign := newBench(t, options{}).browser().begin("/auth/login") // another deployment
		p := b.browser().begin("/auth/login")
		p.br.jar, foreign.br.jar = merged(p.br.jar, foreign.cookies), p.br.jar
		p.br.refuse(p.request(set("state", foreign.state)), outcome{code: "cookie", public: publicState})
	})
	t.Run("ATK-L07 leaked URL", func(t *testing.T) {
		b := newBench(t, options{})
		victim, thief := b.browser().begin("/auth/login"), b.browser().begin("/auth/login")
		thief.br.refuse(victim.request(), stateFailure(client.ErrStateMismatch), victim, thief)
	})
	t.Run("ATK-L32 a link that somebody else started", func(t *testing.T) {
		b := newBench(t, options{})
		theirs, victim := b.browser().begin("/auth/login"), b.browser()
		victim.login()
		victim.refuse(theirs.request(), stateFailure(client.ErrStateMismatch), theirs)
	})
	t.Run("ATK-R19 the pending login swapped in flight", func(t *testing.T) {
		b := newBench(t, options{})
		br := b.browser()
		p, other := br.begin("/auth/login?return_to=/a"), br.begin("/auth/login?return_to=/b")
		for name := range p.cookies {
			for _, v := range other.cookies {
				br.jar[name] = v
			}
		}
		br.refuse(p.request(), outcome{code: "cookie", public: publicState}, other)
	})
}

func merged(a, b map[string]string) map[string]string {
	out := map[string]string{}
	for _, m := range []map[string]string{a, b} {
		for k, v := range m {
			out[k] = v
		}
	}
	return out
}

func TestCallbackState(t *testing.T) {
	t.Run("ATK-L05 replay after success, cookie added again", func(t *testing.T) {
		b := newBench(t, options{})
		p := b.browser().begin("/auth/login")
		p.finish()
		p.br.jar = merged(p.br.jar, p.cookies)
		p.br.refuse(p.request(), stateFailure(client.ErrStateReplayed))
	})
	t.Run("ATK-L12 reload after success", func(t *testing.T) {
		b := newBench(t, options{})
		p := b.browser().begin("/auth/login")
		p.finish()
		want := stateFailure(client.ErrStateReplayed)
		if b.faulty != nil { // without its cookie a store of others is not asked
			want = stateFailure(client.ErrStateMismatch)
		}
		rec := p.br.refuse(p.request(), want)
		if !strings.Contains(rec.Body.String(), `href="/"`) || !strings.Contains(rec.Body.String(), "already logged in") {
			t.Errorf("the page leaves a user who is logged in alone: %s", rec.Body)
		}
	})
	t.Run("ATK-L08 expired", func(t *testing.T) {
		b := newBench(t, options{})
		p := b.browser().begin("/auth/login")
		b.advance(10*time.Minute + time.Second)
		want := stateFailure(client.ErrStateExpired)
		want.consumes = true
		rec := p.br.refuse(p.request(), want, p)
		if !strings.Contains(rec.Body.String(), `href="/auth/login"`) || rec.Header().Get("Location") != "" || rec.Header().Get("Refresh") != "" {
			t.Errorf("the page does not offer a new start, or starts by itself: %s", rec.Body)
		}
	})
	t.Run("ATK-L03 no state", func(t *testing.T) {
		b := newBench(t, options{})
		p := b.browser().begin("/auth/login")
		p.br.refuse(p.request(set("state", "")), stateFailure(client.ErrStateMissing))
		p.br.refuse(p.request(del("state")), stateFailure(client.ErrStateMissing), p)
	})
	t.Run("ATK-L09 near misses", func(t *testing.T) {
		b := newBench(t, options{})
		p := b.browser().begin("/auth/login")
		for _, near := range []string{p.state + "A", p.state[:len(p.state)-1], swapCase(p.state), p.state + " ", p.state + "=", " " + p.state} {
			p.br.refuse(p.request(set("state", near)), stateFailure(client.ErrStateMismatch))
		}
		// The same value, written differently, is the same value.
		r := p.request()
		r.URL.RawQuery = strings.Replace(r.URL.RawQuery, "state="+p.state, "state=%"+strings.ToUpper(hex(p.state[0]))+p.state[1:], 1)
		if rec := p.br.send(r); rec.Code != http.StatusSeeOther {
			t.Errorf("an encoded first character: %d", rec.Code)
		}
	})
	t.Run("ATK-L10 two tabs", func(t *testing.T) {
		b := newBench(t, options{})
		br := b.browser()
		one, two := br.begin("/auth/login?return_to=/one"), br.begin("/auth/login?return_to=/two")
		if got := two.finish().Header().Get("Location"); got != "/two" {
			t.Errorf("second tab: %q", got)
		}
		if got := one.finish().Header().Get("Location"); got != "/one" {
			t.Errorf("first tab: %q", got)
		}
		if !br.loggedIn() {
			t.Error("not logged in")
		}
	})
}

func hex(c byte) string { return string("0123456789abcdef"[c>>4]) + string("0123456789abcdef"[c&15]) }

func swapCase(s string) string {
	for i := range len(s) {
		if up, low := strings.ToUpper(s), strings.ToLower(s); s[i] != low[i] {
			return s[:i] + low[i:i+1] + s[i+1:]
		} else if s[i] != up[i] {
			return s[:i] + up[i:i+1] + s[i+1:]
		}
	}
	return s
}

func TestCallbackOnce(t *testing.T) { // ATK-L11
	b := newBench(t, options{})
	p := b.browser().begin("/auth/login")
	const n = 50
	codes := make([]int, n)
	var wg sync.WaitGroup
	for i := range n {
		r := p.request()
		for name, v := range p.br.jar {
			r.AddCookie(&http.Cookie{Name: name, Value: v})
		}
		wg.Go(func() { codes[i] = answer(b.handler, r).Code })
	}
	wg.Wait()
	won := 0
	for _, code := range codes {
		switch code {
		case http.StatusSeeOther:
			won++
		case http.StatusBadRequest:
		default:
			t.Errorf("status %d", code)
		}
	}
	if won != 1 || b.as[0].Requests(authtest.Token) != 1 {
		t.Errorf("%d of %d won, %d token requests", won, n, b.as[0].Requests(authtest.Token))
	}
}

func TestCallbackShape(t *testing.T) {
	const whole = "code={code}&state={state}&iss={iss}"
	for _, tt := range []struct {
		name, query string
		want        outcome
	}{
		{"ATK-L13 state twice, equal", whole + "&state={state}", outcome{code: client.ErrDuplicateParam}},
		{"ATK-L13 state twice, ours first", whole + "&state=other-state", outcome{code: client.ErrDuplicateParam}},
		{"ATK-L13 state twice, ours last", "state=other-state&" + whole, outcome{code: client.ErrDuplicateParam}},
		{"ATK-L14 code twice", whole + "&code=canary-other-code", outcome{code: client.ErrDuplicateParam}},
		{"ATK-L15 iss twice", whole + "&iss=https://as-b.example", outcome{code: client.ErrDuplicateParam}},
		{"ATK-L15 error twice", "error=access_denied&error=server_error&state={state}&iss={iss}", outcome{code: client.ErrDuplicateParam}},
		{"ATK-L17 neither code nor error", "state={state}&iss={iss}", outcome{code: client.ErrMalformedResponse, consumes: true}},
		{"ATK-L17 both", whole + "&error=access_denied", outcome{code: client.ErrAmbiguousResponse, consumes: true}},
		{"ATK-L20 smuggled tokens", whole + "&access_token=EVILTOKEN&id_token=EVILJWT&token_type=Bearer&expires_in=9", outcome{code: client.ErrResponseMode}},
		{"ATK-L21 a JWT response nobody asked for", "response=eyJhbGciOiJub25lIn0.e30.", outcome{code: client.ErrResponseMode}},
		{"ATK-L21 a JWT response beside a code", whole + "&response=eyJhbGciOiJub25lIn0.e30.", outcome{code: client.ErrAmbiguousResponse}},
		{"ATK-L22 iss missing although announced", "code={code}&state={state}", outcome{code: client.ErrIssMissing, consumes: true}},
		{"ATK-L23 mix-up", "code={code}&state={state}&iss=https%3A%2F%2Fas-b.example", outcome{code: client.ErrIssMismatch, consumes: true}},
		{"ATK-L24 trailing slash", "code={code}&state={state}&iss={iss}/", outcome{code: client.ErrIssMismatch, consumes: true}},
		{"ATK-L24 upper-case host", "code={code}&state={state}&iss=https://AS-A.example", outcome{code: client.ErrIssMismatch, consumes: true}},
		{"ATK-L24 default port", "code={code}&state={state}&iss={iss}:443", outcome{code: client.ErrIssMismatch, consumes: true}},
		{"ATK-L24 encoded twice", "code={code}&state={state}&iss={iss}%252f", outcome{code: client.ErrIssMismatch, consumes: true}},
		{"ATK-L24 upper-case scheme", "code={code}&state={state}&iss=HTTPS://as-a.example", outcome{code: client.ErrIssMismatch, consumes: true}},
		{"ATK-L24 trailing space", "code={code}&state={state}&iss={iss}%20", outcome{code: client.ErrIssMismatch, consumes: true}},
		{"ATK-L26 error from elsewhere", "error=access_denied&error_description=Call+555-0100&error_uri=https://evil.example&state={state}&iss=https://evil.example", outcome{code: client.ErrIssMismatch, consumes: true}},
		{"ATK-L26 error without iss", "error=access_denied&error_description=Call+555-0100&state={state}", outcome{code: client.ErrIssMissing, consumes: true}},
		{"ATK-L35 broken escape", "code=%zz&state={state}&iss={iss}", outcome{code: client.ErrMalformedResponse}},
		{"ATK-L35 NUL", "code=%00abcdef&state={state}&iss={iss}", outcome{code: client.ErrMalformedResponse}},
		{"ATK-L35 overlong UTF-8", "code={code}&state=%c0%ae&iss={iss}", outcome{code: client.ErrMalformedResponse}},
		{"ATK-L35 semicolons", "code={code};state={state};iss={iss}", outcome{code: client.ErrMalformedResponse}},
		{"ATK-L35 header split", "code={code}%0d%0aX:1&state={state}&iss={iss}", outcome{code: client.ErrMalformedResponse}},
		{"ATK-L35 array", "code[]={code}&state={state}&iss={iss}", outcome{code: client.ErrMalformedResponse, consumes: true}},
		{"ATK-L34 giant code", whole + strings.Repeat("c", 64<<10), outcome{code: client.ErrMalformedResponse}},
		{"ATK-L34 giant state", "code={code}&iss={iss}&state={state}" + strings.Repeat("s", 64<<10), outcome{code: client.ErrMalformedResponse}},
		{"ATK-L34 many parameters", whole + strings.Repeat("&a=", 1500), outcome{code: client.ErrMalformedResponse}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t, options{})
			p := b.browser().begin("/auth/login")
			p.br.refuse(p.raw(tt.query), tt.want, p)
			// The same from a browser that is logged in leaves it so.
			p = b.browser().begin("/auth/login")
			p.br.login()
			rec := p.br.refuse(p.raw(tt.query), tt.want, p)
			for _, reflected := range []string{"555-0100", "evil.example", "EVIL", "X:1", "as-a.example", "as-b.example"} {
				if strings.Contains(rec.Body.String(), reflected) {
					t.Errorf("the page shows %q", reflected)
				}
			}
		})
	}
	t.Run("ATK-L20 harmless extras", func(t *testing.T) {
		p := newBench(t, options{}).browser().begin("/auth/login")
		if rec := p.br.send(p.raw(whole + "&session_state=a.b&scope=openid&authuser=0&prompt=none&hd=x&State=Y")); rec.Code != http.StatusSeeOther { // ATK-L15: State is not state
			t.Errorf("%d %s", rec.Code, rec.Body)
		}
	})
}

func TestCallbackMethod(t *testing.T) {
	t.Run("ATK-L18 POST where a query was asked for", func(t *testing.T) {
		p := newBench(t, options{}).browser().begin("/auth/login")
		r := httptest.NewRequest("POST", rp+"/auth/callback", strings.NewReader(p.request().URL.RawQuery))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		rec := p.br.refuse(r, outcome{status: http.StatusMethodNotAllowed, code: client.ErrCallbackMethod}, p)
		if rec.Header().Get("Allow") != "GET" {
			t.Errorf("Allow %q", rec.Header().Get("Allow"))
		}
	})
	for _, m := range []string{"HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"} {
		t.Run("ATK-L36 "+m, func(t *testing.T) {
			p := newBench(t, options{}).browser().begin("/auth/login")
			r := p.request()
			r.Method = m
			p.br.refuse(r, outcome{status: http.StatusMethodNotAllowed, code: client.ErrCallbackMethod}, p)
		})
	}
	t.Run("ATK-L36 prefetch", func(t *testing.T) {
		p := newBench(t, options{}).browser().begin("/auth/login")
		for _, h := range []string{"Sec-Purpose: prefetch;prerender", "Purpose: prefetch", "X-Moz: prefetch"} {
			name, v, _ := strings.Cut(h, ": ")
			r := p.request()
			r.Header.Set(name, v)
			p.br.refuse(r, outcome{status: http.StatusServiceUnavailable, code: errSpeculative})
		}
		p.finish()
	})
}

func TestCallbackAtAnotherHost(t *testing.T) {
	for name, change := range map[string]func(*http.Request){
		"ATK-R05 default port":                 func(r *http.Request) { r.Host = "rp.example:443" },
		"ATK-R05 another port":                 func(r *http.Request) { r.Host = "rp.example:8443" },
		"another host":                         func(r *http.Request) { r.Host = "evil.example" },
		"upper case":                           func(r *http.Request) { r.Host = "RP.example" },
		"trailing dot":                         func(r *http.Request) { r.Host = "rp.example." },
		"no host":                              func(r *http.Request) { r.Host = "" },
		"ATK-R02 a forwarded host is not read": func(r *http.Request) { r.Host = "internal:8080"; r.Header.Set("X-Forwarded-Host", "rp.example") },
	} {
		t.Run(name, func(t *testing.T) {
			p := newBench(t, options{}).browser().begin("/auth/login")
			r := p.request()
			change(r)
			p.br.refuse(r, outcome{status: http.StatusMisdirectedRequest, code: errMisdirected}, p)
		})
	}
	t.Run("ATK-L42 in clear, the absolute form", func(t *testing.T) {
		p := newBench(t, options{}).browser().begin("/auth/login")
		r := p.request()
		r.URL.Scheme = "http"
		p.br.refuse(r, outcome{code: client.ErrMalformedResponse, reason: "scheme"}, p)
	})
	t.Run("ATK-L42 in clear, the browser withholds the cookie", func(t *testing.T) {
		p := newBench(t, options{}).browser().begin("/auth/login")
		r := p.request()
		r.TLS = nil
		p.br.browser().refuse(r, stateFailure(client.ErrStateMismatch), p)
	})
}

// Whatever a lenient router would take for the callback uses up nothing.
func TestCallbackAtAnotherPath(t *testing.T) {
	b := newBench(t, options{})
	p := b.browser().begin("/auth/login")
	for _, path := range []string{
		"/auth/./callback", "/auth/x/../callback", "//auth/callback", "/auth/callback;a=b", `/auth\callback`, "/auth/callback/.", "/auth/%63allback", // ATK-R03
		"/auth/callback/", "/Auth/Callback", // ATK-R04
	} {
		r := p.request()
		r.URL = &url.URL{Path: path, RawQuery: r.URL.RawQuery}
		r.RequestURI = path
		calls := b.calls()
		rec := p.br.send(r)
		if rec.Code != http.StatusNotFound || rec.Header().Get("Location") != "" || b.calls() != calls || p.br.loggedIn() {
			t.Errorf("%s: %d %s", path, rec.Code, rec.Header().Get("Location"))
		}
		checkPage(t, rec, r)
	}
	p.finish()
}

func TestCallbackIssNotAnnounced(t *testing.T) { // ATK-L25: what is there must be right, what is missing may be
	b := newBench(t, options{})
	b.as[0].Misbehave(authtest.Fault{Endpoint: authtest.Metadata, JSON: func(m map[string]any) { delete(m, "authorization_response_iss_parameter_supported") }})
	p := b.browser().begin("/auth/login")
	p.br.refuse(p.request(set("iss", "https://evil.example")), outcome{code: client.ErrIssMismatch, consumes: true}, p)
	p = b.browser().begin("/auth/login")
	if rec := p.br.send(p.request(del("iss"))); rec.Code != http.StatusSeeOther {
		t.Errorf("%d", rec.Code)
	}
}

func TestCallbackCodeUnchanged(t *testing.T) { // ATK-L35
	b := newBench(t, options{})
	p := b.browser().begin("/auth/login")
	const code = "a+b/c=~%2B-._!*'()\"x"
	p.br.refuse(p.request(set("code", code)), outcome{code: client.ErrTokenEndpoint, calls: 1, consumes: true}, p)
	if log := b.as[0].Log(authtest.Token); log[len(log)-1].Form.Get("code") != code {
		t.Error("the code was changed on its way")
	}
}

func TestCallbackQueryOfRedirectURI(t *testing.T) { // ATK-R07
	withQuery := options{client: func(c *client.Config) { c.RedirectURI = rp + "/auth/callback?t=7" }}
	p := newBench(t, withQuery).browser().begin("/auth/login")
	if u, _ := url.Parse(p.location); u.Query().Get("redirect_uri") != rp+"/auth/callback?t=7" {
		t.Errorf("redirect_uri %q", u.Query().Get("redirect_uri"))
	}
	request := func(query string) *http.Request { return p.raw(query) }
	const rest = "&code={code}&state={state}&iss={iss}"
	p.br.refuse(request("t=8"+rest), stateFailure(client.ErrStateMismatch))
	p.br.refuse(request(rest[1:]), stateFailure(client.ErrStateMismatch))
	p.br.refuse(request("t=7&t=8"+rest), outcome{code: client.ErrDuplicateParam})
	p.br.refuse(request("code=canary-other-code&t=7"+rest), outcome{code: client.ErrDuplicateParam})
	if rec := p.br.send(request("t=7" + rest)); rec.Code != http.StatusSeeOther {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
}

func TestCallbackOfAnotherProvider(t *testing.T) {
	t.Run("ATK-L27 state for A at B's address", func(t *testing.T) {
		b := newBench(t, options{two: true})
		p := b.browser().begin("/auth/login/a")
		r := p.request(del("iss"))
		r.URL.Path = "/auth/callback/b"
		want := stateFailure(client.ErrStateMismatch)
		want.consumes = true
		p.br.refuse(r, want, p)
	})
	t.Run("ATK-L23 a code of A for a login at B", func(t *testing.T) {
		b := newBench(t, options{two: true})
		br := b.browser()
		atB, atA := br.begin("/auth/login/b"), br.begin("/auth/login/a")
		r := atB.request(set("code", atA.answer.Params.Get("code")), set("iss", "https://as-a.example"))
		br.refuse(r, outcome{code: client.ErrIssMismatch, consumes: true}, atB)
		atA.finish()
	})
}
