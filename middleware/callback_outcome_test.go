package middleware

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/client"
	"github.com/sallyport/sallyport/client/authtest"
)

func TestCallbackServerErrors(t *testing.T) {
	for code, want := range map[string]outcome{
		"access_denied":           {status: http.StatusForbidden, code: client.ErrAuthorization, consumes: true},
		"login_required":          {status: http.StatusForbidden, code: client.ErrAuthorization, consumes: true}, // ATK-L38
		"invalid_scope":           {code: client.ErrAuthorization, consumes: true},
		"invalid_request":         {code: client.ErrAuthorization, consumes: true}, // ATK-L29: no second try with plain
		"temporarily_unavailable": {code: client.ErrAuthorization, consumes: true},
		"not_registered_anywhere": {code: client.ErrAuthorization, consumes: true},
		"<b>markup</b>":           {code: client.ErrAuthorization, consumes: true}, // ATK-L33
	} {
		t.Run(code, func(t *testing.T) {
			b := newBench(t, options{})
			br := b.browser()
			br.login()
			b.as[0].Misbehave(authtest.Fault{Endpoint: authtest.Authorize, Params: func(v url.Values) {
				authtest.Deny(code)(v)
				// ATK-L33
				v.Set("error_description", "Call 555-0100 \x1b[31m")
				v.Set("error_uri", "https://evil.example/help")
			}})
			p := br.begin("/auth/login")
			b.as[0].Behave()
			rec := br.refuse(p.request(), want, p)
			for _, s := range []string{"555", "evil", code} {
				if strings.Contains(rec.Body.String(), s) {
					t.Errorf("the page shows %q", s)
				}
			}
		})
	}
}

// givenBack are the calls that revoke the tokens of an answer that is not used.
const givenBack = 2

func TestCallbackCodeInjection(t *testing.T) {
	t.Run("ATK-L30 the server checks PKCE", func(t *testing.T) {
		b := newBench(t, options{})
		stolen, thief := b.browser().begin("/auth/login"), b.browser().begin("/auth/login")
		r := thief.request(set("code", stolen.answer.Params.Get("code")))
		thief.br.refuse(r, outcome{code: client.ErrTokenEndpoint, calls: 1, consumes: true}, thief)
	})
	t.Run("ATK-L30 the server is broken, the nonce is not", func(t *testing.T) {
		b := newBench(t, options{})
		b.as[0].Misbehave(authtest.Fault{Endpoint: authtest.Token, Lenient: true})
		stolen, thief := b.browser().begin("/auth/login"), b.browser().begin("/auth/login")
		r := thief.request(set("code", stolen.answer.Params.Get("code")))
		thief.br.refuse(r, outcome{code: client.ErrIDToken, reason: "nonce", calls: 1 + givenBack, consumes: true}, thief)
	})
	t.Run("ATK-L43 the code of another tab", func(t *testing.T) {
		b := newBench(t, options{})
		br := b.browser()
		one, two := br.begin("/auth/login"), br.begin("/auth/login")
		br.refuse(two.request(set("code", one.answer.Params.Get("code"))), outcome{code: client.ErrTokenEndpoint, calls: 1, consumes: true}, two)
	})
}

func TestCallbackServerFails(t *testing.T) {
	for name, tt := range map[string]struct {
		fault authtest.Fault
		want  outcome
	}{
		"answers 503":   {authtest.Fault{Answer: &authtest.Response{Status: 503}}, outcome{code: client.ErrTokenEndpoint, calls: 1, consumes: true}},
		"redirects":     {authtest.Fault{Answer: authtest.Redirect(307, "https://evil.example/token")}, outcome{code: client.ErrRedirectRefused, calls: 1, consumes: true}},
		"sends HTML":    {authtest.Fault{Answer: authtest.HTML(200)}, outcome{code: client.ErrContentType, calls: 1, consumes: true}},
		"hangs up":      {authtest.Fault{Wire: authtest.DropAfter}, outcome{code: client.ErrTransport, calls: 1, consumes: true}},
		"wrong subject": {authtest.Fault{JWT: func(j *authtest.JWT) { j.Claims["aud"] = "other" }}, outcome{code: client.ErrIDToken, reason: "aud", calls: 1 + givenBack, consumes: true}},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, options{})
			br := b.browser()
			br.login()
			p := br.begin("/auth/login")
			tt.fault.Endpoint = authtest.Token
			b.as[0].Misbehave(tt.fault)
			rec := br.refuse(p.request(), tt.want, p)
			if strings.Contains(rec.Body.String(), "evil.example") {
				t.Error("the page shows what the server said")
			}
		})
	}
}

