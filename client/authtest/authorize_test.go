package authtest_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/client/authtest"
)

func TestAuthorizationResponse(t *testing.T) {
	g := newRig(t, authtest.Config{})
	params := g.authorize(g.request(newVerifier(), "state", "a b&c=d+é"))
	// RFC 9207 §2
	if params.Get("iss") != g.as.Issuer() || params.Get("state") != "a b&c=d+é" || params.Get("code") == "" || len(params) != 3 {
		t.Errorf("%v", params)
	}
	if params = g.authorize(g.request(newVerifier(), "state", "")); params.Has("state") {
		t.Error("a state out of nowhere")
	}
	resp, _ := g.get(g.request(newVerifier()))
	if resp.StatusCode != http.StatusSeeOther || resp.Header.Get("Cache-Control") != "no-store" || resp.Header.Get("Referrer-Policy") != "no-referrer" {
		t.Errorf("%d %v", resp.StatusCode, resp.Header)
	}
}

func TestAuthorizationErrorsThatRedirect(t *testing.T) {
	c := app()
	c.Scopes = []string{"openid", "email"}
	g := newRig(t, authtest.Config{Clients: []authtest.Client{c}})
	for _, test := range []struct{ name, value, want string }{
		{"response_type", "", "invalid_request"},
		{"response_type", "token", "unsupported_response_type"},
		{"response_type", "code id_token", "unsupported_response_type"},
		{"response_mode", "fragment", "invalid_request"},
		{"response_mode", "query.jwt", "invalid_request"},
		{"code_challenge", "", "invalid_request"},
		{"code_challenge", "short", "invalid_request"},
		{"code_challenge", "AAAA", "invalid_request"},
		{"code_challenge", strings.Repeat("!", 43), "invalid_request"},
		{"code_challenge", strings.Repeat("A", 42) + "B", "invalid_request"}, // trailing bits
		{"code_challenge", strings.Repeat("A", 21) + "\n" + strings.Repeat("A", 22), "invalid_request"},
		{"code_challenge_method", "", "invalid_request"},
		{"code_challenge_method", "plain", "invalid_request"},
		{"code_challenge_method", "s256", "invalid_request"},
		{"scope", "profile phone", "invalid_scope"},
		{"prompt", "none login", "invalid_request"},
		{"prompt", "dance", "invalid_request"},
		{"prompt", "none", "login_required"},
		{"max_age", "-1", "invalid_request"},
		{"max_age", "1.5", "invalid_request"},
		{"max_age", "9999999999999", "invalid_request"},
		{"claims", "{", "invalid_request"},
		{"claims", `{"id_token":{"acr":{"essential":true,"values":["platinum"]}}}`, "unmet_authentication_requirements"},
		{"claims", `{"id_token":{"sub":{"value":"stranger"}}}`, "login_required"},
		{"id_token_hint", "a.b.c", "invalid_request"},
		{"resource", "/relative", "invalid_target"},
		{"resource", "https://api.example/#f", "invalid_target"},
		{"request", "jwt", "request_not_supported"},
		{"request_uri", "urn:x", "request_uri_not_supported"},
		{"registration", "{}", "registration_not_supported"},
	} {
		params := g.authorize(g.request(newVerifier(), test.name, test.value))
		if params.Get("error") != test.want || params.Get("state") != "the state" || params.Get("iss") != g.as.Issuer() || params.Has("code") {
			t.Errorf("%s=%q: %v", test.name, test.value, params)
		}
	}
}

func TestAuthorizationErrorsThatDoNotRedirect(t *testing.T) {
	g := newRig(t, authtest.Config{})
	good := g.request(newVerifier())
	for name, target := range map[string]string{
		"no client":              g.request(newVerifier(), "client_id", ""),
		"unknown client":         g.request(newVerifier(), "client_id", "stranger"),
		"no redirect URI":        g.request(newVerifier(), "redirect_uri", ""),
		"foreign redirect URI":   g.request(newVerifier(), "redirect_uri", "https://evil.example/auth/callback"),
		"two client_ids":         good + "&client_id=app",
		"two redirect URIs":      good + "&redirect_uri=" + url.QueryEscape(callback),
		"no parameters whatever": g.endpoint("authorize"),
	} {
		resp, body := g.get(target)
		if resp.StatusCode != http.StatusBadRequest || resp.Header.Get("Location") != "" || strings.Contains(string(body), "stranger") {
			t.Errorf("%s: %d to %q: %s", name, resp.StatusCode, resp.Header.Get("Location"), body)
		}
		answer, err := g.as.Authorize(t.Context(), target)
		if err == nil || answer != nil || !strings.Contains(err.Error(), "invalid_request") {
			t.Errorf("%s: %v, %v", name, answer, err)
		}
	}
}

