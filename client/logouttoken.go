package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"slices"
	"time"

	"github.com/sallyport/sallyport/internal/idtoken"
)

// ErrLogoutToken: a logout request or its token was refused. Reason says which check.
const ErrLogoutToken Code = "logout_token"

const (
	maxLogoutForm = 16 << 10
	// maxLogoutAge is how long ago a logout token may have been issued: an older one is a replay (ATK-O11).
	maxLogoutAge = 2 * time.Minute
)

// LogoutToken is a verified logout token (OpenID Connect Back-Channel Logout
// 1.0 §2.4). It prints as its issuer.
type LogoutToken struct {
	Issuer  string // the client's, as configured
	Subject string // empty if only SID says who is meant
	SID     string // session id at the server; empty: all sessions of Subject are meant
	ID      string // jti: unique at the issuer
	// IssuedAt and Expiry are the server's clock.
	IssuedAt, Expiry time.Time
	// ReceivedAt is when its verification began. Tokens obtained before are concerned, later ones are not.
	ReceivedAt time.Time
	// ReplayableUntil is how long the same token would be accepted again: ID must be remembered until then (§2.6 (8)).
	ReplayableUntil time.Time
}

// String names the issuer only.
func (t LogoutToken) String() string { return "logout token of " + t.Issuer }

// Format writes String for every verb.
func (t LogoutToken) Format(f fmt.State, _ rune) { io.WriteString(f, t.String()) }

// LogValue is String for log/slog.
func (t LogoutToken) LogValue() slog.Value { return slog.StringValue(t.String()) }

// LogoutRequest is a back-channel logout request, shaped right and believed in
// nothing yet. It prints as nothing but its kind.
type LogoutRequest struct{ token, issuer string }

// UnverifiedIssuer is who the token says it is from, to choose between several
// clients; a stranger's byte string until [Client.VerifyLogout] has succeeded.
func (l *LogoutRequest) UnverifiedIssuer() string { return l.issuer }

// String says no more than what this is.
func (l LogoutRequest) String() string { return "logout request" }

// Format writes String for every verb.
func (l LogoutRequest) Format(f fmt.State, _ rune) { io.WriteString(f, l.String()) }

// LogValue is String for log/slog.
func (l LogoutRequest) LogValue() slog.Value { return slog.StringValue(l.String()) }

// LogoutToken reads and verifies a request of the server to the registered
// backchannel_logout_uri: [ReadLogoutRequest], then [Client.VerifyLogout]. The
// caller makes sure that a token with the same ID is acted on once, and answers
// 200, or 400 for every [ErrLogoutToken], with Cache-Control: no-store (§2.8).
func (c *Client) LogoutToken(r *http.Request) (*LogoutToken, error) {
	l, err := ReadLogoutRequest(r)
	if err != nil {
		return nil, err
	}
	return c.VerifyLogout(r.Context(), l)
}

// ReadLogoutRequest reads a back-channel logout request (OpenID Connect
// Back-Channel Logout 1.0 §2.5): a POST of a form of at most 16 kB with one
// logout_token, and none in the query.
//
// Failure: [ErrLogoutToken] with reason method, content_type, size, encoding,
// body, query, duplicate or missing; and format, encrypted or iss if the token
// cannot even be asked for its issuer.
func ReadLogoutRequest(r *http.Request) (*LogoutRequest, error) {
	if r.Method != http.MethodPost {
		return nil, logoutError("method")
	}
	ct, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || ct != "application/x-www-form-urlencoded" || len(r.Header["Content-Type"]) != 1 {
		return nil, logoutError("content_type")
	}
	if r.ContentLength > maxLogoutForm || len(r.URL.RawQuery) > maxQuery {
		return nil, logoutError("size")
	}
	query, err := parseParams(r.URL.RawQuery)
	if err != nil {
		return nil, logoutError("encoding")
	}
	for _, p := range query {
		if p.name == "logout_token" { // it would be in every access log
			return nil, logoutError("query")
		}
	}
	var body []byte
	if r.Body != nil {
		if body, err = io.ReadAll(io.LimitReader(r.Body, maxLogoutForm+1)); err != nil {
			return nil, logoutError("body")
		}
	}
	if len(body) > maxLogoutForm {
		return nil, logoutError("size")
	}
	params, err := parseParams(string(body))
	if err != nil {
		return nil, logoutError("encoding")
	}
	l, found := &LogoutRequest{}, 0
	for _, p := range params { // §2.5: other parameters are ignored
		if p.name == "logout_token" {
			l.token = p.value
			found++
		}
	}
	switch {
	case found > 1:
		return nil, logoutError("duplicate")
	case l.token == "":
		return nil, logoutError("missing")
	}
	if l.issuer, err = idtoken.UnverifiedIssuer(l.token); err != nil {
		return nil, logoutTokenError(err)
	}
	return l, nil
}

