package client

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/backchannel"
	"github.com/sallyport/sallyport/internal/idtoken"
)

// maxIssuedAge is how old an ID token may be at login: an older one is a replay (ATK-J15).
const maxIssuedAge = 10 * time.Minute

// Exchange turns an authorization response into tokens. It checks the response
// as [Client.CheckResponse] does, exchanges the code once with the verifier of
// req (RFC 7636 §4.5), judges the token response, verifies the ID token, and
// fetches userinfo or the profile if that is configured. Nothing is sent before
// all checks of the response have passed, and nothing of the token response is
// returned unless all checks of it have.
//
// The caller makes sure that Exchange is called once for each req. Failure: the
// errors of CheckResponse; [ErrAuthorization] for an error response;
// [ErrTokenEndpoint], [ErrTransport] and the others of the back channel;
// [ErrTokenResponse], [ErrTokenType], [ErrScope], [ErrIDToken], [ErrJWKS],
// [ErrUserInfo]. A code is never sent twice.
func (c *Client) Exchange(ctx context.Context, req *AuthorizationRequest, resp *AuthorizationResponse) (*Tokens, error) {
	if err := c.CheckResponse(req, resp); err != nil {
		return nil, err
	}
	if resp.err.code != "" {
		return nil, resp.authorizationError()
	}
	m, err := c.discover(ctx)
	if err != nil {
		return nil, err
	}
	params := url.Values{"grant_type": {"authorization_code"}, "code": {resp.code}, "redirect_uri": {req.redirectURI}}
	if req.verifier != "" {
		params.Set("code_verifier", req.verifier)
	}
	if len(req.resource) > 0 {
		params["resource"] = req.resource // RFC 8707 §2.2
	}
	sent := c.now() // before, not after: a logout may arrive in between (ATK-O19)
	tr, err := c.grant(ctx, m, backchannel.OneTimeGrant, params)
	if err != nil {
		return nil, exchangeError(err)
	}
	t, err := c.accept(ctx, m, req, resp, tr)
	if err != nil {
		c.giveBack(ctx, tr)
		return nil, err
	}
	t.ObtainedAt = sent
	return t, nil
}

// accept holds what the token endpoint gave to what had been asked for: scopes, ID token, userinfo.
func (c *Client) accept(ctx context.Context, m *Metadata, req *AuthorizationRequest, resp *AuthorizationResponse, tr *tokenResponse) (*Tokens, error) {
	t, err := c.newTokens(tr, req.scopes)
	if err != nil {
		return nil, err
	}
	if t.RefreshToken == "" {
		t.RefreshExpiry = time.Time{}
	}
	if c.openID(req.scopes) {
		if tr.idToken == "" {
			return nil, idTokenError(&idtoken.Error{Reason: "missing"}) // OpenID Connect Core §3.1.3.3
		}
		e := c.expectation(m)
		e.Nonce, e.RequireNonce = req.nonce, !c.cfg.Quirks.NoNonce
		e.AccessToken, e.Code = string(tr.accessToken), resp.code
		e.MaxAge, e.MaxAgeAsked, e.ACRValues = req.maxAge, req.maxAgeAsked, req.acrValues
		e.MaxIssuedAge = maxIssuedAge
		if t.IDToken, err = c.verify(ctx, tr.idToken, e); err != nil {
			return nil, err
		}
		t.Subject = t.IDToken.Subject
	}
	if err := c.identify(ctx, m, t); err != nil {
		return nil, err
	}
	return t, nil
}

// exchangeError says what a failed exchange means for the user: a code that may
// be spent is never sent again, so nothing helps but a new login (ATK-T21).
func exchangeError(err error) error {
	if e, ok := err.(*Error); ok && e.Outcome == InDoubt {
		e.Action = ActionLogin
	}
	return err
}