func TestRepeatedParameters(t *testing.T) {
	g := newRig(t, authtest.Config{})
	for _, extra := range []string{"nonce=x", "scope=openid", "response_type=code", "code_challenge_method=S256", "prompt=login&prompt=login", "unknown=1&unknown=2"} {
		if params := g.authorize(g.request(newVerifier()) + "&" + extra); params.Get("error") != "invalid_request" || params.Get("state") != "the state" {
			t.Errorf("%s: %v", extra, params)
		}
	}
	if params := g.authorize(g.request(newVerifier()) + "&state=other"); params.Get("error") != "invalid_request" || params.Has("state") {
		t.Errorf("two states: %v", params)
	}
	// RFC 8707 §2
	if params := g.authorize(g.request(newVerifier()) + "&resource=https://a.example&resource=https://b.example"); params.Get("code") == "" {
		t.Errorf("two resources: %v", params)
	}
}

func TestAuthorizationByPost(t *testing.T) {
	g := newRig(t, authtest.Config{})
	u, err := url.Parse(g.request(newVerifier()))
	if err != nil {
		t.Fatal(err)
	}
	send := func(target, contentType string) *http.Response {
		r, err := http.NewRequestWithContext(t.Context(), "POST", target, strings.NewReader(u.RawQuery))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", contentType)
		resp, _ := g.do(r)
		return resp
	}
	form := "application/x-www-form-urlencoded"
	if resp := send(g.endpoint("authorize"), form); resp.StatusCode != 303 || !strings.HasPrefix(resp.Header.Get("Location"), callback+"?code=") {
		t.Errorf("%d %s", resp.StatusCode, resp.Header.Get("Location"))
	}
	if resp := send(g.endpoint("authorize")+"?state=x", form); resp.StatusCode != 400 {
		t.Errorf("parameters in two places: %d", resp.StatusCode)
	}
	if resp := send(g.endpoint("authorize"), "application/json"); resp.StatusCode != 400 {
		t.Errorf("another content type: %d", resp.StatusCode)
	}
}

func TestScopesAreLimitedToTheClients(t *testing.T) {
	c := app()
	c.Scopes = []string{"openid", "email"}
	g := newRig(t, authtest.Config{Clients: []authtest.Client{c}})
	tokens := g.logIn("scope", "openid openid profile email offline_access")
	if tokens["scope"] != "openid email" || tokens["refresh_token"] != nil {
		t.Errorf("%v", tokens)
	}
}

// step is one visit of a browser.
type step struct {
	after    time.Duration
	request  []string
	user     string
	err      string
	subject  string
	authTime time.Duration // since the start
	acr      string
	sid      string // "same" as before, or "new"
}

