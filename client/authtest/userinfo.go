package authtest

import (
	"net/http"
	"slices"
	"strings"
)

// serveUserInfo is the userinfo endpoint (OpenID Connect Core §5.3), and the
// protected resource of demos.
func (s *Server) serveUserInfo(x *exchange) *Response {
	headers := x.Header.Values("Authorization")
	if len(headers) == 0 {
		// RFC 6750 §3.1: no error code for a request without credentials.
		return s.challenge(x, http.StatusUnauthorized, "")
	}
	scheme, token, _ := strings.Cut(headers[0], " ")
	if len(headers) > 1 || !strings.EqualFold(scheme, "Bearer") || x.Form.Has("access_token") || x.Query.Has("access_token") {
		return s.challenge(x, http.StatusBadRequest, "invalid_request")
	}
	s.mu.Lock()
	g, access, ok := s.findAccess(token)
	s.mu.Unlock()
	if !ok {
		return s.challenge(x, http.StatusUnauthorized, "invalid_token")
	}
	if !slices.Contains(access.scopes, "openid") {
		return s.challenge(x, http.StatusForbidden, "insufficient_scope")
	}
	claims := s.release(g.subject, access.scopes, g.claims.UserInfo)
	c, _ := s.client(g.clientID)
	if c.UserInfoAlgorithm == "" {
		return noStore(x.object(http.StatusOK, claims))
	}
	// OpenID Connect Core §5.3.2
	claims["iss"], claims["aud"] = s.cfg.Issuer, c.ID
	token, err := x.sign(s.keys.get(c.UserInfoAlgorithm), claims)
	if err != nil {
		return plain(http.StatusInternalServerError, err.Error())
	}
	return noStore(&Response{Status: http.StatusOK, Header: http.Header{"Content-Type": {"application/jwt"}}, Body: []byte(token)})
}

// challenge refuses a request to a protected resource (RFC 6750 §3).
func (s *Server) challenge(x *exchange, status int, code string) *Response {
	if code == "" {
		r := noStore(plain(status, "a token is needed"))
		r.Header.Set("WWW-Authenticate", `Bearer realm="authtest"`)
		return r
	}
	r := x.fail(status, &protocolError{code, "the access token was not accepted"})
	header := `Bearer realm="authtest", error="` + code + `"`
	if code == "insufficient_scope" {
		header += `, scope="openid"`
	}
	r.Header.Set("WWW-Authenticate", header)
	return r
}
