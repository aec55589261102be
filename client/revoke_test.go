package client_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/client"
	"github.com/sallyport/sallyport/client/authtest"
)

func TestRevoke(t *testing.T) {
	scenario(t, "both tokens, the refresh token first", func(b *bench) {
		tokens := b.mustLogin(client.AuthorizationOptions{})
		if err := b.c.Revoke(ctx, tokens); err != nil {
			b.Fatal(err)
		}
		sent := b.as.Log(authtest.Revocation)
		want := []url.Values{
			{"token": {string(tokens.RefreshToken)}, "token_type_hint": {"refresh_token"}},
			{"token": {string(tokens.AccessToken)}, "token_type_hint": {"access_token"}},
		}
		for i, r := range sent {
			if r.Method != http.MethodPost || len(r.Query) != 0 || r.Form.Encode() != want[i].Encode() || r.Header.Get("Content-Type") != "application/x-www-form-urlencoded" {
				b.Errorf("sent %+v", r)
			}
		}
		if len(sent) != 2 || b.as.Active(string(tokens.AccessToken)) || b.as.Active(string(tokens.RefreshToken)) {
			b.Error("not both are revoked")
		}
		if b.events.count(client.EventTokenRevoked) != 1 || b.events.count(client.EventRevokeFailed) != 0 {
			b.Errorf("events are %q", b.events.kinds())
		}
		b.silentEvents()
	})
	scenario(t, "only what there is", func(b *bench) {
		tokens := b.mustLogin(client.AuthorizationOptions{Scopes: []string{"openid"}})
		if err := b.c.Revoke(ctx, tokens); err != nil {
			b.Fatal(err)
		}
		if err := b.c.Revoke(ctx, nil); err != nil {
			b.Fatal(err)
		}
		if n := b.as.Requests(authtest.Revocation); n != 1 {
			b.Errorf("%d requests", n)
		}
	})
	scenario(t, "no endpoint", func(b *bench) {
		b.as.Misbehave(member(authtest.Metadata, "revocation_endpoint", nil))
		tokens := b.mustLogin(client.AuthorizationOptions{})
		if err := b.c.Revoke(ctx, tokens); err != nil || b.events.count(client.EventTokenRevoked) != 0 {
			b.Errorf("%v, events are %q", err, b.events.kinds())
		}
	})
	scenario(t, "200 is done, whatever it says", func(b *bench) {
		b.as.Misbehave(answer(authtest.Revocation, page(200, "text/html", `{"error":"invalid_token"}`)))
		if err := b.c.Revoke(ctx, b.mustLogin(client.AuthorizationOptions{})); err != nil {
			b.Error(err)
		}
	})
	scenario(t, "a server that cannot be asked where", func(b *bench) {
		plug := b.as.Unplug()
		err := b.c.Revoke(ctx, &client.Tokens{AccessToken: "canary-access-token"})
		b.failed(err, failure{code: client.ErrDiscovery, reason: "transport", outcome: client.Transient, action: client.ActionRetry})
		_ = plug()
	})
}

