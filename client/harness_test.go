package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport/sallyport/client"
	"github.com/sallyport/sallyport/client/authtest"
)

const (
	issuer    = "https://as.example"
	callback  = "https://app.example/auth/callback"
	loggedOut = "https://app.example/auth/logout/callback"
	// secret has every character that some encoder forgets. What is not awkward in it is what leaks are searched for.
	secret       = "canary-secret-4711:+%&é "
	secretCanary = "canary-secret-4711"
)

var ctx = context.Background()

// setup is what a test changes before its bench is built.
type setup struct {
	server       authtest.Config
	registration authtest.Client
	client       client.Config
}

// bench is one authorization server, one client, and what became of both. A
// bench serves one scenario, so that its counts are absolute.
type bench struct {
	*testing.T
	as     *authtest.Server
	c      *client.Client
	net    *network
	events *journal

	mu       sync.Mutex
	canaries map[string]string // secret value → what it is
}

func newBench(t *testing.T, tweaks ...func(*setup)) *bench {
	t.Helper()
	b := &bench{T: t, net: &network{servers: map[string]http.RoundTripper{}, hits: map[string]int{}}, canaries: map[string]string{secretCanary: "client secret"}}
	b.events = &journal{}
	s := setup{
		server:       authtest.Config{Issuer: issuer},
		registration: authtest.Client{ID: "app", Secret: secret, RedirectURIs: []string{callback}, PostLogoutRedirectURIs: []string{loggedOut}},
		client: client.Config{
			Issuer: issuer, ClientID: "app", Authentication: client.SecretBasic(client.Secret(secret)), RedirectURI: callback,
			PostLogoutRedirectURI: loggedOut, Scopes: []string{"openid", "profile", "offline_access"}, OnEvent: b.events.add, Transport: b.net,
		},
	}
	for _, tweak := range tweaks {
		tweak(&s)
	}
	var err error
	if b.as, err = authtest.New(s.server); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.as.Close)
	if err := b.as.Register(s.registration); err != nil {
		t.Fatal(err)
	}
	b.net.serve(s.server.Issuer, b.as)
	b.as.Misbehave(authtest.Fault{Endpoint: authtest.Token, Response: b.learnTokens})
	if b.c, err = client.New(s.client); err != nil {
		t.Fatal(err)
	}
	return b
}

// scenario runs a test with a bench of its own on a clock of its own.
func scenario(t *testing.T, name string, f func(b *bench), tweaks ...func(*setup)) {
	t.Helper()
	t.Run(name, func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			defer time.Sleep(time.Minute) // for what goes on without its caller
			f(newBench(t, tweaks...))
		})
	})
}

// network knows the hosts of a scenario. A host that is not there is counted and does not answer.
type network struct {
	mu      sync.Mutex
	servers map[string]http.RoundTripper
	hits    map[string]int
}

func (n *network) serve(issuer string, as *authtest.Server) {
	u, _ := url.Parse(issuer)
	n.servers[u.Host] = as.Transport()
}

func (n *network) RoundTrip(r *http.Request) (*http.Response, error) {
	n.mu.Lock()
	n.hits[r.URL.Host]++
	server := n.servers[r.URL.Host]
	n.mu.Unlock()
	if server == nil {
		return nil, errors.New("no such host: " + r.URL.String()) // with all that an error could leak
	}
	return server.RoundTrip(r)
}

func (n *network) count(host string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.hits[host]
}

// journal keeps events.
type journal struct {
	mu   sync.Mutex
	list []client.Event
}

func (j *journal) add(_ context.Context, e client.Event) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.list = append(j.list, e)
}

func (j *journal) all() []client.Event {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.list)
}

func (j *journal) kinds() []string {
	var kinds []string
	for _, e := range j.all() {
		kinds = append(kinds, e.Kind)
	}
	return kinds
}

func (j *journal) count(kind string) int {
	n := 0
	for _, k := range j.kinds() {
		if k == kind {
			n++
		}
	}
	return n
}

func (j *journal) find(kind, reason string) *client.Event {
	for _, e := range j.all() {
		if e.Kind == kind && e.Reason == reason {
			return &e
		}
	}
	return nil
}

// learn remembers a value that must not appear anywhere.
func (b *bench) learn(what, value string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(value) >= 8 {
		b.canaries[value] = what
	}
}

func (b *bench) learnTokens(_ *authtest.Request, r *authtest.Response) {
	var members map[string]any
	if json.Unmarshal(r.Body, &members) != nil {
		return
	}
	for name, v := range members {
		if s, ok := v.(string); ok && (strings.HasSuffix(name, "_token") || strings.HasPrefix(name, "error_")) {
			b.learn(name, s)
		}
	}
}

// begin starts a login.
func (b *bench) begin(opts client.AuthorizationOptions) *client.AuthorizationRequest {
	b.Helper()
	req, err := b.c.AuthorizationRequest(ctx, opts)
	if err != nil {
		b.Fatalf("AuthorizationRequest: %v", err)
	}
	q := query(b.T, req.URL())
	b.learn("state", q.Get("state"))
	b.learn("nonce", q.Get("nonce"))
	return req
}

