package client

import (
	"context"
	"errors"
	"net/http"
	"net/url"

	"github.com/sallyport/sallyport/internal/backchannel"
	"github.com/sallyport/sallyport/internal/idtoken"
)

// Refresh exchanges the refresh token of previous for new tokens (OAuth 2.1
// §4.3). It sends it once: calling it from two places for the same tokens is
// what package session prevents, and this method does not.
//
// The refresh token of previous is kept if the server sends none (RFC 6749 §6),
// and so are ID token, userinfo and subject. An ID token that comes along is
// held to the one of previous (OpenID Connect Core §12.2).
//
// Failure: [ErrGrantRevoked] when the grant is over; [ErrRefreshInDoubt] when the
// request was written and no answer came, so the refresh token may be spent;
// [ErrTokenEndpoint], [ErrTransport] and [ErrTimeout] (Outcome Transient: keep
// the tokens, try later); [ErrTokenType], [ErrScope] and [ErrIDToken] when an
// answer came that must not be used. An answer that is none of a token endpoint's,
// or that cannot be judged because the keys are away, is ErrRefreshInDoubt too:
// errors.Is finds [ErrTokenResponse], [ErrContentType], [ErrJWKS] in it.
func (c *Client) Refresh(ctx context.Context, previous *Tokens) (*Tokens, error) {
	t, err := c.refresh(ctx, previous)
	if err != nil {
		c.emit(ctx, Event{Kind: EventRefreshFailed, Err: err})
		return nil, err
	}
	c.emit(ctx, Event{Kind: EventTokenRefreshed})
	return t, nil
}

func (c *Client) refresh(ctx context.Context, previous *Tokens) (*Tokens, error) {
	if previous == nil || previous.RefreshToken == "" {
		return nil, NewError(ErrGrantRevoked, "no_refresh_token", nil)
	}
	m, err := c.discover(ctx)
	if err != nil {
		return nil, err
	}
	tr, err := c.grant(ctx, m, backchannel.RefreshGrant, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {string(previous.RefreshToken)}})
	if err != nil {
		return nil, refreshError(err)
	}
	t, err := c.newTokens(tr, previous.Scopes)
	if err != nil {
		return nil, refreshError(err)
	}
	t.IDToken, t.UserInfo, t.Subject, t.ObtainedAt = previous.IDToken, previous.UserInfo, previous.Subject, previous.ObtainedAt
	if t.RefreshToken == "" {
		t.RefreshToken = previous.RefreshToken
		if !tr.expiresSaid {
			t.Expiry = c.now().Add(unsaidExpiry)
		}
	}
	if tr.idToken != "" && previous.IDToken != nil {
		if t.IDToken, err = c.verifyRefreshed(ctx, m, tr, previous.IDToken); err != nil {
			if anothers(err) { // nobody else knows these tokens (ATK-F09)
				_ = c.Revoke(ctx, t)
			}
			return nil, refreshError(err)
		}
	}
	return t, nil
}

// verifyRefreshed holds an ID token from a refresh to the first one (OpenID Connect Core §12.2).
func (c *Client) verifyRefreshed(ctx context.Context, m *Metadata, tr *tokenResponse, first *IDToken) (*IDToken, error) {
	e := c.expectation(m)
	e.AccessToken = string(tr.accessToken)
	t, err := c.verify(ctx, tr.idToken, e)
	if err != nil {
		return nil, err
	}
	if err := idtoken.Continues(first.token(), t.token()); err != nil {
		e := idTokenError(err)
		e.Action = ActionLogin // also for auth_time: nothing was asked about it
		return nil, e
	}
	return t, nil
}

// anothers reports whether the ID token of a refresh speaks of another user,
// issuer or client than the login did, so that the grant cannot be trusted.
func anothers(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Code == ErrIDToken && (e.Reason == "sub" || e.Reason == "iss" || e.Reason == "aud")
}

// refreshError says what a failed refresh means for the grant.
func refreshError(err error) error {
	var e *Error
	if !errors.As(err, &e) {
		return err
	}
	// Only a refusal with this code ends the grant: a 5xx or 429 never does, whatever it says.
	if e.Code == ErrTokenEndpoint && e.Outcome == Rejected && (e.ServerCode == "invalid_grant" || e.ServerCode == "bad_refresh_token") {
		g := NewError(ErrGrantRevoked, "", nil)
		g.Status, g.ServerCode, g.server = e.Status, e.ServerCode, e.server
		return g
	}
	if spent(e) {
		d := NewError(ErrRefreshInDoubt, string(e.Code), e)
		d.RetryAfter = e.RetryAfter
		return d
	}
	return e
}

// spent reports whether the refresh token may be used up although no tokens came
// of it: the request was lost on its way, or what came back is not what a token
// endpoint says (a captive portal's page, half an answer), or it could not be judged.
func spent(e *Error) bool {
	return e.Outcome == InDoubt || e.Code == ErrTokenResponse || e.Code == ErrJWKS || e.Code == ErrContentType && e.Status == http.StatusOK
}
