package client

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/oauth2"

	"github.com/sallyport/sallyport/internal/strictjson"
)

// AuthorizationOptions is what one authorization request asks beyond the
// configuration. The zero value asks for nothing more.
type AuthorizationOptions struct {
	// MaxAge asks for an authentication at most this old and checks auth_time
	// (OpenID Connect Core §3.1.2.1). Zero asks nothing; less than a second asks for one now (max_age=0).
	MaxAge time.Duration
	// Prompt is none, login, consent, select_account or several of them with
	// spaces. Empty means consent when offline_access is asked for (OpenID Connect Core §11), else nothing.
	Prompt string
	// ACRValues are the acceptable authentication context classes, best first. The ID token must carry one of them.
	ACRValues []string
	// LoginHint names the user to the server.
	LoginHint string
	// Claims is the claims parameter (OpenID Connect Core §5.5), a JSON object.
	Claims json.RawMessage
	// Resource are the resources to get tokens for (RFC 8707): absolute URIs without fragment.
	Resource []string
	// Scopes replace the configured ones for this request.
	Scopes []string
	// Extra parameters, in the place of those of Config.AuthorizationParams with
	// the same name; they cannot name a parameter of the protocol.
	Extra url.Values
}

// AuthorizationRequest is a pending login: what was sent to the server and what
// the response will be held to. It is a value to seal and keep where only the
// browser that started it brings it back. It prints as its issuer and nothing else.
type AuthorizationRequest struct {
	url string
	pendingLogin
}

// pendingLogin is the part of an AuthorizationRequest that has to survive until the callback.
type pendingLogin struct {
	state, nonce, verifier        string
	issuer, clientID, redirectURI string
	created                       time.Time
	issRequired                   bool // the server announced RFC 9207 when the request was made
	maxAgeAsked                   bool
	maxAge                        time.Duration
	scopes, acrValues, resource   []string
}

// AuthorizationRequest starts a login: fresh state, nonce and PKCE verifier of
// 256 bits each. It fetches metadata if there is none yet. Failure: what
// [Client.Discover] returns, or [ErrConfig] for options that cannot be sent.
func (c *Client) AuthorizationRequest(ctx context.Context, opts AuthorizationOptions) (*AuthorizationRequest, error) {
	if err := opts.check(); err != nil {
		return nil, err
	}
	m, err := c.discover(ctx)
	if err != nil {
		return nil, err
	}
	scopes := c.cfg.Scopes
	if len(opts.Scopes) > 0 {
		scopes = opts.Scopes
	}
	r := &AuthorizationRequest{pendingLogin: pendingLogin{
		issuer: c.cfg.Issuer, clientID: c.cfg.ClientID, redirectURI: c.cfg.RedirectURI,
		created: c.now(), issRequired: m.IssParameterSupported,
		maxAgeAsked: opts.MaxAge > 0, maxAge: opts.MaxAge.Truncate(time.Second),
		scopes: slices.Clone(scopes), acrValues: slices.Clone(opts.ACRValues), resource: slices.Clone(opts.Resource),
	}}
	if r.state, err = random256(); err != nil {
		return nil, err
	}
	if c.openID(scopes) {
		if r.nonce, err = random256(); err != nil {
			return nil, err
		}
	}
	if !c.cfg.Quirks.NoPKCE {
		r.verifier = oauth2.GenerateVerifier()
	}
	r.url = m.AuthorizationEndpoint
	if strings.Contains(r.url, "?") { // an existing query is kept (OAuth 2.1 §3.1)
		r.url += "&"
	} else {
		r.url += "?"
	}
	r.url += encodeParams(c.authorizationParams(r, opts))
	return r, nil
}

func (o AuthorizationOptions) check() error {
	for _, s := range o.Scopes {
		if !isScopeToken(s) {
			return configError("scopes", "a scope has a character that scopes cannot have (RFC 6749 §3.3)")
		}
	}
	for _, r := range o.Resource {
		if u, err := url.Parse(r); err != nil || !u.IsAbs() || strings.Contains(r, "#") {
			return configError("resource", "a resource is an absolute URI without fragment (RFC 8707 §2)")
		}
	}
	if len(o.Claims) > 0 {
		if _, err := strictjson.Parse(o.Claims); err != nil {
			return configError("claims", "Claims is not a JSON object (OpenID Connect Core §5.5)")
		}
	}
	if o.MaxAge < 0 {
		return configError("max_age", "MaxAge is negative")
	}
	return checkExtra(o.Extra)
}

