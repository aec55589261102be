package client_test

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/client"
	"github.com/sallyport/sallyport/client/authtest"
)

func TestAuthorizationRequest(t *testing.T) {
	scenario(t, "of the simplest client", func(b *bench) {
		start := time.Now()
		req := b.begin(client.AuthorizationOptions{})
		endpoint, raw, _ := strings.Cut(req.URL(), "?")
		if endpoint != issuer+"/authorize" || strings.Contains(raw, "+") {
			b.Errorf("URL is %s", req.URL())
		}
		q := query(b.T, req.URL())
		for _, name := range []string{"state", "nonce", "code_challenge"} {
			if random, err := base64.RawURLEncoding.DecodeString(q.Get(name)); err != nil || len(random) != 32 {
				b.Errorf("%s is %q: %d octets, %v", name, q.Get(name), len(random), err)
			}
		}
		if q.Get("state") != req.State() || q.Get("state") == q.Get("nonce") {
			b.Error("state is not State, or is the nonce")
		}
		for _, name := range []string{"state", "nonce", "code_challenge"} {
			q.Del(name)
		}
		want := url.Values{"response_type": {"code"}, "client_id": {"app"}, "redirect_uri": {callback}, "scope": {"openid"}, "code_challenge_method": {"S256"}}
		if q.Encode() != want.Encode() {
			b.Errorf("parameters are %v, want %v", q, want)
		}
		if req.Issuer() != issuer || req.ClientID() != "app" || req.RedirectURI() != callback || !req.CreatedAt().Equal(start) {
			b.Errorf("%s %s %s %v", req.Issuer(), req.ClientID(), req.RedirectURI(), req.CreatedAt())
		}
	}, func(s *setup) { s.client.Scopes = nil })
	scenario(t, "with everything", func(b *bench) {
		q := query(b.T, b.begin(client.AuthorizationOptions{
			MaxAge: 90*time.Second + 1, Prompt: "login", ACRValues: []string{"2", "1"}, LoginHint: "al ice+&=é", Claims: json.RawMessage(`{"id_token":{"acr":null}}`),
			Resource: []string{"https://api.example/a", "urn:x:b"}, Scopes: []string{"openid", "email"}, Extra: url.Values{"audience": {"api & more"}},
		}).URL())
		want := map[string][]string{
			"max_age": {"90"}, "prompt": {"login"}, "acr_values": {"2 1"}, "login_hint": {"al ice+&=é"}, "claims": {`{"id_token":{"acr":null}}`},
			"resource": {"https://api.example/a", "urn:x:b"}, "scope": {"openid email"}, "audience": {"api & more"}, "response_mode": {"form_post"},
		}
		for name, v := range want {
			if !slices.Equal(q[name], v) {
				b.Errorf("%s is %q, want %q", name, q[name], v)
			}
		}
	}, func(s *setup) { s.client.ResponseMode = client.FormPost })
	scenario(t, "max_age=0", func(b *bench) {
		if got := query(b.T, b.begin(client.AuthorizationOptions{MaxAge: time.Millisecond}).URL()).Get("max_age"); got != "0" {
			b.Errorf("max_age is %q", got)
		}
	})
	// OpenID Connect Core §11.
	for _, tc := range []struct {
		scopes       []string
		prompt, want string
	}{
		{[]string{"openid", "offline_access"}, "", "consent"},
		{[]string{"openid", "offline_access"}, "none", "none"},
		{[]string{"openid"}, "", ""},
	} {
		scenario(t, "prompt for "+strings.Join(tc.scopes, " ")+" "+tc.prompt, func(b *bench) {
			if got := query(b.T, b.begin(client.AuthorizationOptions{Scopes: tc.scopes, Prompt: tc.prompt}).URL()).Get("prompt"); got != tc.want {
				b.Errorf("prompt is %q", got)
			}
		})
	}
	// What has no value is not sent (OAuth 2.1 §3.1); what is plain OAuth has no nonce.
	scenario(t, "plain OAuth", func(b *bench) {
		q := query(b.T, b.begin(client.AuthorizationOptions{}).URL())
		if q.Has("nonce") || q.Has("max_age") || q.Has("login_hint") || !q.Has("state") || !q.Has("code_challenge") {
			b.Errorf("parameters are %v", q)
		}
	}, oauthOnly)
	scenario(t, "an extra parameter of the request takes the place of the configured one", func(b *bench) {
		q := query(b.T, b.begin(client.AuthorizationOptions{Extra: url.Values{"audience": {"mine"}, "display": {""}}}).URL())
		if !slices.Equal(q["audience"], []string{"mine"}) || q.Has("display") || q.Get("access_type") != "offline" {
			b.Errorf("parameters are %v", q)
		}
	}, func(s *setup) {
		s.client.AuthorizationParams = url.Values{"audience": {"configured"}, "access_type": {"offline"}, "display": {"page"}}
	})
	scenario(t, "challenge of the verifier", func(b *bench) {
		req := b.begin(client.AuthorizationOptions{})
		if _, err := b.finish(req, b.request(b.visit(req))); err != nil {
			b.Fatal(err)
		}
		sum := sha256.Sum256([]byte(b.as.Log(authtest.Token)[0].Form.Get("code_verifier")))
		if query(b.T, req.URL()).Get("code_challenge") != base64.RawURLEncoding.EncodeToString(sum[:]) {
			b.Error("the challenge is another verifier's")
		}
	})
	scenario(t, "nothing is used twice", func(b *bench) {
		seen := map[string]bool{}
		for range 1000 {
			q := query(b.T, b.begin(client.AuthorizationOptions{}).URL())
			for _, name := range []string{"state", "nonce", "code_challenge"} {
				if seen[q.Get(name)] {
					b.Fatalf("%s was there before", name)
				}
				seen[q.Get(name)] = true
			}
		}
	})
	scenario(t, "it prints as its issuer", func(b *bench) {
		b.silent("authorization request", b.begin(client.AuthorizationOptions{}))
	})
}

