package client_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/client"
	"github.com/sallyport/sallyport/client/authtest"
)

func withUserInfo(s *setup) { s.client.UserInfo = true }

func withSignedUserInfo(s *setup) {
	s.client.UserInfo, s.client.UserInfoAlgorithm, s.registration.UserInfoAlgorithm = true, "ES256", "ES256"
}

func TestUserInfo(t *testing.T) {
	check := func(b *bench) {
		tokens := b.mustLogin(client.AuthorizationOptions{Scopes: []string{"openid", "email"}})
		var claims struct{ Sub, Email string }
		if err := json.Unmarshal(tokens.UserInfo, &claims); err != nil || claims.Sub != tokens.Subject || claims.Email != "alice@example.com" {
			b.Errorf("%s, %v", tokens.UserInfo, err)
		}
		sent := b.as.Log(authtest.UserInfo)
		if len(sent) != 1 || sent[0].Method != http.MethodGet || len(sent[0].Query) != 0 || sent[0].Header.Get("Authorization") != "Bearer "+string(tokens.AccessToken) {
			b.Errorf("sent %+v", sent)
		}
	}
	scenario(t, "JSON", check, withUserInfo)
	scenario(t, "signed", func(b *bench) {
		check(b)
		if got := b.as.Log(authtest.UserInfo)[0].Header.Get("Accept"); got != "application/jwt" {
			b.Errorf("Accept is %q", got)
		}
	}, withSignedUserInfo)
	scenario(t, "not asked for", func(b *bench) {
		if tokens := b.mustLogin(client.AuthorizationOptions{}); tokens.UserInfo != nil || b.as.Requests(authtest.UserInfo) != 0 {
			b.Errorf("%s", tokens.UserInfo)
		}
	})
	scenario(t, "asked for, and there is no endpoint", func(b *bench) {
		b.as.Misbehave(member(authtest.Metadata, "userinfo_endpoint", nil))
		tokens := b.mustLogin(client.AuthorizationOptions{})
		if tokens.UserInfo != nil {
			b.Errorf("%s", tokens.UserInfo)
		}
		info, err := b.c.FetchUserInfo(ctx, tokens)
		if info != nil {
			b.Errorf("%s", info)
		}
		b.failed(err, mend(client.ErrConfig, "userinfo_endpoint"))
	}, withUserInfo)
	scenario(t, "later", func(b *bench) {
		tokens := b.mustLogin(client.AuthorizationOptions{})
		info, err := b.c.FetchUserInfo(ctx, tokens)
		if err != nil || !strings.Contains(string(info), "user-alice") {
			b.Errorf("%s, %v", info, err)
		}
		time.Sleep(2 * time.Hour) // the access token has expired
		info, err = b.c.FetchUserInfo(ctx, tokens)
		if info != nil {
			b.Errorf("%s", info)
		}
		b.failed(err, failure{code: client.ErrUserInfo, reason: "status", status: 401})
	})
	scenario(t, "without an ID token to compare with", func(b *bench) {
		for _, tokens := range []*client.Tokens{nil, {AccessToken: "canary-access-token"}} {
			_, err := b.c.FetchUserInfo(ctx, tokens)
			b.failed(err, failure{code: client.ErrUserInfo, reason: "missing_sub"})
		}
		b.saw(requests{})
	})
	scenario(t, "no metadata", func(b *bench) {
		b.as.Unplug()
		_, err := b.c.FetchUserInfo(ctx, &client.Tokens{})
		b.failed(err, failure{code: client.ErrDiscovery, reason: "transport", outcome: client.Transient, action: client.ActionRetry})
	})
}

