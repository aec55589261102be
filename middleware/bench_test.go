package middleware

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport/sallyport/client"
	"github.com/sallyport/sallyport/client/authtest"
	"github.com/sallyport/sallyport/session"
	"github.com/sallyport/sallyport/session/storetest"
)

const (
	rp     = "https://rp.example"
	secret = "canary-client-secret-0123456789"
)

// navigation is what a browser sends when its user opens a page.
var navigation = []string{"Sec-Fetch-Site: none", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document", "Accept: text/html"}

// options of a bench. The zero value is one client of AS-A that asks for query mode.
type options struct {
	cfg    Config
	two    bool // "a" and "b", with /auth/callback/a and /auth/callback/b
	client func(*client.Config)
	server func(*authtest.Config)
	secret client.SecretSource
	config func(*session.Config)
	place  arrangement
	of     *bench // whose application it is, in another process: the keys and the store are its
}

// bench is an application, its authorization servers, and everything that it said.
type bench struct {
	t        *testing.T
	auth     *Auth
	handler  http.Handler
	nodes    *nodes // the processes behind handler; auth is the first one's
	place    arrangement
	store    session.Store     // nil: each process has its own memory
	faulty   *storetest.Faulty // store, if several processes share it
	as       []*authtest.Server
	offset   atomic.Int64 // of the clock
	key      []byte
	onEvent  func(client.Event)
	mu       sync.Mutex
	events   []client.Event
	said     strings.Builder // pages and events
	canaries map[string]string
	upstream http.HandlerFunc // answers what the application calls with Auth.Client
}

func newBench(t *testing.T, o options) *bench {
	t.Helper()
	b := &bench{t: t, place: o.place, nodes: &nodes{}, canaries: map[string]string{secret: "client secret"}}
	if b.place == "" {
		b.place = arrangementOf(t)
	}
	if o.of != nil {
		b.key, b.store, b.faulty = o.of.key, o.of.store, o.of.faulty
	} else {
		b.key = session.GenerateKey()
		b.openStore()
	}
	b.canary("cookie key", string(b.key))
	names := []string{""}
	if o.two {
		names = []string{"a", "b"}
	}
	source := o.secret
	if source == nil {
		source = client.Secret(secret)
	}
	var registrations []client.Config
	for i, name := range names {
		cfg := client.Config{
			Name: name, Issuer: "https://as-" + string(rune('a'+i)) + ".example", ClientID: "app", Authentication: client.SecretBasic(source),
			RedirectURI: strings.TrimSuffix(rp+"/auth/callback/"+name, "/"), PostLogoutRedirectURI: rp + "/auth/logout/callback",
			Scopes: []string{"openid", "profile", "offline_access"}, OnEvent: b.record, Now: b.now,
		}
		if o.client != nil {
			o.client(&cfg)
		}
		asCfg := authtest.Config{Issuer: cfg.Issuer, Now: b.now, LogoutTransport: roundTripper(b.serverToServer), Clients: []authtest.Client{{
			ID: cfg.ClientID, Secret: secret, RedirectURIs: []string{cfg.RedirectURI}, PostLogoutRedirectURIs: []string{cfg.PostLogoutRedirectURI},
			BackchannelLogoutURI: rp + "/auth/backchannel-logout"}}}
		if o.server != nil {
			o.server(&asCfg)
		}
		as, err := authtest.New(asCfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(as.Close)
		as.Misbehave(authtest.Fault{Endpoint: authtest.Token, Response: b.noteTokens})
		cfg.Transport = as.Transport()
		b.as, registrations = append(b.as, as), append(registrations, cfg)
	}
	if o.cfg.Transport == nil {
		o.cfg.Transport = roundTripper(func(r *http.Request) (*http.Response, error) {
			rec := httptest.NewRecorder()
			b.upstream(rec, r)
			resp := rec.Result()
			resp.Request = r
			return resp, nil
		})
	}
	for range b.place.processes() {
		b.nodes.add(b.node(o, registrations))
	}
	b.auth, b.handler = b.nodes.auths[0], b.nodes
	t.Cleanup(b.scan)
	t.Cleanup(b.settle)
	return b
}

// node is one process of the application.
func (b *bench) node(o options, registrations []client.Config) (*Auth, http.Handler) {
	b.t.Helper()
	var clients []*client.Client
	for _, registration := range registrations {
		c, err := client.New(registration)
		if err != nil {
			b.t.Fatal(err)
		}
		clients = append(clients, c)
	}
	cfg := b.place.config(session.Config{Keys: [][]byte{b.key}, OnEvent: b.audit, Now: b.now}, b.store)
	if o.config != nil {
		o.config(&cfg)
	}
	m, err := session.New(cfg)
	if err != nil {
		b.t.Fatal(err)
	}
	a, err := o.cfg.New(m, clients...)
	if err != nil {
		b.t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "public") })
	mux.Handle("/me", a.RequireLogin(http.HandlerFunc(who)))
	mux.Handle("/api/me", a.RequireToken(http.HandlerFunc(who)))
	return a, a.Handler(mux)
}

