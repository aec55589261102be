package client_test

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/oauth2"

	"github.com/sallyport/sallyport/client"
	"github.com/sallyport/sallyport/client/authtest"
)

func TestLogin(t *testing.T) {
	scenario(t, "what comes of it", func(b *bench) {
		start := time.Now()
		tokens := b.mustLogin(client.AuthorizationOptions{})
		if tokens.Subject != "user-alice" || tokens.TokenType != "Bearer" || !slices.Equal(tokens.Scopes, []string{"openid", "profile", "offline_access"}) {
			b.Errorf("tokens are %+v", tokens)
		}
		if want := start.Add(time.Hour); !tokens.Expiry.Equal(want) {
			b.Errorf("Expiry is %v, want %v", tokens.Expiry, want)
		}
		if !b.as.Active(string(tokens.AccessToken)) || !b.as.Active(string(tokens.RefreshToken)) {
			b.Error("the tokens are not the server's")
		}
		id := tokens.IDToken
		if id.Issuer != issuer || id.Subject != "user-alice" || !slices.Equal(id.Audience, []string{"app"}) || id.SID == "" || id.ACR != "1" ||
			id.IssuedAt.Unix() != start.Unix() || id.Expiry.Unix() != start.Add(time.Hour).Unix() || id.AuthTime.Unix() != start.Unix() {
			b.Errorf("ID token is %+v", id)
		}
		var claims struct{ Name string }
		if err := id.Claims(&claims); err != nil || claims.Name != "Alice Adams" {
			b.Errorf("Claims: %+v, %v", claims, err)
		}
		b.saw(requests{token: 1, jwks: 1})
		b.silent("tokens", tokens)
		b.silent("ID token", tokens.IDToken)
		b.silentEvents()
	})
	scenario(t, "the token request", func(b *bench) {
		req := b.begin(client.AuthorizationOptions{Resource: []string{"https://api.example/a", "https://api.example/b"}})
		if _, err := b.finish(req, b.request(b.visit(req))); err != nil {
			b.Fatal(err)
		}
		sent := b.as.Log(authtest.Token)[0]
		want := url.Values{"grant_type": {"authorization_code"}, "redirect_uri": {callback}, "resource": {"https://api.example/a", "https://api.example/b"}}
		form := maps.Clone(sent.Form)
		if len(form.Get("code_verifier")) != 43 || form.Get("code") == "" {
			b.Errorf("form is %v", form)
		}
		delete(form, "code")
		delete(form, "code_verifier")
		if !maps.EqualFunc(form, want, slices.Equal) || len(sent.Query) != 0 {
			b.Errorf("form is %v, query %v", form, sent.Query)
		}
		if sent.Method != http.MethodPost || sent.Header.Get("Content-Type") != "application/x-www-form-urlencoded" || sent.Header.Get("Accept") != "application/json" {
			b.Errorf("%s %v", sent.Method, sent.Header)
		}
	})
	scenario(t, "form_post", func(b *bench) {
		cb := b.visit(b.begin(client.AuthorizationOptions{}))
		if cb.Method != http.MethodPost {
			b.Fatalf("the server answered with %s", cb.Method)
		}
		b.mustLogin(client.AuthorizationOptions{})
	}, func(s *setup) { s.client.ResponseMode = client.FormPost })
	scenario(t, "no offline_access, no refresh token", func(b *bench) {
		tokens := b.mustLogin(client.AuthorizationOptions{Scopes: []string{"openid"}})
		if tokens.RefreshToken != "" || !slices.Equal(tokens.Scopes, []string{"openid"}) {
			b.Errorf("tokens are %+v", tokens)
		}
	})
	scenario(t, "the oauth2.Token", func(b *bench) {
		tokens := b.mustLogin(client.AuthorizationOptions{})
		got := tokens.Token()
		if got.AccessToken != string(tokens.AccessToken) || got.RefreshToken != string(tokens.RefreshToken) || !got.Expiry.Equal(tokens.Expiry) || got.Type() != "Bearer" {
			b.Error("Token does not say what Tokens says")
		}
	})
	scenario(t, "an ID token restored from a session", func(b *bench) {
		id := b.mustLogin(client.AuthorizationOptions{}).IDToken
		got, err := client.RestoreIDToken(id.Raw)
		if err != nil || got.Subject != id.Subject || got.SID != id.SID || !got.AuthTime.Equal(id.AuthTime) || got.Raw != id.Raw || got.Nonce != id.Nonce {
			b.Errorf("restored %+v, %v", got, err)
		}
		_, err = client.RestoreIDToken("")
		b.failed(err, failure{code: client.ErrIDToken, reason: "missing"})
	})
	for name, alg := range map[string]string{"RS256": "RS256", "PS256": "PS256", "EdDSA": "EdDSA"} {
		scenario(t, "signed with "+name, func(b *bench) { b.mustLogin(client.AuthorizationOptions{}) },
			func(s *setup) { s.server.Algorithm = alg })
	}
	for _, path := range []string{"/", "/tenant", "/tenant/"} {
		for _, kind := range []client.MetadataKind{client.MetadataOpenID, client.MetadataOAuth, client.MetadataBoth} {
			scenario(t, "issuer "+path+" "+string(kind), func(b *bench) { b.mustLogin(client.AuthorizationOptions{}) },
				func(s *setup) {
					s.server.Issuer, s.client.Issuer, s.client.Metadata = issuer+path, issuer+path, kind
				})
		}
	}
}

