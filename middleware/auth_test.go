package middleware

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/client"
	"github.com/sallyport/sallyport/session"
)

func testManager(t testing.TB) *session.Manager {
	t.Helper()
	m, err := session.New(session.Config{Keys: [][]byte{session.GenerateKey()}})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func testClient(t testing.TB, name, issuer, redirectURI string) *client.Client {
	t.Helper()
	c, err := client.New(client.Config{Name: name, Issuer: issuer, ClientID: "app", Authentication: client.SecretBasic(client.Secret("s3cret")), RedirectURI: redirectURI})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// testAuth is for tests that need no server.
func testAuth(t testing.TB, cfg Config) *Auth {
	t.Helper()
	a, err := cfg.New(testManager(t), testClient(t, "", "https://as-a.example", "https://rp.example/auth/callback"))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// Every refusal says which field it is and how to mend it.
func TestNewRefuses(t *testing.T) {
	const a, b = "https://as-a.example", "https://as-b.example"
	one := func(t *testing.T) []*client.Client {
		return []*client.Client{testClient(t, "", a, "https://rp.example/auth/callback")}
	}
	for _, tt := range []struct {
		name    string
		cfg     Config
		clients func(t *testing.T) []*client.Client
		says    string
	}{
		{"no client", Config{}, func(*testing.T) []*client.Client { return nil }, "at least one"},
		{"nil client", Config{}, func(*testing.T) []*client.Client { return []*client.Client{nil} }, "client.New"},
		{"two origins", Config{}, func(t *testing.T) []*client.Client {
			return []*client.Client{testClient(t, "a", a, "https://rp.example/auth/callback/a"), testClient(t, "b", b, "https://rp.example:8443/auth/callback/b")}
		}, "one scheme, host and port"},
		{"one redirect URI twice", Config{}, func(t *testing.T) []*client.Client { // ATK-L27
			return []*client.Client{testClient(t, "a", a, "https://rp.example/auth/callback"), testClient(t, "b", b, "https://rp.example/auth/callback")}
		}, "register another"},
		{"redirect URIs that differ by query", Config{}, func(t *testing.T) []*client.Client {
			return []*client.Client{testClient(t, "a", a, "https://rp.example/auth/callback?c=a"), testClient(t, "b", b, "https://rp.example/auth/callback?c=b")}
		}, "register another"},
		{"ATK-D14 one issuer twice", Config{}, func(t *testing.T) []*client.Client { // also ATK-L28: two connections that share a server
			return []*client.Client{testClient(t, "a", a, "https://rp.example/auth/callback/a"), testClient(t, "b", a, "https://rp.example/auth/callback/b")}
		}, "configure it once"},
		{"one name twice", Config{}, func(t *testing.T) []*client.Client {
			return []*client.Client{testClient(t, "x", a, "https://rp.example/auth/callback/a"), testClient(t, "x", b, "https://rp.example/auth/callback/b")}
		}, "a value of its own"},
		{"no name", Config{}, func(t *testing.T) []*client.Client {
			return []*client.Client{testClient(t, "a", a, "https://rp.example/auth/callback/a"), testClient(t, "", b, "https://rp.example/auth/callback/b")}
		}, "client.Config.Name"},
		{"redirect URI on our login", Config{}, func(t *testing.T) []*client.Client {
			return []*client.Client{testClient(t, "", a, "https://rp.example/auth/login")}
		}, "must differ"},
		{"base path with a slash", Config{BasePath: "/auth/"}, one, "BasePath"},
		{"base path relative", Config{BasePath: "auth"}, one, "BasePath"},
		{"base path with dots", Config{BasePath: "/a/../b"}, one, "BasePath"},
		{"base path is the root", Config{BasePath: "/"}, one, "BasePath"},
		{"base path with a pattern", Config{BasePath: "/{x}"}, one, "BasePath"},
		{"return path elsewhere", Config{DefaultReturnTo: "https://evil.example/"}, one, "DefaultReturnTo"},
		{"return path scheme-relative", Config{DefaultReturnTo: "//evil.example/"}, one, "DefaultReturnTo"},
		{"return path with a backslash", Config{DefaultReturnTo: `/\evil.example/`}, one, "DefaultReturnTo"},
		{"trusted origin with a path", Config{TrustedOrigins: []string{"https://www.example/"}}, one, "TrustedOrigins"},
		{"trusted origin over http", Config{TrustedOrigins: []string{"http://www.example"}}, one, "TrustedOrigins"},
		{"trusted origin by pattern", Config{TrustedOrigins: []string{"*"}}, one, "TrustedOrigins"},
		{"resource without scheme", Config{Resources: []string{"api.example"}}, one, "Resources"},
		{"resource over http", Config{Resources: []string{"http://api.example"}}, one, "Resources"},
		{"resource with default port", Config{Resources: []string{"https://api.example:443"}}, one, "Resources"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := tt.cfg.New(testManager(t), tt.clients(t)...)
			if !errors.Is(err, client.ErrConfig) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("got %v, want ErrConfig that says %q", err, tt.says)
			}
		})
	}
	if _, err := New(nil, one(t)...); !errors.Is(err, client.ErrConfig) {
		t.Errorf("without a manager: %v", err)
	}
}

func TestNewDefaults(t *testing.T) {
	a := testAuth(t, Config{})
	if a.cfg.BasePath != "/auth" || a.cfg.DefaultReturnTo != "/" || a.base != "https://rp.example" || a.cfg.Transport != http.DefaultTransport {
		t.Errorf("defaults: %+v", a.cfg)
	}
	for _, p := range []string{"/auth/login", "/auth/callback", "/auth/logout", "/auth/logout/callback", "/auth/session"} {
		if _, ok := a.routes[p]; !ok {
			t.Errorf("%s is not served", p)
		}
	}
	// Several providers, each with its own way in and back.
	both, err := Config{BasePath: "/x/y", Resources: []string{"https://api.example", "http://127.0.0.1:9000"}}.New(testManager(t),
		testClient(t, "a", "https://as-a.example", "https://rp.example/cb/a?k=v"), testClient(t, "b", "https://as-b.example", "https://rp.example/cb/b"))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{"/x/y/login", "/x/y/login/a", "/x/y/login/b", "/cb/a", "/cb/b"} {
		if _, ok := both.routes[p]; !ok {
			t.Errorf("%s is not served", p)
		}
	}
}

func TestPostLogoutRoute(t *testing.T) {
	make := func(uri string) (*Auth, error) {
		c, err := client.New(client.Config{Issuer: "https://as-a.example", ClientID: "app", Authentication: client.SecretBasic(client.Secret("s3cret")),
			RedirectURI: "https://rp.example/auth/callback", PostLogoutRedirectURI: uri})
		if err != nil {
			t.Fatal(err)
		}
		return New(testManager(t), c)
	}
	for uri, served := range map[string]string{"https://rp.example/bye": "/bye", "https://rp.example/auth/logout/callback": "/auth/logout/callback", "https://www.example/bye": ""} {
		a, err := make(uri)
		if err != nil {
			t.Fatalf("%s: %v", uri, err)
		}
		if _, ok := a.routes["/bye"]; ok != (served == "/bye") {
			t.Errorf("%s: /bye served: %v", uri, ok)
		}
	}
	for _, uri := range []string{"https://rp.example/auth/callback", "https://rp.example/auth/logout", "https://rp.example/auth/session"} {
		if _, err := make(uri); !errors.Is(err, client.ErrConfig) || !strings.Contains(err.Error(), "PostLogoutRedirectURI") {
			t.Errorf("%s: %v", uri, err)
		}
	}
}

func TestOriginOf(t *testing.T) {
	for s, want := range map[string]bool{
		"https://a.example": true, "https://a.example:8443": true, "http://127.0.0.1:8080": true, "http://localhost": true, "http://[::1]:80": false, "http://[::1]:8080": true,
		"https://A.example": false, "https://a.example:443": false, "https://a.example/": false, "https://a@b.example": false, "http://a.example": false, "https://": false, "a.example": false, "ftp://127.0.0.1": false,
	} {
		if got := isOrigin(s); got != want {
			t.Errorf("isOrigin(%q) = %v", s, got)
		}
	}
}
