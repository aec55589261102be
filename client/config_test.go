package client_test

import (
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/client"
)

func TestConfigRefused(t *testing.T) {
	type change = func(*client.Config)
	redirect := func(uri string) change { return func(c *client.Config) { c.RedirectURI = uri } }
	issuedBy := func(uri string) change { return func(c *client.Config) { c.Issuer = uri } }
	extra := func(v url.Values) change { return func(c *client.Config) { c.AuthorizationParams = v } }
	hosts := func(h string) change { return func(c *client.Config) { c.EndpointHosts = []string{h} } }
	rows := []struct {
		name   string
		change change
		reason string
	}{
		{"no issuer", issuedBy(""), "issuer"},
		{"no client id", func(c *client.Config) { c.ClientID = "" }, "client_id"},
		{"no authentication", func(c *client.Config) { c.Authentication = nil }, "authentication"},
		{"no redirect URI", redirect(""), "redirect_uri"},
		{"no secret source", func(c *client.Config) { c.Authentication = client.SecretPost(nil) }, "secret"},
		{"no secret function", func(c *client.Config) { c.Authentication = client.SecretBasic(client.SecretFunc(nil)) }, "secret"},
		{"empty secret", func(c *client.Config) { c.Authentication = client.SecretBasic(client.Secret("")) }, "secret"},
		{"scope with a blank", func(c *client.Config) { c.Scopes = []string{"openid email"} }, "scopes"},
		{"empty scope", func(c *client.Config) { c.Scopes = []string{""} }, "scopes"},
		{"required scope with a quote", func(c *client.Config) { c.RequiredScopes = []string{`"`} }, "scopes"},
		{"name with a slash", func(c *client.Config) { c.Name = "a/b" }, "name"},
		{"response mode", func(c *client.Config) { c.ResponseMode = "fragment" }, "response_mode"},
		{"metadata kind", func(c *client.Config) { c.Metadata = "webfinger" }, "metadata"},
		{"extra state", extra(url.Values{"state": {"x"}}), "extra_parameter"},
		{"extra redirect_uri in disguise", extra(url.Values{" Redirect.URI[0]": {"x"}}), "extra_parameter"},
		{"extra twice", extra(url.Values{"audience": {"a", "b"}}), "extra_parameter"},
		{"endpoint host with scheme", hosts("https://api.example"), "endpoint_hosts"},
		{"endpoint host with path", hosts("api.example/x"), "endpoint_hosts"},
		{"endpoint host in capitals", hosts("API.example"), "endpoint_hosts"},
		{"endpoint host that is empty", hosts(""), "endpoint_hosts"},
		{"endpoint host with user", hosts("u@api.example"), "endpoint_hosts"},
		{"profile without TLS", func(c *client.Config) { c.Profile = &client.Profile{URL: "http://api.example/user"} }, "profile"},
		{"profile that is relative", func(c *client.Config) { c.Profile = &client.Profile{URL: "/user"} }, "profile"},
		{"ATK-U05 profile by e-mail address", func(c *client.Config) { c.Profile = &client.Profile{URL: "https://api.example/user", ID: "Email"} }, "profile"},
		{"leeway too long", func(c *client.Config) { c.Leeway = 121 * time.Second }, "limit"},
		{"leeway negative", func(c *client.Config) { c.Leeway = -1 }, "limit"},
		{"timeout too long", func(c *client.Config) { c.Timeout = 31 * time.Second }, "limit"},
		{"login timeout too long", func(c *client.Config) { c.LoginTimeout = 31 * time.Minute }, "limit"},

		// ATK-S09: there is no switch that turns these off, and no value that does.
		{"ATK-S09 alg none", func(c *client.Config) { c.IDTokenAlgorithms = []string{"none"} }, "algorithm"},
		{"ATK-S09 alg empty", func(c *client.Config) { c.IDTokenAlgorithms = []string{""} }, "algorithm"},
		{"ATK-S09 HS256 without a word", func(c *client.Config) { c.IDTokenAlgorithms = []string{"HS256"} }, "algorithm"},
		{"ATK-S09 userinfo alg none", func(c *client.Config) { c.UserInfoAlgorithm = "none" }, "algorithm"},
		{"ATK-S09 userinfo HS256 without a word", func(c *client.Config) { c.UserInfoAlgorithm = "HS256" }, "algorithm"},
		{"HMAC and signatures together", func(c *client.Config) {
			c.Quirks.AllowHMAC, c.IDTokenAlgorithms = true, []string{"HS256", "RS256"}
		}, "algorithm"},
		{"HMAC without its algorithm", func(c *client.Config) { c.Quirks.AllowHMAC = true }, "algorithm"},
		{"HMAC with a short secret", func(c *client.Config) {
			c.Quirks.AllowHMAC, c.IDTokenAlgorithms = true, []string{"HS256"}
			c.Authentication = client.SecretBasic(client.Secret(strings.Repeat("s", 31)))
		}, "secret"},
		{"neither PKCE nor nonce", func(c *client.Config) { c.Quirks.NoPKCE, c.Quirks.NoNonce = true, true }, "quirks"},
	}
	add := func(name string, f change, reason string) {
		rows = append(rows, struct {
			name   string
			change change
			reason string
		}{name, f, reason})
	}
	for _, uri := range []string{
		"https://rp.example/#/cb", "https://*.rp.example/cb", "http://rp.example/cb", "https://user@rp.example/cb", "https://user:password@rp.example/cb", "//rp.example/cb",
		"https://rp.example/cb?code=1", "https://rp.example/cb?state=1", "https://rp.example/cb?iss=1", "https://rp.example/cb?error=1", "https://rp.example/cb?st%61te=1",
		"https://rp.example/a/../cb", "https://rp.example/./cb", "https://rp.example/cb/..", "/cb", "cb", "https:/cb", "https:rp.example/cb", "https:///cb", "https://rp.example",
		"https://rp.example#", "https://RP.example/cb", "HTTPS://rp.example/cb", "https://rp.example:443/cb", "http://localhost:80/cb", "https://rp.example:/cb", "https://rp.example:0/cb",
		"https://rp.example:65536/cb", "https://rp.example//cb", "https://rp.example/cb?", "https://rp.example/%63b", "https://rp.example/c b", `https://rp.example\cb`, "https://rp.example/cb\n", "https://rp.example/cb?a=1&a=2",
		"https://rp.example/cb?a=%zz", "https://rp.example/cb?a=1;b=2", "https://ärp.example/cb", "https://rp%C3%A4.example/cb", "http://127.0.0.1.evil.example/cb", "http://localhost.evil.example/cb", "http://10.0.0.1/cb",
		"custom:/cb", "ftp://rp.example/cb", "javascript:alert(1)", "http://[::2]/cb", "http://0.0.0.0/cb",
	} {
		add("ATK-R08 "+uri, redirect(uri), "redirect_uri")
		add("ATK-R08 after logout "+uri, func(c *client.Config) { c.PostLogoutRedirectURI = uri }, "redirect_uri")
	}
	for _, uri := range []string{
		"http://as.example", "https://as.example?x=1", "https://as.example?", "https://as.example#x", "https://as.example#", "as.example", "https://u@as.example", "https://as.example/{tenantid}/v2.0",
		"https://*.as.example", "https://", "https://as.example:0", "http://localhost.evil.example", "ftp://as.example", "https://as.example /", "https://as.example/\u00e4",
	} {
		add("issuer "+uri, issuedBy(uri), "issuer")
	}
	for _, tc := range rows {
		t.Run(tc.name, func(t *testing.T) {
			cfg := client.Config{Issuer: issuer, ClientID: "app", Authentication: client.SecretBasic(client.Secret(secret)), RedirectURI: callback}
			tc.change(&cfg)
			c, err := client.New(cfg)
			var e *client.Error
			if c != nil || !errors.As(err, &e) || e.Code != client.ErrConfig || e.Reason != tc.reason || e.Action != client.ActionFixConfiguration || e.Outcome != client.Rejected {
				t.Fatalf("got %v, %v", c, err)
			}
			// A sentence that says how to mend it, and nothing of what was configured.
			text := err.Error()
			if _, sentence, _ := strings.Cut(text, "): "); !strings.Contains(sentence, " ") {
				t.Errorf("it only says %q", text)
			}
			for _, part := range []string{secretCanary, "password", cfg.RedirectURI} {
				if part != "" && strings.Contains(text, part) {
					t.Errorf("%q repeats %q", text, part)
				}
			}
		})
	}
}