// What reaches the callback with the right state and is still refused, or reaches the token endpoint and is refused there.
func TestExchangeResponse(t *testing.T) {
	for _, tc := range []struct {
		name string
		edit func(url.Values)
		want failure
	}{
		{"ATK-L22 iss missing although announced", del("iss"), failure{code: client.ErrIssMissing}},
		{"ATK-L22 iss empty", set("iss", ""), failure{code: client.ErrIssMissing}},
		{"ATK-L23 mix-up", set("iss", "https://as-b.example"), failure{code: client.ErrIssMismatch}},
		{"ATK-L24 trailing slash", set("iss", issuer+"/"), failure{code: client.ErrIssMismatch}},
		{"ATK-L24 upper case", set("iss", "https://AS.example"), failure{code: client.ErrIssMismatch}},
		{"ATK-L24 default port", set("iss", issuer+":443"), failure{code: client.ErrIssMismatch}},
		{"ATK-L24 encoded slash", set("iss", issuer+"%2f"), failure{code: client.ErrIssMismatch}},
		{"ATK-L24 scheme in upper case", set("iss", "HTTPS://as.example"), failure{code: client.ErrIssMismatch}},
		{"ATK-L24 trailing blank", set("iss", issuer+" "), failure{code: client.ErrIssMismatch}},
		{"ATK-L24 homograph", set("iss", "https://аs.example"), failure{code: client.ErrIssMismatch}},
		{"ATK-L09 state and more", func(v url.Values) { v.Set("state", v.Get("state")+"A") }, failure{code: client.ErrStateMismatch}},
		{"ATK-L09 state less one", func(v url.Values) { v.Set("state", v.Get("state")[:42]) }, failure{code: client.ErrStateMismatch}},
		{"ATK-L09 state in upper case", func(v url.Values) { v.Set("state", strings.ToUpper(v.Get("state"))) }, failure{code: client.ErrStateMismatch}},
		{"ATK-L09 state and a blank", func(v url.Values) { v.Set("state", v.Get("state")+" ") }, failure{code: client.ErrStateMismatch}},
		{"ATK-L09 state and an equals sign", func(v url.Values) { v.Set("state", v.Get("state")+"=") }, failure{code: client.ErrStateMismatch}},
		{"ATK-L09 state and NUL", func(v url.Values) { v.Set("state", v.Get("state")+"\x00") }, failure{code: client.ErrStateMismatch}},
		{"ATK-L06 foreign state", set("state", strings.Repeat("A", 43)), failure{code: client.ErrStateMismatch}},
		{"ATK-L03 state missing", del("state"), failure{code: client.ErrStateMissing}},
		{"ATK-L03 state empty", set("state", ""), failure{code: client.ErrStateMissing}},
		{"ATK-L17 neither code nor error", del("code"), failure{code: client.ErrMalformedResponse, reason: "no_code"}},
		{"ATK-L17 code empty", set("code", ""), failure{code: client.ErrMalformedResponse, reason: "no_code"}},
		{"ATK-L15 code and error", set("error", "access_denied"), failure{code: client.ErrAmbiguousResponse, reason: "code_and_error"}},
		{"ATK-L15 State beside state is another name", set("State", "x"), failure{}},
		{"ATK-L20 what is not ours is ignored", func(v url.Values) {
			v.Set("session_state", "s")
			v.Set("scope", "openid")
			v.Set("authuser", "0")
			v.Set("hd", "x")
		}, failure{}},
		{"ATK-L26 error of another server", func(v url.Values) {
			authtest.Deny("access_denied")(v)
			v.Set("error_description", "Call 555")
			v.Set("iss", "https://evil.example")
		}, failure{code: client.ErrIssMismatch}},
		{"ATK-L26 error without iss", func(v url.Values) { authtest.Deny("access_denied")(v); v.Del("iss") }, failure{code: client.ErrIssMissing}},
		{"ATK-L38 login_required", authtest.Deny("login_required"), failure{code: client.ErrAuthorization, serverCode: "login_required"}},
		{"denied by the user", authtest.Deny("access_denied"), failure{code: client.ErrAuthorization, serverCode: "access_denied"}},
		{"server has trouble", authtest.Deny("temporarily_unavailable"), failure{code: client.ErrAuthorization, serverCode: "temporarily_unavailable", outcome: client.Transient, action: client.ActionRetry}},
		{"ATK-L37 the server cannot authenticate that strongly", authtest.Deny("unmet_authentication_requirements"), failure{code: client.ErrAuthorization, serverCode: "unmet_authentication_requirements", action: client.ActionStepUp}},
		{"ATK-L29 S256 refused: no second try with plain", authtest.Deny("invalid_request"), failure{code: client.ErrAuthorization, serverCode: "invalid_request", action: client.ActionFixConfiguration}},
		{"ATK-L33 unregistered error", authtest.Deny("<script>alert(1)</script>"), failure{code: client.ErrAuthorization}},
		{"ATK-L33 error with a quote", authtest.Deny(`a"b`), failure{code: client.ErrMalformedResponse, reason: "error"}},
		{"ATK-L33 error with a line break", authtest.Deny("a\r\nX: y"), failure{code: client.ErrMalformedResponse, reason: "character"}},
	} {
		scenario(t, tc.name, func(b *bench) {
			tokens, err := b.login(client.AuthorizationOptions{}, tc.edit)
			if tc.want == (failure{}) {
				if err != nil {
					b.Fatal(err)
				}
				return
			}
			b.refused(tokens, err, tc.want)
		})
	}
	scenario(t, "ATK-L25 wrong iss from a server that does not announce it", func(b *bench) {
		b.as.Misbehave(member(authtest.Metadata, "authorization_response_iss_parameter_supported", nil))
		tokens, err := b.login(client.AuthorizationOptions{}, set("iss", "https://as-b.example"))
		b.refused(tokens, err, failure{code: client.ErrIssMismatch})
		if _, err := b.login(client.AuthorizationOptions{}, del("iss")); err != nil {
			b.Errorf("without iss, from a server that does not announce it: %v", err)
		}
	})
	// ATK-L33: what the server says about an error is kept apart, and is in no text.
	scenario(t, "hostile description", func(b *bench) {
		description, uri := "canary-description\x1b[31m\r\n%!s", "javascript:canary-uri"
		b.learn("description", "canary-description")
		b.learn("uri", "canary-uri")
		_, err := b.login(client.AuthorizationOptions{}, authtest.Deny("canary-code"), set("error_description", description), set("error_uri", uri))
		b.learn("error code", "canary-code")
		b.failed(err, failure{code: client.ErrAuthorization})
		var e *client.Error
		if !errors.As(err, &e) {
			b.Fatal(err)
		}
		if c, d, u := e.UntrustedServerError(); c != "canary-code" || d != description || u != uri {
			b.Errorf("UntrustedServerError: %q %q %q", c, d, u)
		}
	})
}

