package client_test

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/client"
	"github.com/sallyport/sallyport/client/authtest"
)

// mend is a failure that the operator has to mend.
func mend(code client.Code, reason string) failure {
	return failure{code: code, reason: reason, action: client.ActionFixConfiguration}
}

// refusedMetadata is a failure of the document itself.
func refusedMetadata(reason string) failure { return mend(client.ErrDiscovery, reason) }

func TestMetadataRefused(t *testing.T) {
	meta := func(name string, value any) authtest.Fault { return member(authtest.Metadata, name, value) }
	type row struct {
		name  string
		fault authtest.Fault
		want  failure
	}
	rows := []row{
		{"ATK-D01 issuer of another", meta("issuer", "https://evil.example"), mend(client.ErrIssuerMismatch, "")},
		{"ATK-D02 trailing slash", meta("issuer", issuer+"/"), mend(client.ErrIssuerMismatch, "")},
		{"ATK-D02 upper case", meta("issuer", "https://AS.example"), mend(client.ErrIssuerMismatch, "")},
		{"ATK-D02 default port", meta("issuer", issuer+":443"), mend(client.ErrIssuerMismatch, "")},
		{"ATK-D02 http", meta("issuer", "http://as.example"), mend(client.ErrIssuerMismatch, "")},
		{"ATK-D02 template", meta("issuer", "https://as.example/{tenantid}"), mend(client.ErrIssuerMismatch, "")},
		{"no issuer", meta("issuer", nil), refusedMetadata("issuer")},
		{"issuer in an array", meta("issuer", []string{issuer}), refusedMetadata("issuer")},
		{"issuer in other letter case", authtest.Fault{Endpoint: authtest.Metadata, JSON: func(m map[string]any) { m["Issuer"] = m["issuer"]; delete(m, "issuer") }}, refusedMetadata("issuer")},
		{"no authorization endpoint", meta("authorization_endpoint", nil), refusedMetadata("endpoints")},
		{"empty token endpoint", meta("token_endpoint", ""), refusedMetadata("endpoints")},
		{"no jwks_uri", meta("jwks_uri", nil), refusedMetadata("jwks_uri")},
		{"endpoint is a number", meta("token_endpoint", 7), refusedMetadata("token_endpoint")},
		{"list is a string", meta("code_challenge_methods_supported", "S256"), refusedMetadata("code_challenge_methods_supported")},
		{"flag is a string", meta("authorization_response_iss_parameter_supported", "true"), refusedMetadata("authorization_response_iss_parameter_supported")},
		{"aliases are a list", meta("mtls_endpoint_aliases", []string{}), refusedMetadata("mtls_endpoint_aliases")},
		{"ATK-D03 alias without TLS", meta("mtls_endpoint_aliases", map[string]any{"token_endpoint": "http://as.example/token"}), mend(client.ErrEndpointRefused, "mtls_endpoint_aliases")},
		{"alias is a number", meta("mtls_endpoint_aliases", map[string]any{"token_endpoint": 7}), mend(client.ErrEndpointRefused, "mtls_endpoint_aliases")},

		{"ATK-L29 only plain", meta("code_challenge_methods_supported", []string{"plain"}), mend(client.ErrConfig, "pkce")},
		{"ATK-L29 S256 in other letter case", meta("code_challenge_methods_supported", []string{"s256"}), mend(client.ErrConfig, "pkce")},
		{"ATK-L29 empty list", meta("code_challenge_methods_supported", []string{}), mend(client.ErrConfig, "pkce")},
		{"ATK-L29 no list", meta("code_challenge_methods_supported", nil), mend(client.ErrConfig, "pkce")},
		{"no algorithm in common", meta("id_token_signing_alg_values_supported", []string{"HS256", "none", "RS512"}), mend(client.ErrConfig, "algorithm")},

		{"ATK-D07 deep", meta("x", deep(40)), refusedMetadata("json")},
		{"issuer twice", answer(authtest.Metadata, authtest.JSON(200, `{"issuer":"https://as.example","issuer":"https://evil.example"}`)), refusedMetadata("json")},
		{"page", answer(authtest.Metadata, authtest.HTML(200)), refusedMetadata("content_type")},
		{"page that says it is JSON", answer(authtest.Metadata, authtest.JSON(200, "<html>")), refusedMetadata("json")},
	}
	for _, name := range []string{"authorization_endpoint", "token_endpoint", "jwks_uri", "userinfo_endpoint", "revocation_endpoint", "end_session_endpoint",
		"pushed_authorization_request_endpoint", "introspection_endpoint", "device_authorization_endpoint"} {
		rows = append(rows, row{"ATK-D03 http " + name, meta(name, "http://as.example/x"), mend(client.ErrEndpointRefused, name)})
	}
	for _, name := range []string{"authorization_endpoint", "token_endpoint", "jwks_uri", "userinfo_endpoint", "revocation_endpoint", "end_session_endpoint"} {
		rows = append(rows, row{"ATK-D06 foreign " + name, meta(name, "https://evil.example/x"), mend(client.ErrEndpointRefused, name)})
	}
	for _, endpoint := range []string{
		"https://as.example/token#x", "https://u:p@as.example/token", "https://u@as.example/token", "https://as.example:0/token", "https://as.example:00443/token",
		"https://as.example:99999/token", "https://as.example:/token", "file:///token", `https://as.example\@evil.example/token`, "https://evil.example%5c@as.example/token",
		"//as.example/token", "/token", "https:as.example/token", "https:///token", "javascript:alert(1)", "https://as.example /token", "https://as.example/\x00",
		"https://äs.example/token", "https://%e3%80%82as.example/token", "HTTPS://as.example/token", "https://as.example./token",
	} {
		rows = append(rows, row{"ATK-D12 " + endpoint, meta("token_endpoint", endpoint), mend(client.ErrEndpointRefused, "token_endpoint")})
	}
	// ATK-D12: a query is kept, but not one that makes our own parameters appear twice.
	for _, query := range []string{"redirect_uri=https://evil.example", "client_id=evil", "state=x&response_type=token", "Scope=all", "tenant=7&code_challenge=x", "%72edirect_uri=x", "x=%zz"} {
		rows = append(rows, row{"ATK-D12 " + query, meta("authorization_endpoint", "https://as.example/authorize?"+query), mend(client.ErrEndpointRefused, "authorization_endpoint")})
	}
	// ATK-D04: by what the document says. What a name resolves to is the dialer's to judge.
	for _, host := range []string{"127.0.0.1", "10.0.0.1", "169.254.169.254", "[::1]", "[::ffff:10.0.0.1]", "100.64.0.1", "0x7f.1", "localhost", "localhost.", "2130706433"} {
		rows = append(rows, row{"ATK-D04 " + host, meta("token_endpoint", "https://"+host+"/token"), mend(client.ErrEndpointRefused, "token_endpoint")})
	}
	// ATK-D06: not of the same registrable domain, however it looks.
	for _, host := range []string{"as.example.evil.test", "evilas.example", "example", "as.example@evil.test", "as-example.test", "as.example%2eevil.test"} {
		rows = append(rows, row{"ATK-D06 " + host, meta("token_endpoint", "https://"+host+"/token"), mend(client.ErrEndpointRefused, "token_endpoint")})
	}
	for _, tc := range rows {
		scenario(t, tc.name, func(b *bench) {
			b.as.Misbehave(tc.fault)
			m, err := b.c.Discover(ctx)
			if m != nil {
				b.Error("metadata beside the error")
			}
			b.failed(err, tc.want)
			b.saw(requests{})
			if n := b.net.count("evil.example"); n != 0 {
				b.Errorf("evil.example got %d requests", n)
			}
			// Nothing of it was kept: an honest answer is asked for and used.
			b.as.Behave()
			if _, err := b.c.Discover(ctx); err != nil {
				b.Errorf("honest again: %v", err)
			}
		})
	}
}

