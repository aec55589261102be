package main

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/client/authtest"
)

// The whole exchange without arguments, and nothing in the output that could be used.
func TestRunOnTheEmbeddedServer(t *testing.T) {
	var out bytes.Buffer
	if err := run(t.Context(), &out, options{scopes: "openid profile email offline_access", timeout: time.Minute}); err != nil {
		t.Fatal(err)
	}
	text := out.String()
	for _, want := range []string{
		"1. Discovery", "2. Authorization request", "3. Authorization response", "4. Token request", "5. Userinfo request",
		"6. Refresh request", "7. Revocation request", "code_challenge_method = S256", "= logged in", "rotated: true",
		"subject: user-alice", "email: \"alice@example.com\"", "token_type_hint = refresh_token",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the output lacks %q", want)
		}
	}
	long := regexp.MustCompile(`[A-Za-z0-9_-]{36,}`)
	for line := range strings.Lines(text) {
		_, value, _ := strings.Cut(line, ": ") // names of metadata are long, too
		if found := long.FindString(value); found != "" && !strings.Contains(line, "keys:") {
			t.Errorf("a secret that is not masked, in %q", line[:min(len(line), 40)])
		}
	}
}

// Against a server that somebody else runs: the redirect comes to the loopback
// listener, which then closes.
func TestRunAgainstAnIssuer(t *testing.T) {
	server := authtest.NewServer(authtest.Config{NoRotation: true, Clients: []authtest.Client{
		{ID: "cli", Secret: "s3cret", RedirectURIs: []string{"http://127.0.0.1/callback"}},
	}})
	defer server.Close()
	var out bytes.Buffer
	o := options{issuer: server.Issuer(), clientID: "cli", secret: "s3cret", scopes: "openid", auto: true, timeout: time.Minute}
	if err := run(t.Context(), &out, o); err != nil {
		t.Fatal(err)
	}
	if n := server.Requests(authtest.Token); n < 1 {
		t.Errorf("token requests: %d", n)
	}
	if strings.Contains(out.String(), "s3cret") {
		t.Error("the client secret is in the output")
	}
}

func TestRunFails(t *testing.T) {
	server := authtest.NewServer(authtest.Config{Clients: []authtest.Client{
		{ID: "cli", Secret: "s3cret", RedirectURIs: []string{"http://127.0.0.1/callback"}},
	}})
	defer server.Close()
	server.Misbehave(authtest.Fault{Endpoint: authtest.Authorize, Params: authtest.Deny("access_denied")})
	o := options{issuer: server.Issuer(), clientID: "cli", secret: "s3cret", scopes: "openid", auto: true, timeout: time.Minute}
	err := run(t.Context(), new(bytes.Buffer), o)
	if err == nil || !strings.Contains(err.Error(), "access_denied") {
		t.Errorf("got %v", err)
	}
	if n := server.Requests(authtest.Token); n != 0 {
		t.Errorf("token requests after a refusal: %d", n)
	}
}

// The loopback callback hears only its own address, path and method, once (RFC 8252 §8.3).
func TestCallback(t *testing.T) {
	s, err := newSetting(new(bytes.Buffer), options{scopes: "openid"})
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	host := s.listener.Addr().String()
	came := make(chan *http.Request, 1)
	send := func(method, host, path string) int {
		w := httptest.NewRecorder()
		r := httptest.NewRequestWithContext(context.Background(), method, path, nil)
		r.Host = host
		s.callback(w, r, came)
		return w.Code
	}
	for _, c := range []struct {
		name, method, host, path string
		want                     int
	}{
		{"rebound name", "GET", "evil.test", "/callback?code=x", 404},
		{"localhost", "GET", "localhost:" + strings.Split(host, ":")[1], "/callback?code=x", 404},
		{"other path", "GET", host, "/favicon.ico", 404},
		{"encoded path", "GET", host, "/%63allback?code=x", 404},
		{"method", "POST", host, "/callback?code=x", 405},
		{"right", "GET", host, "/callback?code=x", 200},
		{"second", "GET", host, "/callback?code=y", 409},
	} {
		if got := send(c.method, c.host, c.path); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
	if r := <-came; r.URL.Query().Get("code") != "x" {
		t.Error("not the first request")
	}
}

func TestMask(t *testing.T) {
	var out bytes.Buffer
	p := &printer{out: &out}
	secret := strings.Repeat("topsecret", 5)
	v := url.Values{"scope": {"openid"}}
	for _, name := range secrets {
		v[name] = []string{secret}
	}
	p.values(v)
	p.members([]byte(`{"access_token":"` + secret + `","id_token":"` + secret + `","expires_in":60}`))
	if strings.Contains(out.String(), "topsecrettop") || !strings.Contains(out.String(), "scope = openid") || !strings.Contains(out.String(), "expires_in: 60") {
		t.Errorf("printed %q", out.String())
	}
	if mask("short") != "…" {
		t.Error("a short secret must not show at all")
	}
}
