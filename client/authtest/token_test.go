package authtest_test

import (
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/client/authtest"
)

func TestTokenResponse(t *testing.T) {
	g := newRig(t, authtest.Config{})
	verifier := newVerifier()
	code := g.authorize(g.request(verifier)).Get("code")
	resp, body := g.do(g.postRequest("token", codeForm(code, verifier)))
	if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "application/json" ||
		resp.Header.Get("Cache-Control") != "no-store" || resp.Header.Get("Pragma") != "no-cache" {
		t.Errorf("%d %v", resp.StatusCode, resp.Header)
	}
	m := object(t, body)
	if m["token_type"] != "Bearer" || m["expires_in"] != 3600.0 || m["scope"] != "openid profile email offline_access" {
		t.Errorf("%v", m)
	}
	claims := g.verify(m["id_token"], "ES256")
	if claims["iss"] != g.as.Issuer() || claims["aud"] != "app" || claims["nonce"] != "the nonce" || claims["sub"] != "user-alice" ||
		claims["name"] != "Alice Adams" || claims["sid"] == "" || claims["exp"].(float64)-claims["iat"].(float64) != 3600 {
		t.Errorf("%v", claims)
	}
}

func TestWhoGetsWhichTokens(t *testing.T) {
	g := newRig(t, authtest.Config{})
	for scope, want := range map[string][2]bool{ // ID token, refresh token
		"openid":                {true, false},
		"openid offline_access": {true, true},
		"":                      {false, true},
		"api":                   {false, true},
	} {
		m := g.logIn("scope", scope)
		if (m["id_token"] != nil) != want[0] || (m["refresh_token"] != nil) != want[1] {
			t.Errorf("scope %q: %v", scope, m)
		}
	}
}

func TestCodeIsBound(t *testing.T) {
	other := authtest.Client{ID: "other", RedirectURIs: []string{callback}}
	g := newRig(t, authtest.Config{Clients: []authtest.Client{app(), other}})
	verifier := newVerifier()
	code := g.authorize(g.request(verifier)).Get("code")
	with := func(name, value string) url.Values {
		f := codeForm(code, verifier)
		if f.Del(name); value != "" {
			f.Set(name, value)
		}
		return f
	}
	for _, test := range []struct{ name, value, want string }{
		{"code", "", "invalid_request"},
		{"code", "unknown", "invalid_grant"},
		{"code", code[:len(code)-1], "invalid_grant"},
		{"code", "A" + code[1:], "invalid_grant"},
		{"redirect_uri", "", "invalid_grant"},
		{"redirect_uri", callback + "?t=7", "invalid_grant"},
		{"code_verifier", "", "invalid_grant"},
		{"code_verifier", newVerifier(), "invalid_grant"},
		{"code_verifier", verifier + "!", "invalid_grant"},
		{"resource", "https://api.example", "invalid_target"},
		{"grant_type", "", "invalid_request"},
		{"grant_type", "password", "unsupported_grant_type"},
		{"grant_type", "refresh_token", "invalid_request"},
	} {
		if status, m := g.post("token", with(test.name, test.value)); status != 400 || m["error"] != test.want {
			t.Errorf("%s=%q: %d %v", test.name, test.value, status, m)
		}
	}
	thief := &rig{t: t, as: g.as, http: g.http, id: "other", secretless: true}
	if status, m := thief.post("token", codeForm(code, verifier)); status != 400 || m["error"] != "invalid_grant" {
		t.Errorf("another client: %d %v", status, m)
	}
	tokens := g.logIn()
	if status, m := g.post("token", codeForm(tokens["access_token"].(string), verifier)); status != 400 || m["error"] != "invalid_grant" {
		t.Errorf("an access token as a code: %d %v", status, m)
	}
	g.active(tokens["access_token"], true)
	// None of that has spent it.
	if status, m := g.post("token", codeForm(code, verifier)); status != 200 {
		t.Errorf("the right one: %d %v", status, m)
	}
}

func TestVerifierAlphabet(t *testing.T) {
	g := newRig(t, authtest.Config{})
	for verifier, want := range map[string]int{
		strings.Repeat("a", 42):       400,
		strings.Repeat("a", 43):       200,
		strings.Repeat("~", 128):      200,
		strings.Repeat("a", 129):      400,
		strings.Repeat("a", 43) + " ": 400,
	} {
		code := g.authorize(g.request(verifier)).Get("code")
		if status, _ := g.post("token", codeForm(code, verifier)); status != want {
			t.Errorf("%d × %q: %d", len(verifier), verifier[0], status)
		}
	}
}

