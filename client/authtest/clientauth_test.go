package authtest_test

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/client/authtest"
)

func TestClientAuthentication(t *testing.T) {
	clients := []authtest.Client{
		app(),
		{ID: "only basic", Secret: secret, AuthMethod: "client_secret_basic", RedirectURIs: []string{callback}},
		{ID: "only-post", Secret: secret, AuthMethod: "client_secret_post", RedirectURIs: []string{callback}},
		{ID: "public", RedirectURIs: []string{callback}},
	}
	g := newRig(t, authtest.Config{Clients: clients})
	b64 := func(text string) string { return "Basic " + base64.StdEncoding.EncodeToString([]byte(text)) }
	basic := func(id, secret string) []string {
		return []string{b64(url.QueryEscape(id) + ":" + url.QueryEscape(secret))}
	}
	form := func(pairs ...string) url.Values {
		v := url.Values{}
		for i := 0; i < len(pairs); i += 2 {
			v.Add(pairs[i], pairs[i+1])
		}
		return v
	}
	for _, test := range []struct {
		name   string
		header []string
		form   url.Values
		status int // 200: authenticated
		err    string
	}{
		{"basic", basic("app", secret), form(), 200, ""},
		{"basic, lower-case scheme", []string{"basic" + basic("app", secret)[0][5:]}, form(), 200, ""},
		{"basic, with the same client_id", basic("app", secret), form("client_id", "app"), 200, ""},
		{"basic, percent-encoded to the last byte", []string{b64("%61pp:s3cret%20%3A%2B%25%26%C3%A9")}, form(), 200, ""},
		{"post", nil, form("client_id", "app", "client_secret", secret), 200, ""},
		{"pinned to basic", basic("only basic", secret), form(), 200, ""},
		{"pinned to post", nil, form("client_id", "only-post", "client_secret", secret), 200, ""},
		{"public", nil, form("client_id", "public"), 200, ""},
		{"an empty client_secret is none", nil, form("client_id", "public", "client_secret", ""), 200, ""},

		{"nothing", nil, form(), 401, "invalid_client"},
		{"wrong secret", basic("app", "other"), form(), 401, "invalid_client"},
		{"wrong secret by post", nil, form("client_id", "app", "client_secret", "other"), 401, "invalid_client"},
		{"unknown client", basic("stranger", secret), form(), 401, "invalid_client"},
		{"unknown client without secret", nil, form("client_id", "stranger"), 401, "invalid_client"},
		{"confidential client without secret", nil, form("client_id", "app"), 401, "invalid_client"},
		{"public client with a secret", nil, form("client_id", "public", "client_secret", "x"), 401, "invalid_client"},
		{"public client with an empty basic secret", []string{b64("public:")}, form(), 401, "invalid_client"},
		{"not pinned to post", nil, form("client_id", "only basic", "client_secret", secret), 401, "invalid_client"},
		{"not pinned to basic", basic("only-post", secret), form(), 401, "invalid_client"},
		// RFC 6749 §2.3.1
		{"basic without form encoding", []string{b64("app:" + secret)}, form(), 401, "invalid_client"},
		{"basic with the colon left bare", []string{b64("app:s3cret+:%2B%25%26%C3%A9")}, form(), 401, "invalid_client"},
		{"basic with a bare percent", []string{b64("app:100%")}, form(), 401, "invalid_client"},
		{"basic without colon", []string{b64("app")}, form(), 401, "invalid_client"},
		{"basic that is no base64", []string{"Basic !"}, form(), 401, "invalid_client"},
		{"another scheme", []string{"Bearer x"}, form(), 401, "invalid_client"},
		// OAuth 2.1 §2.4
		{"two methods", basic("app", secret), form("client_id", "app", "client_secret", secret), 400, "invalid_request"},
		{"two headers", append(basic("app", secret), basic("app", secret)...), form(), 400, "invalid_request"},
		{"an assertion", nil, form("client_id", "app", "client_assertion", "x"), 400, "invalid_request"},
		{"two client identifiers", basic("app", secret), form("client_id", "public"), 400, "invalid_request"},
		{"a parameter twice", basic("app", secret), form("client_id", "app", "client_id", "app"), 400, "invalid_request"},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.form.Set("token", "unknown")
			r, err := http.NewRequestWithContext(t.Context(), "POST", g.endpoint("revoke"), strings.NewReader(test.form.Encode()))
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
			r.Header["Authorization"] = test.header
			resp, body := g.do(r)
			if resp.StatusCode != test.status {
				t.Fatalf("%d %s", resp.StatusCode, body)
			}
			if test.err == "" {
				return
			}
			if m := object(t, body); m["error"] != test.err {
				t.Errorf("%v", m)
			}
			// RFC 6749 §5.2
			if challenged := resp.Header.Get("WWW-Authenticate") != ""; challenged != (test.status == 401) {
				t.Errorf("challenge %q", resp.Header.Get("WWW-Authenticate"))
			}
			if resp.Header.Get("Cache-Control") != "no-store" {
				t.Error("an error may be cached")
			}
		})
	}
}

func TestTokenRequestShape(t *testing.T) {
	g := newRig(t, authtest.Config{})
	verifier := newVerifier()
	code := g.authorize(g.request(verifier)).Get("code")
	form := codeForm(code, verifier)
	for _, name := range []string{"client_id", "client_secret", "code", "code_verifier", "grant_type", "refresh_token", "token"} {
		r := g.postRequest("token", form)
		r.URL.RawQuery = name + "=x"
		if resp, body := g.do(r); resp.StatusCode != 400 || object(t, body)["error"] != "invalid_request" {
			t.Errorf("%s in the URL: %d %s", name, resp.StatusCode, body)
		}
	}
	for _, contentType := range []string{"application/json", "multipart/form-data; boundary=x", "", "application/x-www-form-urlencoded;;"} {
		r := g.postRequest("token", form)
		r.Header.Set("Content-Type", contentType)
		if resp, body := g.do(r); resp.StatusCode != 400 || object(t, body)["error"] != "invalid_request" {
			t.Errorf("%q: %d %s", contentType, resp.StatusCode, body)
		}
	}
	broken := g.postRequest("token", url.Values{})
	broken.Body = http.NoBody
	if resp, _ := g.do(broken); resp.StatusCode != 400 {
		t.Errorf("empty body: %d", resp.StatusCode)
	}
	malformed, err := http.NewRequestWithContext(t.Context(), "POST", g.endpoint("token"), strings.NewReader("code=%zz"))
	if err != nil {
		t.Fatal(err)
	}
	malformed.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if resp, body := g.do(malformed); resp.StatusCode != 400 || object(t, body)["error"] != "invalid_request" {
		t.Errorf("malformed: %d %s", resp.StatusCode, body)
	}
	r := g.postRequest("token", form)
	r.URL.RawQuery = "tenant=7"
	if resp, body := g.do(r); resp.StatusCode != 200 {
		t.Errorf("a query part of the endpoint is the server's own: %d %s", resp.StatusCode, body)
	}
}
