package authtest

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

var errGrant = &protocolError{"invalid_grant", "the code or refresh token is not valid"}

// serveToken is the token endpoint (OAuth 2.1 §3.2).
func (s *Server) serveToken(x *exchange) *Response {
	c, refused := s.authenticate(x)
	if refused != nil {
		return refused
	}
	var issued *issue
	var err *protocolError
	switch value(x.Form, "grant_type") {
	case "authorization_code":
		issued, err = s.redeem(x, c)
	case "refresh_token":
		issued, err = s.refresh(x, c)
	case "":
		err = &protocolError{"invalid_request", "grant_type is missing"}
	default:
		err = &protocolError{"unsupported_grant_type", "only authorization_code and refresh_token are supported"}
	}
	if err != nil {
		return x.fail(http.StatusBadRequest, err)
	}
	members := map[string]any{
		"access_token": issued.access,
		"token_type":   "Bearer",
		"expires_in":   int64(s.cfg.AccessTokenLifetime.Seconds()),
		"scope":        strings.Join(issued.scopes, " "),
	}
	if issued.refresh != "" {
		members["refresh_token"] = issued.refresh
	}
	if slices.Contains(issued.scopes, "openid") {
		token, err := x.idToken(s, c, issued.grant, issued.nonce, issued.access)
		if err != nil {
			return plain(http.StatusInternalServerError, err.Error())
		}
		members["id_token"] = token
	}
	return noStore(x.object(http.StatusOK, members))
}

// issue is what a token request gave. Of the grant only what never changes is
// read without the lock.
type issue struct {
	grant           *grant
	access, refresh string
	scopes          []string
	nonce           string
}

// redeem turns a code into tokens (OAuth 2.1 §4.1.3).
func (s *Server) redeem(x *exchange, c Client) (*issue, *protocolError) {
	code := value(x.Form, "code")
	if code == "" {
		return nil, &protocolError{"invalid_request", "code is missing"}
	}
	kind, id, _, ok := s.parseToken(code)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stats.Exchanges++
	g, found := s.grants.get(id)
	if !ok || kind != codeKind || !found || g.clientID != c.ID {
		return nil, errGrant
	}
	lenient := x.lenient()
	if g.codeUsed && !lenient {
		// OAuth 2.1 §4.1.3: a second use revokes what the first one gave.
		s.revoke(g)
	}
	if g.revoked || !s.cfg.Now().Before(g.codeExpires) {
		return nil, errGrant
	}
	if !lenient {
		// RFC 6749 §4.1.3: redirect_uri as in the authorization request.
		if value(x.Form, "redirect_uri") != g.redirectURI {
			return nil, errGrant
		}
		// RFC 7636 §4.6
		sum := sha256.Sum256([]byte(value(x.Form, "code_verifier")))
		if !validVerifier(value(x.Form, "code_verifier")) || base64.RawURLEncoding.EncodeToString(sum[:]) != g.challenge {
			return nil, errGrant
		}
	}
	resources, err := narrowResources(x.Form, g.resources)
	if err != nil {
		return nil, err
	}
	g.codeUsed = true
	out := &issue{grant: g, scopes: g.scopes, nonce: g.nonce}
	out.access = s.mintAccess(g, g.scopes, resources)
	// OpenID Connect Core §11 gives refresh tokens for offline_access; plain
	// OAuth has no such scope, and the server decides.
	if slices.Contains(g.scopes, "offline_access") || !slices.Contains(g.scopes, "openid") {
		s.mintRefresh(g)
		out.refresh = s.token(refreshKind, g.id, g.refresh)
	}
	return out, nil
}

// refresh turns a refresh token into new tokens (OAuth 2.1 §4.3).
func (s *Server) refresh(x *exchange, c Client) (*issue, *protocolError) {
	token := value(x.Form, "refresh_token")
	if token == "" {
		return nil, &protocolError{"invalid_request", "refresh_token is missing"}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stats.Refreshes++
	g, number, ok := s.refreshGrant(token)
	if !ok || g.clientID != c.ID || g.revoked || !s.cfg.Now().Before(g.refreshExpires) {
		return nil, errGrant
	}
	current := number == g.refresh
	if !current && !s.inGrace(g, number) {
		s.reuse(g)
		return nil, errGrant
	}
	scopes := g.scopes
	if asked := strings.Fields(value(x.Form, "scope")); len(asked) > 0 {
		for _, scope := range asked {
			// OAuth 2.1 §4.3.1
			if !slices.Contains(g.scopes, scope) {
				return nil, &protocolError{"invalid_scope", "the scope is wider than what was granted"}
			}
		}
		scopes = asked
	}
	resources, err := narrowResources(x.Form, g.resources)
	if err != nil {
		return nil, err
	}
	switch {
	case !current:
		s.stats.Repeats++
	case !s.cfg.NoRotation:
		s.mintRefresh(g)
		s.stats.Rotations++
	}
	// OpenID Connect Core §12.2: better no nonce than the old one again.
	return &issue{
		grant: g, scopes: scopes,
		access:  s.mintAccess(g, scopes, resources),
		refresh: s.token(refreshKind, g.id, g.refresh),
	}, nil
}

// validVerifier: RFC 7636 §4.1.
func validVerifier(v string) bool {
	return len(v) >= 43 && len(v) <= 128 && strings.Trim(v, unreserved) == ""
}

const unreserved = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"

// narrowResources picks the resources of one access token out of those granted
// (RFC 8707 §2.2).
func narrowResources(form url.Values, granted []string) ([]string, *protocolError) {
	asked := form["resource"]
	if len(asked) == 0 {
		return granted, nil
	}
	for _, r := range asked {
		if !slices.Contains(granted, r) {
			return nil, &protocolError{"invalid_target", "the resource was not granted"}
		}
	}
	return asked, nil
}
