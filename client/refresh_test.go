package client_test

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/client"
	"github.com/sallyport/sallyport/client/authtest"
)

// refreshing matches the token requests of a refresh.
func refreshing(f authtest.Fault) authtest.Fault {
	f.Endpoint = authtest.Token
	f.When = func(r *authtest.Request) bool { return r.Form.Get("grant_type") == "refresh_token" }
	return f
}

func TestRefresh(t *testing.T) {
	scenario(t, "what comes of it", func(b *bench) {
		first := b.mustLogin(client.AuthorizationOptions{})
		time.Sleep(time.Hour)
		next, err := b.c.Refresh(ctx, first)
		if err != nil {
			b.Fatal(err)
		}
		if next.AccessToken == first.AccessToken || next.RefreshToken == first.RefreshToken || next.Subject != first.Subject || !slices.Equal(next.Scopes, first.Scopes) {
			b.Errorf("refreshed %v to %v", first, next)
		}
		if !next.IDToken.IssuedAt.After(first.IDToken.IssuedAt) || next.IDToken.Subject != first.Subject || next.IDToken.Nonce != "" {
			b.Errorf("ID token is %+v", next.IDToken)
		}
		if want := time.Now().Add(time.Hour); !next.Expiry.Equal(want) {
			b.Errorf("Expiry is %v, want %v", next.Expiry, want)
		}
		sent := b.as.Log(authtest.Token)[1]
		want := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {string(first.RefreshToken)}}
		if sent.Form.Encode() != want.Encode() {
			b.Errorf("sent %v", sent.Form)
		}
		if again, err := b.c.Refresh(ctx, next); err != nil || again.RefreshToken == next.RefreshToken {
			b.Errorf("a second time: %v", err)
		}
		b.silentEvents()
	})
	scenario(t, "userinfo and subject stay", func(b *bench) {
		first := b.mustLogin(client.AuthorizationOptions{})
		next, err := b.c.Refresh(ctx, first)
		if err != nil || string(next.UserInfo) != string(first.UserInfo) || len(next.UserInfo) == 0 || next.Subject != first.Subject {
			b.Errorf("%+v, %v", next, err)
		}
	}, func(s *setup) { s.client.UserInfo = true })
	scenario(t, "ATK-F06 no refresh token in the answer", func(b *bench) {
		b.as.Misbehave(refreshing(member("", "refresh_token", nil)))
		first := b.mustLogin(client.AuthorizationOptions{})
		next, err := b.c.Refresh(ctx, first)
		if err != nil || next.RefreshToken != first.RefreshToken {
			b.Errorf("%v", err)
		}
	})
	scenario(t, "ATK-F06 neither refresh token nor expiry in the answer", func(b *bench) {
		b.as.Misbehave(refreshing(authtest.Fault{JSON: func(m map[string]any) { delete(m, "refresh_token"); delete(m, "expires_in") }}))
		first := b.mustLogin(client.AuthorizationOptions{})
		next, err := b.c.Refresh(ctx, first)
		if err != nil || time.Until(next.Expiry) != 5*time.Minute {
			b.Errorf("it expires in %v, %v", time.Until(next.Expiry), err)
		}
	})
	scenario(t, "ATK-F07 the same refresh token", func(b *bench) {
		first := b.mustLogin(client.AuthorizationOptions{})
		next, err := b.c.Refresh(ctx, first)
		if err != nil || next.RefreshToken != first.RefreshToken || next.AccessToken == first.AccessToken {
			b.Errorf("%v", err)
		}
	}, func(s *setup) { s.server.NoRotation = true })
	scenario(t, "no ID token in the answer: the first one stays", func(b *bench) {
		b.as.Misbehave(refreshing(member("", "id_token", nil)))
		first := b.mustLogin(client.AuthorizationOptions{})
		if next, err := b.c.Refresh(ctx, first); err != nil || next.IDToken != first.IDToken {
			b.Errorf("%v", err)
		}
	})
	scenario(t, "an ID token where there was none is not looked at", func(b *bench) {
		b.as.Misbehave(refreshing(member("", "id_token", "e30.e30.AA")))
		first := b.mustLogin(client.AuthorizationOptions{})
		if next, err := b.c.Refresh(ctx, first); err != nil || next.IDToken != nil {
			b.Errorf("%v", err)
		}
	}, oauthOnly)
	scenario(t, "an ID token with the first one's nonce", func(b *bench) {
		first := b.mustLogin(client.AuthorizationOptions{})
		b.as.Misbehave(claim("nonce", first.IDToken.Nonce))
		if _, err := b.c.Refresh(ctx, first); err != nil {
			b.Error(err)
		}
	})
	scenario(t, "no refresh token, nothing sent", func(b *bench) {
		for _, tokens := range []*client.Tokens{nil, {AccessToken: "a"}} {
			got, err := b.c.Refresh(ctx, tokens)
			b.refused(got, err, failure{code: client.ErrGrantRevoked, reason: "no_refresh_token"})
		}
	})
	scenario(t, "narrower scope", func(b *bench) {
		first := b.mustLogin(client.AuthorizationOptions{})
		b.as.Misbehave(member(authtest.Token, "scope", "openid"))
		if next, err := b.c.Refresh(ctx, first); err != nil || !slices.Equal(next.Scopes, []string{"openid"}) {
			b.Errorf("%v, %v", next, err)
		}
	})
}