// The tokens of a login whose userinfo is refused are dropped: Exchange returns none.
func TestUserInfoRefused(t *testing.T) {
	all := requests{token: 1, userinfo: 1, jwks: 1}
	refused := func(reason string) failure {
		return failure{code: client.ErrUserInfo, reason: reason, requests: all}
	}
	info := func(f authtest.Fault) authtest.Fault { f.Endpoint = authtest.UserInfo; return f }
	says := func(r *authtest.Response) authtest.Fault { return info(authtest.Fault{Answer: r}) }
	jwt := func(f func(*authtest.JWT)) authtest.Fault { return info(authtest.Fault{JWT: f}) }
	outage := func(status, tries int) failure {
		return failure{code: client.ErrUserInfo, reason: "status", status: status, outcome: client.Transient, action: client.ActionRetry, requests: requests{1, tries, 1}}
	}
	for _, tc := range []struct {
		name   string
		fault  authtest.Fault
		want   failure
		signed bool
	}{
		{"ATK-U01 sub of another", member(authtest.UserInfo, "sub", "victim"), refused("sub"), false},
		{"ATK-U01 sub in other letter case", member(authtest.UserInfo, "sub", "User-Alice"), refused("sub"), false},
		{"ATK-U01 signed", jwt(func(t *authtest.JWT) { t.Claims["sub"] = "victim" }), refused("sub"), true},
		{"ATK-U02 no sub", member(authtest.UserInfo, "sub", nil), refused("missing_sub"), false},
		{"ATK-U02 empty sub", member(authtest.UserInfo, "sub", ""), refused("sub"), false},
		{"ATK-U02 sub is a number", member(authtest.UserInfo, "sub", 7), refused("missing_sub"), false},
		{"ATK-U02 sub in an array", member(authtest.UserInfo, "sub", []string{"user-alice"}), refused("missing_sub"), false},
		{"ATK-U02 signed without sub", jwt(func(t *authtest.JWT) { delete(t.Claims, "sub") }), refused("missing_sub"), true},
		{"ATK-U02 sub twice", says(authtest.JSON(200, `{"sub":"user-alice","sub":"victim"}`)), refused("json"), false},
		{"ATK-U02 Sub", says(authtest.JSON(200, `{"Sub":"user-alice"}`)), refused("missing_sub"), false},
		{"ATK-U03 signed where JSON was agreed", says(page(200, "application/jwt", "e30.e30.AA")), refused("content_type"), false},
		{"ATK-U03 JSON where signed was agreed", says(authtest.JSON(200, `{"sub":"user-alice"}`)), refused("content_type"), true},
		{"ATK-U03 alg none", jwt(func(t *authtest.JWT) { t.Header["alg"], t.Key = "none", nil }), refused("alg"), true},
		{"ATK-U03 aud of another", jwt(func(t *authtest.JWT) { t.Claims["aud"] = "other" }), refused("aud"), true},
		{"ATK-U03 no aud", jwt(func(t *authtest.JWT) { delete(t.Claims, "aud") }), refused("aud"), true},
		{"ATK-U03 iss of another", jwt(func(t *authtest.JWT) { t.Claims["iss"] = "https://as-b.example" }), refused("iss"), true},
		{"ATK-U03 no iss", jwt(func(t *authtest.JWT) { delete(t.Claims, "iss") }), refused("iss"), true},
		{"ATK-U03 broken signature", info(authtest.Fault{RawJWT: func(s string) string { return s[:strings.LastIndex(s, ".")+1] + strings.Repeat("A", 86) }}), refused("sig"), true},
		{"ATK-U03 expired", jwt(func(t *authtest.JWT) { t.Claims["exp"] = time.Now().Unix() - 31 }), refused("exp"), true},
		{"ATK-U04 redirect", says(authtest.Redirect(302, "https://evil.example/")), failure{code: client.ErrRedirectRefused, status: 302, requests: all}, false},
		{"page", says(authtest.HTML(200)), refused("content_type"), false},
		{"no JSON", says(authtest.JSON(200, "[]")), refused("json"), false},
		{"giant", says(authtest.JSON(200, `{"sub":"user-alice"}`+strings.Repeat(" ", 1<<20))), failure{code: client.ErrResponseTooLarge, status: 200, requests: all}, false},
		{"403", says(authtest.HTML(403)), failure{code: client.ErrUserInfo, reason: "status", status: 403, requests: all}, false},
		{"500", says(authtest.HTML(500)), outage(500, 1), false},
		{"503", says(authtest.HTML(503)), outage(503, 3), false},
		{"429", says(authtest.HTML(429)), outage(429, 3), false},
	} {
		scenario(t, tc.name, func(b *bench) {
			b.as.Misbehave(tc.fault)
			tokens, err := b.login(client.AuthorizationOptions{})
			b.refused(tokens, err, tc.want)
			if n := b.net.count("evil.example"); n != 0 {
				b.Errorf("evil.example got %d requests", n)
			}
		}, withUserInfo, func(s *setup) {
			if tc.signed {
				withSignedUserInfo(s)
			}
		})
	}
	scenario(t, "signed, and the keys are away by then", func(b *bench) {
		b.as.Misbehave(authtest.Fault{Endpoint: authtest.JWKS, Answer: authtest.HTML(404)})
		tokens, err := b.login(client.AuthorizationOptions{})
		b.refused(tokens, err, failure{code: client.ErrJWKS, outcome: client.Transient, action: client.ActionRetry, requests: requests{1, 0, 1}})
		b.as.Behave()
		good := b.mustLogin(client.AuthorizationOptions{})
		time.Sleep(25 * time.Hour)
		b.as.Misbehave(authtest.Fault{Endpoint: authtest.JWKS, Answer: authtest.HTML(404)},
			says(page(200, "application/jwt", string(good.IDToken.Raw))))
		_, err = b.c.FetchUserInfo(ctx, good)
		b.failed(err, failure{code: client.ErrJWKS, outcome: client.Transient, action: client.ActionRetry})
	}, withSignedUserInfo)
}