func TestPendingLoginAge(t *testing.T) {
	for _, tc := range []struct {
		name string
		wait time.Duration
		want client.Code
	}{
		{"in time", 10 * time.Minute, ""},
		{"ATK-L08 too late", 10*time.Minute + time.Second, client.ErrStateExpired},
	} {
		scenario(t, tc.name, func(b *bench) {
			req := b.begin(client.AuthorizationOptions{})
			time.Sleep(tc.wait)
			tokens, err := b.finish(req, b.request(b.visit(req)))
			if tc.want == "" {
				if err != nil {
					b.Fatal(err)
				}
				return
			}
			b.refused(tokens, err, failure{code: tc.want})
		})
	}
	scenario(t, "shorter by configuration", func(b *bench) {
		req := b.begin(client.AuthorizationOptions{})
		time.Sleep(61 * time.Second)
		tokens, err := b.finish(req, b.request(b.visit(req)))
		b.refused(tokens, err, failure{code: client.ErrStateExpired})
	}, func(s *setup) { s.client.LoginTimeout = time.Minute })
	// ATK-J37: the clock jumps back between start and callback.
	offset := time.Duration(0)
	scenario(t, "begun in the future", func(b *bench) {
		offset = time.Hour
		req := b.begin(client.AuthorizationOptions{})
		offset = 0
		tokens, err := b.finish(req, b.request(b.visit(req)))
		b.refused(tokens, err, failure{code: client.ErrStateExpired})
	}, func(s *setup) { s.client.Now = func() time.Time { return time.Now().Add(offset) } })
}