func TestConfigAccepted(t *testing.T) {
	for name, change := range map[string]func(*client.Config){
		"as it is":                     func(*client.Config) {},
		"loopback redirect by address": func(c *client.Config) { c.RedirectURI = "http://127.0.0.1:8080/cb" },
		"loopback redirect of IPv6":    func(c *client.Config) { c.RedirectURI = "http://[::1]:8080/cb" },
		"loopback redirect by name":    func(c *client.Config) { c.RedirectURI = "http://localhost:8080/cb" },
		"loopback with TLS":            func(c *client.Config) { c.RedirectURI = "https://localhost/cb" },
		"redirect to the root":         func(c *client.Config) { c.RedirectURI = "https://rp.example/" },
		"redirect with a query":        func(c *client.Config) { c.RedirectURI = "https://rp.example/cb?t=7&u=a%20b" },
		"redirect with a port":         func(c *client.Config) { c.RedirectURI = "https://rp.example:8443/cb" },
		"loopback issuer":              func(c *client.Config) { c.Issuer = "http://localhost:9998" },
		"issuer with path and slash":   func(c *client.Config) { c.Issuer = "https://as.example/tenant/" },
		"the longest limits": func(c *client.Config) {
			c.Leeway, c.Timeout, c.LoginTimeout = 120*time.Second, 30*time.Second, 30*time.Minute
		},
		"the shortest limits": func(c *client.Config) { c.Leeway, c.Timeout, c.LoginTimeout = 1, 1, 1 },
		"endpoint hosts":      func(c *client.Config) { c.EndpointHosts = []string{"api.example", "api.example:8443", "[::1]:1"} },
		"HMAC": func(c *client.Config) {
			c.Quirks.AllowHMAC, c.IDTokenAlgorithms = true, []string{"HS256"}
			c.Authentication = client.SecretPost(client.Secret(strings.Repeat("s", 32)))
		},
		"HMAC with a secret that is not there yet": func(c *client.Config) {
			c.Quirks.AllowHMAC, c.IDTokenAlgorithms = true, []string{"HS256"}
			c.Authentication = client.SecretPost(client.SecretFile("/nowhere"))
		},
	} {
		t.Run(name, func(t *testing.T) { offline(t, change) })
	}
	c := offline(t, func(c *client.Config) {
		c.Name, c.PostLogoutRedirectURI, c.ResponseMode = "go-1_A", loggedOut, client.FormPost
	})
	if c.Name() != "go-1_A" || c.Issuer() != issuer || c.ClientID() != "app" || c.RedirectURI() != callback || c.PostLogoutRedirectURI() != loggedOut || c.ResponseMode() != client.FormPost {
		t.Errorf("%v", c)
	}
}

