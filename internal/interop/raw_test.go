package interop

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// TestServersByHand speaks to each server without this module's client: it shows that the servers, their
// registrations and the agent work, so that a failure of the matrix is one of the client.
func TestServersByHand(t *testing.T) {
	const redirectURI, loggedOut = "http://127.0.0.1:1/callback", "http://127.0.0.1:1/logged-out"
	clients := readClients(t)
	for _, p := range products {
		t.Run(p.name, func(t *testing.T) {
			issuer := p.start(t, []string{redirectURI}, []string{loggedOut})
			for _, c := range clients.Clients {
				t.Run(c.Method, func(t *testing.T) {
					h := newHand(t, issuer, c)
					alice := newAgent(t, clients.User, clients.Password)

					verifier := rand.Text() + rand.Text()
					challenge := sha256.Sum256([]byte(verifier))
					back := alice.navigate(h.metadata.Authorization+"?"+url.Values{
						"response_type": {"code"}, "client_id": {c.ID}, "redirect_uri": {redirectURI},
						"scope": {"openid email offline_access"}, "state": {"s1"}, "nonce": {"n1"}, "prompt": {"consent"},
						"code_challenge": {base64.RawURLEncoding.EncodeToString(challenge[:])}, "code_challenge_method": {"S256"},
					}.Encode(), redirectURI).url.Query()
					if back.Get("state") != "s1" || back.Get("code") == "" {
						t.Fatalf("authorization response has error %q, state %q, code present: %t",
							back.Get("error"), back.Get("state"), back.Has("code"))
					}
					if got := back.Get("iss"); p.issuesIss && got != issuer || !p.issuesIss && got != "" {
						t.Errorf("iss = %q", got)
					}

					first := h.token(url.Values{"grant_type": {"authorization_code"}, "code": {back.Get("code")},
						"redirect_uri": {redirectURI}, "code_verifier": {verifier}}, http.StatusOK)
					if first.IDToken == "" {
						t.Error("no ID token")
					}
					if status := h.userInfo(first.Access); status != http.StatusOK {
						t.Errorf("userinfo: status %d", status)
					}
					second := h.token(url.Values{"grant_type": {"refresh_token"}, "refresh_token": {first.Refresh}}, http.StatusOK)
					if second.Refresh == "" || second.Refresh == first.Refresh {
						t.Error("the refresh token was not rotated")
					}
					h.post(h.metadata.Revocation, url.Values{"token": {second.Refresh}, "token_type_hint": {"refresh_token"}}, http.StatusOK)
					h.token(url.Values{"grant_type": {"refresh_token"}, "refresh_token": {second.Refresh}}, http.StatusBadRequest)

					end := alice.navigate(h.metadata.EndSession+"?"+url.Values{"id_token_hint": {first.IDToken},
						"post_logout_redirect_uri": {loggedOut}, "state": {"s2"}}.Encode(), loggedOut).url
					if end.Query().Get("state") != "s2" {
						t.Errorf("came back from logout to %s", end)
					}
				})
			}
		})
	}
}

// hand is a client that checks nothing.
type hand struct {
	t        *testing.T
	c        registration
	metadata struct {
		Authorization string `json:"authorization_endpoint"`
		Token         string `json:"token_endpoint"`
		UserInfo      string `json:"userinfo_endpoint"`
		Revocation    string `json:"revocation_endpoint"`
		EndSession    string `json:"end_session_endpoint"`
	}
}

type handTokens struct {
	Access  string `json:"access_token"`
	Refresh string `json:"refresh_token"`
	IDToken string `json:"id_token"`
}

func newHand(t *testing.T, issuer string, c registration) *hand {
	t.Helper()
	h := &hand{t: t, c: c}
	resp, err := http.Get(issuer + "/.well-known/openid-configuration")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&h.metadata); err != nil {
		t.Fatal(err)
	}
	return h
}

func (h *hand) post(endpoint string, form url.Values, want int) []byte {
	h.t.Helper()
	if h.c.Method == "client_secret_post" {
		form.Set("client_id", h.c.ID)
		form.Set("client_secret", h.c.Secret)
	}
	req, err := http.NewRequest(http.MethodPost, endpoint, strings.NewReader(form.Encode()))
	if err != nil {
		h.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if h.c.Method == "client_secret_basic" {
		req.SetBasicAuth(h.c.ID, h.c.Secret)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		h.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		h.t.Fatal(err)
	}
	if resp.StatusCode != want {
		h.t.Fatalf("POST %s with grant %q: status %d, want %d", endpoint, form.Get("grant_type"), resp.StatusCode, want)
	}
	return b
}

func (h *hand) token(form url.Values, want int) handTokens {
	h.t.Helper()
	var tokens handTokens
	if err := json.Unmarshal(h.post(h.metadata.Token, form, want), &tokens); err != nil {
		h.t.Fatal(err)
	}
	return tokens
}

func (h *hand) userInfo(accessToken string) int {
	h.t.Helper()
	req, err := http.NewRequest(http.MethodGet, h.metadata.UserInfo, nil)
	if err != nil {
		h.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+accessToken)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		h.t.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode
}
