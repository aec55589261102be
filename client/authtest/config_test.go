package authtest_test

import (
	"maps"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/client/authtest"
)

func TestNewRefusesBadConfigurations(t *testing.T) {
	ok := func() authtest.Config { return authtest.Config{Issuer: "https://as.example"} }
	tests := map[string]struct {
		edit func(*authtest.Config)
		want string
	}{
		"no issuer":                 {func(c *authtest.Config) { c.Issuer = "" }, "issuer"},
		"relative issuer":           {func(c *authtest.Config) { c.Issuer = "/tenant" }, "issuer"},
		"issuer with query":         {func(c *authtest.Config) { c.Issuer = "https://as.example/?a" }, "issuer"},
		"issuer with bare fragment": {func(c *authtest.Config) { c.Issuer = "https://as.example/#" }, "issuer"},
		"issuer with userinfo":      {func(c *authtest.Config) { c.Issuer = "https://me@as.example" }, "issuer"},
		"issuer of another scheme":  {func(c *authtest.Config) { c.Issuer = "ftp://as.example" }, "issuer"},
		"TLS without a listener":    {func(c *authtest.Config) { c.TLS = true }, "NewServer"},
		"path without a listener":   {func(c *authtest.Config) { c.IssuerPath = "/x" }, "NewServer"},
		"unknown algorithm":         {func(c *authtest.Config) { c.Algorithm = "HS256" }, "Algorithm"},
		"user without subject":      {func(c *authtest.Config) { c.Users = []authtest.User{{}} }, "Subject"},
		"two users with one subject": {func(c *authtest.Config) {
			c.Users = []authtest.User{{Subject: "a"}, {Subject: "a"}}
		}, "same Subject"},
		"negative lifetime":          {func(c *authtest.Config) { c.CodeLifetime = -1 }, "negative"},
		"negative grace":             {func(c *authtest.Config) { c.RotationGrace = -1 }, "negative"},
		"two clients with one ID":    {func(c *authtest.Config) { c.Clients = []authtest.Client{app(), app()} }, "same ID"},
		"a client that is no client": {func(c *authtest.Config) { c.Clients = []authtest.Client{{}} }, "no ID"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			cfg := ok()
			test.edit(&cfg)
			if _, err := authtest.New(cfg); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v does not speak of %q", err, test.want)
			}
		})
	}
	if _, err := authtest.New(ok()); err != nil {
		t.Errorf("the zero value: %v", err)
	}
}

func TestRegisterRefusesBadClients(t *testing.T) {
	g := newRig(t, authtest.Config{})
	tests := map[string]struct {
		edit func(*authtest.Client)
		want string
	}{
		"no ID":                   {func(c *authtest.Client) { c.ID = "" }, "ID"},
		"unknown method":          {func(c *authtest.Client) { c.AuthMethod = "private_key_jwt" }, "AuthMethod"},
		"method without secret":   {func(c *authtest.Client) { c.AuthMethod, c.Secret = "client_secret_post", "" }, "Secret"},
		"unknown ID token alg":    {func(c *authtest.Client) { c.IDTokenAlgorithm = "none" }, "algorithm"},
		"unknown userinfo alg":    {func(c *authtest.Client) { c.UserInfoAlgorithm = "HS256" }, "algorithm"},
		"relative redirect":       {func(c *authtest.Client) { c.RedirectURIs = []string{"/cb"} }, "absolute"},
		"redirect with fragment":  {func(c *authtest.Client) { c.RedirectURIs = []string{"https://app.example/#f"} }, "fragment"},
		"redirect that is no URL": {func(c *authtest.Client) { c.RedirectURIs = []string{"https://app.example/%zz"} }, "absolute"},
		"logout target, relative": {func(c *authtest.Client) { c.PostLogoutRedirectURIs = []string{"bye"} }, "absolute"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			c := app()
			c.Secret = "another"
			test.edit(&c)
			if err := g.as.Register(c); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v does not speak of %q", err, test.want)
			}
		})
	}
	g.logIn() // with the old secret: a refused registration changes nothing
}

func TestRegisterReplaces(t *testing.T) {
	g := newRig(t, authtest.Config{})
	c := app()
	c.RedirectURIs = []string{"https://other.example/cb"}
	if err := g.as.Register(c); err != nil {
		t.Fatal(err)
	}
	c.RedirectURIs[0] = callback // the server has its own copy
	if _, err := g.as.Authorize(t.Context(), g.request(newVerifier())); err == nil {
		t.Error("the old redirect URI still works")
	}
}

func TestRedirectURIs(t *testing.T) {
	c := app()
	c.RedirectURIs = []string{callback, "http://127.0.0.1/cb", "http://[::1]/cb", "http://127.0.0.1:8080/fixed", "http://localhost/cb"}
	g := newRig(t, authtest.Config{Clients: []authtest.Client{c}})
	for uri, want := range map[string]bool{
		callback:          true,
		callback + "/":    false,
		callback + "?x=1": false,
		strings.ToUpper(callback[:5]) + callback[5:]: false,
		"https://app.example:443/auth/callback":      false,
		"https://app.example/auth/./callback":        false,
		"":                                           false,
		// RFC 8252 §7.3: any port, but nothing else may vary.
		"http://127.0.0.1:1234/cb":      true,
		"http://[::1]:1234/cb":          true,
		"http://127.0.0.1/cb":           true,
		"http://127.0.0.1:/cb":          false,
		"http://127.0.0.1:12x/cb":       false,
		"http://127.0.0.1:1234/cb/":     false,
		"http://127.0.0.1:1@evil/cb":    false,
		"http://127.0.0.1:9090/fixed":   false,
		"http://127.0.0.1:8080/fixed":   true,
		"http://localhost:1234/cb":      false,
		"http://127.0.0.1.evil:1234/cb": false,
		"http://127.0.0.1:1234.evil/cb": false,
	} {
		_, err := g.as.Authorize(t.Context(), g.request(newVerifier(), "redirect_uri", uri))
		if (err == nil) != want {
			t.Errorf("%q: %v", uri, err)
		}
	}
}

