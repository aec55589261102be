package authtest_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/client/authtest"
)

func (g *rig) endSession(pairs ...string) string {
	v := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		v.Set(pairs[i], pairs[i+1])
	}
	return g.endpoint("end_session") + "?" + v.Encode()
}

// browserLogIn logs in with a browser that stays.
func (g *rig) browserLogIn(b *authtest.Browser, overrides ...string) map[string]any {
	g.t.Helper()
	verifier := newVerifier()
	answer, err := b.Open(g.t.Context(), g.request(verifier, overrides...))
	if err != nil {
		g.t.Fatal(err)
	}
	_, tokens := g.post("token", codeForm(answer.Params.Get("code"), verifier))
	return tokens
}

func (g *rig) loggedIn(b *authtest.Browser) bool {
	g.t.Helper()
	answer, err := b.Open(g.t.Context(), g.request(newVerifier(), "prompt", "none"))
	if err != nil {
		g.t.Fatal(err)
	}
	return answer.Params.Get("code") != ""
}

func TestEndSession(t *testing.T) {
	g := newRig(t, authtest.Config{})
	b := g.as.NewBrowser()
	tokens := g.browserLogIn(b)
	hint := tokens["id_token"].(string)
	if !g.loggedIn(b) {
		t.Fatal("not logged in")
	}
	answer, err := b.Open(t.Context(), g.endSession("id_token_hint", hint, "post_logout_redirect_uri", postLogout, "state", "s+1"))
	if err != nil {
		t.Fatal(err)
	}
	if answer.Method != "GET" || answer.URL != postLogout+"?state=s%2B1" {
		t.Errorf("%+v", answer)
	}
	if g.loggedIn(b) {
		t.Error("still logged in")
	}
	g.active(tokens["refresh_token"], true) // offline_access outlives the login
}

func TestEndSessionVariants(t *testing.T) {
	g := newRig(t, authtest.Config{})
	c := app()
	c.PostLogoutRedirectURIs = []string{postLogout + "?x=1"}
	if err := g.as.Register(c); err != nil {
		t.Fatal(err)
	}
	b := g.as.NewBrowser()
	hint := g.browserLogIn(b)["id_token"].(string)
	g.as.RotateKeys()
	g.as.RotateKeys()
	for name, test := range map[string]struct {
		url, want string
	}{
		"nothing":              {g.endSession(), ""},
		"client_id and query":  {g.endSession("client_id", "app", "post_logout_redirect_uri", postLogout+"?x=1", "state", "s"), postLogout + "?x=1&state=s"},
		"both, key withdrawn":  {g.endSession("client_id", "app", "id_token_hint", hint, "post_logout_redirect_uri", postLogout+"?x=1"), postLogout + "?x=1"},
		"state without target": {g.endSession("state", "s"), ""},
	} {
		answer, err := b.Open(t.Context(), test.url)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if answer == nil && test.want == "" {
			continue
		}
		if answer == nil || answer.URL != test.want {
			t.Errorf("%s: %+v", name, answer)
		}
	}
	if g.loggedIn(b) {
		t.Error("still logged in")
	}
}

func TestEndSessionEndsTheLoginOfTheHint(t *testing.T) {
	g := newRig(t, authtest.Config{})
	one, two := g.as.NewBrowser(), g.as.NewBrowser()
	hint := g.browserLogIn(one)["id_token"].(string)
	g.browserLogIn(two)
	if resp, _ := g.get(g.endSession("id_token_hint", hint)); resp.StatusCode != 200 { // a browser without cookies
		t.Errorf("%d", resp.StatusCode)
	}
	if g.loggedIn(one) || !g.loggedIn(two) {
		t.Errorf("first %v, second %v", g.loggedIn(one), g.loggedIn(two))
	}
}

func TestEndSessionWithAListOfAudiences(t *testing.T) {
	g := newRig(t, authtest.Config{})
	for _, test := range []struct {
		aud  any
		want bool
	}{{[]string{"app"}, true}, {[]string{"app", "other"}, true}, {[]string{}, false}, {7, false}} {
		stop := g.as.Misbehave(authtest.Fault{Endpoint: authtest.Token, JWT: func(j *authtest.JWT) { j.Claims["aud"] = test.aud }})
		hint := g.logIn()["id_token"].(string)
		stop()
		answer, err := g.as.NewBrowser().Open(t.Context(), g.endSession("id_token_hint", hint, "client_id", "app", "post_logout_redirect_uri", postLogout))
		if (err == nil && answer.URL == postLogout) != test.want {
			t.Errorf("%v: %+v %v", test.aud, answer, err)
		}
	}
}

func TestEndSessionRefusals(t *testing.T) {
	g := newRig(t, authtest.Config{})
	other := newRig(t, authtest.Config{})
	b := g.as.NewBrowser()
	hint := g.browserLogIn(b)["id_token"].(string)
	foreign := other.logIn()["id_token"].(string)
	evil := url.QueryEscape("https://evil.example/")
	for name, target := range map[string]string{
		"unregistered target":     g.endSession("id_token_hint", hint) + "&post_logout_redirect_uri=" + evil,
		"near miss":               g.endSession("id_token_hint", hint, "post_logout_redirect_uri", postLogout+"/"),
		"target without a client": g.endSession("post_logout_redirect_uri", postLogout),
		"unknown client":          g.endSession("client_id", "stranger", "post_logout_redirect_uri", postLogout),
		"another client":          g.endSession("client_id", "stranger", "id_token_hint", hint),
		"another server's token":  g.endSession("id_token_hint", foreign),
		"broken signature":        g.endSession("id_token_hint", hint[:len(hint)-8]+"AAAAAAAA"),
		"no token at all":         g.endSession("id_token_hint", "x"),
		"a parameter twice":       g.endSession("client_id", "app") + "&client_id=app",
	} {
		if answer, err := b.Open(t.Context(), target); err == nil || !strings.Contains(err.Error(), "invalid_request") {
			t.Errorf("%s: %+v %v", name, answer, err)
		}
	}
	if !g.loggedIn(b) {
		t.Error("a refused logout ended the login")
	}
	if resp, body := g.get(g.endSession("id_token_hint", "x")); resp.StatusCode != 400 || !strings.Contains(string(body), "<h1>This request was refused</h1>") {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
}

func TestEndSessionByPost(t *testing.T) {
	g := newRig(t, authtest.Config{})
	send := func(target string, form url.Values) *http.Response {
		r, err := http.NewRequestWithContext(t.Context(), "POST", target, strings.NewReader(form.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		resp, _ := g.do(r)
		return resp
	}
	form := url.Values{"client_id": {"app"}, "post_logout_redirect_uri": {postLogout}}
	if resp := send(g.endpoint("end_session"), form); resp.StatusCode != 303 || resp.Header.Get("Location") != postLogout {
		t.Errorf("%d %s", resp.StatusCode, resp.Header.Get("Location"))
	}
	if resp := send(g.endpoint("end_session")+"?state=x", form); resp.StatusCode != 400 {
		t.Errorf("parameters in two places: %d", resp.StatusCode)
	}
}
