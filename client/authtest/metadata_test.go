package authtest_test

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/client/authtest"
)

func TestMetadataPaths(t *testing.T) {
	for path, want := range map[string][2]string{
		"":         {"/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"},
		"/":        {"/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"},
		"/tenant":  {"/tenant/.well-known/openid-configuration", "/.well-known/oauth-authorization-server/tenant"},
		"/tenant/": {"/tenant/.well-known/openid-configuration", "/.well-known/oauth-authorization-server/tenant"},
		"/a/b%20c": {"/a/b%20c/.well-known/openid-configuration", "/.well-known/oauth-authorization-server/a/b%20c"},
	} {
		t.Run("issuer path "+path, func(t *testing.T) {
			g := newWire(t, authtest.Config{IssuerPath: path})
			u, err := url.Parse(g.as.Issuer())
			if err != nil || u.EscapedPath() != path {
				t.Fatalf("issuer %q", g.as.Issuer())
			}
			origin := u.Scheme + "://" + u.Host
			var bodies [2]string
			for i, p := range want {
				resp, body := g.get(origin + p)
				if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "application/json" {
					t.Fatalf("%s: %d %q", p, resp.StatusCode, resp.Header.Get("Content-Type"))
				}
				if m := object(t, body); m["issuer"] != g.as.Issuer() {
					t.Errorf("%s: issuer %v", p, m["issuer"])
				}
				bodies[i] = string(body)
			}
			if bodies[0] != bodies[1] {
				t.Error("the two documents disagree")
			}
			if n := g.as.Requests(authtest.Metadata); n != 2 {
				t.Errorf("%d metadata requests", n)
			}
			g.logIn()
		})
	}
}

func TestMetadataContent(t *testing.T) {
	g := newRig(t, authtest.Config{Issuer: "https://as.example/t/", ACRValues: []string{"silver", "gold"}})
	m := g.metadata()
	for name, path := range map[string]string{
		"authorization_endpoint": "authorize", "token_endpoint": "token", "jwks_uri": "jwks", "userinfo_endpoint": "userinfo",
		"revocation_endpoint": "revoke", "introspection_endpoint": "introspect", "end_session_endpoint": "end_session",
	} {
		if m[name] != "https://as.example/t/"+path {
			t.Errorf("%s = %v", name, m[name])
		}
	}
	for name, want := range map[string][]string{
		"response_types_supported":                      {"code"},
		"response_modes_supported":                      {"query", "form_post"},
		"grant_types_supported":                         {"authorization_code", "refresh_token"},
		"code_challenge_methods_supported":              {"S256"},
		"subject_types_supported":                       {"public"},
		"token_endpoint_auth_methods_supported":         {"client_secret_basic", "client_secret_post", "none"},
		"introspection_endpoint_auth_methods_supported": {"client_secret_basic", "client_secret_post"},
		"id_token_signing_alg_values_supported":         {"ES256", "RS256"},
		"acr_values_supported":                          {"silver", "gold"},
	} {
		var got []string
		for _, v := range m[name].([]any) {
			got = append(got, v.(string))
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s = %v, want %v", name, got, want)
		}
	}
	// RFC 9207 §3
	if m["authorization_response_iss_parameter_supported"] != true {
		t.Error("iss is not announced")
	}
	if claims := m["claims_supported"].([]any); !slices.Contains(claims, any("email")) || !slices.Contains(claims, any("sid")) {
		t.Errorf("claims_supported = %v", claims)
	}
}

func TestMethodsAndPaths(t *testing.T) {
	g := newRig(t, authtest.Config{Issuer: "https://as.example/t"})
	for _, test := range []struct {
		method, path string
		status       int
		allow        string
	}{
		{"GET", "/t/token", 405, "POST"},
		{"POST", "/t/jwks", 405, "GET"},
		{"HEAD", "/t/authorize", 405, "GET, POST"},
		{"PUT", "/t/userinfo", 405, "GET, POST"},
		{"GET", "/t/revoke", 405, "POST"},
		{"GET", "/token", 404, ""},
		{"GET", "/t//token", 404, ""},
		{"GET", "/t/%74oken", 404, ""},
		{"GET", "/t/nothing", 404, ""},
		{"GET", "/t/jwks?a=%zz", 400, ""},
	} {
		r, err := http.NewRequestWithContext(t.Context(), test.method, "https://as.example"+test.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, _ := g.do(r)
		if resp.StatusCode != test.status || resp.Header.Get("Allow") != test.allow {
			t.Errorf("%s %s: %d, Allow %q", test.method, test.path, resp.StatusCode, resp.Header.Get("Allow"))
		}
	}
	big, err := http.NewRequestWithContext(t.Context(), "POST", "https://as.example/t/token", strings.NewReader(strings.Repeat("a", 1<<20+1)))
	if err != nil {
		t.Fatal(err)
	}
	if resp, body := g.do(big); resp.StatusCode != http.StatusBadRequest || string(body) != "malformed request\n" || g.as.Log(authtest.Token)[1].Body != "" {
		t.Errorf("a giant request: %d %s", resp.StatusCode, body)
	}
}