// identify adds userinfo or the profile where that is configured.
func (c *Client) identify(ctx context.Context, m *Metadata, t *Tokens) (err error) {
	switch {
	case t.IDToken != nil && c.cfg.UserInfo && m.UserInfoEndpoint != "":
		t.UserInfo, err = c.fetchUserInfo(ctx, m, t)
	case t.IDToken == nil && c.cfg.Profile != nil:
		t.Subject, t.UserInfo, err = c.fetchProfile(ctx, t)
	}
	return err
}

// newTokens compares a token response with what had been asked for: the scopes (RFC 6749 §3.3, §5.1).
func (c *Client) newTokens(tr *tokenResponse, asked []string) (*Tokens, error) {
	t := &Tokens{AccessToken: tr.accessToken, RefreshToken: tr.refreshToken, TokenType: tr.tokenType, Scopes: slices.Clone(asked)}
	switch {
	case tr.expiresSaid:
		t.Expiry = c.now().Add(tr.expiresIn)
	case tr.refreshToken != "":
		t.Expiry = c.now().Add(unsaidExpiry)
	}
	if tr.refreshExpiresIn > 0 {
		t.RefreshExpiry = c.now().Add(tr.refreshExpiresIn)
	}
	if tr.scopeSaid {
		t.Scopes = strings.Fields(tr.scope)
		for _, s := range t.Scopes {
			if !c.mayGrant(s, asked) {
				return nil, NewError(ErrScope, "extra", nil).WithHint("more was granted than asked for (default client scopes of the server, an earlier consent): ask for it too, or name it in Quirks.ExtraScopes")
			}
		}
	}
	for _, s := range c.cfg.RequiredScopes {
		if !c.granted(s, t.Scopes) {
			return nil, NewError(ErrScope, "missing", nil).WithHint("the server did not grant " + s + ", which Config.RequiredScopes has")
		}
	}
	return t, nil
}

// expectation is what every ID token of this client is held to.
func (c *Client) expectation(m *Metadata) idtoken.Expectation {
	return idtoken.Expectation{
		Issuer: c.cfg.Issuer, ClientID: c.cfg.ClientID, Algorithms: c.algorithms(m),
		TrustedAudiences: c.cfg.Quirks.TrustedAudiences, AzpOptional: c.cfg.Quirks.AzpOptional, Leeway: c.cfg.Leeway,
	}
}

func (c *Client) verify(ctx context.Context, raw Secret, e idtoken.Expectation) (*IDToken, error) {
	if c.cfg.Quirks.AllowHMAC {
		secret, err := c.cfg.Authentication.secret(ctx)
		if err != nil {
			return nil, err
		}
		e.HMACSecret = []byte(secret)
	}
	t, err := idtoken.Verify(ctx, string(raw), c.keySet(), e, c.now())
	if err != nil {
		return nil, idTokenError(err)
	}
	c.signedWith.Store(t.Algorithm, true)
	return newIDToken(t, string(raw)), nil
}

// idTokenHints are what an operator can do about an honest server that is configured otherwise.
var idTokenHints = map[string]string{
	"alg": "Config.IDTokenAlgorithms does not have the algorithm, or the server does not announce it: set it to the registration's id_token_signed_response_alg",
	"aud": "if the token is also for other audiences that are trusted, name them in Quirks.TrustedAudiences, or leave them out at the server",
	"iat": "if the token is new, one of the two clocks is wrong",
}

// idTokenError gives a verification failure its code.
func idTokenError(err error) *Error {
	var ie *idtoken.Error
	if !errors.As(err, &ie) {
		return NewError(ErrIDToken, "", nil)
	}
	switch ie.Reason {
	case "jwks":
		var cause *Error
		if errors.As(err, &cause) {
			return NewError(ErrJWKS, "", cause)
		}
		return NewError(ErrJWKS, "", ie)
	case "acr", "auth_time":
		e := NewError(ErrIDToken, ie.Reason, nil)
		e.Action = ActionStepUp
		return e
	}
	return NewError(ErrIDToken, ie.Reason, nil).WithHint(idTokenHints[ie.Reason])
}
