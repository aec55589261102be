package authtest

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"slices"
	"time"
)

// maxLogins bounds the logins that the server remembers; the oldest are
// forgotten first, and their tokens are then unknown.
const maxLogins = 1 << 16

// maxAccessTokens bounds the access tokens of one grant that are alive.
const maxAccessTokens = 256

type identifier [16]byte

func newIdentifier() (id identifier) {
	_, _ = rand.Read(id[:])
	return id
}

func (id identifier) String() string { return hex.EncodeToString(id[:]) }

// grant is what one authorization gave: a code, and the tokens that came of it.
// What a token carries is the grant's id and a number, so that a storm of
// refreshes leaves nothing behind. Server.mu guards what changes.
type grant struct {
	id          identifier
	clientID    string
	redirectURI string
	challenge   string
	nonce       string
	scopes      []string
	resources   []string
	claims      claimsRequest
	subject     string
	acr         string
	sid         identifier
	authTime    time.Time

	codeExpires time.Time
	codeUsed    bool
	revoked     bool
	revokedAt   time.Time
	reused      bool // revoked because a replaced refresh token came back

	refresh        uint32 // number of the current refresh token; 0: none
	refreshExpires time.Time
	rotated        time.Time // when the current one replaced the one before

	accessMade uint32
	access     []accessToken
}

type accessToken struct {
	number    uint32
	issued    time.Time
	expires   time.Time
	scopes    []string
	resources []string
}

// The kinds of token, as their first byte.
const (
	codeKind    = 'c'
	accessKind  = 'a'
	refreshKind = 'r'
)

const tokenBody = 1 + len(identifier{}) + 4

// token writes a token: kind, grant, number, and a MAC that only we can make.
func (s *Server) token(kind byte, id identifier, number uint32) string {
	b := make([]byte, 0, tokenBody+16)
	b = append(b, kind)
	b = append(b, id[:]...)
	b = binary.BigEndian.AppendUint32(b, number)
	return base64.RawURLEncoding.EncodeToString(append(b, s.mac(b)...))
}

func (s *Server) mac(b []byte) []byte {
	h := hmac.New(sha256.New, s.secret[:])
	h.Write(b)
	return h.Sum(nil)[:16]
}

// parseToken reads a token that token wrote, and no other string.
func (s *Server) parseToken(token string) (kind byte, id identifier, number uint32, ok bool) {
	b, ok := decode(token, tokenBody+16)
	if !ok || !hmac.Equal(s.mac(b[:tokenBody]), b[tokenBody:]) {
		return 0, id, 0, false
	}
	copy(id[:], b[1:])
	return b[0], id, binary.BigEndian.Uint32(b[1+len(id):]), true
}

// decode reads the one base64url text of size bytes. Package base64 skips line
// breaks, and unless told otherwise takes any trailing bits.
func decode(text string, size int) ([]byte, bool) {
	b, err := base64.RawURLEncoding.DecodeString(text)
	return b, err == nil && len(b) == size && base64.RawURLEncoding.EncodeToString(b) == text
}

// mintAccess makes an access token. The caller holds s.mu.
func (s *Server) mintAccess(g *grant, scopes, resources []string) string {
	now := s.cfg.Now()
	g.access = slices.DeleteFunc(g.access, func(a accessToken) bool { return !now.Before(a.expires) })
	if len(g.access) == maxAccessTokens {
		g.access = slices.Delete(g.access, 0, 1)
	}
	g.accessMade++
	g.access = append(g.access, accessToken{
		number: g.accessMade, issued: now, expires: now.Add(s.cfg.AccessTokenLifetime),
		scopes: scopes, resources: resources,
	})
	return s.token(accessKind, g.id, g.accessMade)
}

// mintRefresh makes the next refresh token. The caller holds s.mu.
func (s *Server) mintRefresh(g *grant) {
	now := s.cfg.Now()
	g.refresh++
	g.rotated = now
	g.refreshExpires = now.Add(s.cfg.RefreshTokenLifetime)
}

// findAccess returns the grant and the record of a live access token. The
// caller holds s.mu.
func (s *Server) findAccess(token string) (*grant, accessToken, bool) {
	kind, id, number, ok := s.parseToken(token)
	if !ok || kind != accessKind {
		return nil, accessToken{}, false
	}
	g, ok := s.grants.get(id)
	if !ok || g.revoked {
		return nil, accessToken{}, false
	}
	i := slices.IndexFunc(g.access, func(a accessToken) bool { return a.number == number })
	if i < 0 || !s.cfg.Now().Before(g.access[i].expires) {
		return nil, accessToken{}, false
	}
	return g, g.access[i], true
}

// findRefresh returns the grant of a refresh token that would be accepted now.
// The caller holds s.mu.
func (s *Server) findRefresh(token string) (*grant, bool) {
	g, number, ok := s.refreshGrant(token)
	if !ok || g.revoked || !s.cfg.Now().Before(g.refreshExpires) {
		return nil, false
	}
	return g, number == g.refresh || s.inGrace(g, number)
}

// refreshGrant returns the grant that a refresh token, spent or not, belongs to.
func (s *Server) refreshGrant(token string) (*grant, uint32, bool) {
	kind, id, number, ok := s.parseToken(token)
	if !ok || kind != refreshKind {
		return nil, 0, false
	}
	g, ok := s.grants.get(id)
	return g, number, ok
}

// inGrace reports whether number is the refresh token just before the current
// one, and the current one is young enough to be handed out again.
func (s *Server) inGrace(g *grant, number uint32) bool {
	return s.cfg.RotationGrace > 0 && number+1 == g.refresh && s.cfg.Now().Sub(g.rotated) <= s.cfg.RotationGrace
}

// Active reports whether the server would accept a token now: an access token
// at userinfo, a refresh token or a code at the token endpoint. It changes
// nothing and is not counted as a request.
func (s *Server) Active(token string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, _, ok := s.findAccess(token); ok {
		return true
	}
	if _, ok := s.findRefresh(token); ok {
		return true
	}
	kind, id, _, ok := s.parseToken(token)
	if !ok || kind != codeKind {
		return false
	}
	g, ok := s.grants.get(id)
	return ok && !g.codeUsed && !g.revoked && s.cfg.Now().Before(g.codeExpires)
}