func TestLoginsAtTheServer(t *testing.T) {
	for name, steps := range map[string][]step{
		"single sign-on": {
			{request: nil, subject: "user-alice", acr: "1"},
			{after: time.Minute, user: "user-bob", subject: "user-alice", acr: "1", sid: "same"},
			{request: []string{"prompt", "none"}, subject: "user-alice", acr: "1", sid: "same"},
		},
		"prompt=login": {
			{subject: "user-alice", acr: "1"},
			{after: time.Minute, request: []string{"prompt", "login"}, subject: "user-alice", authTime: time.Minute, acr: "1", sid: "same"},
			{request: []string{"prompt", "login"}, user: "user-bob", subject: "user-bob", authTime: time.Minute, acr: "1", sid: "new"},
		},
		"prompt=consent changes nothing": {
			{subject: "user-alice", acr: "1"},
			{after: time.Minute, request: []string{"prompt", "consent"}, subject: "user-alice", acr: "1", sid: "same"},
		},
		"prompt=select_account": {
			{subject: "user-alice", acr: "1"},
			{request: []string{"prompt", "select_account"}, user: "user-bob", subject: "user-bob", acr: "1", sid: "new"},
		},
		"max_age": {
			{subject: "user-alice", acr: "1"},
			{after: time.Minute, request: []string{"max_age", "60"}, subject: "user-alice", acr: "1", sid: "same"},
			{after: time.Second, request: []string{"max_age", "60", "prompt", "none"}, err: "login_required"},
			{request: []string{"max_age", "60"}, subject: "user-alice", authTime: 61 * time.Second, acr: "1", sid: "same"},
			{after: time.Second, request: []string{"max_age", "0"}, subject: "user-alice", authTime: 62 * time.Second, acr: "1", sid: "same"},
			{request: []string{"max_age", "0"}, user: "user-bob", subject: "user-bob", authTime: 62 * time.Second, acr: "1", sid: "new"},
		},
		"acr_values step up": {
			{subject: "user-alice", acr: "1"},
			{after: time.Minute, request: []string{"acr_values", "platinum 3 2"}, subject: "user-alice", authTime: time.Minute, acr: "3", sid: "same"},
			{request: []string{"acr_values", "platinum"}, subject: "user-alice", authTime: time.Minute, acr: "3", sid: "same"},
			{request: []string{"acr_values", "1", "prompt", "none"}, subject: "user-alice", authTime: time.Minute, acr: "3", sid: "same"},
		},
		"essential acr": {
			{subject: "user-alice", acr: "1"},
			{request: []string{"claims", `{"id_token":{"acr":{"essential":true,"value":"2"}}}`, "prompt", "none"}, err: "login_required"},
			{request: []string{"claims", `{"id_token":{"acr":{"essential":true,"value":"2"}}}`}, subject: "user-alice", acr: "2", sid: "same"},
			{request: []string{"claims", `{"id_token":{"acr":null,"auth_time":{"essential":true}}}`}, subject: "user-alice", acr: "2", sid: "same"},
		},
		"another user by hint": {
			{subject: "user-alice", acr: "1"},
			{request: []string{"login_hint", "bob", "prompt", "none"}, err: "login_required"},
			{request: []string{"login_hint", "bob"}, subject: "user-bob", acr: "1", sid: "new"},
		},
		"another user by claims": {
			{subject: "user-alice", acr: "1"},
			{request: []string{"claims", `{"id_token":{"sub":{"value":"user-carol"}}}`, "prompt", "none"}, err: "login_required"},
			{request: []string{"claims", `{"id_token":{"sub":{"value":"user-carol"}}}`}, subject: "user-carol", acr: "1", sid: "new"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			start := time.Unix(1_700_000_000, 0)
			now := start
			g := newRig(t, authtest.Config{Now: func() time.Time { return now }})
			browser := g.as.NewBrowser()
			var sid any
			for i, step := range steps {
				now = now.Add(step.after)
				if step.user != "" {
					g.as.SetUser(step.user)
				}
				verifier := newVerifier()
				answer, err := browser.Open(t.Context(), g.request(verifier, step.request...))
				if err != nil {
					t.Fatal(err)
				}
				if got := answer.Params.Get("error"); got != step.err {
					t.Fatalf("step %d: error %q", i, got)
				}
				if step.err != "" {
					continue
				}
				_, tokens := g.post("token", codeForm(answer.Params.Get("code"), verifier))
				claims := g.verify(tokens["id_token"], "ES256")
				if claims["sub"] != step.subject || claims["acr"] != step.acr || claims["auth_time"] != float64(start.Add(step.authTime).Unix()) {
					t.Errorf("step %d: %v", i, claims)
				}
				if same := claims["sid"] == sid; i > 0 && same != (step.sid == "same") {
					t.Errorf("step %d: same sid: %v", i, same)
				}
				sid = claims["sid"]
			}
		})
	}
}

func TestIDTokenHintAtAuthorization(t *testing.T) {
	g := newRig(t, authtest.Config{})
	hint := g.logIn("login_hint", "bob")["id_token"].(string)
	browser := g.as.NewBrowser()
	if answer, err := browser.Open(t.Context(), g.request(newVerifier(), "id_token_hint", hint, "prompt", "none")); err != nil || answer.Params.Get("error") != "login_required" {
		t.Errorf("%v %v", answer, err)
	}
	verifier := newVerifier()
	answer, err := browser.Open(t.Context(), g.request(verifier, "id_token_hint", hint))
	if err != nil {
		t.Fatal(err)
	}
	_, tokens := g.post("token", codeForm(answer.Params.Get("code"), verifier))
	if sub := g.verify(tokens["id_token"], "ES256")["sub"]; sub != "user-bob" {
		t.Errorf("sub %v", sub)
	}
	alice := g.as.NewBrowser()
	g.browserLogIn(alice)
	if answer, err := alice.Open(t.Context(), g.request(newVerifier(), "id_token_hint", hint, "prompt", "none")); err != nil || answer.Params.Get("error") != "login_required" {
		t.Errorf("somebody else is logged in: %v %v", answer, err)
	}
	if answer, err = browser.Open(t.Context(), g.request(newVerifier(), "id_token_hint", hint, "prompt", "none")); err != nil || answer.Params.Get("code") == "" {
		t.Errorf("%v %v", answer, err)
	}
}