// What New has checked is what is used: a caller that changes its slices and maps afterwards changes nothing.
func TestConfigIsCopied(t *testing.T) {
	extra := url.Values{"audience": {"api"}}
	scopes := []string{"openid", "email"}
	profile := &client.Profile{URL: "https://as.example/user"}
	scenario(t, "maps and slices", func(b *bench) {
		extra.Set("state", "evil")
		extra["audience"][0] = "evil"
		scopes[0] = "evil scope"
		profile.URL = "http://evil.example"
		q := query(b.T, b.begin(client.AuthorizationOptions{}).URL())
		if len(q["state"]) != 1 || q.Get("audience") != "api" || q.Get("scope") != "openid email" {
			b.Errorf("parameters are %v", q)
		}
		b.mustLogin(client.AuthorizationOptions{})
	}, func(s *setup) {
		s.client.AuthorizationParams, s.client.Scopes, s.client.Profile = extra, scopes, profile
	})
}

// ATK-S05: printed, a client and its configuration show no secret, wherever they stand.
func TestConfigIsSilent(t *testing.T) {
	cfg := client.Config{Issuer: issuer, ClientID: "app", Authentication: client.SecretBasic(client.Secret(secret)), RedirectURI: callback}
	c, err := client.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	hidden := struct {
		cfg    client.Config
		auth   client.Authentication
		client *client.Client
	}{cfg, cfg.Authentication, c}
	for name, v := range map[string]any{"Config": cfg, "*Config": &cfg, "Client": c, "Authentication": cfg.Authentication, "in unexported fields": hidden} {
		for _, text := range renderings2(v) {
			if strings.Contains(text, secretCanary) {
				t.Errorf("%s prints as %q", name, text)
			}
		}
	}
	if got := c.String(); got != "client app of "+issuer {
		t.Errorf("String is %q", got)
	}
}

// renderings2 is renderings without the value behind a pointer: a Client is not to be copied.
func renderings2(v any) []string {
	return renderings(struct{ V any }{v})
}

// ATK-S09: nothing in the environment weakens a client.
func TestEnvironment(t *testing.T) {
	for _, name := range []string{"SALLYPORT_INSECURE", "InsecureSkipVerify", "AllowHTTP", "SkipIssuerCheck", "SkipNonce", "OAUTHLIB_INSECURE_TRANSPORT"} {
		t.Setenv(name, "1")
	}
	if _, err := client.New(client.Config{Issuer: "http://as.example", ClientID: "app", Authentication: client.SecretBasic(client.Secret(secret)), RedirectURI: callback}); !errors.Is(err, client.ErrConfig) {
		t.Errorf("got %v", err)
	}
	scenario(t, "a login is held to its nonce", func(b *bench) {
		b.as.Misbehave(claim("nonce", nil))
		_, err := b.login(client.AuthorizationOptions{})
		b.failed(err, failure{code: client.ErrIDToken, reason: "nonce"})
	})
}