// ATK-O18: a revocation that fails is told, and the other token is tried all the same.
func TestRevokeFails(t *testing.T) {
	busy := authtest.HTML(503)
	busy.Header.Set("Retry-After", "5")
	retry := func(reason string, status int) failure {
		return failure{code: client.ErrRevocation, reason: reason, status: status, outcome: client.Transient, action: client.ActionRetry}
	}
	for _, tc := range []struct {
		name  string
		fault authtest.Fault
		want  failure
		sent  int
	}{
		{"503", authtest.Fault{Answer: busy}, retry("", 503), 4},                              // a second try after 5 s, for each token
		{"503 without a word", authtest.Fault{Answer: authtest.HTML(503)}, retry("", 503), 6}, // three tries each
		{"timeout", authtest.Fault{Wire: authtest.StallAfter}, retry("timeout", 0), 2},        // one each: no time is left for another
		{"reset", authtest.Fault{Wire: authtest.DropAfter}, retry("transport", 0), 6},         // three tries each
		{"unsupported type", authtest.Fault{Answer: authtest.JSON(400, `{"error":"unsupported_token_type"}`)}, failure{}, 2},
		{"307", authtest.Fault{Answer: authtest.Redirect(307, "https://evil.example/")}, failure{code: client.ErrRevocation, reason: "redirect_refused", action: client.ActionFixConfiguration}, 2},
		{"invalid_client", authtest.Fault{Answer: authtest.JSON(401, `{"error":"invalid_client","error_description":"canary-description"}`)}, failure{code: client.ErrRevocation, status: 401, serverCode: "invalid_client", action: client.ActionFixConfiguration}, 2},
		{"202", authtest.Fault{Answer: authtest.JSON(202, "")}, failure{code: client.ErrRevocation, reason: "status", status: 202, action: client.ActionFixConfiguration}, 2},
	} {
		scenario(t, tc.name, func(b *bench) {
			b.learn("description", "canary-description")
			tokens := b.mustLogin(client.AuthorizationOptions{})
			tc.fault.Endpoint = authtest.Revocation
			b.as.Misbehave(tc.fault)
			err := b.c.Revoke(ctx, tokens)
			if n := b.as.Requests(authtest.Revocation); n != tc.sent {
				b.Errorf("sent %d times, want %d", n, tc.sent)
			}
			if n := b.net.count("evil.example"); n != 0 {
				b.Errorf("evil.example got %d requests", n)
			}
			if tc.want == (failure{}) {
				if err != nil {
					b.Error(err)
				}
				return
			}
			b.failed(err, tc.want)
			if b.events.count(client.EventRevokeFailed) != 1 || b.events.count(client.EventTokenRevoked) != 0 {
				b.Errorf("events are %q", b.events.kinds())
			}
		})
	}
	scenario(t, "only the first token fails", func(b *bench) {
		tokens := b.mustLogin(client.AuthorizationOptions{})
		b.as.Misbehave(authtest.Fault{Endpoint: authtest.Revocation, Times: 1, Answer: authtest.JSON(400, `{}`)})
		b.failed(b.c.Revoke(ctx, tokens), failure{code: client.ErrRevocation, status: 400, action: client.ActionFixConfiguration})
		if b.as.Active(string(tokens.AccessToken)) || !b.as.Active(string(tokens.RefreshToken)) {
			b.Error("the access token was not revoked, or the refresh token was")
		}
	})
	scenario(t, "no secret to be had", func(b *bench) {
		err := b.c.Revoke(ctx, &client.Tokens{AccessToken: "canary-access-token"})
		b.failed(err, failure{code: client.ErrConfig, reason: "secret", outcome: client.Transient, action: client.ActionFixConfiguration})
	}, func(s *setup) { s.client.Authentication = client.SecretBasic(client.SecretFile("/nowhere")) })
}

// ATK-O20: the ID token goes to the server's end_session_endpoint and into no text.
func TestEndSessionURL(t *testing.T) {
	scenario(t, "with everything", func(b *bench) {
		tokens := b.mustLogin(client.AuthorizationOptions{})
		got, err := b.c.EndSessionURL(ctx, tokens.IDToken.Raw, "st ate")
		if err != nil {
			b.Fatal(err)
		}
		q := query(b.T, got)
		want := url.Values{"client_id": {"app"}, "id_token_hint": {string(tokens.IDToken.Raw)}, "post_logout_redirect_uri": {loggedOut}, "state": {"st ate"}}
		if !strings.HasPrefix(got, issuer+"/end_session?") || q.Encode() != want.Encode() {
			b.Errorf("got %s", got)
		}
		// An expired hint is fine: the server accepts it (OpenID Connect RP-Initiated Logout §2).
		time.Sleep(48 * time.Hour)
		cb, err := b.as.NewBrowser().Open(ctx, got)
		if err != nil || cb == nil || cb.Params.Get("state") != "st ate" || !strings.HasPrefix(cb.URL, loggedOut) {
			b.Errorf("the server says %+v, %v", cb, err)
		}
		b.silentEvents()
	})
	scenario(t, "with nothing", func(b *bench) {
		got, err := b.c.EndSessionURL(ctx, "", "state")
		if err != nil || got != issuer+"/end_session?client_id=app" { // a state comes back only to a post-logout URI
			b.Errorf("%s, %v", got, err)
		}
	}, func(s *setup) { s.client.PostLogoutRedirectURI = "" })
	scenario(t, "an endpoint with a query", func(b *bench) {
		b.as.Misbehave(member(authtest.Metadata, "end_session_endpoint", issuer+"/logout?tenant=7"))
		got, err := b.c.EndSessionURL(ctx, "", "")
		if err != nil || !strings.HasPrefix(got, issuer+"/logout?tenant=7&client_id=app&") {
			b.Errorf("%s, %v", got, err)
		}
	})
	scenario(t, "ATK-O17 no endpoint", func(b *bench) {
		b.as.Misbehave(member(authtest.Metadata, "end_session_endpoint", nil))
		if got, err := b.c.EndSessionURL(ctx, "", ""); got != "" || err != nil {
			b.Errorf("%s, %v", got, err)
		}
	})
	scenario(t, "ATK-O17 server away", func(b *bench) {
		b.as.Unplug()
		got, err := b.c.EndSessionURL(ctx, "hint", "")
		if got != "" {
			b.Errorf("got %s", got)
		}
		b.failed(err, failure{code: client.ErrDiscovery, reason: "transport", outcome: client.Transient, action: client.ActionRetry})
	})
}
