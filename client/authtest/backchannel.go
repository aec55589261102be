package authtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

const (
	// logoutTokenLifetime is the distance from iat to exp: OpenID Connect
	// Back-Channel Logout 1.0 §2.4 asks for two minutes at most.
	logoutTokenLifetime = 2 * time.Minute
	// logoutTimeout bounds one logout request: a client that is away must not
	// keep the user's browser waiting.
	logoutTimeout = 5 * time.Second
)

var errNotRegistered = errors.New("authtest: there is no such client, or it has no BackchannelLogoutURI")

// Logout ends all logins of a user at the server and tells every client that
// has a BackchannelLogoutURI, with a token that names the subject alone, so that
// all sessions of that user are meant. It returns the status of the first answer
// that was not 200, else 200; 0 if no client is registered for it. It fails if a
// client did not answer.
func (s *Server) Logout(ctx context.Context, subject string) (status int, err error) {
	s.mu.Lock()
	for id, ses := range s.sessions.entries {
		if ses.subject == subject {
			s.sessions.remove(id)
		}
	}
	clients := slices.Sorted(maps.Keys(s.clients))
	s.mu.Unlock()
	for _, id := range clients {
		answer, err := s.tell(ctx, id, subject, "")
		switch {
		case errors.Is(err, errNotRegistered):
			continue
		case err != nil:
			return 0, err
		}
		if status == 0 || status == http.StatusOK {
			status = answer
		}
	}
	return status, nil
}

// LogoutToken makes a logout token for a client without sending it, faults
// included. An empty subject or sid is left out. It ends nothing.
func (s *Server) LogoutToken(clientID, subject, sid string) (string, error) {
	x := s.outgoing()
	return s.logoutToken(x, clientID, subject, sid)
}

// outgoing is an exchange that begins here.
func (s *Server) outgoing() *exchange {
	x := &exchange{Request: &Request{
		Endpoint: BackchannelLogout, Time: s.cfg.Now(), Method: http.MethodPost,
		Header: http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}, Query: url.Values{}, Form: url.Values{},
	}}
	x.faults = s.faults.match(x.Request)
	return x
}

// logoutToken is OpenID Connect Back-Channel Logout 1.0 §2.4.
func (s *Server) logoutToken(x *exchange, clientID, subject, sid string) (string, error) {
	c, ok := s.client(clientID)
	if !ok {
		return "", errNotRegistered
	}
	alg := c.IDTokenAlgorithm
	if alg == "" {
		alg = s.cfg.Algorithm
	}
	now := s.cfg.Now()
	claims := map[string]any{
		"iss": s.cfg.Issuer, "aud": c.ID, "iat": now.Unix(), "exp": now.Add(logoutTokenLifetime).Unix(), "jti": newIdentifier().String(),
		"events": map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}},
	}
	if subject != "" {
		claims["sub"] = subject
	}
	if sid != "" {
		claims["sid"] = sid
	}
	return x.signTyped("logout+jwt", s.keys.get(alg), claims)
}

// tell sends a logout token to one client (§2.5) and returns the status of its answer.
func (s *Server) tell(ctx context.Context, clientID, subject, sid string) (status int, err error) {
	c, ok := s.client(clientID)
	if !ok || c.BackchannelLogoutURI == "" {
		return 0, errNotRegistered
	}
	x := s.outgoing()
	token, err := s.logoutToken(x, clientID, subject, sid)
	if err != nil {
		return 0, err
	}
	x.Form.Set("logout_token", token)
	for _, f := range x.faults {
		if f.Params != nil {
			f.Params(x.Form)
		}
	}
	x.Body = x.Form.Encode()
	ctx, cancel := context.WithTimeout(ctx, logoutTimeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.BackchannelLogoutURI, strings.NewReader(x.Body))
	if err != nil {
		return 0, fmt.Errorf("authtest: the logout request: %w", err)
	}
	r.Header = x.Header.Clone()
	x.Path = r.URL.EscapedPath()
	s.log.add(x.Request)
	resp, err := s.cfg.LogoutTransport.RoundTrip(r) // follows no redirect
	if err != nil {
		return 0, fmt.Errorf("authtest: client %q did not answer its logout request: %w", clientID, err)
	}
	defer func() { _ = resp.Body.Close() }()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, maxRequestBody))
	return resp.StatusCode, nil
}