func deep(n int) any {
	if n == 0 {
		return 1
	}
	return []any{deep(n - 1)}
}

func TestMetadataAccepted(t *testing.T) {
	scenario(t, "what it says", func(b *bench) {
		m, err := b.c.Discover(ctx)
		if err != nil {
			b.Fatal(err)
		}
		if m.Issuer != issuer || m.AuthorizationEndpoint != issuer+"/authorize" || m.TokenEndpoint != issuer+"/token" || m.JWKSURI != issuer+"/jwks" ||
			m.UserInfoEndpoint != issuer+"/userinfo" || m.RevocationEndpoint != issuer+"/revoke" || m.EndSessionEndpoint != issuer+"/end_session" ||
			!m.IssParameterSupported || !slices.Equal(m.CodeChallengeMethods, []string{"S256"}) || !slices.Contains(m.ResponseModes, "form_post") ||
			!slices.Contains(m.ScopesSupported, "openid") || !slices.Contains(m.TokenAuthMethods, "client_secret_basic") || !slices.Contains(m.IDTokenAlgorithms, "ES256") {
			b.Errorf("%+v", m)
		}
	})
	scenario(t, "the caller's copy is the caller's", func(b *bench) {
		m, err := b.c.Discover(ctx)
		if err != nil {
			b.Fatal(err)
		}
		m.TokenEndpoint, m.IDTokenAlgorithms[0], m.CodeChallengeMethods[0] = "https://evil.example", "none", "plain"
		b.mustLogin(client.AuthorizationOptions{})
		if m, _ := b.c.Discover(ctx); m.CodeChallengeMethods[0] != "S256" || m.IDTokenAlgorithms[0] == "none" {
			b.Errorf("%+v", m)
		}
	})
	scenario(t, "the request", func(b *bench) {
		if _, err := b.c.Discover(ctx); err != nil {
			b.Fatal(err)
		}
		r := b.as.Log(authtest.Metadata)[0]
		if r.Method != "GET" || r.Header.Get("Authorization") != "" || r.Body != "" || r.Path != "/.well-known/openid-configuration" {
			b.Errorf("%+v", r)
		}
	})
	// RFC 8414 §2: a document of the least.
	scenario(t, "minimal", func(b *bench) {
		b.as.Misbehave(answer(authtest.Metadata, authtest.JSON(200, map[string]any{
			"issuer": issuer, "authorization_endpoint": issuer + "/authorize", "token_endpoint": issuer + "/token", "jwks_uri": issuer + "/jwks",
			"response_types_supported": []string{"code"}, "code_challenge_methods_supported": []string{"S256"},
		})))
		b.mustLogin(client.AuthorizationOptions{})
	})
	for name, hosts := range map[string][]string{
		"https://login.as.example/token": nil,                             // the same registrable domain
		"https://as.example:8443/token":  nil,                             // another port
		"https://api.evil.test/token":    {"other.test", "api.evil.test"}, // listed
		"https://api.evil.test:9/token":  {"api.evil.test:9"},             // listed with its port
	} {
		scenario(t, "endpoint "+name, func(b *bench) {
			b.as.Misbehave(member(authtest.Metadata, "token_endpoint", name))
			if _, err := b.c.Discover(ctx); err != nil {
				b.Error(err)
			}
		}, func(s *setup) {
			s.server.Issuer, s.client.Issuer = "https://as.example.com", "https://as.example.com"
			if hosts == nil {
				s.server.Issuer, s.client.Issuer = issuer, issuer
			}
			s.client.EndpointHosts = hosts
		})
	}
	// Hosts under a public suffix belong to different people.
	for _, tc := range []struct{ issuer, endpoint string }{
		{"https://tenant.github.io", "https://evil.github.io/token"},
		{"https://as.co.uk", "https://evil.co.uk/token"},
		{"https://192.0.2.1", "https://198.51.2.1/token"},
		{"https://keycloak", "https://evil.keycloak/token"},
	} {
		scenario(t, "ATK-D06 "+tc.endpoint, func(b *bench) {
			b.as.Misbehave(member(authtest.Metadata, "token_endpoint", tc.endpoint))
			_, err := b.c.Discover(ctx)
			b.failed(err, mend(client.ErrEndpointRefused, "token_endpoint"))
		}, func(s *setup) { s.server.Issuer, s.client.Issuer = tc.issuer, tc.issuer })
	}
	scenario(t, "ATK-D06 a listed host with another port", func(b *bench) {
		b.as.Misbehave(member(authtest.Metadata, "token_endpoint", "https://api.evil.test:10/token"))
		_, err := b.c.Discover(ctx)
		b.failed(err, mend(client.ErrEndpointRefused, "token_endpoint"))
	}, func(s *setup) { s.client.EndpointHosts = []string{"api.evil.test:9"} })
	// The endpoints that a known provider has elsewhere are known.
	scenario(t, "Google", func(b *bench) {
		b.as.Misbehave(member(authtest.Metadata, "token_endpoint", "https://oauth2.googleapis.com/token"), member(authtest.Metadata, "jwks_uri", "https://www.googleapis.com/oauth2/v3/certs"))
		if _, err := b.c.Discover(ctx); err != nil {
			b.Error(err)
		}
	}, func(s *setup) {
		s.server.Issuer, s.client.Issuer = "https://accounts.google.com", "https://accounts.google.com"
	})
	scenario(t, "loopback without TLS, in development", func(b *bench) { b.mustLogin(client.AuthorizationOptions{}) },
		func(s *setup) { s.server.Issuer, s.client.Issuer = "http://127.0.0.1:9998", "http://127.0.0.1:9998" })
	scenario(t, "ATK-D03 from https down to loopback http", func(b *bench) {
		b.as.Misbehave(member(authtest.Metadata, "token_endpoint", "http://localhost/token"))
		_, err := b.c.Discover(ctx)
		b.failed(err, mend(client.ErrEndpointRefused, "token_endpoint"))
	}, func(s *setup) { s.server.Issuer, s.client.Issuer = "https://localhost", "https://localhost" })
	scenario(t, "form_post is not announced", func(b *bench) {
		b.as.Misbehave(member(authtest.Metadata, "response_modes_supported", []string{"query"}))
		_, err := b.c.Discover(ctx)
		b.failed(err, mend(client.ErrConfig, "response_mode"))
	}, func(s *setup) { s.client.ResponseMode = client.FormPost })
}

