package authtest

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
)

// Server is an authorization server. All its methods may be called at any time
// from any goroutine.
type Server struct {
	cfg    Config
	origin string // of the issuer
	base   string // the issuer's path without a trailing slash
	routes map[string]route
	cookie string // name of the login cookie
	users  map[string]User
	secret [32]byte
	keys   keyRing

	log    requestLog
	faults faultList

	mu       sync.Mutex
	clients  map[string]Client
	chosen   string // subject of the user who logs in automatically
	stats    Stats
	grants   bounded[identifier, *grant]
	sessions bounded[identifier, *session]

	network network
	pool    *x509.CertPool
}

// New makes a server without a listener, to be used as an http.Handler for the
// whole host of cfg.Issuer, or through [Server.Transport]. It fails when the
// configuration makes no sense, and says why.
func New(cfg Config) (*Server, error) {
	if cfg.TLS || cfg.IssuerPath != "" {
		return nil, errors.New("authtest: TLS and IssuerPath are for NewServer")
	}
	return newServer(cfg)
}

// NewServer starts a server on an ephemeral port of 127.0.0.1. Like
// httptest.NewServer it panics if it cannot listen, and also if the
// configuration makes no sense. The caller closes it with [Server.Close].
func NewServer(cfg Config) *Server {
	if cfg.Issuer != "" {
		panic("authtest: NewServer makes the issuer itself; use New for a fixed one")
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(fmt.Sprintf("authtest: cannot listen: %v", err))
	}
	scheme := "http"
	if cfg.TLS {
		scheme = "https"
	}
	cfg.Issuer = scheme + "://" + listener.Addr().String() + cfg.IssuerPath
	s, err := newServer(cfg)
	if err != nil {
		_ = listener.Close()
		panic(err.Error())
	}
	if cfg.TLS {
		s.network.certificate, s.pool = selfSigned()
	}
	s.network.start(listener, s)
	return s
}

func newServer(cfg Config) (*Server, error) {
	origin, base, err := checkIssuer(cfg.Issuer)
	if err != nil {
		return nil, err
	}
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	digest := sha256.Sum256([]byte(cfg.Issuer))
	s := &Server{
		cfg:    cfg,
		origin: origin,
		base:   base,
		// Cookies do not know ports: two servers on one host need two names.
		cookie:   "authtest_" + hex.EncodeToString(digest[:4]),
		users:    make(map[string]User, len(cfg.Users)),
		clients:  make(map[string]Client),
		chosen:   cfg.Users[0].Subject,
		grants:   newBounded[identifier, *grant](maxLogins),
		sessions: newBounded[identifier, *session](maxLogins),
	}
	for _, u := range cfg.Users {
		s.users[u.Subject] = u
	}
	s.network.closed = make(chan struct{})
	_, _ = rand.Read(s.secret[:]) // never fails since Go 1.24
	s.routes = s.makeRoutes()
	for _, c := range cfg.Clients {
		if _, twice := s.client(c.ID); twice {
			return nil, errors.New("authtest: two clients have the same ID")
		}
		if err := s.Register(c); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// Issuer is the issuer identifier, the one thing a client has to be told.
func (s *Server) Issuer() string { return s.cfg.Issuer }

// CertPool trusts the server's certificate. It is nil without Config.TLS.
func (s *Server) CertPool() *x509.CertPool { return s.pool }

// Register adds a client, or replaces the one with its ID. It fails when the
// registration makes no sense, and then changes nothing.
func (s *Server) Register(c Client) error {
	c, err := c.check()
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clients[c.ID] = c
	return nil
}

// SetUser chooses who logs in automatically from now on, by subject. With ""
// (or a subject that no user has) nobody does, and the authorization endpoint
// answers access_denied. Logins that exist are not touched.
func (s *Server) SetUser(subject string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.chosen = subject
}

func (s *Server) client(id string) (Client, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, ok := s.clients[id]
	return c, ok
}

func (s *Server) user(subject string) (User, bool) {
	u, ok := s.users[subject]
	return u, ok
}

// pick returns who is to log in: the one login_hint names, or the chosen one.
func (s *Server) pick(hint string) (User, bool) {
	if i := slices.IndexFunc(s.cfg.Users, func(u User) bool { return u.answersTo(hint) }); i >= 0 {
		return s.cfg.Users[i], true
	}
	s.mu.Lock()
	chosen := s.chosen
	s.mu.Unlock()
	return s.user(chosen)
}

// ServeHTTP answers one request, faults included: a dropped connection is a
// panic with http.ErrAbortHandler, as net/http wants it.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s.network.unplugged() {
		panic(http.ErrAbortHandler)
	}
	s.handle(r, s.network.closed).write(w, r, s.network.closed)
}
