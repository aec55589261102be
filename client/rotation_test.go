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

// dex answers a refresh token that it does not know, that was used before, or that has expired with 400 and
// invalid_request, and every failure of its own with 500 and invalid_request.
func dex(status int) *authtest.Response {
	if status >= 500 {
		return authtest.JSON(status, `{"error":"invalid_request"}`)
	}
	return authtest.JSON(status, `{"error":"invalid_request","error_description":"canary-description: invalid or has already been claimed by another client."}`)
}

// glewlwyd answers with a bare status, of a refresh token that it does not know as well as of a wrong client secret.
func glewlwyd(status int) *authtest.Response {
	return &authtest.Response{Status: status, Header: http.Header{"Content-Length": {"0"}}}
}

func TestRotationProfile(t *testing.T) {
	const login = 1 // the token request before
	twice := requests{token: login + 1, jwks: 1}
	over := func(reason string, status int, code string) failure {
		return failure{code: client.ErrGrantRevoked, reason: reason, status: status, serverCode: code, requests: twice}
	}
	lives := func(status int, code string) failure {
		return failure{code: client.ErrTokenEndpoint, status: status, serverCode: code, requests: twice}
	}
	later := func(status int, code string) failure {
		f := lives(status, code)
		f.outcome, f.action = client.Transient, client.ActionRetry
		return f
	}
	misconfigured := func(status int, code string) failure {
		f := lives(status, code)
		f.action = client.ActionFixConfiguration
		return f
	}
	codes := func(codes ...string) client.Rotation { return client.Rotation{OverCodes: codes} }
	empty := client.Rotation{OverWhenEmpty: true}
	says := func(status int, code string) *authtest.Response {
		return authtest.JSON(status, map[string]any{"error": code, "error_description": "canary-description"})
	}
	for _, tc := range []struct {
		name     string
		rotation client.Rotation
		answer   *authtest.Response
		want     failure
		hint     string // in what the operator reads
	}{
		{"ATK-F05 dex", codes("invalid_request"), dex(400), over("over_code", 400, "invalid_request"), ""},
		{"ATK-F05 LemonLDAP::NG", codes("invalid_request"), authtest.JSON(400, `{"error":"invalid_request"}`), over("over_code", 400, "invalid_request"), ""},
		{"ATK-F05 a code of the server's own", codes("other", "session_terminated"), says(401, "session_terminated"), over("over_code", 401, ""), ""},
		{"ATK-F05 a code of the server's own, with 200", codes("invalid_refresh_token"), authtest.JSON(200, `{"ok":false,"error":"invalid_refresh_token"}`), over("over_code", 200, ""), ""},
		{"ATK-F05 Glewlwyd", empty, glewlwyd(400), over("empty_answer", 400, ""), ""},
		{"ATK-F05 Glewlwyd, 403", empty, glewlwyd(403), over("empty_answer", 403, ""), ""},
		{"ATK-F05 invalid_grant needs no profile beside one", codes("invalid_request"), says(400, "invalid_grant"), over("", 400, "invalid_grant"), ""},

		{"dex without the profile", client.Rotation{}, dex(400), lives(400, "invalid_request"), "Rotation.OverCodes"},
		{"Glewlwyd without the profile", client.Rotation{}, glewlwyd(400), lives(400, ""), "Rotation.OverWhenEmpty"},
		{"Glewlwyd without the profile, 403", client.Rotation{}, glewlwyd(403), lives(403, ""), "Rotation.OverWhenEmpty"},
		{"another code", codes("session_terminated"), dex(400), lives(400, "invalid_request"), "Rotation.OverCodes"},
		{"the code in capitals", codes("invalid_request"), says(400, "INVALID_REQUEST"), lives(400, ""), ""},
		{"no code at all", codes("invalid_request"), authtest.JSON(400, `{}`), lives(400, ""), ""},
		{"a page is not empty", empty, authtest.HTML(403), lives(403, ""), ""},
		{"an error is not empty", empty, dex(400), lives(400, "invalid_request"), "Rotation.OverCodes"},
		{"a blank line is not empty", empty, authtest.JSON(400, "\n"), lives(400, ""), ""},
		{"401 without a body", empty, glewlwyd(401), lives(401, ""), ""},
		{"404 without a body", empty, glewlwyd(404), lives(404, ""), ""},

		{"ATK-F10 dex fails", codes("invalid_request"), dex(500), later(500, "invalid_request"), ""},
		{"ATK-F10 429 with the code", codes("invalid_request"), says(429, "invalid_request"), later(429, "invalid_request"), ""},
		{"ATK-F10 503 with the code", codes("invalid_request"), says(503, "invalid_request"), later(503, "invalid_request"), ""},
		{"ATK-F10 Glewlwyd fails", empty, glewlwyd(500), later(500, ""), ""},
		{"ATK-F10 429 without a body", empty, glewlwyd(429), later(429, ""), ""},
		{"ATK-F10 503 without a body", empty, glewlwyd(503), later(503, ""), ""},
		{"ATK-F11 invalid_client beside a profile", client.Rotation{OverCodes: []string{"invalid_request"}, OverWhenEmpty: true}, says(401, "invalid_client"), misconfigured(401, "invalid_client"), ""},
	} {
		scenario(t, tc.name, func(b *bench) {
			b.learn("description", "canary-description")
			tokens := b.mustLogin(client.AuthorizationOptions{})
			b.as.Misbehave(refreshing(authtest.Fault{Answer: tc.answer}))
			next, err := b.c.Refresh(ctx, tokens)
			b.refused(next, err, tc.want)
			if errors.Is(err, client.ErrGrantRevoked) != (tc.want.code == client.ErrGrantRevoked) || errors.Is(err, client.ErrTokenEndpoint) != (tc.want.code == client.ErrTokenEndpoint) {
				b.Errorf("errors.Is is wrong about %v", err)
			}
			if got := strings.Contains(err.Error(), "Config.Rotation"); got != (tc.hint != "") || !strings.Contains(err.Error(), tc.hint) {
				b.Errorf("it says %q, want a word about %q", err, tc.hint)
			}
		}, func(s *setup) { s.client.Rotation = tc.rotation })
	}
	// The profile is about refresh tokens: a code that is refused is a login that failed, and no hint is due.
	scenario(t, "a code", func(b *bench) {
		b.as.Misbehave(answer(authtest.Token, dex(400)))
		tokens, err := b.login(client.AuthorizationOptions{})
		b.refused(tokens, err, failure{code: client.ErrTokenEndpoint, status: 400, serverCode: "invalid_request", requests: one})
	}, func(s *setup) { s.client.Rotation.OverCodes = []string{"invalid_request"} })
}

