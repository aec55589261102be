package authtest_test

import (
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

type readCloser struct{ *strings.Reader }

func (readCloser) Close() error { return nil }
