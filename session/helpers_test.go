package session

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/securecookie"

	"github.com/sallyport/sallyport/client"
	"github.com/sallyport/sallyport/internal/cookies"
)

const (
	testOrigin = "https://rp.example"
	testIssuer = "https://as-a.example"
	testClient = "app"
)

// header is a ResponseWriter that keeps only what matters here.
type header http.Header

func (h header) Header() http.Header         { return http.Header(h) }
func (h header) Write(b []byte) (int, error) { return len(b), nil }
func (h header) WriteHeader(int)             {}

// create is createFor a login that nobody began here.
func (b *bed) create(w http.ResponseWriter, r *http.Request, issuer, clientID string, t *client.Tokens) (*Session, error) {
	return b.createFor(w, r, issuer, clientID, nil, t)
}

func get(cookieLines []string) *http.Request {
	r, _ := http.NewRequest(http.MethodGet, testOrigin+"/", nil)
	if cookieLines != nil {
		r.Header["Cookie"] = cookieLines
	}
	return r
}

func key(n byte) []byte {
	k := make([]byte, 32)
	for i := range k {
		k[i] = n ^ byte(i*11)
	}
	return k
}

// clock can be set; it is safe for concurrent use. In a bubble of synctest it is the bubble's.
type clock struct {
	mu     sync.Mutex
	t      time.Time
	bubble bool
	ahead  time.Duration // in a bubble
}

func newClock() *clock { return &clock{t: time.Unix(1_900_000_000, 0)} }