func TestRefreshRefused(t *testing.T) {
	const login = 1 // the token request before
	twice := requests{token: login + 1, jwks: 1}
	transient := func(status int, serverCode string) failure {
		return failure{code: client.ErrTokenEndpoint, status: status, serverCode: serverCode, outcome: client.Transient, action: client.ActionRetry, requests: twice}
	}
	inDoubt := func(reason string) failure {
		return failure{code: client.ErrRefreshInDoubt, reason: reason, outcome: client.InDoubt, action: client.ActionRetry, requests: twice}
	}
	revoked := func(status int, code string) failure {
		return failure{code: client.ErrGrantRevoked, status: status, serverCode: code, requests: twice}
	}
	says := func(status int, body any) authtest.Fault {
		return authtest.Fault{Answer: authtest.JSON(status, body)}
	}
	is := func(code string) map[string]any {
		return map[string]any{"error": code, "error_description": "canary-description"}
	}
	wire := func(w authtest.Wire) authtest.Fault { return authtest.Fault{Wire: w} }
	for _, tc := range []struct {
		name  string
		fault authtest.Fault
		want  failure
		cause client.Code
	}{
		{"ATK-F05 invalid_grant", says(400, is("invalid_grant")), revoked(400, "invalid_grant"), ""},
		{"ATK-F05 invalid_grant with 401", says(401, is("invalid_grant")), revoked(401, "invalid_grant"), ""},
		{"ATK-F05 GitHub's word for it, with 200", says(200, is("bad_refresh_token")), revoked(200, "bad_refresh_token"), ""},
		{"ATK-F10 500", says(500, is("server_error")), transient(500, "server_error"), ""},
		{"ATK-F10 500 that says invalid_grant", says(500, is("invalid_grant")), transient(500, "invalid_grant"), ""},
		{"ATK-F10 429 that says invalid_grant", says(429, is("invalid_grant")), transient(429, "invalid_grant"), ""},
		{"ATK-F10 502", says(502, "<html>"), transient(502, ""), ""},
		{"ATK-F10 503", says(503, ""), transient(503, ""), ""},
		{"ATK-F10 504", says(504, ""), transient(504, ""), ""},
		{"ATK-F10 429", says(429, ""), transient(429, ""), ""},
		{"ATK-F10 giant page of an outage", says(503, strings.Repeat(" ", 1<<20+1)), failure{code: client.ErrResponseTooLarge, status: 503, outcome: client.Transient, action: client.ActionRetry, requests: twice}, ""},
		{"ATK-F11 invalid_client", says(401, is("invalid_client")), failure{code: client.ErrTokenEndpoint, status: 401, serverCode: "invalid_client", action: client.ActionFixConfiguration, requests: twice}, ""},
		{"ATK-F11 unauthorized_client", says(400, is("unauthorized_client")), failure{code: client.ErrTokenEndpoint, status: 400, serverCode: "unauthorized_client", action: client.ActionFixConfiguration, requests: twice}, ""},
		{"invalid_request is not the end of the grant", says(400, is("invalid_request")), failure{code: client.ErrTokenEndpoint, status: 400, serverCode: "invalid_request", requests: twice}, ""},
		{"403 of a firewall", says(403, "<html>"), failure{code: client.ErrTokenEndpoint, status: 403, requests: twice}, ""},
		{"redirected by a captive portal", authtest.Fault{Answer: authtest.Redirect(302, "https://evil.example/")}, failure{code: client.ErrRedirectRefused, status: 302, requests: twice}, ""},
		{"answer lost", wire(authtest.DropAfter), inDoubt("transport"), client.ErrTransport},
		{"no answer", wire(authtest.StallAfter), inDoubt("timeout"), client.ErrTimeout},
		{"half an answer", wire(authtest.Truncate), inDoubt("transport"), client.ErrTransport},
		{"answer without an end", wire(authtest.Endless), inDoubt("response_too_large"), client.ErrResponseTooLarge},
		{"compressed", wire(authtest.GzipBomb), inDoubt("content_type"), client.ErrContentType},
		{"page of a captive portal", authtest.Fault{Answer: authtest.HTML(200)}, inDoubt("content_type"), client.ErrContentType},
		{"no JSON", says(200, "{"), inDoubt("token_response"), client.ErrTokenResponse},
		{"204", says(204, ""), inDoubt("token_response"), client.ErrTokenResponse},
		{"no access token", member("", "access_token", nil), inDoubt("token_response"), client.ErrTokenResponse},
		{"token type", member("", "token_type", "mac"), failure{code: client.ErrTokenType, requests: twice}, ""},
	} {
		scenario(t, tc.name, func(b *bench) {
			b.learn("description", "canary-description")
			tokens := b.mustLogin(client.AuthorizationOptions{})
			b.as.Misbehave(refreshing(tc.fault))
			next, err := b.c.Refresh(ctx, tokens)
			b.refused(next, err, tc.want)
			if tc.cause != "" && !errors.Is(err, tc.cause) {
				b.Errorf("%s is not to be found in %v", tc.cause, err)
			}
			givenBack := 0
			if tc.want.code == client.ErrScope { // a whole answer that is not used: nobody else knows its tokens
				givenBack = 2
			}
			if n := b.as.Requests(authtest.Revocation); n != givenBack {
				b.Errorf("%d revocations, want %d", n, givenBack)
			}
			if n := b.net.count("evil.example"); n != 0 {
				b.Errorf("evil.example got %d requests", n)
			}
		})
	}
	scenario(t, "ATK-T16 more than the login was granted is left out of account", func(b *bench) {
		tokens := b.mustLogin(client.AuthorizationOptions{})
		b.as.Misbehave(refreshing(member("", "scope", "openid admin")))
		next, err := b.c.Refresh(ctx, tokens)
		if err != nil || !slices.Equal(next.Scopes, []string{"openid"}) || b.events.count(client.EventScopeIgnored) != 1 {
			b.Errorf("%v, %v, %q", next, err, b.events.kinds())
		}
	})
	scenario(t, "a required scope is gone", func(b *bench) {
		tokens := b.mustLogin(client.AuthorizationOptions{})
		b.as.Misbehave(refreshing(member("", "scope", "openid")))
		next, err := b.c.Refresh(ctx, tokens)
		b.refused(next, err, failure{code: client.ErrScope, reason: "missing", requests: twice})
	}, func(s *setup) { s.client.RequiredScopes = []string{"profile"} })
	scenario(t, "ATK-F05 really revoked", func(b *bench) {
		tokens := b.mustLogin(client.AuthorizationOptions{})
		if err := b.c.Revoke(ctx, tokens); err != nil {
			b.Fatal(err)
		}
		next, err := b.c.Refresh(ctx, tokens)
		b.refused(next, err, revoked(400, "invalid_grant"))
	})
	scenario(t, "ATK-F10 server away", func(b *bench) {
		tokens := b.mustLogin(client.AuthorizationOptions{})
		plug := b.as.Unplug()
		_, err := b.c.Refresh(ctx, tokens)
		if !errors.Is(err, client.ErrTransport) {
			b.Fatalf("got %v", err)
		}
		if err := plug(); err != nil {
			b.Fatal(err)
		}
		if _, err := b.c.Refresh(ctx, tokens); err != nil {
			b.Errorf("back again: %v", err)
		}
	})
	scenario(t, "keys away: the rotated token is kept, and the first ID token", func(b *bench) {
		tokens := b.mustLogin(client.AuthorizationOptions{})
		time.Sleep(25 * time.Hour)
		b.as.Misbehave(answer(authtest.JWKS, authtest.HTML(404)))
		next, err := b.c.Refresh(ctx, tokens)
		if err != nil {
			b.Fatal(err)
		}
		if next.RefreshToken == tokens.RefreshToken || next.AccessToken == tokens.AccessToken || next.IDToken != tokens.IDToken {
			b.Errorf("refreshed %v to %v", tokens, next)
		}
	})
	scenario(t, "a key that nobody knows: the same", func(b *bench) {
		tokens := b.mustLogin(client.AuthorizationOptions{})
		b.as.Misbehave(authtest.Fault{Endpoint: authtest.Token, JWT: func(j *authtest.JWT) { j.Header["kid"] = "unknown" }})
		next, err := b.c.Refresh(ctx, tokens)
		if err != nil {
			b.Fatal(err)
		}
		if next.RefreshToken == tokens.RefreshToken || next.IDToken != tokens.IDToken {
			b.Errorf("refreshed %v to %v", tokens, next)
		}
	})
	for name, lifetime := range map[string]any{"text": "300", "zero": 0, "negative": -1} {
		scenario(t, "a lifetime that is none, "+name+": the rotated token is kept", func(b *bench) {
			tokens := b.mustLogin(client.AuthorizationOptions{})
			b.as.Misbehave(authtest.Fault{Endpoint: authtest.Token, JSON: func(m map[string]any) { m["expires_in"] = lifetime }})
			next, err := b.c.Refresh(ctx, tokens)
			if err != nil {
				b.Fatal(err)
			}
			if next.RefreshToken == tokens.RefreshToken || !next.Expiry.After(time.Now()) || next.Expiry.After(time.Now().Add(time.Hour)) {
				b.Errorf("refreshed to %v, until %v", next, next.Expiry)
			}
		})
	}
	scenario(t, "whether the server answers", func(b *bench) {
		b.mustLogin(client.AuthorizationOptions{})
		if err := b.c.Reachable(ctx); err != nil {
			b.Error(err)
		}
		stop := b.as.Misbehave(answer(authtest.Metadata, authtest.HTML(503)))
		var e *client.Error
		if err := b.c.Reachable(ctx); !errors.As(err, &e) || e.Outcome != client.Transient {
			b.Errorf("503: %v", err)
		}
		stop()
		b.as.Misbehave(answer(authtest.Metadata, authtest.HTML(404)))
		if err := b.c.Reachable(ctx); err != nil {
			b.Errorf("404 is an answer: %v", err)
		}
	})
	for name, fault := range map[string]authtest.Fault{"sub": claim("sub", "mallory"), "aud": claim("aud", "other"), "nonce": claim("nonce", "another")} {
		scenario(t, "ATK-F09 keys away and another "+name, func(b *bench) {
			tokens := b.mustLogin(client.AuthorizationOptions{})
			time.Sleep(25 * time.Hour)
			b.as.Misbehave(answer(authtest.JWKS, authtest.HTML(404)), fault)
			next, err := b.c.Refresh(ctx, tokens)
			var e *client.Error
			if next != nil || !errors.As(err, &e) || e.Code != client.ErrIDToken || e.Reason != name || b.as.Requests(authtest.Revocation) != 2 {
				b.Errorf("got %v, %v, %d revocations", next, err, b.as.Requests(authtest.Revocation))
			}
		})
	}
	scenario(t, "metadata away: nothing was sent", func(b *bench) {
		tokens := b.mustLogin(client.AuthorizationOptions{})
		time.Sleep(25 * time.Hour)
		b.as.Misbehave(answer(authtest.Metadata, authtest.HTML(503)))
		next, err := b.c.Refresh(ctx, tokens)
		b.refused(next, err, failure{code: client.ErrDiscovery, reason: "status", status: 503, outcome: client.Transient, action: client.ActionRetry, requests: requests{token: 1, jwks: 1}})
	})
	scenario(t, "canceled in the middle", func(b *bench) {
		tokens := b.mustLogin(client.AuthorizationOptions{})
		b.as.Misbehave(refreshing(wire(authtest.StallAfter)))
		ctx, cancel := context.WithCancel(ctx)
		go func() { time.Sleep(time.Second); cancel() }()
		next, err := b.c.Refresh(ctx, tokens)
		b.refused(next, err, inDoubt("transport"))
		if !errors.Is(err, context.Canceled) {
			b.Errorf("got %v", err)
		}
	})
}

