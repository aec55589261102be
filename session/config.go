package session

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"net"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gorilla/securecookie"

	"github.com/sallyport/sallyport/client"
	"github.com/sallyport/sallyport/internal/cookies"
	"github.com/sallyport/sallyport/internal/seal"
)

// Config says how sessions are sealed and how long they live. Only Keys (or Codecs) must be set.
type Config struct {
	// Keys is the ring, newest first, each of at least 32 random bytes (GenerateKey): the first seals, all
	// open. To rotate, add the new key at the end, everywhere; then put it in front, everywhere; and take the old one away after
	// AbsoluteTimeout: sooner, it leaves sessions that no logout by subject or provider finds. One process needs no first step.
	Keys [][]byte
	// Codecs seal instead of our AEAD, for applications that must (SecureCookie, or any other
	// securecookie.Codec that encrypts): the first seals, all open. If Keys are set as well, they seal and the
	// codecs only open, which is how to move over.
	Codecs []securecookie.Codec
	// CookieName is the name without its prefix: "sallyport" if empty.
	CookieName string
	// Origin is the application's own, scheme://host[:port]. Package middleware derives it from the
	// redirect URI, see ForOrigin.
	Origin string

	// IdleTimeout ends a session that is not used: 1 h by default.
	IdleTimeout time.Duration
	// AbsoluteTimeout ends every session: 12 h by default, at most 400 days.
	AbsoluteTimeout time.Duration
	// LoginTimeout is how long a login may take: 10 min by default, at most 30 min.
	LoginTimeout time.Duration
	// MaxLogins is how many logins one browser may have begun: 5 by default, at most 10.
	MaxLogins int

	// Store, if set, is where sessions live: the browser has a sealed name of the session only. Nil: the session is in the cookie.
	// A full or absent store is ErrStore, never a logout. See packages session/redisstore and session/pgstore, and NewMemory.
	Store Store
	// Coordination is what replicas share when sessions live in cookies: who refreshes, what came of it, what has ended. Nil: this
	// process remembers that by itself, which serves one process.
	Coordination Store
	// Replicas says that several processes serve the application. New refuses then what only works in one: sessions that live in its
	// memory, or cookies without a shared Coordination.
	Replicas bool
	// NotBefore ends the sessions of logins before it. To end every session in an incident without a store, set it to the time
	// of the incident everywhere; with one, see Manager.EndEverySession.
	NotBefore time.Time

	// OnEvent receives audit events, synchronously; it may be called concurrently.
	OnEvent func(context.Context, client.Event)
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Manager creates, reads, renews and ends sessions. Safe for concurrent use.
type Manager struct {
	shared *shared
	origin string

	session     cookies.Kind
	sessionSeal string // name to seal sessions under
	login       cookies.Kind
}

// shared is what all views of one Manager have in common.
type shared struct {
	cfg      Config
	sessions *seal.Sealer // of cookies: sessions, or tickets if those are in a store
	logins   *seal.Sealer
	logouts  *seal.Sealer
	stored   *seal.Sealer // of what is in stores
	printKey []byte
	naming   [][]byte // keys of names in stores, newest first

	inStore bool    // sessions live in the store
	inShare bool    // a store outlives this process, or others see it: it has to know who is logged in
	entries *vault  // what has become of sessions
	once    *vault  // what was used up
	rosters *vault  // who is logged in, and logouts
	here    *Memory // what this process remembers in any case

	started    time.Time
	notBefore  int64 // Config.NotBefore, milliseconds since 1970
	lastLogout atomic.Int64
	epoch      epoch

	flights   flights
	calls     calls
	servers   servers
	probes    probes
	unsettled unsettled
	work      work
	counters  counters
}

// days writes a bound as people do.
func days(d time.Duration) string {
	if d%(24*time.Hour) == 0 {
		return itoa(int(d/(24*time.Hour))) + " days"
	}
	return d.String()
}

// GenerateKey returns 32 random bytes for Config.Keys.
func GenerateKey() []byte {
	k := make([]byte, seal.MinKey)
	rand.Read(k)
	return k
}

// New checks the configuration. Failure: client.ErrConfig, with a sentence that says how to mend it.
func New(cfg Config) (*Manager, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.CookieName == "" {
		cfg.CookieName = "sallyport"
	}
	if !validCookieName(cfg.CookieName) {
		return nil, configError("cookie_name", "CookieName: use letters, digits, '-' and '_', at most 64, without a __Host- prefix: it is added")
	}
	for _, d := range []struct {
		value         *time.Duration
		standard, max time.Duration
		name          string
	}{
		{&cfg.IdleTimeout, time.Hour, cookies.MaxAge, "IdleTimeout"},
		{&cfg.AbsoluteTimeout, 12 * time.Hour, cookies.MaxAge, "AbsoluteTimeout"},
		{&cfg.LoginTimeout, 10 * time.Minute, 30 * time.Minute, "LoginTimeout"},
	} {
		if *d.value == 0 {
			*d.value = d.standard
		}
		if *d.value < time.Second || *d.value > d.max {
			return nil, configError("timeout", d.name+": must be between 1 s and "+days(d.max))
		}
	}
	if cfg.MaxLogins == 0 {
		cfg.MaxLogins = 5
	}
	if cfg.MaxLogins < 1 || cfg.MaxLogins > 10 {
		return nil, configError("max_logins", "MaxLogins: must be between 1 and 10")
	}
	s := &shared{cfg: cfg, started: time.Now(), here: NewMemory(MemoryOptions{Limit: memoryHere, Now: cfg.Now, OnEvict: func(string, []byte) {}})}
	if !cfg.NotBefore.IsZero() {
		s.notBefore = cfg.NotBefore.UnixMilli()
	}
	m := &Manager{shared: s}
	if err := s.place(); err != nil {
		return nil, err
	}
	if err := s.sealers(); err != nil {
		return nil, err
	}
	m.openVaults()
	s.cfg.Keys, s.cfg.Codecs = nil, nil // ATK-S11: the subkeys are enough
	m.bind("", true)
	if cfg.Origin != "" {
		return m.ForOrigin(cfg.Origin)
	}
	return m, nil
}

// cookies is the purpose of what is in the session's cookie.
func (s *shared) cookies() seal.Purpose {
	if s.inStore {
		return seal.Ticket
	}
	return seal.Session
}

// futureNotBefore is how far the clock that Config.NotBefore was read from may be ahead.
const futureNotBefore = 5 * time.Minute

// isNilPointer reports whether an interface holds a pointer to nothing, as after an error that nobody has looked at.
func isNilPointer(s Store) bool {
	v := reflect.ValueOf(s)
	return v.Kind() == reflect.Pointer && v.IsNil()
}

// place decides where sessions and what is known about them are.
func (s *shared) place() error {
	cfg := &s.cfg
	where := cfg.Coordination
	switch {
	case isNilPointer(cfg.Store), isNilPointer(cfg.Coordination):
		return configError("store", "Store or Coordination is a nil pointer: check the error of Open, or leave the field out")
	case cfg.NotBefore.After(cfg.Now().Add(futureNotBefore)):
		return configError("not_before", "NotBefore: is in the future, so no login could succeed")
	case cfg.Store != nil && cfg.Coordination != nil:
		return configError("store", "set Store, and sessions live there, or Coordination, and they live in cookies; not both")
	case cfg.Store != nil:
		s.inStore, where = true, cfg.Store
	}
	_, ours := where.(*Memory)
	s.inShare = where != nil && !ours
	shared := s.inShare && where.Shared()
	switch {
	case s.inShare && len(cfg.Keys) == 0:
		return configError("keys", "Keys: give at least one key of 32 random bytes (session.GenerateKey makes one), the same in all processes: Codecs alone do not do with a store")
	case cfg.Replicas && !shared && s.inStore:
		return configError("replicas", "several processes serve the application, and the Store is one process's memory: give all of them one Redis or PostgreSQL")
	case cfg.Replicas && !shared:
		return configError("replicas", "several processes serve the application, and nothing coordinates them, so they spend each other's refresh tokens: set Store, or Coordination beside cookies, to one Redis or PostgreSQL for all")
	}
	return nil
}

const (
	// What this process keeps by itself, if there is no store for it. The first holds refreshes until cookies show them, and ends of
	// sessions: if there is no more room, what would end first is forgotten, which mostly nobody misses. The others refuse
	// instead: what they forgot would be a code sent twice, or a session that lives.
	memoryEntries = 384 << 20
	memoryOnce    = 256 << 20
	memoryRosters = 128 << 20
)

func (m *Manager) openVaults() {
	s := m.shared
	entries, once, rosters := s.cfg.Store, s.cfg.Store, s.cfg.Store
	if !s.inStore {
		entries, once, rosters = s.cfg.Coordination, s.cfg.Coordination, s.cfg.Coordination
	}
	if entries == nil {
		entries = NewMemory(MemoryOptions{Limit: memoryEntries, Now: s.cfg.Now, OnEvict: func(string, []byte) {
			m.Report(context.Background(), client.Event{Kind: EventStoreEvicted})
		}})
		once = NewMemory(MemoryOptions{Limit: memoryOnce, Now: s.cfg.Now})
		rosters = NewMemory(MemoryOptions{Limit: memoryRosters, Now: s.cfg.Now})
	}
	s.entries, s.once, s.rosters = newVault(entries, s.stored, s.cfg.Now), newVault(once, s.stored, s.cfg.Now), newVault(rosters, s.stored, s.cfg.Now)
}

func (s *shared) sealers() error {
	codecs := func(seal.Purpose) ([]securecookie.Codec, error) { return nil, nil }
	s.printKey = make([]byte, 32)
	rand.Read(s.printKey) // without keys of ours, sessions have another name in each process
	s.naming = [][]byte{s.printKey}
	switch {
	case len(s.cfg.Keys) > 0:
		ring, err := seal.NewRing(s.cfg.Keys)
		if err != nil {
			return configError("keys", "Keys: "+err.Error())
		}
		if s.printKey, err = ring.Subkey(seal.Fingerprint); err != nil {
			return client.NewError(client.ErrConfig, "keys", err)
		}
		if s.naming, err = ring.Subkeys(seal.Naming); err != nil {
			return client.NewError(client.ErrConfig, "keys", err)
		}
		codecs = func(p seal.Purpose) ([]securecookie.Codec, error) {
			c, err := ring.Codec(p)
			return []securecookie.Codec{c}, err
		}
	case len(s.cfg.Codecs) == 0:
		return configError("keys", "Keys: give at least one key of 32 random bytes (session.GenerateKey makes one)")
	}
	for i, c := range s.cfg.Codecs {
		if err := probe(c); err != nil {
			return configError("codecs", "Codecs: number "+itoa(i+1)+" "+err.Error())
		}
	}
	for purpose, sealer := range map[seal.Purpose]**seal.Sealer{s.cookies(): &s.sessions, seal.Login: &s.logins, seal.Logout: &s.logouts, seal.Stored: &s.stored} {
		list, err := codecs(purpose)
		if err == nil {
			*sealer, err = seal.NewSealer(s.cfg.Now, append(list, s.cfg.Codecs...)...)
		}
		if err != nil {
			return client.NewError(client.ErrConfig, "keys", err)
		}
	}
	return nil
}

func validCookieName(s string) bool {
	if len(s) > 64 || strings.HasPrefix(s, "__") {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool {
		return r != '-' && r != '_' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
	})
}

// ForOrigin returns a view of the manager that is bound to the application's origin, scheme://host[:port]: https
// gets the __Host- prefix and Secure, http is for a loopback host in development and has
// neither. What is sealed for one origin opens under no other. Keys and in-process state are shared.
// Failure: client.ErrConfig.
func (m *Manager) ForOrigin(origin string) (*Manager, error) {
	canonical, secure, err := parseOrigin(origin)
	if err != nil {
		return nil, err
	}
	if m.origin != "" && m.origin != canonical {
		return nil, configError("origin", "Origin: the redirect URI is under another origin than the one configured")
	}
	view := &Manager{shared: m.shared}
	view.bind(canonical, secure)
	return view, nil
}

// Origin is the origin that the manager is bound to; empty if it is not.
func (m *Manager) Origin() string { return m.origin }

func (m *Manager) bind(origin string, secure bool) {
	m.origin = origin
	name := m.shared.cfg.CookieName
	if secure {
		name = cookies.HostPrefix + name
	}
	m.session = cookies.Kind{Name: name, Secure: secure, SameSite: http.SameSiteLaxMode}
	m.sessionSeal = seal.Name(m.shared.cookies(), name, origin)
	m.login = cookies.Kind{Name: name + "-login.", Secure: secure, SameSite: http.SameSiteLaxMode}
}

func parseOrigin(s string) (origin string, secure bool, err error) {
	u, perr := url.Parse(s)
	if perr != nil || u.Host == "" || u.Hostname() == "" || u.User != nil || u.Path != "" || u.RawQuery != "" || u.ForceQuery || strings.Contains(s, "#") {
		return "", false, configError("origin", "Origin: write scheme://host or scheme://host:port, without a path or slash at the end")
	}
	host := strings.ToLower(u.Hostname())
	switch {
	case u.Scheme == "https":
	case u.Scheme == "http" && (host == "localhost" || net.ParseIP(host).IsLoopback()):
	default:
		return "", false, configError("origin", "Origin: use https (http only for a loopback host in development)")
	}
	port := u.Port()
	if port == "443" && u.Scheme == "https" || port == "80" && u.Scheme == "http" {
		port = ""
	}
	switch {
	case port != "":
		host = net.JoinHostPort(host, port)
	case strings.Contains(host, ":"):
		host = "[" + host + "]"
	}
	return u.Scheme + "://" + host, u.Scheme == "https", nil
}

// fingerprint names a session without giving its id away.
func (m *Manager) fingerprint(id sessionID) string { return m.fingerprintOf(sha256.Sum256(id[:])) }

// fingerprintOf is fingerprint for who has only the hash of the id.
func (m *Manager) fingerprintOf(hash [sha256.Size]byte) string {
	var key []byte
	if m != nil {
		key = m.shared.printKey
	}
	h := hmac.New(sha256.New, key)
	h.Write(hash[:])
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil)[:12])
}

// Report gives an event to the configured hook. A hook that panics breaks nothing, and what it panicked
// with is not ours to print.
func (m *Manager) Report(ctx context.Context, e client.Event) {
	if m.shared.cfg.OnEvent == nil {
		return
	}
	if e.Time.IsZero() {
		e.Time = m.shared.cfg.Now()
	}
	defer func() { _ = recover() }()
	m.shared.cfg.OnEvent(ctx, e)
}

// report is Report for something that happened to a session.
func (m *Manager) report(ctx context.Context, kind string, r *record, reason string, err error) {
	if m.shared.cfg.OnEvent == nil {
		return
	}
	e := client.Event{
		Kind: kind, Issuer: r.issuer, ClientID: r.clientID, Session: m.fingerprint(r.id),
		Generation: r.tokenGeneration, Reason: reason, Err: err,
	}
	if ce, ok := asClientError(err); ok {
		e.Code, e.Reason = ce.Code, ce.Reason
	}
	m.Report(ctx, e)
}
