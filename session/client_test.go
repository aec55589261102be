package session

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/client"
)

// provider is the network of a real client: metadata, and a token endpoint that rotates.
type provider struct{ refreshes int }

func (p *provider) RoundTrip(r *http.Request) (*http.Response, error) {
	body := `{"issuer":"` + testIssuer + `","authorization_endpoint":"` + testIssuer + `/authorize","token_endpoint":"` + testIssuer + `/token",
		"jwks_uri":"` + testIssuer + `/jwks","response_types_supported":["code"],"subject_types_supported":["public"],
		"id_token_signing_alg_values_supported":["ES256"],"code_challenge_methods_supported":["S256"]}`
	if r.URL.Path == "/token" {
		p.refreshes++
		body = `{"access_token":"access-new","token_type":"Bearer","expires_in":3600,"refresh_token":"refresh-new","scope":"openid profile"}`
	}
	return &http.Response{
		StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}}, Request: r,
		Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body)),
	}, nil
}

func testClientFor(t *testing.T, now func() time.Time) (*client.Client, *provider) {
	t.Helper()
	p := new(provider)
	c, err := client.New(client.Config{
		Issuer: testIssuer, ClientID: testClient, Authentication: client.SecretBasic(client.Secret("secret")),
		RedirectURI: testOrigin + "/auth/callback", Scopes: []string{"openid", "profile"}, Transport: p, Now: now,
	})
	if err != nil {
		t.Fatal(err)
	}
	return c, p
}

// begin makes an authorization request.
func begin(t *testing.T, c *client.Client) *client.AuthorizationRequest {
	t.Helper()
	req, err := c.AuthorizationRequest(context.Background(), client.AuthorizationOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return req
}

func TestWithRealClient(t *testing.T) {
	b := newBed(t, Config{})
	c, p := testClientFor(t, b.clock.now)
	br := newBrowser(t)
	br.do(func(w http.ResponseWriter, r *http.Request) {
		s, err := b.Create(w, r, c, nil, testTokens("alice", 1, b.clock.now().Add(10*time.Minute)))
		if err != nil || s.Subject() != "alice" || s.Issuer() != testIssuer || s.ClientID() != testClient || s.TokenGeneration() != 1 {
			t.Fatalf("%v", err)
		}
	})
	use := func(f func(http.ResponseWriter, *http.Request, *client.Client, *Session) (*Session, error), want string, calls int) {
		t.Helper()
		br.do(func(w http.ResponseWriter, r *http.Request) {
			s, err := b.Load(r)
			if err != nil {
				t.Fatal(err)
			}
			if s, err = f(w, r, c, s); err != nil || string(s.AccessToken()) != want || p.refreshes != calls {
				t.Fatalf("%v, %d calls", err, p.refreshes)
			}
		})
	}
	use(b.Fresh, "access-1", 0)
	b.clock.add(9*time.Minute + time.Second) // a tenth of ten minutes before the end, it is due
	use(b.Fresh, "access-new", 1)
	use(b.Fresh, "access-new", 1)
	use(b.Renew, "access-new", 2)
	if s := b.load(br); s.TokenGeneration() != 3 || s.Token().RefreshToken != "refresh-new" {
		t.Fatalf("generation %d", s.TokenGeneration())
	}
}
