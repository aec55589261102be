package client_test

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/client"
	"github.com/sallyport/sallyport/client/authtest"
)

// oauthOnly is a client without ID tokens, so that a token response can be made up freely.
func oauthOnly(s *setup) { s.client.Scopes = []string{"a", "b"} }

// respond logs in at a server that answers the token request with r.
func (b *bench) respond(r *authtest.Response) (*client.Tokens, error) {
	b.Helper()
	b.as.Misbehave(answer(authtest.Token, r))
	return b.login(client.AuthorizationOptions{})
}

var one = requests{token: 1}

func bad(reason string) failure {
	return failure{code: client.ErrTokenResponse, reason: reason, requests: one}
}

func TestTokenResponseRefused(t *testing.T) {
	json := func(body string) *authtest.Response { return authtest.JSON(200, body) }
	// with returns a good response that has other members as well.
	with := func(members string) *authtest.Response {
		return json(`{"access_token":"canary-access","token_type":"Bearer",` + members + `}`)
	}
	contentType := failure{code: client.ErrContentType, status: 200, requests: one}
	tokenType := failure{code: client.ErrTokenType, requests: one}
	said := func(code string, status int, action client.Action) failure {
		return failure{code: client.ErrTokenEndpoint, serverCode: code, status: status, action: action, requests: one}
	}
	later := func(code string, status int) failure {
		f := said(code, status, client.ActionRetry)
		f.outcome = client.Transient
		return f
	}
	odd := func(status int) failure {
		f := bad("status")
		f.status = status
		return f
	}
	for _, tc := range []struct {
		name string
		r    *authtest.Response
		want failure
	}{
		{"ATK-T01 GitHub's error", json(`{"error":"bad_verification_code","error_description":"canary-description"}`), said("bad_verification_code", 200, 0)},
		{"ATK-T01 Slack's error", json(`{"ok":false,"error":"invalid_code"}`), said("", 200, 0)},
		{"ATK-T01 error beside a token", with(`"error":"x"`), said("", 200, 0)},
		{"ATK-T01 Facebook's error", json(`{"error":{"message":"canary-description","code":100}}`), said("", 200, 0)},
		{"ATK-T01 Slack's error without a word", json(`{"ok":false}`), bad("access_token")},
		{"ATK-T02 page", authtest.HTML(200), contentType},
		{"ATK-T02 page that says it is JSON", json("<html>canary-page</html>"), bad("json")},
		{"ATK-T02 empty", json(""), bad("json")},
		{"ATK-T02 null", json("null"), bad("json")},
		{"ATK-T02 array", json("[]"), bad("json")},
		{"ATK-T02 string", json(`"str"`), bad("json")},
		{"ATK-T02 true", json("true"), bad("json")},
		{"ATK-T02 no content type", &authtest.Response{Body: []byte(`{"access_token":"canary-access","token_type":"Bearer"}`)}, contentType},
		{"ATK-T03 form", page(200, "application/x-www-form-urlencoded", "access_token=canary-access&token_type=bearer"), contentType},
		{"ATK-T04 giant", json(strings.Repeat(" ", 1<<20+1)), failure{code: client.ErrResponseTooLarge, status: 200, outcome: client.InDoubt, requests: one}},
		{"ATK-T10 201", authtest.JSON(201, `{"access_token":"canary-access","token_type":"Bearer"}`), odd(201)},
		{"ATK-T10 204", authtest.JSON(204, ""), odd(204)},
		{"ATK-T10 206", authtest.JSON(206, `{"access_token":"canary-access","token_type":"Bearer"}`), odd(206)},
		{"ATK-T10 299", authtest.JSON(299, `{"access_token":"canary-access","token_type":"Bearer"}`), odd(299)},
		{"ATK-T11 no token_type", json(`{"access_token":"canary-access"}`), tokenType},
		{"ATK-T11 empty token_type", json(`{"access_token":"canary-access","token_type":""}`), tokenType},
		{"ATK-T11 mac", json(`{"access_token":"canary-access","token_type":"mac"}`), tokenType},
		{"ATK-T11 N_A", json(`{"access_token":"canary-access","token_type":"N_A"}`), tokenType},
		{"ATK-T11 array", json(`{"access_token":"canary-access","token_type":["Bearer"]}`), tokenType},
		{"ATK-T11 number", json(`{"access_token":"canary-access","token_type":42}`), tokenType},
		{"ATK-T11 DPoP that nobody asked for", json(`{"access_token":"canary-access","token_type":"DPoP"}`), tokenType},
		{"ATK-T14 no access token", json(`{"token_type":"Bearer"}`), bad("access_token")},
		{"ATK-T14 empty access token", json(`{"access_token":"","token_type":"Bearer"}`), bad("access_token")},
		{"ATK-T14 access token is a number", json(`{"access_token":7,"token_type":"Bearer"}`), bad("access_token")},
		{"ATK-T14 access token is null", json(`{"access_token":null,"token_type":"Bearer"}`), bad("access_token")},
		{"ATK-T14 access token splits a header", json(`{"access_token":"a\r\nX: y","token_type":"Bearer"}`), bad("access_token")},
		{"ATK-T14 access token with a blank", json(`{"access_token":"a b","token_type":"Bearer"}`), bad("access_token")},
		{"ATK-T14 access token is not ASCII", json(`{"access_token":"é","token_type":"Bearer"}`), bad("access_token")},
		{"ATK-T14 giant access token", json(`{"access_token":"` + strings.Repeat("a", 64<<10+1) + `","token_type":"Bearer"}`), bad("access_token")},
		{"ATK-T14 refresh token splits a header", with(`"refresh_token":"a\r\nX: y"`), bad("refresh_token")},
		{"ATK-T14 refresh token beyond all measure", with(`"refresh_token":"` + strings.Repeat("r", 65<<10) + `"`), bad("refresh_token")},
		{"ATK-T16 scope beyond all measure", with(`"scope":"` + strings.Repeat("a ", 5<<10) + `"`), bad("scope")},
		{"ATK-T14 refresh token is a number", with(`"refresh_token":7`), bad("refresh_token")},
		{"ATK-T14 ID token is an object", with(`"id_token":{}`), bad("id_token")},
		{"ATK-T15 access token twice", with(`"access_token":"B"`), bad("json")},
		{"ATK-T15 access token twice, once escaped", with(`"\u0061ccess_token":"B"`), bad("json")},
		{"ATK-T15 other letter case", json(`{"Access_Token":"B","token_type":"Bearer"}`), bad("access_token")},
		{"ATK-T15 token_type in other letter case", json(`{"access_token":"canary-access","Token_Type":"Bearer"}`), tokenType},
		{"ATK-T16 wider scope", with(`"scope":"a b admin"`), failure{code: client.ErrScope, reason: "extra", requests: one}},
		{"ATK-T16 array", with(`"scope":["a"]`), bad("scope")},
		{"ATK-T16 comma list", with(`"scope":"a,b"`), failure{code: client.ErrScope, reason: "extra", requests: one}},
		{"ATK-T16 control character", with(`"scope":"a\u0000"`), bad("scope")},
		{"ATK-T16 tab between scopes", with(`"scope":"a\tb"`), bad("scope")},
		{"ATK-T16 number", with(`"scope":7`), bad("scope")},
		{"ATK-T18 invalid_client", authtest.JSON(401, `{"error":"invalid_client"}`), said("invalid_client", 401, client.ActionFixConfiguration)},
		{"invalid_target is not tried without resource", authtest.JSON(400, `{"error":"invalid_target"}`), said("invalid_target", 400, client.ActionFixConfiguration)},
		{"ATK-T19 hostile text", authtest.JSON(400, `{"error":"canary-code\u001b[31m","error_description":"canary-description\r\n\u2028","error_uri":"javascript:canary-uri"}`), said("", 400, 0)},
		{"ATK-T19 error is a number (Twitch)", authtest.JSON(400, `{"error":400,"message":"canary-message"}`), said("", 400, 0)},
		{"ATK-T19 no JSON", page(400, "text/html", "canary-page"), said("", 400, 0)},
		{"ATK-T17 429", authtest.JSON(429, `{}`), later("", 429)},
		{"ATK-T17 503", authtest.HTML(503), later("", 503)},
		{"408", authtest.HTML(408), later("", 408)},
		{"500 that says invalid_grant", authtest.JSON(500, `{"error":"invalid_grant"}`), later("invalid_grant", 500)},
		{"temporarily unavailable", authtest.JSON(400, `{"error":"temporarily_unavailable"}`), later("temporarily_unavailable", 400)},
		{"ATK-T30 byte order mark", json("\ufeff" + `{"access_token":"canary-access","token_type":"Bearer"}`), bad("json")},
		{"ATK-T30 UTF-16", json("{\x00}\x00"), bad("json")},
		{"ATK-T30 latin1", page(200, "application/json; charset=latin1", `{"access_token":"canary-access","token_type":"Bearer"}`), contentType},
		{"ATK-T30 invalid UTF-8", with("\"x\":\"\xff\""), bad("json")},
		{"ATK-T30 trailing object", json(`{"access_token":"canary-access","token_type":"Bearer"}{}`), bad("json")},
		{"two content types", &authtest.Response{Header: http.Header{"Content-Type": {"application/json", "text/html"}}, Body: []byte(`{"access_token":"canary-access","token_type":"Bearer"}`)}, contentType},
	} {
		scenario(t, tc.name, func(b *bench) {
			for _, canary := range []string{"canary-access", "canary-description", "canary-code", "canary-uri", "canary-page", "canary-message"} {
				b.learn("server's text", canary)
			}
			tokens, err := b.respond(tc.r)
			b.refused(tokens, err, tc.want)
		}, oauthOnly)
	}
}