// ATK-T17: a refresh is sent again once if the server says when, and not otherwise.
func TestRetryAfterOfRefresh(t *testing.T) {
	busy := func(status int, header string) authtest.Fault {
		r := authtest.JSON(status, "{}")
		if header != "" {
			r.Header.Set("Retry-After", header)
		}
		return refreshing(authtest.Fault{Answer: r})
	}
	for _, tc := range []struct {
		name  string
		fault authtest.Fault
		times int
		sent  int
		took  time.Duration
		ok    bool
	}{
		{"503, then an answer", busy(503, "1"), 1, 2, time.Second, true},
		{"503 for longer than a user should wait", busy(503, "2"), 0, 1, 0, false},
		{"429, then an answer", busy(429, "1"), 1, 2, time.Second, true},
		{"503 twice", busy(503, "1"), 0, 2, time.Second, false},
		{"503 without a word", busy(503, ""), 0, 1, 0, false},
		{"503 for longer than the deadline", busy(503, "30"), 0, 1, 0, false},
		{"500", busy(500, "1"), 0, 1, 0, false},
	} {
		scenario(t, tc.name, func(b *bench) {
			tokens := b.mustLogin(client.AuthorizationOptions{})
			tc.fault.Times = tc.times
			b.as.Misbehave(tc.fault)
			start := time.Now()
			_, err := b.c.Refresh(ctx, tokens)
			if took := time.Since(start); took != tc.took || (err == nil) != tc.ok {
				b.Errorf("%v after %v", err, took)
			}
			if sent := b.as.Requests(authtest.Token) - 1; sent != tc.sent {
				b.Errorf("sent %d times", sent)
			}
		})
	}
}