func TestAuthorizationOptionsRefused(t *testing.T) {
	extra := func(name string) client.AuthorizationOptions {
		return client.AuthorizationOptions{Extra: url.Values{name: {"evil"}}}
	}
	rows := map[string]client.AuthorizationOptions{
		"scopes: blank":                    {Scopes: []string{"openid email"}},
		"scopes: empty":                    {Scopes: []string{""}},
		"scopes: quote":                    {Scopes: []string{`a"b`}},
		"resource: relative":               {Resource: []string{"/api"}},
		"resource: fragment":               {Resource: []string{"https://api.example/#x"}},
		"resource: empty fragment":         {Resource: []string{"https://api.example/#"}},
		"resource: no URI":                 {Resource: []string{"https://api.example/%zz"}},
		"claims: no JSON":                  {Claims: json.RawMessage(`{`)},
		"claims: no object":                {Claims: json.RawMessage(`5`)},
		"claims: member twice":             {Claims: json.RawMessage(`{"userinfo":{},"userinfo":{}}`)},
		"max_age: negative":                {MaxAge: -time.Second},
		"extra_parameter: no name":         extra(""),
		"extra_parameter: blank name":      extra(" "),
		"extra_parameter: no value":        {Extra: url.Values{"audience": {}}},
		"extra_parameter: two values":      {Extra: url.Values{"audience": {"a", "b"}}},
		"extra_parameter: only a bracket":  extra("[]"),
		"extra_parameter: blanks and name": extra(" \tstate\n"),
	}
	for _, name := range []string{"client_id", "client_secret", "redirect_uri", "response_type", "response_mode", "scope", "state", "nonce", "code_challenge", "code_challenge_method",
		"request", "request_uri", "max_age", "prompt", "acr_values", "login_hint", "claims", "resource", "dpop_jkt", "authorization_details", "id_token_hint"} {
		rows["extra_parameter: "+name] = extra(name)
		rows["extra_parameter: "+strings.ToUpper(name)] = extra(strings.ToUpper(name))
		rows["extra_parameter: blank before "+name] = extra(" " + name)
		rows["extra_parameter: blank behind "+name] = extra(name + " ")
		rows["extra_parameter: "+name+"[]"] = extra(name + "[]")
		rows["extra_parameter: "+name+" [x"] = extra(name + " [x")
		rows["extra_parameter: dotted "+name] = extra(strings.ReplaceAll(name, "_", "."))
		rows["extra_parameter: spaced "+name] = extra(strings.ReplaceAll(name, "_", " "))
	}
	for name, opts := range rows {
		reason, _, _ := strings.Cut(name, ":")
		scenario(t, name, func(b *bench) {
			req, err := b.c.AuthorizationRequest(ctx, opts)
			if req != nil {
				b.Error("a request beside the error")
			}
			b.failed(err, mend(client.ErrConfig, reason))
			if n := b.fetches(); n != 0 {
				b.Errorf("%d requests were sent", n)
			}
		})
	}
}

// ATK-S10: without randomness no login starts.
func TestNoRandomness(t *testing.T) {
	scenario(t, "the source fails", func(b *bench) {
		b.mustDiscover()
		good := rand.Reader
		defer func() { rand.Reader = good }()
		rand.Reader = io.LimitReader(good, 31) // 31 octets of 32, and then nothing
		req, err := b.c.AuthorizationRequest(ctx, client.AuthorizationOptions{})
		if req != nil {
			b.Error("a request beside the error")
		}
		b.failed(err, mend(client.ErrConfig, "random"))
		rand.Reader = io.LimitReader(good, 32+31) // enough for the state
		if _, err := b.c.AuthorizationRequest(ctx, client.AuthorizationOptions{}); !errors.Is(err, client.ErrConfig) {
			b.Errorf("got %v", err)
		}
	})
}
