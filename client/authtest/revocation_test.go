package authtest_test

import (
	"encoding/base64"
	"net/url"
	"testing"

	"github.com/sallyport/sallyport/client/authtest"
)

func token(v any) url.Values {
	text, _ := v.(string)
	return url.Values{"token": {text}}
}

func TestRevocation(t *testing.T) {
	other := authtest.Client{ID: "other", RedirectURIs: []string{callback}}
	g := newRig(t, authtest.Config{Clients: []authtest.Client{app(), other}})
	tokens := g.logIn()
	stranger := &rig{t: t, as: g.as, http: g.http, id: "other", secretless: true}
	if status, _ := stranger.post("revoke", token(tokens["refresh_token"])); status != 200 {
		t.Errorf("%d", status)
	}
	g.active(tokens["refresh_token"], true) // another client's token

	if status, _ := g.post("revoke", token(tokens["access_token"])); status != 200 {
		t.Errorf("%d", status)
	}
	g.active(tokens["access_token"], false)
	g.active(tokens["refresh_token"], true)

	_, tokens = g.post("token", refreshForm(tokens["refresh_token"]))
	if status, body := g.post("revoke", token(tokens["refresh_token"])); status != 200 || body != nil {
		t.Errorf("%d %v", status, body)
	}
	g.active(tokens["access_token"], false)
	g.active(tokens["refresh_token"], false)

	if status, _ := g.post("revoke", token("unknown")); status != 200 { // RFC 7009 §2.2
		t.Errorf("unknown token: %d", status)
	}
	if status, m := g.post("revoke", url.Values{}); status != 400 || m["error"] != "invalid_request" {
		t.Errorf("no token: %d %v", status, m)
	}
}

func TestRevokingASpentRefreshTokenEndsTheGrant(t *testing.T) {
	g := newRig(t, authtest.Config{})
	first := g.logIn()
	_, second := g.post("token", refreshForm(first["refresh_token"]))
	g.post("revoke", token(first["refresh_token"]))
	g.active(second["refresh_token"], false)
}

func TestIntrospection(t *testing.T) {
	public := authtest.Client{ID: "public", RedirectURIs: []string{callback}}
	other := authtest.Client{ID: "other", Secret: secret, RedirectURIs: []string{callback}}
	g := newRig(t, authtest.Config{Clients: []authtest.Client{app(), public, other}})
	tokens := g.logIn()
	_, m := g.post("introspect", token(tokens["access_token"]))
	if m["active"] != true || m["client_id"] != "app" || m["sub"] != "user-alice" || m["iss"] != g.as.Issuer() ||
		m["scope"] != "openid profile email offline_access" || m["exp"].(float64)-m["iat"].(float64) != 3600 || m["token_type"] != "Bearer" || m["aud"] != nil {
		t.Errorf("%v", m)
	}
	if _, m = g.post("introspect", token(tokens["refresh_token"])); m["active"] != true || m["sub"] != "user-alice" || m["exp"] == nil {
		t.Errorf("%v", m)
	}
	foreign := &rig{t: t, as: g.as, http: g.http, id: "other"}
	for _, name := range []string{"access_token", "refresh_token"} {
		if _, m = foreign.post("introspect", token(tokens[name])); m["active"] != false || len(m) != 1 {
			t.Errorf("another client's %s: %v", name, m)
		}
	}
	g.post("revoke", token(tokens["refresh_token"]))
	for _, dead := range []any{tokens["access_token"], tokens["refresh_token"], "unknown"} {
		if _, m = g.post("introspect", token(dead)); m["active"] != false || len(m) != 1 { // RFC 7662 §2.2
			t.Errorf("%v", m)
		}
	}
	if status, _ := g.post("introspect", url.Values{}); status != 400 {
		t.Errorf("no token: %d", status)
	}
	nobody := &rig{t: t, as: g.as, http: g.http, id: "public", secretless: true}
	if status, m := nobody.post("introspect", token("x")); status != 401 || m["error"] != "invalid_client" {
		t.Errorf("a public client: %d %v", status, m)
	}
	nobody.id = "stranger"
	if status, _ := nobody.post("introspect", token("x")); status != 401 {
		t.Errorf("a stranger: %d", status)
	}
}

func TestActiveForAnythingElse(t *testing.T) {
	g := newRig(t, authtest.Config{})
	code := g.authorize(g.request(newVerifier())).Get("code")
	g.active(code, true)
	for _, wrong := range []string{"", "unknown", code + "A", code[:len(code)-1] + "_", "!" + code[1:], code[:9] + "\n" + code[9:], code + "\r"} {
		g.active(wrong, false)
	}
	// What is in a token is no secret, so everything hangs on its MAC.
	tokens := g.logIn()
	for at := range 37 {
		b, err := base64.RawURLEncoding.DecodeString(tokens["access_token"].(string))
		if err != nil || len(b) != 37 {
			t.Fatal(len(b), err)
		}
		b[at] ^= 1
		g.active(base64.RawURLEncoding.EncodeToString(b), false)
	}
	b, _ := base64.RawURLEncoding.DecodeString(tokens["access_token"].(string))
	b[0] = 'r'
	g.active(base64.RawURLEncoding.EncodeToString(b), false)
}
