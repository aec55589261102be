package client

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"github.com/sallyport/sallyport/internal/backchannel"
	"github.com/sallyport/sallyport/internal/idtoken"
	"github.com/sallyport/sallyport/internal/strictjson"
)

const maxUserInfoBytes = 1 << 20

// FetchUserInfo asks the userinfo endpoint with the access token of t and
// returns its claims, a JSON object, if sub is exactly that of the ID token
// (OpenID Connect Core §5.3.2). Failure: [ErrUserInfo] with the check as its
// reason, [ErrConfig] if the server has no userinfo endpoint, or an error of
// the back channel; 401 from the endpoint is ErrUserInfo with that Status.
func (c *Client) FetchUserInfo(ctx context.Context, t *Tokens) (json.RawMessage, error) {
	m, err := c.discover(ctx)
	if err != nil {
		return nil, err
	}
	if m.UserInfoEndpoint == "" {
		return nil, configError("userinfo_endpoint", "the server has no userinfo endpoint")
	}
	return c.fetchUserInfo(ctx, m, t)
}

func (c *Client) fetchUserInfo(ctx context.Context, m *Metadata, t *Tokens) (json.RawMessage, error) {
	if t == nil || t.IDToken == nil {
		return nil, NewError(ErrUserInfo, "missing_sub", nil)
	}
	accept := "application/json"
	if c.cfg.UserInfoAlgorithm != "" {
		accept = "application/jwt"
	}
	resp, err := c.getWithToken(ctx, m.UserInfoEndpoint, accept, t.AccessToken)
	if err != nil {
		return nil, err
	}
	// What was negotiated comes, or nothing is believed (OpenID Connect Core §5.3.2, ATK-U03).
	if backchannel.MediaType(resp.Header) != accept {
		return nil, NewError(ErrUserInfo, "content_type", nil).WithHint("set UserInfoAlgorithm if, and only if, the registration has userinfo_signed_response_alg")
	}
	body := resp.Body
	if c.cfg.UserInfoAlgorithm != "" {
		if body, err = c.verifyUserInfo(ctx, string(resp.Body)); err != nil {
			return nil, err
		}
	}
	doc, err := strictjson.Parse(body)
	if err != nil {
		return nil, NewError(ErrUserInfo, "json", nil)
	}
	sub, present, err := doc.String("sub")
	if err != nil || !present {
		return nil, NewError(ErrUserInfo, "missing_sub", nil)
	}
	if sub != t.IDToken.Subject {
		return nil, NewError(ErrUserInfo, "sub", nil)
	}
	return json.RawMessage(body), nil
}

func (c *Client) verifyUserInfo(ctx context.Context, raw string) ([]byte, error) {
	e := idtoken.Expectation{Issuer: c.cfg.Issuer, ClientID: c.cfg.ClientID, Algorithms: []string{c.cfg.UserInfoAlgorithm},
		TrustedAudiences: c.cfg.Quirks.TrustedAudiences, AzpOptional: true, Leeway: c.cfg.Leeway}
	if strings.HasPrefix(c.cfg.UserInfoAlgorithm, "HS") { // Quirks.AllowHMAC, or New had refused it
		secret, err := c.cfg.Authentication.secret(ctx)
		if err != nil {
			return nil, err
		}
		e.HMACSecret = []byte(secret)
	}
	claims, err := idtoken.VerifySigned(ctx, raw, c.keySet(), e, c.now())
	if err == nil {
		return claims, nil
	}
	failed := idTokenError(err)
	if failed.Code == ErrJWKS {
		return nil, failed
	}
	return nil, NewError(ErrUserInfo, failed.Reason, nil)
}

// getWithToken is a GET with a bearer token in the header (RFC 6750 §2.1), never anywhere else.
func (c *Client) getWithToken(ctx context.Context, url, accept string, token Secret) (*backchannel.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, NewError(ErrConfig, "endpoint", nil)
	}
	req.Header.Set("Authorization", "Bearer "+string(token))
	req.Header.Set("Accept", accept)
	resp, err := c.http.Do(req, backchannel.Idempotent, maxUserInfoBytes)
	if err != nil {
		return nil, transportError(err)
	}
	if resp.Status != http.StatusOK {
		e := NewError(ErrUserInfo, "status", nil)
		e.Status, e.RetryAfter = resp.Status, resp.RetryAfter
		if failedForNow(resp.Status) {
			e.Outcome, e.Action = Transient, ActionRetry
		}
		return nil, e
	}
	return resp, nil
}

// Profile is where plain OAuth, without ID tokens, learns who the user is: a
// JSON document that the provider serves to the holder of the access token.
// The token is always one from this client's own code exchange.
type Profile struct {
	URL string // for example https://api.github.com/user
	ID  string // the member that identifies the user; "id" by default. Never an e-mail address
}

func (p *Profile) check() error {
	u, ok := parseURI(p.URL)
	if !ok || !secure(u) {
		return configError("profile", "Profile.URL is not an absolute https URL")
	}
	if strings.EqualFold(p.ID, "email") { // OpenID Connect Core §5.7, ATK-U05
		return configError("profile", "Profile.ID is an e-mail address, which changes hands: name the member with the identifier that the provider never gives to another user")
	}
	return nil
}

// fetchProfile reads the profile and the user's identifier from it. Numbers are
// taken as they are written: a float would merge users (ATK-U07).
func (c *Client) fetchProfile(ctx context.Context, t *Tokens) (subject string, profile json.RawMessage, err error) {
	resp, err := c.getWithToken(ctx, c.cfg.Profile.URL, "application/json", t.AccessToken)
	if err != nil {
		return "", nil, err
	}
	if backchannel.MediaType(resp.Header) != "application/json" {
		return "", nil, NewError(ErrUserInfo, "content_type", nil)
	}
	doc, err := strictjson.Parse(resp.Body)
	if err != nil {
		return "", nil, NewError(ErrUserInfo, "json", nil)
	}
	subject, err = profileID(doc, defaultTo(c.cfg.Profile.ID, "id"))
	return subject, resp.Body, err
}

var errProfileID = errors.New("sallyport: no usable identifier")

func profileID(doc strictjson.Object, member string) (string, error) {
	id, present, err := doc.String(member)
	if present && err != nil {
		var n json.Number
		if n, _, err = doc.Number(member); err == nil {
			id = n.String()
			for i := range len(id) {
				if id[i] < '0' || id[i] > '9' {
					err = errProfileID
				}
			}
		}
	}
	if !present || err != nil || id == "" || id == "0" || len(id) > 255 {
		return "", NewError(ErrUserInfo, "missing_sub", nil)
	}
	return id, nil
}