// Where metadata is looked for, and nowhere else (RFC 8414 §3.1, OpenID Connect Discovery §4.1).
func TestWellKnown(t *testing.T) {
	for _, tc := range []struct {
		path   string
		kind   client.MetadataKind
		scopes []string
		want   []string
	}{
		{"", "", []string{"openid"}, []string{"/.well-known/openid-configuration"}},
		{"", "", []string{"api"}, []string{"/.well-known/oauth-authorization-server"}},
		{"/", client.MetadataOpenID, nil, []string{"/.well-known/openid-configuration"}},
		{"/", client.MetadataOAuth, nil, []string{"/.well-known/oauth-authorization-server"}},
		{"/t1", client.MetadataOpenID, nil, []string{"/t1/.well-known/openid-configuration"}},
		{"/t1/", client.MetadataOpenID, nil, []string{"/t1/.well-known/openid-configuration"}},
		{"/t1", client.MetadataOAuth, nil, []string{"/.well-known/oauth-authorization-server/t1"}},
		{"/t1/", client.MetadataOAuth, nil, []string{"/.well-known/oauth-authorization-server/t1"}},
		{"/a/b%20c", client.MetadataOAuth, nil, []string{"/.well-known/oauth-authorization-server/a/b%20c"}},
		{"/t1", client.MetadataBoth, nil, []string{"/t1/.well-known/openid-configuration", "/.well-known/oauth-authorization-server/t1"}},
	} {
		scenario(t, tc.path+" "+string(tc.kind)+" "+strings.Join(tc.scopes, " "), func(b *bench) {
			if _, err := b.c.Discover(ctx); err != nil {
				b.Fatal(err)
			}
			var got []string
			for _, r := range b.as.Log("") {
				got = append(got, r.Path)
			}
			if !slices.Equal(got, tc.want) {
				b.Errorf("asked at %q, want %q", got, tc.want)
			}
		}, func(s *setup) {
			s.server.Issuer, s.client.Issuer = issuer+tc.path, issuer+tc.path
			s.client.Metadata, s.client.Scopes = tc.kind, tc.scopes
		})
	}
	scenario(t, "no fallback to the other document", func(b *bench) {
		b.as.Misbehave(authtest.Fault{Endpoint: authtest.Metadata, Answer: page(404, "text/plain", "no"),
			When: func(r *authtest.Request) bool { return strings.Contains(r.Path, "openid") }})
		_, err := b.c.Discover(ctx)
		want := mend(client.ErrDiscovery, "status")
		want.status = 404
		b.failed(err, want)
		if n := b.as.Requests(""); n != 1 {
			b.Errorf("%d requests", n)
		}
	})
}

