package authtest_test

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

	"github.com/go-jose/go-jose/v4"

	"github.com/sallyport/sallyport/client/authtest"
)

const (
	callback   = "https://app.example/auth/callback"
	postLogout = "https://app.example/auth/logout/callback"
	secret     = "s3cret :+%&é"
)

// rig is a server and what a client does to it with plain net/http.
type rig struct {
	t    *testing.T
	as   *authtest.Server
	http *http.Client
	id   string
	// secretless sends client_id alone.
	secretless bool
}

func app() authtest.Client {
	return authtest.Client{
		ID: "app", Secret: secret,
		RedirectURIs:           []string{callback, callback + "?t=7"},
		PostLogoutRedirectURIs: []string{postLogout},
	}
}

// newRig makes a server without sockets.
func newRig(t *testing.T, cfg authtest.Config) *rig {
	t.Helper()
	if cfg.Issuer == "" {
		cfg.Issuer = "https://as.example"
	}
	if cfg.Clients == nil {
		cfg.Clients = []authtest.Client{app()}
	}
	as, err := authtest.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(as.Close)
	return &rig{t: t, as: as, id: "app", http: &http.Client{Transport: as.Transport(), CheckRedirect: noRedirect}}
}

func noRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// newWire makes a server with a socket.
func newWire(t *testing.T, cfg authtest.Config) *rig {
	t.Helper()
	if cfg.Clients == nil {
		cfg.Clients = []authtest.Client{app()}
	}
	as := authtest.NewServer(cfg)
	t.Cleanup(as.Close)
	tr := &http.Transport{DisableCompression: true}
	t.Cleanup(tr.CloseIdleConnections)
	return &rig{t: t, as: as, id: "app", http: &http.Client{Transport: tr, CheckRedirect: noRedirect}}
}

func (g *rig) metadata() map[string]any {
	g.t.Helper()
	resp, body := g.get(strings.TrimSuffix(g.as.Issuer(), "/") + "/.well-known/openid-configuration")
	if resp.StatusCode != http.StatusOK {
		g.t.Fatalf("metadata: %d", resp.StatusCode)
	}
	return object(g.t, body)
}

func (g *rig) endpoint(name string) string {
	return strings.TrimSuffix(g.as.Issuer(), "/") + "/" + name
}

func (g *rig) get(target string) (*http.Response, []byte) {
	g.t.Helper()
	r, err := http.NewRequestWithContext(g.t.Context(), "GET", target, nil)
	if err != nil {
		g.t.Fatal(err)
	}
	return g.do(r)
}

func (g *rig) do(r *http.Request) (*http.Response, []byte) {
	g.t.Helper()
	resp, err := g.http.Do(r)
	if err != nil {
		g.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		g.t.Fatal(err)
	}
	return resp, body
}

func object(t *testing.T, body []byte) map[string]any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal(body, &m); err != nil {
		t.Fatalf("no JSON object: %v: %q", err, body)
	}
	return m
}

func s256(verifier string) string {
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

func newVerifier() string { return rand.Text() + rand.Text() }

// request is an authorization URL; overrides with no value remove a parameter.
func (g *rig) request(verifier string, overrides ...string) string {
	v := url.Values{
		"client_id": {g.id}, "redirect_uri": {callback}, "response_type": {"code"}, "state": {"the state"},
		"nonce": {"the nonce"}, "scope": {"openid profile email offline_access"},
		"code_challenge": {s256(verifier)}, "code_challenge_method": {"S256"},
	}
	for i := 0; i < len(overrides); i += 2 {
		if v.Del(overrides[i]); overrides[i+1] != "" {
			v.Set(overrides[i], overrides[i+1])
		}
	}
	return g.endpoint("authorize") + "?" + v.Encode()
}

func (g *rig) authorize(target string) url.Values {
	g.t.Helper()
	answer, err := g.as.Authorize(g.t.Context(), target)
	if err != nil {
		g.t.Fatal(err)
	}
	return answer.Params
}

// post sends a form, authenticated with client_secret_basic.
func (g *rig) postRequest(endpoint string, form url.Values) *http.Request {
	g.t.Helper()
	if g.secretless {
		form.Set("client_id", g.id)
	}
	r, err := http.NewRequestWithContext(g.t.Context(), "POST", g.endpoint(endpoint), strings.NewReader(form.Encode()))
	if err != nil {
		g.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if !g.secretless {
		r.SetBasicAuth(url.QueryEscape(g.id), url.QueryEscape(secret))
	}
	return r
}

func (g *rig) post(endpoint string, form url.Values) (int, map[string]any) {
	g.t.Helper()
	resp, body := g.do(g.postRequest(endpoint, form))
	if len(body) == 0 {
		return resp.StatusCode, nil
	}
	return resp.StatusCode, object(g.t, body)
}

func codeForm(code, verifier string) url.Values {
	return url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {callback}, "code_verifier": {verifier}}
}

func refreshForm(token any) url.Values {
	text, _ := token.(string)
	return url.Values{"grant_type": {"refresh_token"}, "refresh_token": {text}}
}

// logIn goes all the way to tokens.
func (g *rig) logIn(overrides ...string) map[string]any {
	g.t.Helper()
	verifier := newVerifier()
	params := g.authorize(g.request(verifier, overrides...))
	if params.Get("error") != "" {
		g.t.Fatalf("authorization: %v", params)
	}
	status, tokens := g.post("token", codeForm(params.Get("code"), verifier))
	if status != http.StatusOK {
		g.t.Fatalf("token: %d %v", status, tokens)
	}
	return tokens
}

func (g *rig) keys() *jose.JSONWebKeySet {
	g.t.Helper()
	_, body := g.get(g.endpoint("jwks"))
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(body, &set); err != nil {
		g.t.Fatal(err)
	}
	return &set
}

// verify checks a JWT against the published keys and returns its claims.
func (g *rig) verify(compact any, alg jose.SignatureAlgorithm) map[string]any {
	g.t.Helper()
	text, _ := compact.(string)
	signed, err := jose.ParseSignedCompact(text, []jose.SignatureAlgorithm{alg})
	if err != nil {
		g.t.Fatal(err)
	}
	keys := g.keys().Key(signed.Signatures[0].Header.KeyID)
	if len(keys) != 1 || keys[0].Algorithm != string(alg) || keys[0].Use != "sig" || !keys[0].IsPublic() {
		g.t.Fatalf("keys: %+v", keys)
	}
	payload, err := signed.Verify(keys[0])
	if err != nil {
		g.t.Fatal(err)
	}
	return object(g.t, payload)
}

func (g *rig) userInfo(token any) (*http.Response, []byte) {
	g.t.Helper()
	text, _ := token.(string)
	r, err := http.NewRequestWithContext(g.t.Context(), "GET", g.endpoint("userinfo"), nil)
	if err != nil {
		g.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+text)
	return g.do(r)
}

// mustActive asserts which tokens live.
func (g *rig) active(token any, want bool) {
	g.t.Helper()
	text, _ := token.(string)
	if got := g.as.Active(text); got != want {
		g.t.Errorf("active = %v, want %v", got, want)
	}
}