// ATK-F11: what an operator may get wrong in the profile is refused when the client is made, before it logs anybody out.
func TestRotationRefused(t *testing.T) {
	refused := map[string]client.Rotation{
		"grace negative":                {Grace: -time.Second},
		"grace in seconds, by mistake":  {Grace: 30},
		"grace below a second":          {Grace: time.Second - 1},
		"grace too long":                {Grace: 10*time.Minute + 1},
		"grace of what is used for all": {Grace: 30 * time.Second, Reusable: true},
	}
	for _, code := range []string{
		"", " ", "invalid request", "invalid_request ", "a\"b", `a\b`, "a\x00", "ä", "a\nb", "a\x7f",
		"invalid_client", "Invalid_Client", "incorrect_client_credentials", "unauthorized_client", "unsupported_grant_type",
		"unsupported_response_type", "unsupported_token_type", "invalid_scope", "invalid_target", "invalid_authorization_details",
		"invalid_dpop_proof", "use_dpop_nonce", "temporarily_unavailable", "server_error", "slow_down", "authorization_pending",
	} {
		refused["code "+code] = client.Rotation{OverCodes: []string{"invalid_request", code}}
	}
	for name, rotation := range refused {
		t.Run(name, func(t *testing.T) {
			c, err := client.New(client.Config{Issuer: issuer, ClientID: "app", Authentication: client.SecretBasic(client.Secret(secret)), RedirectURI: callback, Rotation: rotation})
			var e *client.Error
			if c != nil || !errors.As(err, &e) || e.Code != client.ErrConfig || e.Reason != "rotation" || e.Action != client.ActionFixConfiguration {
				t.Fatalf("got %v, %v", c, err)
			}
			if !strings.Contains(err.Error(), "Rotation.") {
				t.Errorf("it only says %q", err)
			}
			for _, code := range rotation.OverCodes {
				if strings.Trim(code, " ") != "" && strings.Contains(err.Error(), code) {
					t.Errorf("%q repeats %q", err, code)
				}
			}
		})
	}
	for _, rotation := range []client.Rotation{
		{}, {Grace: time.Second}, {Grace: 10 * time.Minute}, {Reusable: true}, {OverWhenEmpty: true},
		{OverCodes: []string{"invalid_request", "invalid_grant", "access_denied", "x!~[]"}},
	} {
		offline(t, func(c *client.Config) { c.Rotation = rotation })
	}
}