// ATK-D09: two documents that contradict each other.
func TestMetadataDisagreement(t *testing.T) {
	both := func(s *setup) { s.client.Metadata = client.MetadataBoth }
	inOAuth := func(name string, value any) authtest.Fault {
		f := member(authtest.Metadata, name, value)
		f.When = func(r *authtest.Request) bool { return strings.Contains(r.Path, "oauth-authorization-server") }
		return f
	}
	for name, value := range map[string]any{
		"authorization_endpoint": issuer + "/x", "token_endpoint": issuer + "/x", "jwks_uri": issuer + "/x", "revocation_endpoint": issuer + "/x",
		"userinfo_endpoint": issuer + "/x", "authorization_response_iss_parameter_supported": false,
		"code_challenge_methods_supported": []string{"S256", "plain"}, "token_endpoint_auth_methods_supported": []string{"client_secret_basic"},
	} {
		scenario(t, name, func(b *bench) {
			b.as.Misbehave(inOAuth(name, value))
			_, err := b.c.Discover(ctx)
			b.failed(err, refusedMetadata("disagreement"))
		}, both)
	}
	scenario(t, "the second is missing", func(b *bench) {
		f := answer(authtest.Metadata, page(404, "text/plain", "no"))
		f.When = func(r *authtest.Request) bool { return strings.Contains(r.Path, "oauth-authorization-server") }
		b.as.Misbehave(f)
		if _, err := b.c.Discover(ctx); !errors.Is(err, client.ErrDiscovery) {
			b.Errorf("got %v", err)
		}
	}, both)
	scenario(t, "the first is missing", func(b *bench) {
		f := answer(authtest.Metadata, page(404, "text/plain", "no"))
		f.When = func(r *authtest.Request) bool { return strings.Contains(r.Path, "openid") }
		b.as.Misbehave(f)
		if _, err := b.c.Discover(ctx); !errors.Is(err, client.ErrDiscovery) {
			b.Errorf("got %v", err)
		}
	}, both)
	scenario(t, "userinfo_endpoint is not RFC 8414's", func(b *bench) {
		b.as.Misbehave(inOAuth("userinfo_endpoint", nil))
		if _, err := b.c.Discover(ctx); err != nil {
			b.Error(err)
		}
	}, both)
}