func TestCodeReplayRevokesTheGrant(t *testing.T) {
	g := newRig(t, authtest.Config{})
	verifier := newVerifier()
	code := g.authorize(g.request(verifier)).Get("code")
	g.active(code, true)
	_, tokens := g.post("token", codeForm(code, verifier))
	g.active(code, false)
	_, refreshed := g.post("token", refreshForm(tokens["refresh_token"]))
	g.active(refreshed["access_token"], true)
	if status, m := g.post("token", codeForm(code, verifier)); status != 400 || m["error"] != "invalid_grant" {
		t.Errorf("%d %v", status, m)
	}
	for _, token := range []any{tokens["access_token"], refreshed["access_token"], refreshed["refresh_token"]} {
		g.active(token, false)
	}
	if resp, _ := g.userInfo(refreshed["access_token"]); resp.StatusCode != 401 {
		t.Errorf("userinfo: %d", resp.StatusCode)
	}
}

func TestCodeRedeemedConcurrently(t *testing.T) {
	g := newRig(t, authtest.Config{})
	verifier := newVerifier()
	code := g.authorize(g.request(verifier)).Get("code")
	var wg sync.WaitGroup
	statuses := make([]int, 20)
	for i := range statuses {
		r := g.postRequest("token", codeForm(code, verifier))
		wg.Go(func() {
			resp, err := g.http.Do(r)
			if err != nil {
				t.Error(err)
				return
			}
			_ = resp.Body.Close()
			statuses[i] = resp.StatusCode
		})
	}
	wg.Wait()
	won := 0
	for _, status := range statuses {
		if status == 200 {
			won++
		}
	}
	if won != 1 {
		t.Errorf("%d winners", won)
	}
}

func TestRefresh(t *testing.T) {
	g := newRig(t, authtest.Config{})
	first := g.logIn()
	status, second := g.post("token", refreshForm(first["refresh_token"]))
	if status != 200 || second["refresh_token"] == first["refresh_token"] || second["access_token"] == first["access_token"] {
		t.Fatalf("%d %v", status, second)
	}
	before, after := g.verify(first["id_token"], "ES256"), g.verify(second["id_token"], "ES256")
	// OpenID Connect Core §12.2
	for _, same := range []string{"iss", "sub", "aud", "auth_time", "sid", "acr"} {
		if before[same] != after[same] {
			t.Errorf("%s changed from %v to %v", same, before[same], after[same])
		}
	}
	if after["nonce"] != nil || after["at_hash"] == before["at_hash"] {
		t.Errorf("%v", after)
	}
	g.active(first["access_token"], true)
	g.active(first["refresh_token"], false)
	// Reuse revokes the family.
	if status, m := g.post("token", refreshForm(first["refresh_token"])); status != 400 || m["error"] != "invalid_grant" {
		t.Errorf("%d %v", status, m)
	}
	for _, token := range []any{first["access_token"], second["access_token"], second["refresh_token"]} {
		g.active(token, false)
	}
	if status, _ := g.post("token", refreshForm(second["refresh_token"])); status != 400 {
		t.Errorf("the family lives: %d", status)
	}
}

func TestRefreshRefusals(t *testing.T) {
	other := authtest.Client{ID: "other", RedirectURIs: []string{callback}}
	g := newRig(t, authtest.Config{Clients: []authtest.Client{app(), other}})
	tokens := g.logIn()
	thief := &rig{t: t, as: g.as, http: g.http, id: "other", secretless: true}
	if status, m := thief.post("token", refreshForm(tokens["refresh_token"])); status != 400 || m["error"] != "invalid_grant" {
		t.Errorf("another client: %d %v", status, m)
	}
	for _, wrong := range []any{tokens["access_token"], "unknown"} {
		if status, m := g.post("token", refreshForm(wrong)); status != 400 || m["error"] != "invalid_grant" {
			t.Errorf("%v: %d %v", wrong, status, m)
		}
	}
	g.active(tokens["refresh_token"], true)
}

