package client

import (
	"context"
	"net/http"
	"net/url"
	"strings"

	"golang.org/x/oauth2"

	"github.com/sallyport/sallyport/internal/backchannel"
)

const maxRevocationBytes = 64 << 10

// Revoke tells the server that the tokens are not needed any more (RFC 7009):
// the refresh token first, which ends the grant, then the access token. It
// returns nil if the server has no revocation endpoint. A token that the server
// does not know, or a type that it cannot revoke, is no failure (RFC 7009 §2.2).
//
// Failure: [ErrRevocation]; the tokens are then assumed to live on. The local
// session must have ended before, whatever this returns.
func (c *Client) Revoke(ctx context.Context, t *Tokens) error {
	if t == nil {
		return nil
	}
	m, err := c.discover(ctx)
	if err != nil {
		return err
	}
	if m.RevocationEndpoint == "" {
		return nil
	}
	var failed error
	for _, r := range [...]struct {
		token Secret
		hint  string
	}{{t.RefreshToken, "refresh_token"}, {t.AccessToken, "access_token"}} {
		if r.token == "" {
			continue
		}
		if err := c.revoke(ctx, m, r.token, r.hint); err != nil && failed == nil {
			failed = err
		}
	}
	if failed != nil {
		c.emit(ctx, Event{Kind: EventRevokeFailed, Err: failed})
		return failed
	}
	c.emit(ctx, Event{Kind: EventTokenRevoked})
	return nil
}

func (c *Client) revoke(ctx context.Context, m *Metadata, token Secret, hint string) error {
	secret, err := c.cfg.Authentication.secret(ctx)
	if err != nil {
		return err
	}
	form := url.Values{"token": {string(token)}, "token_type_hint": {hint}}
	_, style := c.cfg.Authentication.method()
	if style == oauth2.AuthStyleInParams {
		form.Set("client_id", c.cfg.ClientID)
		form.Set("client_secret", string(secret))
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, m.RevocationEndpoint, strings.NewReader(form.Encode()))
	if err != nil {
		return NewError(ErrConfig, "endpoint", nil)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if style == oauth2.AuthStyleInHeader {
		req.SetBasicAuth(url.QueryEscape(c.cfg.ClientID), url.QueryEscape(string(secret)))
	}
	resp, err := c.http.Do(req, backchannel.Idempotent, maxRevocationBytes)
	if err != nil {
		cause := transportError(err)
		return revocationError(NewError(ErrRevocation, string(cause.Code), cause), cause.Outcome)
	}
	if resp.Status == http.StatusOK {
		return nil // the body is of no interest (RFC 7009 §2.2)
	}
	e := tokenEndpointError(resp)
	if e.ServerCode == "unsupported_token_type" {
		return nil // RFC 7009 §2.2.1: nothing that could be done about it
	}
	e.Code = ErrRevocation
	return revocationError(e, e.Outcome)
}

// revocationError says who can help: the user cannot, by logging in.
func revocationError(e *Error, o Outcome) *Error {
	if e.Outcome = o; o == Rejected {
		e.Action = ActionFixConfiguration
	}
	return e
}

// EndSessionURL is where to send the browser to end the session at the server
// too (OpenID Connect RP-Initiated Logout 1.0 §2). idTokenHint may be empty;
// state, if not empty, comes back to the PostLogoutRedirectURI. It returns ""
// if the server has no end_session_endpoint. Failure: as [Client.Discover].
func (c *Client) EndSessionURL(ctx context.Context, idTokenHint Secret, state string) (string, error) {
	m, err := c.discover(ctx)
	if err != nil || m.EndSessionEndpoint == "" {
		return "", err
	}
	params := []param{{"client_id", c.cfg.ClientID}}
	if idTokenHint != "" {
		params = append(params, param{"id_token_hint", string(idTokenHint)})
	}
	if c.cfg.PostLogoutRedirectURI != "" {
		params = append(params, param{"post_logout_redirect_uri", c.cfg.PostLogoutRedirectURI})
		if state != "" {
			params = append(params, param{"state", state})
		}
	}
	sep := "?"
	if strings.Contains(m.EndSessionEndpoint, "?") {
		sep = "&"
	}
	return m.EndSessionEndpoint + sep + encodeParams(params), nil
}