// What this client does not call may be anywhere, and a member without a value is not there.
func TestMetadataUnused(t *testing.T) {
	for _, members := range []map[string]any{
		{"introspection_endpoint": "https://elsewhere.test/x"}, {"mtls_endpoint_aliases": map[string]any{"token_endpoint": "https://mtls.elsewhere.test/token"}},
		{"revocation_endpoint": nil, "scopes_supported": nil, "mtls_endpoint_aliases": nil, "authorization_response_iss_parameter_supported": nil},
	} {
		scenario(t, "", func(b *bench) {
			b.as.Misbehave(authtest.Fault{Endpoint: authtest.Metadata, JSON: func(m map[string]any) { maps.Copy(m, members) }})
			if _, err := b.c.Discover(ctx); err != nil {
				b.Error(err)
			}
		})
	}
}

func TestConsentPrompt(t *testing.T) {
	for _, off := range []bool{false, true} {
		scenario(t, "", func(b *bench) {
			req, err := b.c.AuthorizationRequest(ctx, client.AuthorizationOptions{Scopes: []string{"openid", "offline_access"}})
			if err != nil || strings.Contains(req.URL(), "prompt=consent") == off {
				b.Errorf("NoConsentPrompt %v: %v, prompt in the URL: %v", off, err, !off)
			}
		}, func(s *setup) { s.client.NoConsentPrompt = off })
	}
}

// Each tenant of Microsoft Entra is an issuer of its own.
func TestEntra(t *testing.T) {
	const tenant = "https://login.microsoftonline.com/8eaef023-2b34-4da1-9baa-8bc8c9d6a490/v2.0"
	scenario(t, "", func(b *bench) {
		b.as.Misbehave(
			member(authtest.Metadata, "userinfo_endpoint", "https://graph.microsoft.com/oidc/userinfo"),
			member(authtest.Metadata, "mtls_endpoint_aliases", map[string]any{"token_endpoint": "https://mtlsauth.microsoft.com/token"}),
			member(authtest.Token, "scope", "openid offline_access User.Read"))
		tokens := b.mustLogin(client.AuthorizationOptions{})
		if !slices.Contains(tokens.Scopes, "User.Read") {
			b.Errorf("granted %q", tokens.Scopes)
		}
		req, err := b.c.AuthorizationRequest(ctx, client.AuthorizationOptions{})
		if err != nil || strings.Contains(req.URL(), "prompt=") {
			b.Errorf("%v asks for consent each time", err)
		}
	}, func(s *setup) {
		s.server.Issuer, s.client.Issuer = tenant, tenant
		s.client.Scopes = []string{"openid", "offline_access"}
	})
}