func TestRotationOfProviders(t *testing.T) {
	for _, tc := range []struct {
		issuer string
		set    client.Rotation
		want   client.Rotation
	}{
		{issuer: issuer},
		{issuer: "https://accounts.google.com"},
		{issuer: "https://login.microsoftonline.com/9188040d-6c67-4c5b-b112-36a304b66dad/v2.0", want: client.Rotation{Reusable: true}},
		{issuer: "https://login.microsoftonline.com.evil.example/v2.0"},
		{issuer, client.Rotation{Reusable: true}, client.Rotation{Reusable: true}},
		{issuer, client.Rotation{Grace: time.Minute}, client.Rotation{Grace: time.Minute}},
		// Whoever sets a grace period knows better.
		{"https://login.microsoftonline.com/x/v2.0", client.Rotation{Grace: time.Minute}, client.Rotation{Grace: time.Minute}},
	} {
		c := offline(t, func(c *client.Config) { c.Issuer, c.Rotation = tc.issuer, tc.set })
		if got := c.Rotation(); got.Reusable != tc.want.Reusable || got.Grace != tc.want.Grace || len(got.OverCodes) != 0 || got.OverWhenEmpty {
			t.Errorf("%s: %+v, want %+v", tc.issuer, got, tc.want)
		}
	}
}

// What was checked is what is used, and what weakens is told.
func TestRotationIsCopiedAndTold(t *testing.T) {
	codes := []string{"session_terminated"}
	scenario(t, "", func(b *bench) {
		codes[0] = "server_error"
		b.c.Rotation().OverCodes[0] = "server_error"
		if got := b.c.Rotation(); !slices.Equal(got.OverCodes, []string{"session_terminated"}) || !got.OverWhenEmpty {
			b.Errorf("%+v", got)
		}
		for _, name := range []string{"OverCodes", "OverWhenEmpty"} {
			if b.events.find(client.EventQuirkActive, name) == nil {
				b.Errorf("%s is not told: %q", name, b.events.kinds())
			}
		}
	}, func(s *setup) { s.client.Rotation = client.Rotation{OverCodes: codes, OverWhenEmpty: true} })
	scenario(t, "what does not weaken is not told", func(b *bench) {
		if n := len(b.events.all()); n != 0 {
			b.Errorf("%d events", n)
		}
	}, func(s *setup) { s.client.Rotation = client.Rotation{Grace: time.Minute} })
}