// A pending login is good for the client that began it and for no other.
func TestPendingLoginOfAnother(t *testing.T) {
	scenario(t, "ATK-L27 provider confusion", func(b *bench) {
		req := b.begin(client.AuthorizationOptions{})
		r := b.request(b.visit(req), del("iss"))
		b.become(client.Config{Issuer: "https://as-b.example", ClientID: "app", RedirectURI: callback + "/b"})
		tokens, err := b.finish(req, r)
		b.refused(tokens, err, failure{code: client.ErrStateMismatch, reason: "client"})
		if n := b.net.count("as-b.example"); n != 0 {
			b.Errorf("the other server got %d requests", n)
		}
	})
	for name, other := range map[string]client.Config{
		"ATK-L28 other client at the same issuer": {Issuer: issuer, ClientID: "tenant-b", RedirectURI: callback},
		"ATK-L28 other context":                   {Issuer: issuer, ClientID: "app", RedirectURI: callback + "/b"},
	} {
		scenario(t, name, func(b *bench) {
			req := b.begin(client.AuthorizationOptions{})
			r := b.request(b.visit(req))
			b.become(other)
			tokens, err := b.finish(req, r)
			b.refused(tokens, err, failure{code: client.ErrStateMismatch, reason: "client"})
		})
	}
	scenario(t, "ATK-L07 state of another browser", func(b *bench) {
		victim, thief := b.begin(client.AuthorizationOptions{}), b.begin(client.AuthorizationOptions{})
		tokens, err := b.finish(thief, b.request(b.visit(victim)))
		b.refused(tokens, err, failure{code: client.ErrStateMismatch})
	})
	scenario(t, "ATK-L43 code of one login under the state of another", func(b *bench) {
		one, two := b.begin(client.AuthorizationOptions{}), b.begin(client.AuthorizationOptions{})
		code := b.visit(one).Params.Get("code")
		tokens, err := b.finish(two, b.request(b.visit(two), set("code", code)))
		b.refused(tokens, err, failure{code: client.ErrTokenEndpoint, status: 400, serverCode: "invalid_grant", requests: requests{token: 1}})
	})
	scenario(t, "ATK-L01 no pending login", func(b *bench) {
		resp, err := b.c.AuthorizationResponse(b.request(b.visit(b.begin(client.AuthorizationOptions{}))))
		if err != nil {
			b.Fatal(err)
		}
		tokens, err := b.c.Exchange(ctx, nil, resp)
		b.refused(tokens, err, failure{code: client.ErrStateMissing})
		tokens, err = b.c.Exchange(ctx, &client.AuthorizationRequest{}, resp)
		b.refused(tokens, err, failure{code: client.ErrStateMissing})
		tokens, err = b.c.Exchange(ctx, b.begin(client.AuthorizationOptions{}), nil)
		b.refused(tokens, err, failure{code: client.ErrStateMissing})
	})
}