func TestTokenResponseAccepted(t *testing.T) {
	for _, tc := range []struct {
		name, members string
		check         func(b *bench, t *client.Tokens)
	}{
		{"ATK-T11 capitals", `"token_type":"BEARER"`, func(b *bench, t *client.Tokens) {
			if t.TokenType != "Bearer" {
				b.Errorf("TokenType is %q", t.TokenType)
			}
		}},
		{"ATK-T15 other letter case is another name", `"token_type":"bearer","Scope":"admin","EXPIRES_IN":-1,"Error":"x"`, func(b *bench, t *client.Tokens) {
			if !slices.Equal(t.Scopes, []string{"a", "b"}) {
				b.Errorf("Scopes are %q", t.Scopes)
			}
		}},
		{"ATK-T16 no scope: as asked", `"token_type":"bearer"`, func(b *bench, t *client.Tokens) {
			if !slices.Equal(t.Scopes, []string{"a", "b"}) {
				b.Errorf("Scopes are %q", t.Scopes)
			}
		}},
		{"ATK-T16 null scope: as asked", `"token_type":"bearer","scope":null`, func(b *bench, t *client.Tokens) {
			if !slices.Equal(t.Scopes, []string{"a", "b"}) {
				b.Errorf("Scopes are %q", t.Scopes)
			}
		}},
		{"ATK-T16 narrower scope", `"token_type":"bearer","scope":" b "`, func(b *bench, t *client.Tokens) {
			if !slices.Equal(t.Scopes, []string{"b"}) {
				b.Errorf("Scopes are %q", t.Scopes)
			}
		}},
		{"ATK-T16 scope without a value counts as omitted", `"token_type":"bearer","scope":""`, func(b *bench, t *client.Tokens) {
			if !slices.Equal(t.Scopes, []string{"a", "b"}) {
				b.Errorf("Scopes are %q", t.Scopes)
			}
		}},
		{"null is left out", `"token_type":"bearer","refresh_token":null,"id_token":null,"expires_in":null`, func(b *bench, t *client.Tokens) {
			if t.RefreshToken != "" || !t.Expiry.IsZero() {
				b.Errorf("%+v", t)
			}
		}},
		{"a blank is VSCHAR, RFC 6749 A.17", `"token_type":"bearer","refresh_token":"a b~"`, func(b *bench, t *client.Tokens) {
			if t.RefreshToken != "a b~" {
				b.Error("another refresh token")
			}
		}},
		{"an error that is null is none", `"token_type":"bearer","error":null`, func(*bench, *client.Tokens) {}},
		{"empty is left out", `"token_type":"bearer","refresh_token":""`, func(b *bench, t *client.Tokens) {
			if t.RefreshToken != "" {
				b.Errorf("%+v", t)
			}
		}},
		{"unknown members of any type", `"token_type":"bearer",` + strings.TrimSuffix(unknownMembers(), ","), nil},
		{"not a word of expiry, but a refresh token", `"token_type":"bearer","refresh_token":"canary-refresh"`, func(b *bench, t *client.Tokens) {
			if d := time.Until(t.Expiry); d != 5*time.Minute {
				b.Errorf("it expires in %v", d)
			}
		}},
	} {
		scenario(t, tc.name, func(b *bench) {
			tokens, err := b.respond(authtest.JSON(200, `{"access_token":"canary-access",`+tc.members+`}`))
			if err != nil {
				b.Fatal(err)
			}
			if tokens.AccessToken != "canary-access" {
				b.Error("the access token is another")
			}
			if tc.check != nil {
				tc.check(b, tokens)
			}
			b.saw(one)
			b.silentEvents()
		}, oauthOnly)
	}
	// The token is opaque: whatever it looks like, it comes through unchanged (C-21-1).
	for _, token := range []string{"a.b.c", `{"x":1}`, `quote"back\slash`, "%00", strings.Repeat("t", 64<<10)} {
		scenario(t, "token "+token[:min(len(token), 12)], func(b *bench) {
			tokens, err := b.respond(authtest.JSON(200, map[string]any{"access_token": token, "refresh_token": token, "token_type": "Bearer"}))
			if err != nil || string(tokens.AccessToken) != token || string(tokens.RefreshToken) != token {
				b.Errorf("%v", err)
			}
		}, oauthOnly)
	}
}