// ATK-F09: the ID token of a refresh is another's. Nothing is returned, and what came is given back.
func TestRefreshedIDToken(t *testing.T) {
	for _, tc := range []struct {
		name, reason string
		fault        authtest.Fault
	}{
		{"sub", "sub", claim("sub", "mallory")},
		{"iss", "iss", claim("iss", "https://as-b.example")},
		{"aud", "aud", claim("aud", "other")},
		{"nonce", "nonce", claim("nonce", "another")},
		{"auth_time", "auth_time", signed(func(t *authtest.JWT) { t.Claims["auth_time"] = t.Claims["auth_time"].(int64) - 1 })},
		{"azp where there was none", "azp", claim("azp", "app")},
		{"azp of another", "azp", claim("azp", "evil")},
		{"iat", "iat", signed(func(t *authtest.JWT) { t.Claims["iat"] = t.Claims["iat"].(int64) - 60 })},
		{"alg none", "alg", signed(func(t *authtest.JWT) { t.Header["alg"], t.Key = "none", nil })},
		{"at_hash", "at_hash", claim("at_hash", "AAAAAAAAAAAAAAAAAAAAAA")},
		{"expired", "exp", signed(func(t *authtest.JWT) { t.Claims["exp"] = t.Claims["iat"].(int64) - 31 })},
	} {
		scenario(t, tc.name, func(b *bench) {
			first := b.mustLogin(client.AuthorizationOptions{})
			b.as.Misbehave(tc.fault)
			next, err := b.c.Refresh(ctx, first)
			b.refused(next, err, failure{code: client.ErrIDToken, reason: tc.reason, requests: requests{token: 2, jwks: 1}})
			if n := b.as.Requests(authtest.Revocation); n != 2 {
				b.Errorf("%d revocations, want 2", n)
			}
			for _, r := range b.as.Log(authtest.Revocation) {
				if b.as.Active(r.Form.Get("token")) {
					b.Errorf("the %s is alive", r.Form.Get("token_type_hint"))
				}
			}
		})
	}
	scenario(t, "an old one is no replay: it is not a login", func(b *bench) {
		first := b.mustLogin(client.AuthorizationOptions{})
		b.as.Misbehave(signed(func(t *authtest.JWT) { t.Claims["iat"] = t.Claims["iat"].(int64) - 30*60 }))
		time.Sleep(40 * time.Minute)
		if _, err := b.c.Refresh(ctx, first); err != nil {
			b.Error(err)
		}
	})
}

// Package client does not join refreshes; package session does. Here every call is one request, and the losers are told.
func TestRefreshIsOneRequest(t *testing.T) {
	scenario(t, "two at once", func(b *bench) {
		tokens := b.mustLogin(client.AuthorizationOptions{})
		errs := make(chan error)
		for range 2 {
			go func() { _, err := b.c.Refresh(ctx, tokens); errs <- err }()
		}
		failed := 0
		for range 2 {
			if err := <-errs; errors.Is(err, client.ErrGrantRevoked) {
				failed++
			} else if err != nil {
				b.Error(err)
			}
		}
		if failed != 1 || b.as.Requests(authtest.Token) != 3 {
			b.Errorf("%d failed, %d requests", failed, b.as.Requests(authtest.Token))
		}
	})
}