func TestCodeInjection(t *testing.T) {
	scenario(t, "ATK-L30 stopped by PKCE", func(b *bench) {
		stolen := b.visit(b.begin(client.AuthorizationOptions{})).Params.Get("code")
		tokens, err := b.login(client.AuthorizationOptions{}, set("code", stolen))
		b.refused(tokens, err, failure{code: client.ErrTokenEndpoint, status: 400, serverCode: "invalid_grant", requests: requests{token: 1}})
	})
	for _, name := range []string{"ATK-L30 at a server that does not check the verifier, stopped by the nonce", "ATK-L29 challenge stripped from the front channel"} {
		scenario(t, name, func(b *bench) {
			b.as.Misbehave(authtest.Fault{Lenient: true})
			stolen := b.visit(b.begin(client.AuthorizationOptions{})).Params.Get("code")
			tokens, err := b.login(client.AuthorizationOptions{}, set("code", stolen))
			b.refused(tokens, err, failure{code: client.ErrIDToken, reason: "nonce", requests: requests{token: 1, jwks: 1}})
		})
	}
}

// ATK-U06, ATK-L20: tokens come from this client's own code exchange. Nothing that a browser brings is one.
func TestTokensFromTheFrontChannel(t *testing.T) {
	for _, name := range []string{"access_token", "id_token", "token_type", "expires_in", "refresh_token"} {
		scenario(t, name, func(b *bench) {
			tokens, err := b.login(client.AuthorizationOptions{}, set(name, "EVIL"))
			b.refused(tokens, err, failure{code: client.ErrResponseMode, reason: "parameter"})
		})
	}
	scenario(t, "without a value they count as omitted", func(b *bench) {
		if _, err := b.login(client.AuthorizationOptions{}, set("access_token", "")); err != nil {
			b.Error(err)
		}
	})
}

