package interop

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sallyport/sallyport/client"
	"github.com/sallyport/sallyport/client/authtest"
)

// onAuthtest is an application on an authorization server in this process, which logs alice in without a word.
func onAuthtest(t *testing.T, transport http.RoundTripper) (*application, *authtest.Server) {
	t.Helper()
	app := listen(t)
	app.transport = transport
	reg := registration{ID: "app", Secret: "a-secret-to-look-for", Method: "client_secret_basic"}
	server := authtest.NewServer(authtest.Config{AccessTokenLifetime: 5 * time.Minute, Clients: []authtest.Client{{
		ID: reg.ID, Secret: reg.Secret,
		RedirectURIs:           []string{app.url + "/auth/callback"},
		PostLogoutRedirectURIs: []string{app.url + "/auth/logout/callback"},
	}}})
	t.Cleanup(server.Close)
	app.serve(t, server.Issuer(), reg, client.Query)
	return app, server
}

// ATK-D11: the issuer comes from the configuration. Nothing that a browser sends makes the application speak to another
// server, or send a user to one.
func TestIssuerIsNotTheBrowsersChoice(t *testing.T) {
	app, server := onAuthtest(t, nil)
	var visits atomic.Int64
	evil := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { visits.Add(1) }))
	t.Cleanup(evil.Close)

	follow := func(t *testing.T, address string) (status int, location string) {
		t.Helper()
		alice := newAgent(t, "", "")
		u, err := url.Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		p := alice.fetch(http.MethodGet, u, nil, nil)
		return p.status, p.header.Get("Location")
	}
	q := url.QueryEscape(evil.URL)
	for _, path := range []string{
		"/auth/login?issuer=" + q, "/auth/login?provider=" + q, "/auth/login?tenant=..%2F..%2Fevil", "/auth/login?client_id=evil&redirect_uri=" + q,
	} {
		status, location := follow(t, app.url+path)
		if status != http.StatusSeeOther || !strings.HasPrefix(location, server.Issuer()+"/") || strings.Contains(location, q) || strings.Contains(location, "evil") {
			t.Errorf("%s: status %d, to %s", path, status, location)
		}
	}
	for _, path := range []string{
		"/auth/login?iss=" + q, "/auth/login?iss=" + q + "&iss=" + url.QueryEscape(server.Issuer()), "/auth/login/evil", "/auth/login/..%2Fevil",
	} {
		if status, location := follow(t, app.url+path); status < 400 || status > 499 || location != "" {
			t.Errorf("%s: status %d, to %q", path, status, location)
		}
	}

	// The iss of a response is compared, not looked up.
	alice := newAgent(t, "", "")
	back := alice.navigate(app.url+"/auth/login", app.url+"/auth/callback").url
	params := back.Query()
	params.Set("iss", evil.URL)
	back.RawQuery = params.Encode()
	if p := alice.navigate(back.String(), ""); p.status < 400 || p.status > 499 {
		t.Errorf("callback with another iss: status %d", p.status)
	}
	if n := server.Requests(authtest.Token); n != 0 {
		t.Errorf("%d token requests after a foreign iss", n)
	}
	if n := visits.Load(); n != 0 {
		t.Errorf("%d requests to a server that nobody configured", n)
	}
}

// tracer sees what a tracing transport writes down of a request: method and URL.
type tracer struct {
	mu   sync.Mutex
	urls []string
}

func (tr *tracer) RoundTrip(r *http.Request) (*http.Response, error) {
	tr.mu.Lock()
	tr.urls = append(tr.urls, r.URL.String())
	tr.mu.Unlock()
	return http.DefaultTransport.RoundTrip(r)
}

// ATK-S06: a trace of the back channel and metrics made of the events hold no secret, and the labels are few: whoever
// logs in, kind, code and reason come from a fixed list of words.
func TestTracesAndMetrics(t *testing.T) {
	trace := &tracer{}
	app, server := onAuthtest(t, trace)
	alice := newAgent(t, "alice@example.com", "")
	secrets := []string{"a-secret-to-look-for"}
	keep := func(held tokens) { secrets = append(secrets, held.access, held.refresh) }

	alice.navigate(app.url+"/me", "")
	info := app.session(t, alice)
	keep(app.call(t, alice, "user-alice"))
	app.wind(info.AccessTokenExpiresAt.Add(-time.Second))
	keep(app.call(t, alice, "user-alice"))
	alice.submit(app.url+"/auth/logout", nil, "")
	alice.navigate(app.url+"/auth/callback?code=x&state=y&error_description=hostile%0Atext", "")
	for _, r := range server.Log(authtest.Authorize) {
		secrets = append(secrets, r.Query.Get("state"), r.Query.Get("nonce"))
	}
	for _, r := range server.Log(authtest.Token) {
		secrets = append(secrets, r.Form.Get("code"), r.Form.Get("code_verifier"))
	}
	for _, r := range server.Log(authtest.EndSession) {
		secrets = append(secrets, r.Query.Get("state"), r.Query.Get("id_token_hint"))
	}

	secrets = slices.DeleteFunc(secrets, func(s string) bool { return s == "" })
	if len(secrets) < 11 { // client secret, two pairs of tokens, state, nonce, code, verifier, logout state, hint
		t.Fatalf("only %d secrets to look for", len(secrets))
	}
	if len(trace.urls) < 6 { // metadata, token, keys, userinfo, refresh, revocation
		t.Fatalf("the tracer saw %q only", trace.urls)
	}
	for _, u := range trace.urls {
		if strings.ContainsAny(u, "?#@") {
			t.Errorf("a URL of the back channel has more than a path: %s", u)
		}
	}
	word := regexp.MustCompile(`^[a-z][a-z0-9_.]*$|^$`)
	for _, e := range slices.Concat(app.events, app.protocol) {
		for _, label := range []string{e.Kind, string(e.Code), e.Reason} {
			if !word.MatchString(label) {
				t.Errorf("event %s: %q is no word for a label", e.Kind, label)
			}
		}
		text := strings.Join([]string{e.Kind, e.Issuer, e.ClientID, string(e.Code), e.Reason, e.Session, e.Correlation}, " ")
		if e.Err != nil {
			text += " " + e.Err.Error()
		}
		for _, s := range append(secrets, "user-alice", "hostile") {
			if strings.Contains(text, s) {
				t.Errorf("event %s holds a secret or what a stranger sent", e.Kind)
			}
		}
	}
	if len(app.events) < 5 || len(app.protocol) < 2 {
		t.Errorf("only %d and %d events", len(app.events), len(app.protocol))
	}
}
