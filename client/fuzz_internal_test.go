package client

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/backchannel"
)

func fuzzClient(f *testing.F) *Client {
	f.Helper()
	c, err := New(Config{Issuer: "https://as.example", ClientID: "app", Authentication: SecretBasic(Secret("s")), RedirectURI: "https://app.example/cb?t=7"})
	if err != nil {
		f.Fatal(err)
	}
	return c
}

// ATK-S03, ATK-T14: no body makes the judge panic, and what it lets pass fits into a header and through x/oauth2.
func FuzzTokenResponse(f *testing.F) {
	for _, s := range []string{
		`{"access_token":"a","token_type":"Bearer","expires_in":3600,"scope":"a b","refresh_token":"r","id_token":"x.y.z"}`,
		`{"access_token":"a\"\\b","token_type":"bearer","expires_in":"12","scope":["a"]}`, `{"error":"invalid_grant","error_description":"\u0000"}`,
		`access_token=a&token_type=bearer&expires_in=9&scope=a,b`, `{"error":{}}`, `{}`, ``,
	} {
		for flags := range uint8(8) {
			f.Add([]byte(s), flags, 200)
		}
	}
	f.Fuzz(func(t *testing.T, body []byte, flags uint8, status int) {
		q := Quirks{MissingTokenType: flags&1 != 0, StringExpiresIn: flags&2 != 0, ScopeArray: flags&2 != 0, ScopeComma: flags&1 != 0, FormTokenResponse: flags&4 != 0}
		ct := "application/json"
		if flags&4 != 0 {
			ct = "application/x-www-form-urlencoded"
		}
		r, err := judgeTokenResponse(&backchannel.Response{Status: status, Header: http.Header{"Content-Type": {ct}}, Body: body}, q, false)
		if err != nil {
			e, ok := err.(*Error)
			if !ok || r != nil && e.Code == "" || strings.ContainsAny(e.Error(), "\r\n\x00\x1b") {
				t.Errorf("%v", err)
			}
			return
		}
		if status != http.StatusOK || r.tokenType != "Bearer" || !isVSCHAR(string(r.accessToken)) || r.expiresIn < 0 || r.expiresIn > maxExpiresIn || r.expiresSaid != (r.expiresIn != 0) {
			t.Errorf("accepted %+v", r)
		}
		for _, s := range [...]Secret{r.refreshToken, r.idToken} {
			if s != "" && !isVSCHAR(string(s)) {
				t.Errorf("accepted %+v", r)
			}
		}
		var plain struct {
			AccessToken  string `json:"access_token"`
			RefreshToken string `json:"refresh_token"`
		}
		if err := json.Unmarshal(r.plainJSON(), &plain); err != nil || plain.AccessToken != string(r.accessToken) || plain.RefreshToken != string(r.refreshToken) {
			t.Errorf("x/oauth2 would read %+v, %v", plain, err)
		}
	})
}

// ATK-S03, ATK-D12: no document makes the reader panic, and no endpoint that it lets pass is one that may not be called.
func FuzzMetadata(f *testing.F) {
	c := fuzzClient(f)
	for _, endpoint := range []string{"https://as.example/token", "http://as.example/token", "https://as.example@evil.example/", `https://as.example\@evil`, "https://login.as.example:8443/x?y=1"} {
		f.Add(`{"issuer":"https://as.example","authorization_endpoint":"https://as.example/a","jwks_uri":"https://as.example/j","code_challenge_methods_supported":["S256"],"token_endpoint":`+quoted(endpoint)+`}`, endpoint)
	}
	f.Fuzz(func(t *testing.T, doc, endpoint string) {
		if c.endpointAllowed(endpoint) {
			u, err := url.Parse(endpoint)
			if err != nil || u.Scheme != "https" || u.User != nil || u.Fragment != "" || strings.ToLower(u.Hostname()) != "as.example" && !strings.HasSuffix(strings.ToLower(u.Hostname()), ".as.example") {
				t.Errorf("allowed %q", endpoint)
			}
			if _, err := http.NewRequest(http.MethodPost, endpoint, nil); err != nil {
				t.Errorf("allowed %q, which cannot be asked: %v", endpoint, err)
			}
		}
		m, err := c.parseMetadata([]byte(doc))
		if err != nil {
			if m != nil {
				t.Error("metadata beside the error")
			}
			return
		}
		if m.Issuer != c.cfg.Issuer || !c.endpointAllowed(m.TokenEndpoint) || !c.endpointAllowed(m.AuthorizationEndpoint) || !c.endpointAllowed(m.JWKSURI) {
			t.Errorf("accepted %+v", m)
		}
	})
}

func quoted(s string) string {
	b, _ := json.Marshal(s)
	return string(b)
}

// ATK-S03, ATK-L35: no query makes the parser panic, and what passes CheckResponse is a code or an error for this very login.
func FuzzAuthorizationResponse(f *testing.F) {
	c := fuzzClient(f)
	req := &AuthorizationRequest{pendingLogin: pendingLogin{state: "SV", issuer: c.cfg.Issuer, clientID: "app", redirectURI: c.cfg.RedirectURI, created: time.Now(), issRequired: true}}
	for _, q := range []string{"t=7&code=C1&state=SV&iss=https%3A%2F%2Fas.example", "t=7&error=x&state=SV&iss=https://as.example", "code=C1&code=C2", "response=x", "t=8&state=SV", "%zz", "a;b"} {
		f.Add(q)
	}
	f.Fuzz(func(t *testing.T, q string) {
		resp, err := c.AuthorizationResponse(&http.Request{Method: http.MethodGet, URL: &url.URL{RawQuery: q}})
		if err != nil {
			if resp != nil {
				t.Error("a response beside the error")
			}
			return
		}
		req.created = c.now()
		if c.CheckResponse(req, resp) != nil {
			return
		}
		v, err := url.ParseQuery(q)
		if err != nil || len(v["state"]) != 1 || v.Get("state") != "SV" || len(v["iss"]) != 1 || v.Get("iss") != c.cfg.Issuer || len(v["t"]) != 1 || v.Get("t") != "7" || (v.Get("code") == "") == (v.Get("error") == "") {
			t.Errorf("accepted %q", q)
		}
	})
}

// ATK-R08: a redirect URI that is accepted is what a browser and net/http make of it.
func FuzzRedirectURI(f *testing.F) {
	for _, s := range []string{"https://app.example/cb", "https://app.example/cb?t=7", "http://127.0.0.1:8080/cb", "https://app.example/a/../b", "https://app.example/#", "https://app.example:443/", "http://[::1]/x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if checkRedirectURI("RedirectURI", s) != nil {
			return
		}
		u, err := url.Parse(s)
		if err != nil || u.String() != s && u.String() != strings.TrimSuffix(s, "?") && u.RawQuery == "" || u.User != nil || u.Fragment != "" || u.Scheme != "https" && !isLoopback(u.Hostname()) || !strings.HasPrefix(u.Path, "/") {
			t.Errorf("accepted %q, which is %q", s, u)
		}
		r, err := http.NewRequest(http.MethodGet, s, nil)
		if err != nil || r.URL.RequestURI() != u.RequestURI() {
			t.Errorf("accepted %q", s)
		}
	})
}