// settle waits for what goes on in the background.
func (b *bench) settle() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	for _, a := range b.nodes.auths {
		_ = a.sessions.Shutdown(ctx)
	}
}

// serverToServer is the way of a logout token.
func (b *bench) serverToServer(r *http.Request) (*http.Response, error) {
	resp := answer(b.handler, r).Result()
	resp.Request = r
	return resp, nil
}

// who answers with the subject of the session in the context.
func who(w http.ResponseWriter, r *http.Request) {
	s, ok := FromContext(r.Context())
	if !ok {
		http.Error(w, "no session", http.StatusInternalServerError)
		return
	}
	fmt.Fprint(w, s.Subject())
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func (b *bench) now() time.Time { return time.Now().Add(time.Duration(b.offset.Load())) }

func (b *bench) advance(d time.Duration) { b.offset.Add(int64(d)) }

func (b *bench) record(_ context.Context, e client.Event) {
	b.mu.Lock()
	defer b.mu.Unlock()
	fmt.Fprintf(&b.said, "%v %+v %#v\n", e, e, e.Err)
	if text, err := json.Marshal(e.Err); err == nil {
		b.said.Write(text)
	}
}

// audit is for the events that this package and session report.
func (b *bench) audit(ctx context.Context, e client.Event) {
	b.record(ctx, e)
	b.mu.Lock()
	b.events = append(b.events, e)
	hook := b.onEvent
	b.mu.Unlock()
	if hook != nil {
		hook(e)
	}
}

// last returns the last event of a kind.
func (b *bench) last(kind string) (found client.Event) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range b.events {
		if e.Kind == kind {
			found = e
		}
	}
	return found
}

func (b *bench) canary(what, value string) {
	if len(value) > 7 {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.canaries[value] = what
	}
}

// noteTokens learns what the server issued.
func (b *bench) noteTokens(r *authtest.Request, resp *authtest.Response) {
	var members map[string]any
	if json.Unmarshal(resp.Body, &members) == nil {
		for _, name := range []string{"access_token", "refresh_token", "id_token"} {
			if v, ok := members[name].(string); ok {
				b.canary(name, v)
			}
		}
	}
	b.canary("verifier", r.Form.Get("code_verifier"))
}

// scan is code Q: nothing that was said holds a secret or a raw control character.
func (b *bench) scan() {
	b.mu.Lock()
	defer b.mu.Unlock()
	said := b.said.String()
	for value, what := range b.canaries {
		if strings.Contains(said, value) || strings.Contains(said, url.QueryEscape(value)) {
			b.t.Errorf("a page or an event holds the %s", what)
		}
	}
	if strings.ContainsAny(said, "\r\x1b\x00") {
		b.t.Error("a page or an event holds a control character")
	}
}

// calls counts the back channel of a login at all servers.
func (b *bench) calls() (n int) {
	for _, as := range b.as {
		n += as.Requests(authtest.Token) + as.Requests(authtest.UserInfo) + as.Requests(authtest.Revocation)
	}
	return n
}

// sameBench is the same application in another process: it opens what the first one sealed, and has its store.
func sameBench(t *testing.T, of *bench, prepare func(*authtest.Server), edit ...func(*client.Config)) *bench {
	t.Helper()
	o := options{of: of}
	if len(edit) > 0 {
		o.client = edit[0]
	}
	b := newBench(t, o)
	if prepare != nil {
		prepare(b.as[0])
	}
	return b
}

func testSession(t testing.TB) *session.Session {
	t.Helper()
	return session.Test("user-alice")
}

// bubble is t.Run with a clock that does not make anybody wait.
func bubble(t *testing.T, name string, f func(*testing.T)) {
	t.Run(name, func(t *testing.T) { synctest.Test(t, f) })
}