func unknownMembers() string {
	var sb strings.Builder
	for i := range 50 {
		sb.WriteString(`"x` + strings.Repeat("y", i) + `":` + []string{"1", "null", `"s"`, "[{}]", `{"a":[1]}`}[i%5] + ",")
	}
	return sb.String()
}

// ATK-T13: expires_in in every form.
func TestExpiresIn(t *testing.T) {
	const refused = -1
	for _, tc := range []struct {
		value string
		want  time.Duration // 0: unknown
		quirk bool
	}{
		{`3600`, time.Hour, false},
		{`3600.0`, time.Hour, false},
		{`36e2`, time.Hour, false},
		{`1`, time.Second, false},
		{`86400`, 24 * time.Hour, false},
		{`604800`, 24 * time.Hour, false},
		{`1e17`, 24 * time.Hour, false},
		{`null`, 0, false},
		{`0`, refused, false},
		{`-1`, refused, false},
		{`-0`, refused, false},
		{`0.5`, refused, false},
		{`1e309`, refused, false},
		{`9223372036854775807`, refused, false},
		{`true`, refused, false},
		{`"3600"`, refused, false},
		{`"abc"`, refused, false},
		{`[3600]`, refused, false},
		{`"3600"`, time.Hour, true},
		{`3600`, time.Hour, true},
		{`""`, refused, true},
		{`"abc"`, refused, true},
		{`"-1"`, refused, true},
		{`"0"`, refused, true},
		{`"36e2"`, refused, true},
		{`"0x10"`, refused, true},
		{`"0x1p4"`, refused, true},
		{`"1_000"`, refused, true},
		{`" 3600"`, refused, true},
		{`"99999999999999999999"`, refused, true},
	} {
		name := tc.value
		if tc.quirk {
			name += " with StringExpiresIn"
		}
		scenario(t, name, func(b *bench) {
			tokens, err := b.respond(authtest.JSON(200, `{"access_token":"canary-access","token_type":"Bearer","expires_in":`+tc.value+`}`))
			switch {
			case tc.want == refused:
				b.refused(tokens, err, bad("expires_in"))
			case err != nil:
				b.Fatal(err)
			case tc.want == 0:
				if !tokens.Expiry.IsZero() {
					b.Errorf("Expiry is %v", tokens.Expiry)
				}
			case time.Until(tokens.Expiry) != tc.want:
				b.Errorf("it expires in %v, want %v", time.Until(tokens.Expiry), tc.want)
			}
		}, oauthOnly, func(s *setup) { s.client.Quirks.StringExpiresIn = tc.quirk })
	}
}

