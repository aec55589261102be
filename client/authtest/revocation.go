package authtest

import (
	"net/http"
	"slices"
	"strings"
)

// serveRevocation is RFC 7009. A refresh token takes its whole grant with it,
// an access token only itself (§2.1).
func (s *Server) serveRevocation(x *exchange) *Response {
	c, refused := s.authenticate(x)
	if refused != nil {
		return refused
	}
	token := value(x.Form, "token")
	if token == "" {
		return x.fail(http.StatusBadRequest, &protocolError{"invalid_request", "token is missing"})
	}
	kind, id, number, ok := s.parseToken(token)
	s.mu.Lock()
	defer s.mu.Unlock()
	// §2.2: an unknown token, or another client's, is as good as revoked.
	if g, found := s.grants.get(id); ok && found && g.clientID == c.ID {
		switch kind {
		case refreshKind:
			s.revoke(g)
		case accessKind:
			g.access = slices.DeleteFunc(g.access, func(a accessToken) bool { return a.number == number })
		}
	}
	return noStore(&Response{Status: http.StatusOK, Header: http.Header{}})
}

// serveIntrospection is RFC 7662, for confidential clients and their own tokens.
func (s *Server) serveIntrospection(x *exchange) *Response {
	c, refused := s.authenticate(x)
	if refused != nil {
		return refused
	}
	if c.Secret == "" {
		// §2.1: the endpoint must not answer just anybody.
		return x.fail(http.StatusUnauthorized, &protocolError{"invalid_client", "a public client cannot ask"})
	}
	token := value(x.Form, "token")
	if token == "" {
		return x.fail(http.StatusBadRequest, &protocolError{"invalid_request", "token is missing"})
	}
	return noStore(x.object(http.StatusOK, s.introspect(c, token)))
}

func (s *Server) introspect(c Client, token string) map[string]any {
	s.mu.Lock()
	defer s.mu.Unlock()
	g, access, ok := s.findAccess(token)
	if ok && g.clientID == c.ID {
		out := map[string]any{
			"active": true, "token_type": "Bearer", "iss": s.cfg.Issuer, "sub": g.subject, "client_id": g.clientID,
			"scope": strings.Join(access.scopes, " "),
			"iat":   access.issued.Unix(), "exp": access.expires.Unix(),
		}
		if len(access.resources) > 0 {
			out["aud"] = access.resources
		}
		return out
	}
	if g, ok = s.findRefresh(token); ok && g.clientID == c.ID {
		return map[string]any{
			"active": true, "iss": s.cfg.Issuer, "sub": g.subject, "client_id": g.clientID,
			"scope": strings.Join(g.scopes, " "), "exp": g.refreshExpires.Unix(),
		}
	}
	// §2.2: nothing else about a token that is not active.
	return map[string]any{"active": false}
}