// ATK-U05: whoever has an e-mail address is nobody in particular. The identity is (issuer, sub).
func TestIdentityIsNotTheEmail(t *testing.T) {
	for name, claims := range map[string]map[string]any{
		"unverified":      {"email": "victim@rp.example", "email_verified": false},
		"verified string": {"email": "victim@rp.example", "email_verified": "true"},
		"no word":         {"email": "victim@rp.example"},
		"verified":        {"email": "victim@rp.example", "email_verified": true},
	} {
		scenario(t, name, func(b *bench) {
			if tokens := b.mustLogin(client.AuthorizationOptions{Scopes: []string{"openid", "email"}}); tokens.Subject != "mallory" {
				b.Errorf("Subject is %q", tokens.Subject)
			}
		}, func(s *setup) { s.server.Users = []authtest.User{{Subject: "mallory", Claims: claims}} })
	}
}

// withProfile is a client of plain OAuth, as for GitHub.
func withProfile(s *setup) {
	s.client.Scopes, s.client.Profile = []string{"read:user"}, &client.Profile{URL: issuer + "/userinfo"}
}

// ATK-U07: what a profile may say about who the user is.
func TestProfile(t *testing.T) {
	all := requests{token: 1, userinfo: 1}
	profile := func(r *authtest.Response) authtest.Fault { return answer(authtest.UserInfo, r) }
	for _, tc := range []struct{ id, want string }{
		{`583231`, "583231"},
		{`"583231"`, "583231"},
		{`"u-1"`, "u-1"},
		{`12345678901234567890`, "12345678901234567890"}, // too precise for a float: not another user
		{`12345678901234567891`, "12345678901234567891"},
		{`1.2345678901234567e+19`, ""},
		{`1e3`, ""},
		{`1.0`, ""},
		{`-5`, ""},
		{`0`, ""},
		{`"0"`, ""},
		{`""`, ""},
		{`null`, ""},
		{`true`, ""},
		{`[1]`, ""},
		{`{"id":1}`, ""},
		{`"` + strings.Repeat("x", 256) + `"`, ""},
	} {
		scenario(t, "id "+tc.id[:min(len(tc.id), 30)], func(b *bench) {
			body := `{"id":` + tc.id + `,"login":"octocat"}`
			b.as.Misbehave(profile(authtest.JSON(200, body)))
			tokens, err := b.login(client.AuthorizationOptions{})
			if tc.want == "" {
				b.refused(tokens, err, failure{code: client.ErrUserInfo, reason: "missing_sub", requests: all})
				return
			}
			if err != nil || tokens.Subject != tc.want || string(tokens.UserInfo) != body || tokens.IDToken != nil {
				b.Errorf("%+v, %v", tokens, err)
			}
		}, withProfile)
	}
	for _, tc := range []struct {
		name  string
		fault authtest.Fault
		want  failure
	}{
		{"no id", profile(authtest.JSON(200, `{"login":"octocat"}`)), failure{code: client.ErrUserInfo, reason: "missing_sub", requests: all}},
		{"ID in other letter case", profile(authtest.JSON(200, `{"ID":1}`)), failure{code: client.ErrUserInfo, reason: "missing_sub", requests: all}},
		{"id twice", profile(authtest.JSON(200, `{"id":1,"id":2}`)), failure{code: client.ErrUserInfo, reason: "json", requests: all}},
		{"page", profile(authtest.HTML(200)), failure{code: client.ErrUserInfo, reason: "content_type", requests: all}},
		{"giant", profile(authtest.JSON(200, `{"id":1}`+strings.Repeat(" ", 1<<20))), failure{code: client.ErrResponseTooLarge, status: 200, requests: all}},
		{"401", profile(authtest.JSON(401, `{}`)), failure{code: client.ErrUserInfo, reason: "status", status: 401, requests: all}},
		{"ATK-U04 redirect", profile(authtest.Redirect(301, "https://evil.example/")), failure{code: client.ErrRedirectRefused, status: 301, requests: all}},
	} {
		scenario(t, tc.name, func(b *bench) {
			b.as.Misbehave(tc.fault)
			tokens, err := b.login(client.AuthorizationOptions{})
			b.refused(tokens, err, tc.want)
			if n := b.net.count("evil.example"); n != 0 {
				b.Errorf("evil.example got %d requests", n)
			}
		}, withProfile)
	}
	scenario(t, "another member", func(b *bench) {
		b.as.Misbehave(profile(authtest.JSON(200, `{"id":0,"account":"a-7"}`)))
		tokens := b.mustLogin(client.AuthorizationOptions{})
		if tokens.Subject != "a-7" {
			b.Errorf("Subject is %q", tokens.Subject)
		}
		sent := b.as.Log(authtest.UserInfo)[0]
		if sent.Header.Get("Authorization") != "Bearer "+string(tokens.AccessToken) || sent.Header.Get("Accept") != "application/json" || len(sent.Query) != 0 {
			b.Errorf("sent %+v", sent)
		}
	}, withProfile, func(s *setup) { s.client.Profile.ID = "account" })
	scenario(t, "where there is an ID token, it counts", func(b *bench) {
		tokens := b.mustLogin(client.AuthorizationOptions{})
		if tokens.Subject != "user-alice" || b.as.Requests(authtest.UserInfo) != 0 {
			b.Errorf("%+v", tokens)
		}
	}, withProfile, func(s *setup) { s.client.Scopes = []string{"openid"} })
}