// authorizationParams are the parameters in the order they are sent.
func (c *Client) authorizationParams(r *AuthorizationRequest, o AuthorizationOptions) []param {
	prompt := o.Prompt
	if prompt == "" && !c.cfg.NoConsentPrompt && !c.provider.noConsent && slices.Contains(r.scopes, "offline_access") {
		prompt = "consent" // OpenID Connect Core §11
	}
	p := []param{
		{"response_type", "code"}, {"client_id", r.clientID}, {"redirect_uri", r.redirectURI},
		{"scope", strings.Join(r.scopes, " ")}, {"state", r.state}, {"nonce", r.nonce},
		{"response_mode", string(c.cfg.ResponseMode)}, {"prompt", prompt}, {"acr_values", strings.Join(o.ACRValues, " ")},
		{"login_hint", o.LoginHint}, {"claims", string(o.Claims)},
	}
	if r.verifier != "" {
		p = append(p, param{"code_challenge", oauth2.S256ChallengeFromVerifier(r.verifier)}, param{"code_challenge_method", "S256"})
	}
	if r.maxAgeAsked {
		p = append(p, param{"max_age", strconv.FormatInt(int64(r.maxAge/time.Second), 10)})
	}
	for _, res := range o.Resource {
		p = append(p, param{"resource", res})
	}
	extra := maps.Clone(c.cfg.AuthorizationParams)
	maps.Copy(extra, o.Extra) // the one of this request wins: none is sent twice
	for _, name := range slices.Sorted(maps.Keys(extra)) {
		p = append(p, param{name, extra.Get(name)})
	}
	// A parameter without a value counts as omitted, so it is (OAuth 2.1 §3.1).
	return slices.DeleteFunc(p, func(p param) bool { return p.value == "" })
}

// encodeParams writes a space as %20: Amazon Cognito does not take "+" in a scope.
func encodeParams(params []param) string {
	var b strings.Builder
	for i, p := range params {
		if i > 0 {
			b.WriteByte('&')
		}
		b.WriteString(strings.ReplaceAll(url.QueryEscape(p.name), "+", "%20"))
		b.WriteByte('=')
		b.WriteString(strings.ReplaceAll(url.QueryEscape(p.value), "+", "%20"))
	}
	return b.String()
}

// random256 is 256 bits from the system's generator, base64url.
func random256() (string, error) {
	var b [32]byte
	if _, err := io.ReadFull(rand.Reader, b[:]); err != nil { // ATK-S10: no login without randomness
		return "", NewError(ErrConfig, "random", nil)
	}
	return base64.RawURLEncoding.EncodeToString(b[:]), nil
}

// URL is where to send the browser.
func (r *AuthorizationRequest) URL() string { return r.url }

// State is the state parameter. It is as secret as a pending login.
func (r *AuthorizationRequest) State() string { return r.state }

// Issuer is the issuer that the request went to.
func (r *AuthorizationRequest) Issuer() string { return r.issuer }

// ClientID is the client that made the request.
func (r *AuthorizationRequest) ClientID() string { return r.clientID }

// RedirectURI is the redirect URI that was sent.
func (r *AuthorizationRequest) RedirectURI() string { return r.redirectURI }

// CreatedAt is when the request was made.
func (r *AuthorizationRequest) CreatedAt() time.Time { return r.created }

// String names the issuer only.
func (r AuthorizationRequest) String() string {
	return "authorization request to " + r.issuer
}

// Format writes String for every verb: the fields are secrets.
func (r AuthorizationRequest) Format(f fmt.State, _ rune) { io.WriteString(f, r.String()) }

// MarshalJSON writes String.
func (r AuthorizationRequest) MarshalJSON() ([]byte, error) { return json.Marshal(r.String()) }

// LogValue is String for log/slog.
func (r AuthorizationRequest) LogValue() slog.Value { return slog.StringValue(r.String()) }
