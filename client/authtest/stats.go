package authtest

import (
	"slices"
	"time"
)

// Stats is what became of the token requests that the server has acted on: those
// of a client that was authenticated, and not those that a [Fault] answered or
// dropped before.
type Stats struct {
	Exchanges int // requests with a code, refused ones included
	Refreshes int // requests with a refresh token, refused ones included
	Rotations int // refresh tokens that were replaced by the next one
	Repeats   int // refreshes with a replaced token in its RotationGrace
	// Reused are the grants that ended because a replaced refresh token came
	// back, oldest first: the last 65,536 of them.
	Reused []Grant
}

// Grant is what came of one authorization: a code, and the family of tokens that
// it was redeemed for.
type Grant struct {
	ID       string // of the grant; no token shows it
	ClientID string
	Subject  string // sub of the user
	SID      string // sid of the login at the server, which several grants may share
	// Rotations is how many refresh tokens have replaced the one before.
	Rotations int
	// Revoked is when the grant was revoked, by whatever it was; zero if it was not.
	Revoked time.Time
	// Reused: it was revoked because a replaced refresh token came back, outside
	// its RotationGrace.
	Reused bool
}

// Stats returns the counters. They are exact, however long the server runs.
func (s *Server) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	stats := s.stats
	stats.Reused = slices.Clone(stats.Reused)
	return stats
}

// Grant returns the grant that a code, an access token or a refresh token came
// of, also when the token is spent, replaced, expired or revoked; false for any
// other string, and for a login that the server has forgotten. It changes
// nothing, is not counted as a request, and may be called from a Fault: there it
// says whose answer is being lost. Whether the token works is for
// [Server.Active] to say.
func (s *Server) Grant(token string) (Grant, bool) {
	_, id, _, ok := s.parseToken(token)
	if !ok {
		return Grant{}, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	g, ok := s.grants.get(id)
	if !ok {
		return Grant{}, false
	}
	return g.view(), true
}

func (g *grant) view() Grant {
	v := Grant{ID: g.id.String(), ClientID: g.clientID, Subject: g.subject, SID: g.sid.String(), Revoked: g.revokedAt, Reused: g.reused}
	if g.refresh > 0 {
		v.Rotations = int(g.refresh) - 1
	}
	return v
}

// revoke ends a grant with all its tokens. The caller holds s.mu.
func (s *Server) revoke(g *grant) {
	if !g.revoked {
		g.revoked, g.revokedAt = true, s.cfg.Now()
	}
}

// reuse ends a grant because a replaced refresh token of it came back (OAuth 2.1
// §4.3.1). The caller holds s.mu.
func (s *Server) reuse(g *grant) {
	g.reused = true
	s.revoke(g)
	if len(s.stats.Reused) == maxLogins {
		s.stats.Reused = slices.Delete(s.stats.Reused, 0, 1)
	}
	s.stats.Reused = append(s.stats.Reused, g.view())
}