func TestUsersAreCopied(t *testing.T) {
	groups := []any{"staff", map[string]any{"name": "ops"}}
	claims := map[string]any{"groups": groups, "roles": []string{"admin"}, "address": map[string]any{"locality": "Bern"}}
	g := newRig(t, authtest.Config{Users: []authtest.User{{Subject: "u", Claims: claims}}})
	groups[0], claims["roles"].([]string)[0], claims["address"].(map[string]any)["locality"] = "x", "x", "x"
	groups[1].(map[string]any)["name"] = "x"
	// And an edit by a fault stays with its answer.
	stop := g.as.Misbehave(authtest.Fault{Endpoint: authtest.Token, JWT: func(j *authtest.JWT) {
		j.Claims["groups"].([]any)[1].(map[string]any)["name"] = "edited"
	}})
	first := g.verify(g.logIn("scope", "openid")["id_token"], "ES256")
	stop()
	second := g.verify(g.logIn("scope", "openid")["id_token"], "ES256")
	if n := first["groups"].([]any)[1].(map[string]any)["name"]; n != "edited" {
		t.Errorf("the fault's edit is not there: %v", n)
	}
	if n := second["groups"].([]any); n[0] != "staff" || n[1].(map[string]any)["name"] != "ops" {
		t.Errorf("groups: %v", n)
	}
	if second["roles"].([]any)[0] != "admin" {
		t.Errorf("roles: %v", second["roles"])
	}
	if _, there := second["address"]; there {
		t.Error("address without the scope")
	}
}

func TestLifetimes(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	cfg := authtest.Config{
		Now: func() time.Time { return now }, CodeLifetime: time.Second,
		AccessTokenLifetime: 2 * time.Second, IDTokenLifetime: 3 * time.Second, RefreshTokenLifetime: 4 * time.Second,
	}
	g := newRig(t, cfg)
	verifier := newVerifier()
	params := g.authorize(g.request(verifier))
	start := now
	if now = start.Add(time.Second); g.as.Active(params.Get("code")) {
		t.Error("the code outlives its time")
	}
	if status, body := g.post("token", codeForm(params.Get("code"), verifier)); status != 400 || body["error"] != "invalid_grant" {
		t.Errorf("an expired code: %d %v", status, body)
	}
	now = start
	tokens := g.logIn()
	claims := g.verify(tokens["id_token"], "ES256")
	if tokens["expires_in"] != 2.0 || claims["exp"].(float64)-claims["iat"].(float64) != 3 || claims["iat"] != float64(start.Unix()) {
		t.Errorf("%v %v", tokens["expires_in"], claims)
	}
	now = start.Add(2*time.Second - 1)
	g.active(tokens["access_token"], true)
	now = start.Add(2 * time.Second)
	g.active(tokens["access_token"], false)
	if resp, _ := g.userInfo(tokens["access_token"]); resp.StatusCode != 401 {
		t.Errorf("userinfo with an expired token: %d", resp.StatusCode)
	}
	now = start.Add(4*time.Second - 1)
	g.active(tokens["refresh_token"], true)
	now = start.Add(4 * time.Second)
	g.active(tokens["refresh_token"], false)
	if status, _ := g.post("token", refreshForm(tokens["refresh_token"])); status != 400 {
		t.Errorf("an expired refresh token: %d", status)
	}
}

func TestChosenUser(t *testing.T) {
	g := newRig(t, authtest.Config{})
	subject := func(overrides ...string) any { return g.verify(g.logIn(overrides...)["id_token"], "ES256")["sub"] }
	if s := subject(); s != "user-alice" {
		t.Errorf("first: %v", s)
	}
	if s := subject("login_hint", "bob@example.com"); s != "user-bob" {
		t.Errorf("hint by e-mail: %v", s)
	}
	if s := subject("login_hint", "carol"); s != "user-carol" {
		t.Errorf("hint by name: %v", s)
	}
	if s := subject("login_hint", "stranger"); s != "user-alice" {
		t.Errorf("unknown hint: %v", s)
	}
	g.as.SetUser("user-bob")
	if s := subject(); s != "user-bob" {
		t.Errorf("chosen: %v", s)
	}
	for _, nobody := range []string{"", "stranger"} {
		g.as.SetUser(nobody)
		if params := g.authorize(g.request(newVerifier())); params.Get("error") != "access_denied" || params.Has("code") {
			t.Errorf("nobody: %v", params)
		}
	}
}

func TestRedirectURIKeepsItsQuery(t *testing.T) {
	g := newRig(t, authtest.Config{})
	answer, err := g.as.Authorize(t.Context(), g.request(newVerifier(), "redirect_uri", callback+"?t=7"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(answer.URL, callback+"?t=7&") {
		t.Errorf("callback %q", answer.URL)
	}
	want := []string{"code", "iss", "state", "t"}
	if got := slices.Sorted(maps.Keys(answer.Params)); !slices.Equal(got, want) {
		t.Errorf("parameters %v", got)
	}
	if u, err := url.Parse(answer.URL); err != nil || u.Query().Get("state") != "the state" {
		t.Errorf("%v %v", u, err)
	}
}
