package client_test

import (
	"errors"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/client"
	"github.com/sallyport/sallyport/client/authtest"
)

// TestQuirks shows for each quirk what it relaxes, that the same is refused without it, and that it is told when the client is made.
func TestQuirks(t *testing.T) {
	metadata := func(name string, value any) authtest.Fault { return member(authtest.Metadata, name, value) }
	token := func(name string, value any) authtest.Fault { return member(authtest.Token, name, value) }
	long := strings.Repeat("canary-secret-4711", 2)
	for _, tc := range []struct {
		name    string
		quirk   func(*client.Quirks)
		setup   func(*setup)
		fault   authtest.Fault
		edit    func(url.Values)
		without client.Code // how it fails without the quirk
		check   func(b *bench, t *client.Tokens)
	}{
		{name: "NoPKCE", quirk: func(q *client.Quirks) { q.NoPKCE = true }, fault: authtest.Fault{Lenient: true, JSON: func(m map[string]any) { delete(m, "code_challenge_methods_supported") }},
			without: client.ErrConfig, check: func(b *bench, _ *client.Tokens) {
				if q := b.as.Log(authtest.Authorize)[0].Query; q.Has("code_challenge") || q.Has("code_challenge_method") || !q.Has("nonce") || !q.Has("state") {
					b.Errorf("authorization request has %v", q)
				}
				if f := b.as.Log(authtest.Token)[0].Form; f.Has("code_verifier") {
					b.Errorf("token request has %v", f)
				}
			}},
		{name: "AssumePKCE", quirk: func(q *client.Quirks) { q.AssumePKCE = true }, fault: metadata("code_challenge_methods_supported", nil), without: client.ErrConfig,
			check: func(b *bench, _ *client.Tokens) {
				if q := b.as.Log(authtest.Authorize)[0].Query; q.Get("code_challenge_method") != "S256" || !b.as.Log(authtest.Token)[0].Form.Has("code_verifier") {
					b.Errorf("authorization request has %v", q)
				}
			}},
		{name: "NoNonce", quirk: func(q *client.Quirks) { q.NoNonce = true }, fault: claim("nonce", nil), without: client.ErrIDToken,
			check: func(b *bench, _ *client.Tokens) {
				if !b.as.Log(authtest.Authorize)[0].Query.Has("nonce") {
					b.Error("no nonce was sent")
				}
			}},
		{name: "IgnoreUnannouncedIss", quirk: func(q *client.Quirks) { q.IgnoreUnannouncedIss = true }, fault: metadata("authorization_response_iss_parameter_supported", nil),
			edit: set("iss", "https://evil.example"), without: client.ErrIssMismatch},
		{name: "TrustedAudiences", quirk: func(q *client.Quirks) { q.TrustedAudiences = []string{"api"} },
			fault: signed(func(t *authtest.JWT) { t.Claims["aud"], t.Claims["azp"] = []string{"app", "api"}, "app" }), without: client.ErrIDToken},
		{name: "AzpOptional", quirk: func(q *client.Quirks) { q.AzpOptional, q.TrustedAudiences = true, []string{"api"} },
			fault: claim("aud", []string{"app", "api"}), without: client.ErrIDToken},
		{name: "AllowHMAC", quirk: func(q *client.Quirks) { q.AllowHMAC = true },
			setup: func(s *setup) {
				s.registration.Secret, s.client.Authentication = long, client.SecretBasic(client.Secret(long))
				if s.client.Quirks.AllowHMAC {
					s.client.IDTokenAlgorithms = []string{"HS256"}
				}
			},
			fault: authtest.Fault{JWT: func(t *authtest.JWT) { t.Header["alg"], t.Key = "HS256", []byte(long); delete(t.Claims, "at_hash") },
				JSON: func(m map[string]any) {
					if m["issuer"] != nil {
						m["id_token_signing_alg_values_supported"] = []string{"HS256", "ES256"}
					}
				}},
			without: client.ErrIDToken, check: func(b *bench, _ *client.Tokens) { b.saw(requests{token: 1}) }},
		{name: "MissingTokenType", quirk: func(q *client.Quirks) { q.MissingTokenType = true }, fault: token("token_type", nil), without: client.ErrTokenType,
			check: func(b *bench, t *client.Tokens) {
				if t.TokenType != "Bearer" {
					b.Errorf("TokenType is %q", t.TokenType)
				}
			}},
		{name: "StringExpiresIn", quirk: func(q *client.Quirks) { q.StringExpiresIn = true }, fault: token("expires_in", "3600"), without: client.ErrTokenResponse},
		{name: "FormTokenResponse", quirk: func(q *client.Quirks) { q.FormTokenResponse = true }, setup: oauthOnly,
			fault:   answer(authtest.Token, page(200, "application/x-www-form-urlencoded", "access_token=canary%2Baccess&scope=a+b&token_type=bearer&refresh_token=canary-refresh&expires_in=3600\n")),
			without: client.ErrContentType, check: func(b *bench, t *client.Tokens) {
				if t.AccessToken != "canary+access" || t.RefreshToken != "canary-refresh" || !slices.Equal(t.Scopes, []string{"a", "b"}) || t.Expiry.IsZero() {
					b.Errorf("%+v", *t)
				}
			}},
		{name: "ScopeArray", quirk: func(q *client.Quirks) { q.ScopeArray = true }, fault: token("scope", []string{"openid", "profile"}), without: client.ErrTokenResponse,
			check: func(b *bench, t *client.Tokens) {
				if !slices.Equal(t.Scopes, []string{"openid", "profile"}) {
					b.Errorf("Scopes are %q", t.Scopes)
				}
			}},
		{name: "ScopeComma", quirk: func(q *client.Quirks) { q.ScopeComma = true }, fault: token("scope", "openid,profile"), without: client.ErrScope,
			check: func(b *bench, t *client.Tokens) {
				if !slices.Equal(t.Scopes, []string{"openid", "profile"}) {
					b.Errorf("Scopes are %q", t.Scopes)
				}
			}},
		{name: "ExtraScopes", quirk: func(q *client.Quirks) { q.ExtraScopes = []string{"admin"} }, fault: token("scope", "openid admin"), without: client.ErrScope},
	} {
		common := func(s *setup) {
			if tc.setup != nil {
				tc.setup(s)
			}
		}
		edits := []func(url.Values){}
		if tc.edit != nil {
			edits = append(edits, tc.edit)
		}
		scenario(t, "with "+tc.name, func(b *bench) {
			b.as.Misbehave(tc.fault)
			tokens, err := b.login(client.AuthorizationOptions{}, edits...)
			if err != nil {
				b.Fatal(err)
			}
			if tc.check != nil {
				tc.check(b, tokens)
			}
			e := b.events.find(client.EventQuirkActive, tc.name)
			if e == nil || e.Issuer != issuer || e.ClientID != "app" {
				b.Errorf("events are %+v", b.events.all())
			}
			b.silentEvents()
		}, func(s *setup) { tc.quirk(&s.client.Quirks) }, common)
		scenario(t, "without "+tc.name, func(b *bench) {
			b.as.Misbehave(tc.fault)
			req, err := b.c.AuthorizationRequest(ctx, client.AuthorizationOptions{})
			if err == nil {
				_, err = b.finish(req, b.request(b.visit(req), edits...))
			}
			if got := code(b.T, err); got != tc.without {
				b.Errorf("refused with %s, want %s", got, tc.without)
			}
			if b.events.count(client.EventQuirkActive) != 0 {
				b.Errorf("events are %q", b.events.kinds())
			}
		}, common)
	}
}