// VerifyLogout verifies the token of a logout request as OpenID Connect
// Back-Channel Logout 1.0 §2.6 asks: what needs no key before anything is
// fetched, the signature last. Whether the token was seen before is for the
// caller to find. No token is ever decrypted: no encryption is negotiated.
//
// Failure: [ErrLogoutToken] with reason size, format, encrypted, crit, typ, alg,
// kid, iss, aud, events, nonce, exp, iat, nbf, jti, sub, sid or sig; [ErrJWKS] or
// [ErrDiscovery] if it could not be judged.
func (c *Client) VerifyLogout(ctx context.Context, l *LogoutRequest) (*LogoutToken, error) {
	received := c.now()
	e := idtoken.Expectation{
		Issuer: c.cfg.Issuer, ClientID: c.cfg.ClientID, Algorithms: c.cfg.IDTokenAlgorithms,
		TrustedAudiences: c.cfg.Quirks.TrustedAudiences, Leeway: c.cfg.Leeway, MaxIssuedAge: maxLogoutAge + c.cfg.Leeway,
	}
	if c.cfg.Quirks.AllowHMAC {
		secret, err := c.cfg.Authentication.secret(ctx)
		if err != nil {
			return nil, err
		}
		e.HMACSecret = []byte(secret)
	}
	t, err := idtoken.ScreenLogout(l.token, e, received) // ATK-Q03
	if err != nil {
		return nil, logoutTokenError(err)
	}
	m, err := c.discover(ctx)
	if err != nil {
		return nil, err
	}
	e.Algorithms = c.logoutAlgorithms(m)
	if err := t.Authenticate(ctx, c.keySet(), e, received); err != nil {
		return nil, logoutTokenError(err)
	}
	until := t.Expiry
	if oldest := t.IssuedAt.Add(e.MaxIssuedAge); oldest.Before(until) {
		until = oldest
	}
	return &LogoutToken{
		Issuer: c.cfg.Issuer, Subject: t.Subject, SID: t.SID, ID: t.ID, IssuedAt: t.IssuedAt, Expiry: t.Expiry,
		ReceivedAt: received, ReplayableUntil: until.Add(2 * c.cfg.Leeway),
	}, nil
}

// logoutAlgorithms are those that the server signs this client's ID tokens with:
// a logout token uses the same (OpenID Connect Back-Channel Logout 1.0 §2.6).
// Before the first login of this process all that are accepted will do.
func (c *Client) logoutAlgorithms(m *Metadata) []string {
	accepted := c.algorithms(m)
	seen := slices.DeleteFunc(slices.Clone(accepted), func(alg string) bool {
		_, ok := c.signedWith.Load(alg)
		return !ok
	})
	if len(seen) == 0 {
		return accepted
	}
	return seen
}

// logoutError is a refusal. There is no user to act on it: whoever sent it is misconfigured, or a stranger.
func logoutError(reason string) *Error {
	e := NewError(ErrLogoutToken, reason, nil)
	e.Action = ActionFixConfiguration
	return e
}

// logoutTokenError gives a verification failure its code; keys that are away are no judgement.
func logoutTokenError(err error) *Error {
	e := idTokenError(err)
	var ie *idtoken.Error
	if e.Code == ErrIDToken && errors.As(err, &ie) {
		return logoutError(ie.Reason)
	}
	return e
}