// ATK-T31: the user leaves while the code is exchanged.
func TestExchangeCanceled(t *testing.T) {
	scenario(t, "in the middle", func(b *bench) {
		b.as.Misbehave(authtest.Fault{Endpoint: authtest.Token, Wire: authtest.StallAfter})
		req := b.begin(client.AuthorizationOptions{})
		resp, err := b.c.AuthorizationResponse(b.request(b.visit(req)))
		if err != nil {
			b.Fatal(err)
		}
		ctx, cancel := context.WithCancel(ctx)
		go func() { time.Sleep(time.Second); cancel() }()
		tokens, err := b.c.Exchange(ctx, req, resp)
		b.refused(tokens, err, failure{code: client.ErrTransport, reason: "canceled", outcome: client.InDoubt, requests: requests{token: 1}})
		if !errors.Is(err, context.Canceled) {
			b.Error("context.Canceled is not to be found in the error")
		}
	})
	scenario(t, "before anything was sent", func(b *bench) {
		req := b.begin(client.AuthorizationOptions{})
		resp, err := b.c.AuthorizationResponse(b.request(b.visit(req)))
		if err != nil {
			b.Fatal(err)
		}
		ctx, cancel := context.WithCancel(ctx)
		cancel()
		tokens, err := b.c.Exchange(ctx, req, resp)
		b.refused(tokens, err, failure{code: client.ErrTransport, reason: "canceled", outcome: client.Transient, action: client.ActionRetry})
	})
	scenario(t, "by the caller's deadline", func(b *bench) {
		b.as.Misbehave(authtest.Fault{Endpoint: authtest.Token, Wire: authtest.StallBefore})
		req := b.begin(client.AuthorizationOptions{})
		resp, err := b.c.AuthorizationResponse(b.request(b.visit(req)))
		if err != nil {
			b.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
		defer cancel()
		start := time.Now()
		tokens, err := b.c.Exchange(ctx, req, resp)
		if took := time.Since(start); took != 3*time.Second {
			b.Errorf("it took %v", took)
		}
		b.refused(tokens, err, failure{code: client.ErrTimeout, outcome: client.InDoubt, requests: requests{token: 1}})
	})
}

// ATK-L11: package client does not count how often Exchange is called; the server does, and a second call gives nothing.
func TestExchangeTwice(t *testing.T) {
	scenario(t, "one after the other", func(b *bench) {
		req := b.begin(client.AuthorizationOptions{})
		r := b.request(b.visit(req))
		if _, err := b.finish(req, r); err != nil {
			b.Fatal(err)
		}
		tokens, err := b.finish(req, r)
		b.refused(tokens, err, failure{code: client.ErrTokenEndpoint, status: 400, serverCode: "invalid_grant", requests: requests{token: 2, jwks: 1}})
	})
	scenario(t, "ATK-L10 two tabs", func(b *bench) {
		one, two := b.begin(client.AuthorizationOptions{}), b.begin(client.AuthorizationOptions{})
		first, second := b.request(b.visit(one)), b.request(b.visit(two))
		for _, err := range []error{second2(b.finish(two, second)), second2(b.finish(one, first))} {
			if err != nil {
				b.Error(err)
			}
		}
	})
}

func second2(_ *client.Tokens, err error) error { return err }

// A failure carries what x/oauth2's callers look for, and nothing that was sent or received.
func TestRetrieveError(t *testing.T) {
	scenario(t, "of the token endpoint", func(b *bench) {
		b.as.Misbehave(answer(authtest.Token, authtest.JSON(400, map[string]any{"error": "invalid_grant", "error_description": "canary-description"})))
		_, err := b.login(client.AuthorizationOptions{})
		b.learn("description", "canary-description")
		var re *oauth2.RetrieveError
		if !errors.As(err, &re) {
			b.Fatalf("%v holds no RetrieveError", err)
		}
		if re.ErrorCode != "invalid_grant" || re.ErrorDescription != "" || re.ErrorURI != "" || len(re.Body) != 0 || re.Response.StatusCode != 400 ||
			re.Response.Request != nil || len(re.Response.Header) != 0 || re.Response.Body != http.NoBody {
			b.Errorf("it is %+v", re)
		}
		b.silent("RetrieveError", re)
	})
	scenario(t, "of no answer", func(b *bench) {
		_, err := b.login(client.AuthorizationOptions{}, del("iss"))
		var re *oauth2.RetrieveError
		if errors.As(err, &re) {
			b.Error("a failure without an answer holds a RetrieveError")
		}
	})
}

func TestConcurrentLogins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		done := make(chan error)
		for range 30 {
			go func() { _, err := b.login(client.AuthorizationOptions{}); done <- err }()
		}
		for range 30 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		b.saw(requests{token: 30, jwks: 1})
		if n := b.as.Requests(authtest.Metadata); n != 1 {
			t.Errorf("metadata was fetched %d times", n)
		}
	})
}