func (c *clock) now() time.Time {
	if c.bubble {
		return time.Now().Add(c.ahead)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) add(d time.Duration) {
	if c.bubble {
		time.Sleep(d)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// events collects what is reported.
type events struct {
	mu  sync.Mutex
	all []client.Event
}

func (e *events) hook(_ context.Context, ev client.Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.all = append(e.all, ev)
}

func (e *events) kinds() (out []string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, ev := range e.all {
		out = append(out, ev.Kind)
	}
	return out
}

// bed is a manager with its clock, events and a fake server.
type bed struct {
	*Manager
	t      *testing.T
	cfg    Config
	clock  *clock
	events *events
	as     *fakeServer
	wire   *wire // what is between the manager and its store, if there is something
}

// families are the two ways to seal; whatever a test shows must hold for both.
func families(t *testing.T, f func(t *testing.T, b *bed)) {
	for name, cfg := range map[string]Config{
		"aead":         {Keys: [][]byte{key(1)}},
		"securecookie": {Codecs: []securecookie.Codec{SecureCookie(key(3), key(4))}},
	} {
		t.Run(name, func(t *testing.T) { f(t, newBed(t, cfg)) })
	}
}

func newBed(t *testing.T, cfg Config) *bed {
	t.Helper()
	return newBedAt(t, cfg, newClock())
}

func newBedAt(t *testing.T, cfg Config, clock *clock) *bed {
	t.Helper()
	b := &bed{t: t, clock: clock, events: new(events)}
	if len(cfg.Keys)+len(cfg.Codecs) == 0 {
		cfg.Keys = [][]byte{key(1)}
	}
	if cfg.Origin == "" {
		cfg.Origin = testOrigin
	}
	cfg.Now, cfg.OnEvent = b.clock.now, b.events.hook
	m, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	b.Manager, b.cfg, b.as = m, cfg, &fakeServer{clock: b.clock}
	return b
}

// browser keeps cookies as it is told to.
type browser struct {
	t     *testing.T
	names []string
	jar   map[string]string
}

func newBrowser(t *testing.T) *browser { return &browser{t: t, jar: map[string]string{}} }

func (b *browser) clone() *browser {
	c := newBrowser(b.t)
	for _, n := range b.names {
		c.put(n, b.jar[n])
	}
	return c
}

func (b *browser) put(name, value string) {
	if _, ok := b.jar[name]; !ok {
		b.names = append(b.names, name)
	}
	b.jar[name] = value
}

func (b *browser) drop(name string) {
	delete(b.jar, name)
	b.names = slices.DeleteFunc(b.names, func(n string) bool { return n == name })
}

func (b *browser) request() *http.Request {
	var parts []string
	for _, n := range b.names {
		parts = append(parts, n+"="+b.jar[n])
	}
	if parts == nil {
		return get(nil)
	}
	return get([]string{strings.Join(parts, "; ")})
}

// do calls f with a request and takes its cookies.
func (b *browser) do(f func(w http.ResponseWriter, r *http.Request)) {
	h := header{}
	f(h, b.request())
	b.take(h)
}

func (b *browser) take(h header) {
	b.t.Helper()
	for _, l := range h["Set-Cookie"] {
		c, err := http.ParseSetCookie(l)
		if err != nil {
			b.t.Fatal(err)
		}
		if len(l) > 4096 || !c.HttpOnly || c.Path != "/" || h.Header().Get("Cache-Control") != "no-store" {
			b.t.Fatalf("a cookie of %d bytes with attributes %v, Cache-Control %q", len(l), c.Unparsed, h.Header().Get("Cache-Control"))
		}
		if c.MaxAge < 0 {
			b.drop(c.Name)
		} else {
			b.put(c.Name, c.Value)
		}
	}
}

// wrote reports whether the response sets or expires anything.
func (h header) wrote() bool { return len(h) > 0 }

func testTokens(subject string, n int, expiry time.Time) *client.Tokens {
	return &client.Tokens{
		AccessToken: client.Secret("access-" + itoa(n)), RefreshToken: client.Secret("refresh-" + itoa(n)), TokenType: "Bearer",
		Expiry: expiry, Scopes: []string{"openid", "profile"}, Subject: subject,
	}
}

// login gives the browser a session whose access token lives for an hour.
func (b *bed) login(br *browser, subject string) *Session {
	b.t.Helper()
	var s *Session
	br.do(func(w http.ResponseWriter, r *http.Request) {
		var err error
		if s, err = b.create(w, r, testIssuer, testClient, testTokens(subject, 1, b.clock.now().Add(time.Hour))); err != nil {
			b.t.Fatal(err)
		}
	})
	return s
}

func (b *bed) load(br *browser) *Session {
	b.t.Helper()
	s, err := b.Load(br.request())
	if err != nil {
		b.t.Fatal(err)
	}
	return s
}

// wantError checks code and reason.
func wantError(t *testing.T, err error, code client.Code, reason string) {
	t.Helper()
	var e *client.Error
	if !errors.As(err, &e) || e.Code != code || e.Reason != reason {
		t.Fatalf("error %v, want %s (%s)", err, code, reason)
	}
}

// fakeServer is an authorization server that rotates; it counts the calls, and calls hook in them.
type fakeServer struct {
	clock   *clock
	mu      sync.Mutex
	issuer  string
	calls   int
	sent    []client.Secret
	spent   []client.Secret // of these, what may have reached the server
	revoked []client.Secret

	rotation    client.Rotation
	unreachable error
	err         error
	hook        func()
	next        func(t *client.Tokens)
	reply       func(n int) error // what becomes of the n-th call, instead of hook and err
}

// then sets what becomes of the calls from now on, and fail their error, while others may be under way.
func (f *fakeServer) then(reply func(n int) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.reply = reply
}

func (f *fakeServer) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
}

func (f *fakeServer) Issuer() string {
	if f.issuer != "" {
		return f.issuer
	}
	return testIssuer
}

func (f *fakeServer) ClientID() string { return testClient }

func (f *fakeServer) Rotation() client.Rotation { return f.rotation }

func (f *fakeServer) Reachable(context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.unreachable
}

func (f *fakeServer) Refresh(ctx context.Context, t *client.Tokens) (*client.Tokens, error) {
	f.mu.Lock()
	f.calls++
	n := f.calls + 1
	f.sent = append(f.sent, t.RefreshToken)
	err, hook, change, reply := f.err, f.hook, f.next, f.reply
	f.mu.Unlock()
	if reply != nil {
		err, hook = reply(n-1), nil
	}
	if hook != nil {
		hook()
	}
	if failed, ok := asClientError(err); !ok || spent(failed) || answered(failed) || failed.Code == client.ErrGrantRevoked {
		f.mu.Lock()
		f.spent = append(f.spent, t.RefreshToken)
		f.mu.Unlock()
	}
	if ctx.Err() != nil {
		return nil, client.NewError(client.ErrTimeout, "", ctx.Err())
	}
	if err != nil {
		return nil, err
	}
	next := testTokens(t.Subject, n, f.clock.now().Add(time.Hour))
	next.IDToken, next.UserInfo = t.IDToken, t.UserInfo
	if change != nil {
		change(next)
	}
	return next, nil
}

func (f *fakeServer) Revoke(_ context.Context, t *client.Tokens) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.revoked = append(f.revoked, t.RefreshToken)
	return nil
}

func (f *fakeServer) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls
}

func findSession(br *browser) cookies.Found {
	return cookies.Find(br.request().Header["Cookie"], cookieName)
}

// kept counts what this process remembers.
func (b *bed) kept() (n int) {
	for _, memory := range []*Memory{b.shared.here, b.shared.entries.memory, b.shared.once.memory, b.shared.rosters.memory} {
		for i := range memory.shards {
			n += len(memory.shards[i].records)
		}
	}
	return n
}

// entry is what the store has of a session.
func (b *bed) entry(id sessionID) (e entry, version int64) {
	b.t.Helper()
	key := sessionKey(id)
	version, _, err := b.shared.entries.get(b.t.Context(), &key, &e)
	if err != nil {
		b.t.Fatal(err)
	}
	return e, version
}

// settled waits for what goes on when requests are gone.
func (b *bed) settled() {
	b.t.Helper()
	if err := b.Shutdown(b.t.Context()); err != nil {
		b.t.Fatal(err)
	}
}

// mustEnd is End.
func (b *bed) mustEnd(w http.ResponseWriter, r *http.Request, s *Session) *client.Tokens {
	b.t.Helper()
	last, err := b.End(w, r, s)
	if err != nil {
		b.t.Fatal(err)
	}
	return last
}