// ATK-F16: how long the refresh token works is told, so that nobody tries for ever. A value that is no lifetime
// costs nothing: no standard has the member.
func TestRefreshExpiry(t *testing.T) {
	const long = 10 * 365 * 24 * time.Hour
	for _, tc := range []struct {
		value string
		want  time.Duration // 0: not said
		quirk bool
	}{
		{`15811200`, 183 * 24 * time.Hour, false}, {`1`, time.Second, false}, {`36e2`, time.Hour, false}, {`1e17`, long, false}, {`315360001`, long, false},
		{`null`, 0, false}, {`0`, 0, false}, {`-1`, 0, false}, {`0.5`, 0, false}, {`1e309`, 0, false}, {`true`, 0, false}, {`"3600"`, 0, false}, {`[1]`, 0, false}, {`{"a":1}`, 0, false},
		{`"3600"`, time.Hour, true}, {`"soon"`, 0, true}, {`""`, 0, true},
	} {
		name := tc.value
		if tc.quirk {
			name += " with StringExpiresIn"
		}
		scenario(t, name, func(b *bench) {
			tokens, err := b.respond(authtest.JSON(200, `{"access_token":"canary-access","refresh_token":"canary-refresh","token_type":"Bearer","refresh_token_expires_in":`+tc.value+`}`))
			if err != nil {
				b.Fatal(err)
			}
			if tc.want == 0 && !tokens.RefreshExpiry.IsZero() || tc.want != 0 && time.Until(tokens.RefreshExpiry) != tc.want {
				b.Errorf("RefreshExpiry is %v, %v from now", tokens.RefreshExpiry, time.Until(tokens.RefreshExpiry))
			}
		}, oauthOnly, func(s *setup) { s.client.Quirks.StringExpiresIn = tc.quirk })
	}
	scenario(t, "in a form", func(b *bench) {
		tokens, err := b.respond(page(200, "application/x-www-form-urlencoded", "access_token=canary-access&refresh_token=canary-refresh&token_type=bearer&refresh_token_expires_in=3600"))
		if err != nil || time.Until(tokens.RefreshExpiry) != time.Hour {
			b.Errorf("%+v, %v", tokens, err)
		}
	}, oauthOnly, func(s *setup) { s.client.Quirks.FormTokenResponse = true })
	scenario(t, "no refresh token, no expiry", func(b *bench) {
		b.as.Misbehave(member(authtest.Token, "refresh_token", nil), member(authtest.Token, "refresh_token_expires_in", 3600))
		if tokens := b.mustLogin(client.AuthorizationOptions{}); !tokens.RefreshExpiry.IsZero() {
			b.Errorf("RefreshExpiry is %v", tokens.RefreshExpiry)
		}
	})
	scenario(t, "what becomes of it", func(b *bench) {
		refresh := func(previous *client.Tokens, value any) *client.Tokens {
			b.Helper()
			defer b.as.Misbehave(member(authtest.Token, "refresh_token_expires_in", value))()
			next, err := b.c.Refresh(ctx, previous)
			if err != nil {
				b.Fatal(err)
			}
			return next
		}
		first := b.mustLogin(client.AuthorizationOptions{})
		if !first.RefreshExpiry.IsZero() {
			b.Errorf("RefreshExpiry is %v", first.RefreshExpiry)
		}
		said := refresh(first, 7200)
		if time.Until(said.RefreshExpiry) != 2*time.Hour {
			b.Errorf("said: %v", time.Until(said.RefreshExpiry))
		}
		time.Sleep(time.Hour)
		kept := refresh(said, nil)
		if !kept.RefreshExpiry.Equal(said.RefreshExpiry) {
			b.Errorf("nothing said: %v became %v", said.RefreshExpiry, kept.RefreshExpiry)
		}
		moved := refresh(kept, 10800)
		if time.Until(moved.RefreshExpiry) != 3*time.Hour {
			b.Errorf("said again: %v", time.Until(moved.RefreshExpiry))
		}
		// It was wrong: the server still takes the token.
		time.Sleep(3 * time.Hour)
		if wrong := refresh(moved, nil); !wrong.RefreshExpiry.IsZero() {
			b.Errorf("passed: %v", wrong.RefreshExpiry)
		}
	})
}
