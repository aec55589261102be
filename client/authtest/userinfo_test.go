package authtest_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/client/authtest"
)

func TestUserInfo(t *testing.T) {
	g := newRig(t, authtest.Config{})
	tokens := g.logIn()
	resp, body := g.userInfo(tokens["access_token"])
	m := object(t, body)
	if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "application/json" || resp.Header.Get("Cache-Control") != "no-store" ||
		m["sub"] != "user-alice" || m["email"] != "alice@example.com" || m["email_verified"] != true || m["iss"] != nil {
		t.Errorf("%d %v %v", resp.StatusCode, resp.Header, m)
	}
	r, err := http.NewRequestWithContext(t.Context(), "POST", g.endpoint("userinfo"), nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "bearer "+tokens["access_token"].(string))
	if resp, body := g.do(r); resp.StatusCode != 200 || object(t, body)["sub"] != "user-alice" {
		t.Errorf("POST: %d %s", resp.StatusCode, body)
	}
}

func TestUserInfoSigned(t *testing.T) {
	c := app()
	c.UserInfoAlgorithm = "PS256"
	g := newRig(t, authtest.Config{Clients: []authtest.Client{c}})
	tokens := g.logIn()
	resp, body := g.userInfo(tokens["access_token"])
	if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "application/jwt" || resp.Header.Get("Cache-Control") != "no-store" {
		t.Fatalf("%d %v", resp.StatusCode, resp.Header)
	}
	claims := g.verify(string(body), "PS256")
	if claims["iss"] != g.as.Issuer() || claims["aud"] != "app" || claims["sub"] != "user-alice" || claims["email"] != "alice@example.com" {
		t.Errorf("%v", claims)
	}
	stop := g.as.Misbehave(authtest.Fault{Endpoint: authtest.UserInfo, JWT: func(j *authtest.JWT) { j.Claims["sub"] = "mallory" }})
	if _, body := g.userInfo(tokens["access_token"]); g.verify(string(body), "PS256")["sub"] != "mallory" {
		t.Error("the fault does not edit userinfo")
	}
	stop()
	g.as.Misbehave(authtest.Fault{Endpoint: authtest.UserInfo, JWT: func(j *authtest.JWT) { j.Key = 1 }})
	if resp, _ := g.userInfo(tokens["access_token"]); resp.StatusCode != 500 {
		t.Errorf("an impossible key: %d", resp.StatusCode)
	}
}

func TestUserInfoRefusals(t *testing.T) {
	g := newRig(t, authtest.Config{})
	tokens := g.logIn()
	plain := g.logIn("scope", "api")
	good := "Bearer " + tokens["access_token"].(string)
	for _, test := range []struct {
		name   string
		header []string
		query  string
		status int
		want   string // in WWW-Authenticate
	}{
		{"no credentials", nil, "", 401, `Bearer realm="authtest"`},
		{"unknown token", []string{"Bearer unknown"}, "", 401, `error="invalid_token"`},
		{"refresh token", []string{"Bearer " + tokens["refresh_token"].(string)}, "", 401, `error="invalid_token"`},
		{"another scheme", []string{"Basic eDp5"}, "", 400, `error="invalid_request"`},
		{"two headers", []string{good, good}, "", 400, `error="invalid_request"`},
		{"two places", []string{good}, "?access_token=x", 400, `error="invalid_request"`},
		{"no openid", []string{"Bearer " + plain["access_token"].(string)}, "", 403, `error="insufficient_scope", scope="openid"`},
	} {
		r, err := http.NewRequestWithContext(t.Context(), "GET", g.endpoint("userinfo")+test.query, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header["Authorization"] = test.header
		resp, _ := g.do(r)
		if resp.StatusCode != test.status || !strings.HasSuffix(resp.Header.Get("WWW-Authenticate"), test.want) {
			t.Errorf("%s: %d %q", test.name, resp.StatusCode, resp.Header.Get("WWW-Authenticate"))
		}
	}
}

func TestClaims(t *testing.T) {
	user := authtest.User{Subject: "u", Claims: map[string]any{
		"name": "U", "email": "u@example.com", "phone_number": "+1", "address": map[string]any{"country": "CH"},
		"groups": []string{"staff"}, "iss": "https://evil.example", "sub": "other", "nonce": "x", "sid": "x", "exp": 1,
	}}
	g := newRig(t, authtest.Config{Users: []authtest.User{user}})
	for _, test := range []struct{ scope, claims, idToken, userInfo string }{
		{"openid", "", "groups", "groups"},
		{"openid profile", "", "groups name", "groups name"},
		{"openid email", "", "email groups", "email groups"},
		{"openid phone address", "", "address groups phone_number", "address groups phone_number"},
		{"openid", `{"id_token":{"name":null,"nickname":null},"userinfo":{"email":{"essential":true}}}`, "groups name", "email groups"},
	} {
		overrides := []string{"scope", test.scope, "claims", test.claims}
		tokens := g.logIn(overrides...)
		idToken := g.verify(tokens["id_token"], "ES256")
		if idToken["iss"] != g.as.Issuer() || idToken["sub"] != "u" || idToken["nonce"] != "the nonce" || idToken["sid"] == "x" || idToken["exp"] == 1.0 {
			t.Errorf("a user's claims replace the server's: %v", idToken)
		}
		for _, protocol := range []string{"iss", "sub", "aud", "exp", "iat", "auth_time", "nonce", "acr", "sid", "at_hash"} {
			if idToken[protocol] == nil {
				t.Errorf("no %s", protocol)
			}
			delete(idToken, protocol)
		}
		_, body := g.userInfo(tokens["access_token"])
		info := object(t, body)
		if info["sub"] != "u" {
			t.Errorf("sub %v", info["sub"])
		}
		delete(info, "sub")
		if got := names(idToken); got != test.idToken {
			t.Errorf("%s: ID token has %s", test.scope, got)
		}
		if got := names(info); got != test.userInfo {
			t.Errorf("%s: userinfo has %s", test.scope, got)
		}
	}
}

func names(m map[string]any) string {
	v := url.Values{}
	for name := range m {
		v.Set(name, "")
	}
	return strings.ReplaceAll(strings.ReplaceAll(v.Encode(), "=&", " "), "=", "")
}