// visit is the browser's way to the server and back.
func (b *bench) visit(req *client.AuthorizationRequest) *authtest.Callback {
	b.Helper()
	cb, err := b.as.Authorize(ctx, req.URL())
	if err != nil {
		b.Fatalf("Authorize: %v", err)
	}
	b.learn("code", cb.Params.Get("code"))
	return cb
}

// request is the request at the redirect URI, as a server receives it.
func (b *bench) request(cb *authtest.Callback, edits ...func(url.Values)) *http.Request {
	b.Helper()
	for _, edit := range edits {
		edit(cb.Params)
	}
	if cb.Method == http.MethodGet {
		base, _, _ := strings.Cut(cb.URL, "?")
		cb.URL = base + "?" + cb.Params.Encode()
	}
	r, err := cb.Request(ctx)
	if err != nil {
		b.Fatal(err)
	}
	return r
}

// finish does what a callback handler does, with a pending login that comes back from where it was kept.
func (b *bench) finish(req *client.AuthorizationRequest, r *http.Request) (*client.Tokens, error) {
	b.Helper()
	resp, err := b.c.AuthorizationResponse(r)
	if err != nil {
		return nil, err
	}
	tokens, err := b.c.Exchange(ctx, b.keep(req), resp)
	for _, sent := range b.as.Log(authtest.Token) {
		b.learn("verifier", sent.Form.Get("code_verifier"))
	}
	return tokens, err
}

// become puts another client in the place of the bench's.
func (b *bench) become(cfg client.Config) {
	b.Helper()
	cfg.Authentication, cfg.Transport, cfg.OnEvent = client.SecretBasic(client.Secret("another")), b.net, b.events.add
	c, err := client.New(cfg)
	if err != nil {
		b.Fatal(err)
	}
	b.c = c
}

// keep takes a pending login through its binary form.
func (b *bench) keep(req *client.AuthorizationRequest) *client.AuthorizationRequest {
	b.Helper()
	data, err := req.AppendBinary(nil)
	if err != nil {
		b.Fatal(err)
	}
	var kept client.AuthorizationRequest
	if err := kept.UnmarshalBinary(data); err != nil {
		b.Fatal(err)
	}
	return &kept
}

// login is all of it.
func (b *bench) login(opts client.AuthorizationOptions, edits ...func(url.Values)) (*client.Tokens, error) {
	b.Helper()
	req := b.begin(opts)
	return b.finish(req, b.request(b.visit(req), edits...))
}

func (b *bench) mustLogin(opts client.AuthorizationOptions) *client.Tokens {
	b.Helper()
	t, err := b.login(opts)
	if err != nil {
		b.Fatalf("login: %v", err)
	}
	return t
}

// requests is how many arrived at the server.
type requests struct{ token, userinfo, jwks int }

// failure is the whole outcome of something refused. Zero outcome and action are Rejected and ActionLogin.
type failure struct {
	code       client.Code
	reason     string
	outcome    client.Outcome
	action     client.Action
	status     int
	serverCode string
	requests
}

func query(t *testing.T, raw string) url.Values {
	t.Helper()
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	q, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		t.Fatal(err)
	}
	return q
}

func set(name, value string) func(url.Values) { return func(v url.Values) { v.Set(name, value) } }
func del(name string) func(url.Values)        { return func(v url.Values) { v.Del(name) } }

// member is a fault that edits one member of a JSON answer; nil removes it.
func member(e authtest.Endpoint, name string, value any) authtest.Fault {
	return authtest.Fault{Endpoint: e, JSON: func(m map[string]any) {
		if m[name] = value; value == nil {
			delete(m, name)
		}
	}}
}

// answer is a fault that replaces an answer.
func answer(e authtest.Endpoint, r *authtest.Response) authtest.Fault {
	return authtest.Fault{Endpoint: e, Answer: r}
}

// page is an answer of any type.
func page(status int, contentType, body string) *authtest.Response {
	return &authtest.Response{Status: status, Header: http.Header{"Content-Type": {contentType}}, Body: []byte(body)}
}

func get(t *testing.T, rawQuery string) *http.Request {
	t.Helper()
	return &http.Request{Method: http.MethodGet, URL: &url.URL{Path: "/auth/callback", RawQuery: rawQuery}, Header: http.Header{}, Body: http.NoBody}
}

func post(contentType string, body io.Reader) *http.Request {
	r, err := http.NewRequest(http.MethodPost, callback, body)
	if err != nil {
		panic(err)
	}
	r.Header.Set("Content-Type", contentType)
	return r
}

func code(t *testing.T, err error) client.Code {
	t.Helper()
	var e *client.Error
	if !errors.As(err, &e) {
		t.Fatalf("error is %v, want an *Error", err)
	}
	return e.Code
}
