package authtest_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/client/authtest"
)

// BenchmarkLogin is what a login costs on the server's side, browser included.
func BenchmarkLogin(b *testing.B) {
	as, err := authtest.New(authtest.Config{Issuer: "https://as.example", Clients: []authtest.Client{app()}})
	if err != nil {
		b.Fatal(err)
	}
	verifier := newVerifier()
	target := "https://as.example/authorize?" + url.Values{
		"client_id": {"app"}, "redirect_uri": {callback}, "response_type": {"code"}, "scope": {"openid offline_access"},
		"code_challenge": {s256(verifier)}, "code_challenge_method": {"S256"},
	}.Encode()
	transport := as.Transport()
	b.ReportAllocs()
	for b.Loop() {
		answer, err := as.Authorize(b.Context(), target)
		if err != nil {
			b.Fatal(err)
		}
		form := codeForm(answer.Params.Get("code"), verifier)
		form.Set("client_id", "app")
		form.Set("client_secret", secret)
		r, err := answer.Request(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		r.Method, r.URL.Scheme, r.URL.Host, r.URL.Path, r.URL.RawQuery = "POST", "https", "as.example", "/token", ""
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Body = readCloser{strings.NewReader(form.Encode())}
		resp, err := transport.RoundTrip(r)
		if err != nil || resp.StatusCode != 200 {
			b.Fatal(resp, err)
		}
		_ = resp.Body.Close()
	}
}

// BenchmarkRefresh is what a refresh costs the server, without the network and with it; with it the client is in the
// same process. Run it with -cpu 1 for what one core carries.
func BenchmarkRefresh(b *testing.B) {
	for _, alg := range []string{"ES256", "EdDSA", "RS256"} {
		b.Run(alg, func(b *testing.B) {
			as, err := authtest.New(authtest.Config{Issuer: "https://as.example", Algorithm: alg, Clients: []authtest.Client{app()}})
			if err != nil {
				b.Fatal(err)
			}
			refreshes(b, as, &http.Client{Transport: as.Transport()})
		})
	}
	b.Run("ES256 over TCP", func(b *testing.B) {
		as := authtest.NewServer(authtest.Config{Clients: []authtest.Client{app()}})
		defer as.Close()
		refreshes(b, as, &http.Client{Transport: &http.Transport{}})
	})
}

func refreshes(b *testing.B, as *authtest.Server, c *http.Client) {
	b.Helper()
	defer c.CloseIdleConnections()
	post := func(form url.Values) (tokens struct {
		RefreshToken string `json:"refresh_token"`
	}) {
		r, err := http.NewRequest("POST", as.Issuer()+"/token", strings.NewReader(form.Encode()))
		if err != nil {
			b.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.SetBasicAuth("app", url.QueryEscape(secret))
		resp, err := c.Do(r)
		if err != nil {
			b.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		if err := json.NewDecoder(resp.Body).Decode(&tokens); err != nil || tokens.RefreshToken == "" {
			b.Fatal(resp.Status, err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		return tokens
	}
	verifier := newVerifier()
	answer, err := as.Authorize(b.Context(), as.Issuer()+"/authorize?"+url.Values{
		"client_id": {"app"}, "redirect_uri": {callback}, "response_type": {"code"}, "scope": {"openid offline_access"},
		"code_challenge": {s256(verifier)}, "code_challenge_method": {"S256"},
	}.Encode())
	if err != nil {
		b.Fatal(err)
	}
	tokens := post(codeForm(answer.Params.Get("code"), verifier))
	b.ReportAllocs()
	for b.Loop() {
		tokens = post(refreshForm(tokens.RefreshToken))
	}
}

type readCloser struct{ *strings.Reader }

func (readCloser) Close() error { return nil }