// A closed tab must not spend the code and lose the answer.
func TestCallbackSurvivesTheBrowser(t *testing.T) { // ATK-T31
	b := newBench(t, options{})
	p := b.browser().begin("/auth/login")
	ctx, cancel := context.WithCancel(context.Background())
	b.as[0].Misbehave(authtest.Fault{Endpoint: authtest.Token, When: func(*authtest.Request) bool { cancel(); return false }})
	rec := p.br.send(p.request().WithContext(ctx))
	if rec.Code != http.StatusSeeOther || !p.br.loggedIn() {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
}

func TestCallbackNewSessionAtLogin(t *testing.T) { // ATK-K19
	b := newBench(t, options{})
	br := b.browser()
	br.login()
	before := merged(br.jar, nil)
	b.as[0].SetUser("user-bob")
	br.login()
	if got := br.get("/me").Body.String(); got != "user-bob" {
		t.Errorf("logged in as %q", got)
	}
	old := b.browser()
	old.jar = before
	if old.loggedIn() {
		t.Error("the session that was replaced still works")
	}
}

// One body, one size, one status for every way in which a state or its cookie can be wrong.
func TestNoOracle(t *testing.T) { // ATK-S12
	bodies := map[string]string{}
	note := func(name string, b *bench, rec *httptest.ResponseRecorder) {
		e := b.last(client.EventLoginRejected)
		if rec.Code != http.StatusBadRequest || len(rec.Header()["Set-Cookie"]) > 0 && name != "expired" && name != "replayed" {
			t.Errorf("%s: %d, %d cookies", name, rec.Code, len(rec.Header()["Set-Cookie"]))
		}
		bodies[name] = strings.ReplaceAll(rec.Body.String(), e.Correlation, "REFERENCE")
		bodies[name] += rec.Header().Get("Content-Length")
	}
	start := func() (*bench, *pending) {
		b := newBench(t, options{})
		return b, b.browser().begin("/auth/login")
	}
	b, p := start()
	note("no cookie", b, b.browser().send(p.request()))
	note("no state", b, p.br.send(p.request(del("state"))))
	note("near miss", b, p.br.send(p.request(set("state", p.state+"A"))))
	for name, v := range p.cookies {
		p.br.jar[name] = v[:len(v)-1]
	}
	note("cookie cut", b, p.br.send(p.request()))
	for name, v := range p.cookies {
		flipped := []byte(v)
		flipped[len(v)/2] ^= 1
		p.br.jar[name] = string(flipped)
	}
	note("cookie flipped", b, p.br.send(p.request()))
	for name, v := range p.cookies {
		p.br.jar[name] = v
	}
	r := p.request()
	for name, v := range p.cookies {
		r.AddCookie(&http.Cookie{Name: name, Value: v})
	}
	note("cookie twice", b, p.br.send(r))
	p.finish()
	note("reload", b, p.br.send(p.request()))
	p.br.jar = merged(p.br.jar, p.cookies)
	note("replayed", b, p.br.send(p.request()))
	b, p = start()
	b.advance(11 * time.Minute)
	note("expired", b, p.br.send(p.request()))
	want := bodies["no cookie"]
	for name, got := range bodies {
		if got != want {
			t.Errorf("%s differs:\n%s\n%s", name, got, want)
		}
	}
}

func TestCallbackPanickingSecret(t *testing.T) { // ATK-S03
	var armed bool
	b := newBench(t, options{secret: client.SecretFunc(func(context.Context) (client.Secret, error) {
		if armed {
			panic("canary-panic-value")
		}
		return secret, nil
	})})
	b.canary("panic value", "canary-panic-value")
	br := b.browser()
	br.login()
	p := br.begin("/auth/login")
	armed = true
	br.refuse(p.request(), outcome{status: http.StatusInternalServerError, code: errInternal, reason: "panic", consumes: true}, p)
}

func TestPanickingHook(t *testing.T) { // ATK-S03
	b := newBench(t, options{})
	b.onEvent = func(client.Event) { panic("canary-panic-value") }
	br := b.browser()
	br.login()
	if !br.loggedIn() {
		t.Error("a hook that panics breaks the login")
	}
	if rec := br.send(with("GET", rp+"/auth/callback?state=x&code=y")); rec.Code != http.StatusBadRequest || strings.Contains(rec.Body.String(), "canary") {
		t.Errorf("%d", rec.Code)
	}
}

func TestServeReturnsAborts(t *testing.T) {
	a := testAuth(t, Config{})
	defer func() {
		if v := recover(); !errors.Is(v.(error), http.ErrAbortHandler) {
			t.Errorf("got %v", v)
		}
	}()
	a.serve(route{"", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }}, httptest.NewRecorder(), with("GET", "/"))
}