// What a quirk does not relax.
func TestQuirksGoNoFurther(t *testing.T) {
	with := func(f func(*client.Quirks)) func(*setup) { return func(s *setup) { f(&s.client.Quirks) } }
	for _, tc := range []struct {
		name   string
		quirk  func(*client.Quirks)
		fault  authtest.Fault
		edit   func(url.Values)
		code   client.Code
		reason string
	}{
		{"AssumePKCE: a list without S256", func(q *client.Quirks) { q.AssumePKCE = true }, member(authtest.Metadata, "code_challenge_methods_supported", []string{"plain"}), nil, client.ErrConfig, "pkce"},
		{"NoNonce: another nonce", func(q *client.Quirks) { q.NoNonce = true }, claim("nonce", "another"), nil, client.ErrIDToken, "nonce"},
		{"IgnoreUnannouncedIss: it is announced", func(q *client.Quirks) { q.IgnoreUnannouncedIss = true }, authtest.Fault{}, set("iss", "https://evil.example"), client.ErrIssMismatch, ""},
		{"IgnoreUnannouncedIss: it is announced and missing", func(q *client.Quirks) { q.IgnoreUnannouncedIss = true }, authtest.Fault{}, del("iss"), client.ErrIssMissing, ""},
		{"TrustedAudiences: another", func(q *client.Quirks) { q.TrustedAudiences = []string{"api"} }, signed(func(t *authtest.JWT) { t.Claims["aud"], t.Claims["azp"] = []string{"app", "evil"}, "app" }), nil, client.ErrIDToken, "aud"},
		{"TrustedAudiences: ours is not there", func(q *client.Quirks) { q.TrustedAudiences = []string{"api"} }, claim("aud", "api"), nil, client.ErrIDToken, "aud"},
		{"AzpOptional: azp of another", func(q *client.Quirks) { q.AzpOptional = true }, claim("azp", "evil"), nil, client.ErrIDToken, "azp"},
		{"MissingTokenType: another type", func(q *client.Quirks) { q.MissingTokenType = true }, member(authtest.Token, "token_type", "mac"), nil, client.ErrTokenType, ""},
		{"FormTokenResponse: a page", func(q *client.Quirks) { q.FormTokenResponse = true }, answer(authtest.Token, authtest.HTML(200)), nil, client.ErrContentType, ""},
		{"FormTokenResponse: no form", func(q *client.Quirks) { q.FormTokenResponse = true }, answer(authtest.Token, page(200, "application/x-www-form-urlencoded", "%zz")), nil, client.ErrTokenResponse, "form"},
		{"FormTokenResponse: token twice", func(q *client.Quirks) { q.FormTokenResponse = true }, answer(authtest.Token, page(200, "application/x-www-form-urlencoded", "access_token=a&access_token=b&token_type=bearer")), nil, client.ErrTokenResponse, "duplicate"},
		{"FormTokenResponse: an error", func(q *client.Quirks) { q.FormTokenResponse = true }, answer(authtest.Token, page(200, "application/x-www-form-urlencoded", "error=bad_verification_code")), nil, client.ErrTokenEndpoint, ""},
		{"FormTokenResponse: no token type", func(q *client.Quirks) { q.FormTokenResponse = true }, answer(authtest.Token, page(200, "application/x-www-form-urlencoded", "access_token=a")), nil, client.ErrTokenType, ""},
		{"FormTokenResponse: expires_in is no number", func(q *client.Quirks) { q.FormTokenResponse = true }, answer(authtest.Token, page(200, "application/x-www-form-urlencoded", "access_token=a&token_type=bearer&expires_in=soon")), nil, client.ErrTokenResponse, "expires_in"},
		{"ScopeArray: a number in it", func(q *client.Quirks) { q.ScopeArray = true }, member(authtest.Token, "scope", []any{"openid", 7}), nil, client.ErrTokenResponse, "scope"},
		{"ScopeArray: a blank in one", func(q *client.Quirks) { q.ScopeArray = true }, member(authtest.Token, "scope", []string{"openid admin"}), nil, client.ErrScope, "extra"},
		{"ScopeComma: wider", func(q *client.Quirks) { q.ScopeComma = true }, member(authtest.Token, "scope", "openid,admin"), nil, client.ErrScope, "extra"},
		{"ExtraScopes: another", func(q *client.Quirks) { q.ExtraScopes = []string{"admin"} }, member(authtest.Token, "scope", "openid root"), nil, client.ErrScope, "extra"},
	} {
		scenario(t, tc.name, func(b *bench) {
			b.as.Misbehave(tc.fault)
			req, err := b.c.AuthorizationRequest(ctx, client.AuthorizationOptions{})
			if err == nil {
				r := b.visit(req)
				if tc.edit != nil {
					tc.edit(r.Params)
				}
				_, err = b.finish(req, b.request(r))
			}
			if got := code(b.T, err); got != tc.code || !strings.Contains(err.Error(), "("+tc.reason) && tc.reason != "" {
				b.Errorf("refused with %v, want %s (%s)", err, tc.code, tc.reason)
			}
		}, with(tc.quirk))
	}
	scenario(t, "ExtraScopes: any", func(b *bench) {
		b.as.Misbehave(member(authtest.Token, "scope", "openid root"))
		b.mustLogin(client.AuthorizationOptions{})
	}, with(func(q *client.Quirks) { q.ExtraScopes = []string{"*"} }))
	long := strings.Repeat("canary-secret-4711", 2)
	hmac := func(s *setup) {
		s.registration.Secret, s.client.Authentication = long, client.SecretBasic(client.Secret(long))
		s.client.Quirks.AllowHMAC, s.client.IDTokenAlgorithms = true, []string{"HS256"}
	}
	announce := authtest.Fault{Endpoint: authtest.Metadata, JSON: func(m map[string]any) {
		m["id_token_signing_alg_values_supported"] = []string{"HS256", "ES256"}
	}}
	scenario(t, "AllowHMAC: a signature", func(b *bench) {
		b.as.Misbehave(announce)
		tokens, err := b.login(client.AuthorizationOptions{})
		b.refused(tokens, err, failure{code: client.ErrIDToken, reason: "alg", requests: one})
	}, hmac)
	scenario(t, "AllowHMAC: another secret", func(b *bench) {
		b.as.Misbehave(announce, signed(func(t *authtest.JWT) { t.Header["alg"], t.Key = "HS256", []byte(strings.Repeat("x", 32)) }))
		tokens, err := b.login(client.AuthorizationOptions{})
		b.refused(tokens, err, failure{code: client.ErrIDToken, reason: "sig", requests: one})
	}, hmac)
	// Signed userinfo of such a registration.
	scenario(t, "AllowHMAC: userinfo", func(b *bench) {
		mac := func(t *authtest.JWT) { t.Header["alg"], t.Key = "HS256", []byte(long); delete(t.Claims, "at_hash") }
		b.as.Misbehave(announce, signed(mac), authtest.Fault{Endpoint: authtest.UserInfo, JWT: mac})
		if tokens := b.mustLogin(client.AuthorizationOptions{}); !strings.Contains(string(tokens.UserInfo), "user-alice") {
			b.Errorf("%s", tokens.UserInfo)
		}
		b.saw(requests{token: 1, userinfo: 1})
	}, hmac, func(s *setup) {
		s.client.UserInfo, s.client.UserInfoAlgorithm, s.registration.UserInfoAlgorithm = true, "HS256", "ES256"
	})
	scenario(t, "AllowPrivateAddresses is told", func(b *bench) {
		if b.events.find(client.EventQuirkActive, "AllowPrivateAddresses") == nil {
			b.Errorf("events are %q", b.events.kinds())
		}
	}, with(func(q *client.Quirks) { q.AllowPrivateAddresses = true }))
}