// ATK-T16: what must have been granted.
func TestRequiredScopes(t *testing.T) {
	require := func(s *setup) { s.client.RequiredScopes = []string{"b"} }
	for _, tc := range []struct{ scope, reason string }{{"b", ""}, {"b a", ""}, {"a", "missing"}, {"", ""}} {
		scenario(t, "granted "+tc.scope, func(b *bench) {
			b.as.Misbehave(member(authtest.Token, "scope", tc.scope))
			tokens, err := b.login(client.AuthorizationOptions{})
			if tc.reason == "" {
				if err != nil {
					b.Fatal(err)
				}
				return
			}
			b.refused(tokens, err, failure{code: client.ErrScope, reason: tc.reason, requests: one})
		}, oauthOnly, require)
	}
	// Google grants email and profile under other names.
	google := func(s *setup) {
		s.server.Issuer, s.client.Issuer = "https://accounts.google.com", "https://accounts.google.com"
		s.client.Scopes, s.client.RequiredScopes = []string{"openid", "email"}, []string{"email"}
	}
	scenario(t, "under the provider's name for it", func(b *bench) {
		b.as.Misbehave(member(authtest.Token, "scope", "openid https://www.googleapis.com/auth/userinfo.email"))
		b.mustLogin(client.AuthorizationOptions{})
	}, google)
	scenario(t, "under the provider's name for another", func(b *bench) {
		b.as.Misbehave(member(authtest.Token, "scope", "openid https://www.googleapis.com/auth/userinfo.profile"))
		tokens, err := b.login(client.AuthorizationOptions{})
		b.refused(tokens, err, failure{code: client.ErrScope, reason: "extra", requests: one})
	}, google)
}

// ATK-T17: what the server asks for is told, and the code is not sent again.
func TestRetryAfterOfCode(t *testing.T) {
	for _, tc := range []struct {
		header string
		want   time.Duration
	}{
		{"5", 5 * time.Second},
		{"Sat, 01 Jan 2000 00:00:30 GMT", 30 * time.Second},
		{"-1", 0},
		{"1000000000", time.Minute},
		{"99999999999999999999999", time.Minute},
		{"abc", 0},
		{"", 0},
	} {
		for _, status := range []int{429, 503} {
			scenario(t, tc.header, func(b *bench) {
				r := authtest.JSON(status, `{}`)
				if tc.header != "" {
					r.Header.Set("Retry-After", tc.header)
				}
				tokens, err := b.respond(r)
				b.refused(tokens, err, failure{code: client.ErrTokenEndpoint, status: status, outcome: client.Transient, action: client.ActionRetry, requests: one})
				var e *client.Error
				if errors.As(err, &e); e.RetryAfter != tc.want {
					b.Errorf("RetryAfter is %v, want %v", e.RetryAfter, tc.want)
				}
			}, oauthOnly)
		}
	}
}
