package session

import (
	"context"
	"fmt"
	"time"

	"github.com/sallyport/sallyport/client"
)

// rotation is how the server of a scenario deals with refresh tokens.
type rotation int

const (
	strict  rotation = iota // a token that comes twice kills its family, access tokens too
	lenient                 // it is refused, and that is all
	grace                   // within a minute it brings tokens once more, later as strict
	static                  // refresh tokens are not replaced
)

func (r rotation) String() string { return [...]string{"strict", "lenient", "grace", "static"}[r] }

const (
	modelLife  = 10 * time.Minute // of an access token
	modelGrace = time.Minute
)

// modelServer is one authorization server for all replicas. What is in it is guarded by world.mu.
type modelServer struct {
	w      *world
	mode   rotation
	grants map[string]*modelGrant // by subject
	calls  []*call
}

// modelGrant is what a user has given to the application: a family of tokens.
type modelGrant struct {
	subject   string
	dead      bool
	minted    int
	refresh   map[string]*refreshToken
	access    map[string]time.Time // expiry
	processed map[uint64][]*call   // by token generation
}

type refreshToken struct {
	used      time.Time
	revoked   bool
	delivered bool // to a process that lived
	stored    bool // and from there to the store
}

// call is one request to the token endpoint.
type call struct {
	who        *actor
	grant      *modelGrant
	generation uint64
	sent       string // the refresh token
	dead       bool   // the access token, when it was sent
	at         time.Time
	arrived    bool // and was looked at
	got        *client.Tokens
	err        *client.Error
	child      *refreshToken // what it brought, if it brought something new
	delivered  bool
	settled    bool
	orphan     bool // its answer, or the process that waited for it, was lost
	overtaken  bool // its process did not reach the store, so that another may have taken over
}

func (s *modelServer) grant(subject string) *modelGrant {
	g := s.grants[subject]
	if g == nil {
		g = &modelGrant{subject: subject, refresh: map[string]*refreshToken{}, access: map[string]time.Time{}, processed: map[uint64][]*call{}}
		s.grants[subject] = g
	}
	return g
}

// mint makes tokens; the refresh token is new unless one is given.
func (g *modelGrant) mint(keep string) (*client.Tokens, *refreshToken) {
	g.minted++
	t := &client.Tokens{
		AccessToken: client.Secret(fmt.Sprintf("%s-access-%d", g.subject, g.minted)), TokenType: "Bearer",
		Expiry: time.Now().Add(modelLife), Scopes: []string{"openid"}, Subject: g.subject,
	}
	g.access[string(t.AccessToken)] = t.Expiry
	if keep != "" {
		t.RefreshToken = client.Secret(keep)
		return t, nil
	}
	t.RefreshToken = client.Secret(fmt.Sprintf("%s-refresh-%d", g.subject, g.minted))
	r := new(refreshToken)
	g.refresh[string(t.RefreshToken)] = r
	return t, r
}

// valid reports whether a resource server would take the access token.
func (s *modelServer) valid(subject, accessToken string) bool {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	g := s.grants[subject]
	expiry, ok := g.access[accessToken]
	return ok && !g.dead && time.Now().Before(expiry)
}

// process is the token endpoint.
func (s *modelServer) process(c *call) {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	g := c.grant
	c.arrived, c.at = true, time.Now()
	g.processed[c.generation] = append(g.processed[c.generation], c)
	r := g.refresh[c.sent]
	refuse := func() { c.err = client.NewError(client.ErrGrantRevoked, "", nil) }
	switch {
	case r == nil || r.revoked || g.dead:
		refuse()
	case s.mode == static:
		c.got, _ = g.mint(c.sent)
	case r.used.IsZero():
		r.used = time.Now()
		c.got, c.child = g.mint("")
	case s.mode == grace && time.Since(r.used) < modelGrace:
		c.got, c.child = g.mint("")
	case s.mode == lenient:
		refuse()
	default:
		g.dead = true
		refuse()
	}
}

func (s *modelServer) Issuer() string   { return "https://as.example" }
func (s *modelServer) ClientID() string { return "app" }

// Reachable says yes: an outage is the business of other tests.
func (s *modelServer) Reachable(context.Context) error { return nil }

func (s *modelServer) Rotation() client.Rotation {
	switch s.mode {
	case grace:
		return client.Rotation{Grace: modelGrace}
	case static:
		return client.Rotation{Reusable: true}
	}
	return client.Rotation{}
}

// Refresh is one call: it arrives, and what the server did; it is answered, and what reaches the caller, are two moves.
func (s *modelServer) Refresh(ctx context.Context, t *client.Tokens) (*client.Tokens, error) {
	who := actorOf(ctx)
	s.w.mu.Lock()
	c := &call{who: who, grant: s.grant(t.Subject), sent: string(t.RefreshToken), dead: !time.Now().Before(t.Expiry), generation: who.leased}
	s.calls = append(s.calls, c)
	s.w.mu.Unlock()
	if s.w.gate(&op{who: who, role: "server", kind: opArrive, call: c}) == grantBusy {
		return nil, client.NewError(client.ErrTransport, "status", nil) // 503: it has not looked at the token
	}
	s.process(c)
	switch g := s.w.gate(&op{who: who, role: "server", kind: opAnswer, call: c}); {
	case ctx.Err() != nil && who.canceled:
		s.w.fail("R4", "%s went away, and its call with it", who.name)
		return nil, client.NewError(client.ErrRefreshInDoubt, "reset", nil)
	case g == grantLost, ctx.Err() != nil:
		c.orphan = true
		return nil, client.NewError(client.ErrRefreshInDoubt, "reset", nil)
	case c.err != nil:
		return nil, c.err
	}
	c.delivered = true
	if c.child != nil {
		c.child.delivered = true
	}
	return c.got, nil
}

// Revoke kills one refresh token.
func (s *modelServer) Revoke(ctx context.Context, t *client.Tokens) error {
	if who := actorOf(ctx); who.at.dead {
		return nil
	}
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	for _, g := range s.grants {
		if r := g.refresh[string(t.RefreshToken)]; r != nil {
			r.revoked = true
		}
	}
	return nil
}