func TestRotationGrace(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	g := newRig(t, authtest.Config{RotationGrace: 30 * time.Second, Now: func() time.Time { return now }})
	first := g.logIn()
	_, second := g.post("token", refreshForm(first["refresh_token"]))
	now = now.Add(30 * time.Second)
	g.active(first["refresh_token"], true)
	status, again := g.post("token", refreshForm(first["refresh_token"]))
	if status != 200 || again["refresh_token"] != second["refresh_token"] || again["access_token"] == second["access_token"] {
		t.Errorf("%d %v", status, again)
	}
	// The family lives: what came before, and what came of the grace.
	for _, access := range []any{first["access_token"], second["access_token"], again["access_token"]} {
		if resp, _ := g.userInfo(access); resp.StatusCode != 200 {
			t.Errorf("userinfo: %d", resp.StatusCode)
		}
	}
	// A token two generations old is reuse, however young.
	_, third := g.post("token", refreshForm(second["refresh_token"]))
	if status, _ := g.post("token", refreshForm(first["refresh_token"])); status != 400 {
		t.Errorf("two generations old: %d", status)
	}
	g.active(third["refresh_token"], false)

	first = g.logIn()
	_, second = g.post("token", refreshForm(first["refresh_token"]))
	now = now.Add(30*time.Second + 1)
	g.active(first["refresh_token"], false)
	g.active(second["refresh_token"], true)
	if status, m := g.post("token", refreshForm(first["refresh_token"])); status != 400 || m["error"] != "invalid_grant" {
		t.Errorf("after the grace: %d %v", status, m)
	}
	g.active(second["refresh_token"], false)
	for _, access := range []any{first["access_token"], second["access_token"]} {
		if resp, _ := g.userInfo(access); resp.StatusCode != 401 {
			t.Errorf("userinfo after reuse: %d", resp.StatusCode)
		}
	}
}

func TestNoRotation(t *testing.T) {
	g := newRig(t, authtest.Config{NoRotation: true})
	first := g.logIn()
	for range 3 {
		status, m := g.post("token", refreshForm(first["refresh_token"]))
		if status != 200 || m["refresh_token"] != first["refresh_token"] {
			t.Errorf("%d %v", status, m)
		}
	}
}

func TestScopeNarrowing(t *testing.T) {
	g := newRig(t, authtest.Config{})
	tokens := g.logIn()
	form := refreshForm(tokens["refresh_token"])
	form.Set("scope", "openid phone")
	if status, m := g.post("token", form); status != 400 || m["error"] != "invalid_scope" {
		t.Errorf("wider: %d %v", status, m)
	}
	form.Set("scope", "openid")
	_, narrow := g.post("token", form)
	if narrow["scope"] != "openid" {
		t.Errorf("%v", narrow)
	}
	if _, body := g.userInfo(narrow["access_token"]); object(t, body)["email"] != nil {
		t.Errorf("the token still gives the e-mail address: %s", body)
	}
	form = refreshForm(narrow["refresh_token"])
	form.Set("scope", "email")
	_, plain := g.post("token", form)
	if plain["id_token"] != nil {
		t.Error("an ID token without openid")
	}
	if resp, _ := g.userInfo(plain["access_token"]); resp.StatusCode != http.StatusForbidden {
		t.Errorf("userinfo without openid: %d", resp.StatusCode)
	}
	// The refresh token keeps what was granted (OAuth 2.1 §4.3.1).
	if _, full := g.post("token", refreshForm(plain["refresh_token"])); full["scope"] != tokens["scope"] {
		t.Errorf("%v", full)
	}
}

func TestResourceNarrowing(t *testing.T) {
	g := newRig(t, authtest.Config{})
	verifier := newVerifier()
	code := g.authorize(g.request(verifier) + "&resource=https://a.example&resource=https://b.example").Get("code")
	form := codeForm(code, verifier)
	form.Set("resource", "https://a.example")
	_, tokens := g.post("token", form)
	audience := func(m map[string]any) []any {
		_, info := g.post("introspect", url.Values{"token": {m["access_token"].(string)}})
		aud, _ := info["aud"].([]any)
		return aud
	}
	if aud := audience(tokens); len(aud) != 1 || aud[0] != "https://a.example" {
		t.Errorf("aud %v", aud)
	}
	form = refreshForm(tokens["refresh_token"])
	form["resource"] = []string{"https://a.example", "https://c.example"}
	if status, m := g.post("token", form); status != 400 || m["error"] != "invalid_target" {
		t.Errorf("%d %v", status, m)
	}
	form.Del("resource")
	_, tokens = g.post("token", form)
	if aud := audience(tokens); len(aud) != 2 {
		t.Errorf("aud %v", aud)
	}
}

func TestManyAccessTokens(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	g := newRig(t, authtest.Config{NoRotation: true, Now: func() time.Time { return now }})
	first := g.logIn()
	var last map[string]any
	for range 256 {
		_, last = g.post("token", refreshForm(first["refresh_token"]))
	}
	g.active(first["access_token"], false) // the oldest of 257 is forgotten
	g.active(last["access_token"], true)
	g.active(first["refresh_token"], true)
}
