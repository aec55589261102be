package client

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"

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
// Failure: [ErrGrantRevoked] when the grant is over, by invalid_grant or by what
// Config.Rotation says (Reason "over_code" or "empty_answer" then); [ErrRefreshInDoubt] when the
// request was written and no answer came, so the refresh token may be spent;
// [ErrTokenEndpoint], [ErrTransport] and [ErrTimeout] (Outcome Transient: keep
// the tokens, try later); [ErrTokenType], [ErrScope] and [ErrIDToken] when an
// answer came that must not be used; its tokens have been revoked, and the refresh
// token of previous is spent. An answer that is none of a token endpoint's is
// ErrRefreshInDoubt too: errors.Is finds [ErrTokenResponse] or [ErrContentType] in it.
func (c *Client) Refresh(ctx context.Context, previous *Tokens) (*Tokens, error) {
	if previous == nil || previous.RefreshToken == "" {
		return nil, NewError(ErrGrantRevoked, "no_refresh_token", nil)
	}
	m, err := c.discover(ctx)
	if err != nil {
		return nil, err
	}
	tr, err := c.grant(ctx, m, backchannel.RefreshGrant, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {string(previous.RefreshToken)}})
	if err != nil {
		return nil, c.refreshError(err)
	}
	c.ignoreExtra(ctx, tr, previous.Scopes)
	t, err := c.newTokens(tr, previous.Scopes)
	if err != nil {
		c.giveBack(ctx, tr)
		return nil, err
	}
	t.IDToken, t.UserInfo, t.Subject, t.ObtainedAt = previous.IDToken, previous.UserInfo, previous.Subject, previous.ObtainedAt
	if t.RefreshExpiry.IsZero() && previous.RefreshExpiry.After(c.now()) { // one that has passed was wrong
		t.RefreshExpiry = previous.RefreshExpiry
	}
	if t.RefreshToken == "" {
		t.RefreshToken = previous.RefreshToken
		if !tr.expiresSaid {
			t.Expiry = c.now().Add(unsaidExpiry)
		}
	}
	if tr.idToken != "" && previous.IDToken != nil {
		if t.IDToken, err = c.verifyRefreshed(ctx, m, tr, previous.IDToken); err != nil {
			c.giveBack(ctx, tr)
			return nil, err
		}
	}
	return t, nil
}

// ignoreExtra leaves what a refresh grants beyond the login's scopes out of
// account: to refuse it would end every session of a server whose operator has
// added a default scope. The session has what both grants have.
func (c *Client) ignoreExtra(ctx context.Context, tr *tokenResponse, granted []string) {
	scopes := strings.Fields(tr.scope)
	kept := slices.DeleteFunc(slices.Clone(scopes), func(s string) bool { return !c.mayGrant(s, granted) })
	if len(kept) < len(scopes) {
		tr.scope = strings.Join(kept, " ")
		c.emit(ctx, Event{Kind: EventScopeIgnored})
	}
}

// giveBack revokes the tokens of an answer that is not used: nobody else knows
// them (ATK-F09). Whether it works changes nothing.
func (c *Client) giveBack(ctx context.Context, tr *tokenResponse) {
	_ = c.Revoke(ctx, &Tokens{AccessToken: tr.accessToken, RefreshToken: tr.refreshToken})
}

// verifyRefreshed holds an ID token from a refresh to the first one (OpenID Connect Core §12.2).
func (c *Client) verifyRefreshed(ctx context.Context, m *Metadata, tr *tokenResponse, first *IDToken) (*IDToken, error) {
	e := c.expectation(m)
	e.AccessToken = string(tr.accessToken)
	t, err := c.verify(ctx, tr.idToken, e)
	if errors.Is(err, ErrJWKS) || unknownKey(err) {
		return c.continued(tr, first)
	}
	if err != nil {
		return nil, err
	}
	if err := continues(first, t.token()); err != nil {
		return nil, err
	}
	return t, nil
}

// unknownKey reports whether a token names a key that the server has not, or not yet for us: keys are fetched once a minute at most, and
// anybody can use that up with tokens of their own.
func unknownKey(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Code == ErrIDToken && e.Reason == "kid"
}

func continues(first *IDToken, t *idtoken.Token) error {
	err := idtoken.Continues(first.token(), t)
	if err == nil {
		return nil
	}
	e := idTokenError(err)
	e.Action = ActionLogin // also for auth_time: nothing was asked about it
	return e
}

// continued decides when the keys cannot be had: to drop the answer would throw
// the rotated refresh token away and log the user out for an outage. The answer
// came over TLS from the token endpoint itself, which OpenID Connect Core §3.1.3.7
// lets stand in for the signature; its ID token must not contradict the first
// one, and the first one is kept: nothing of the unverified one is used.
func (c *Client) continued(tr *tokenResponse, first *IDToken) (*IDToken, error) {
	t, err := idtoken.Unverified(string(tr.idToken))
	if err != nil {
		return nil, idTokenError(err)
	}
	if !slices.Contains(t.Audience, c.cfg.ClientID) {
		return nil, idTokenError(&idtoken.Error{Reason: "aud"})
	}
	if err := continues(first, t); err != nil {
		return nil, err
	}
	return first, nil
}

// Reachable asks the server for its metadata, whatever is cached, and returns an error if it does not answer at the moment:
// [ErrDiscovery] with Outcome Transient. What the answer says is not looked at. Package session asks before it sends a
// refresh token that may be spent for the one more time that there is: an outage should not use that up.
func (c *Client) Reachable(ctx context.Context) error {
	kind := c.cfg.Metadata
	if kind == MetadataBoth {
		kind = MetadataOpenID
	}
	_, err := c.fetchDocument(ctx, kind)
	var e *Error
	if errors.As(err, &e) && e.Outcome == Transient {
		return err
	}
	return nil
}

// refreshError says what a failed refresh means for the grant.
func (c *Client) refreshError(err error) error {
	var e *Error
	if !errors.As(err, &e) {
		return err
	}
	if over, rule := c.cfg.Rotation.over(e); over {
		g := NewError(ErrGrantRevoked, rule, nil)
		g.Status, g.ServerCode, g.server = e.Status, e.ServerCode, e.server
		return g
	}
	if spent(e) {
		d := NewError(ErrRefreshInDoubt, string(e.Code), e)
		d.RetryAfter = e.RetryAfter
		return d
	}
	e.hint = profileHint(e)
	return e
}

// spent reports whether the refresh token may be used up although no tokens came
// of it: the request was lost on its way, or what came back is not what a token
// endpoint says (a captive portal's page, half an answer).
func spent(e *Error) bool {
	return e.Outcome == InDoubt || e.Code == ErrTokenResponse || e.Code == ErrContentType && e.Status == http.StatusOK
}