// ATK-D04: an address inside the network is refused where the connection is made, whatever name it has; the quirk lets private ones through.
func TestPrivateAddresses(t *testing.T) {
	for _, tc := range []struct {
		issuer string
		quirk  bool
		code   client.Code
	}{
		{"https://10.0.0.1:1", false, client.ErrEndpointRefused},
		{"https://192.168.0.1:1", false, client.ErrEndpointRefused},
		{"https://169.254.169.254", false, client.ErrEndpointRefused},
		{"https://169.254.169.254", true, client.ErrEndpointRefused},
		{"https://[fd00::1]:1", false, client.ErrEndpointRefused},
		{"https://0.0.0.0:1", false, client.ErrEndpointRefused},
	} {
		t.Run(tc.issuer, func(t *testing.T) {
			c, err := client.New(client.Config{Issuer: tc.issuer, ClientID: "app", Authentication: client.SecretBasic(client.Secret(secret)), RedirectURI: callback,
				Quirks: client.Quirks{AllowPrivateAddresses: tc.quirk}})
			if err != nil {
				t.Fatal(err)
			}
			_, err = c.Discover(ctx)
			if code(t, err) != client.ErrDiscovery || !errors.Is(err, tc.code) {
				t.Errorf("got %v", err)
			}
		})
	}
}
