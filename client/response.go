package client

import (
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"net/url"
	"strings"
)

const (
	maxQuery    = 8 << 10
	maxForm     = 16 << 10
	maxCode     = 4 << 10
	maxState    = 512
	maxResponse = 512 // iss
)

// AuthorizationResponse is what came to the redirect URI, parsed and shaped
// right, believed in nothing yet. It prints as nothing but its kind.
type AuthorizationResponse struct {
	code, state, iss string
	err              serverText
	query            []param // parameters of the URL, to hold against the redirect URI's own
}

// knownResponseParams may appear once. The second half are not for this client:
// front-channel tokens and JARM's response (ATK-L20, L21).
var knownResponseParams = map[string]bool{
	"code": true, "state": true, "iss": true, "error": true, "error_description": true, "error_uri": true,
	"access_token": true, "id_token": true, "token_type": true, "expires_in": true, "refresh_token": true, "response": true,
}

// AuthorizationResponse parses the request that came to the redirect URI: its
// method, its size, its encoding, and that no parameter of the protocol is
// there twice. It reads the body of a form_post response. It consults no state;
// whether the response belongs to a login is for [Client.Exchange] to find.
//
// Failure: [ErrCallbackMethod], [ErrResponseMode], [ErrMalformedResponse],
// [ErrDuplicateParam] or [ErrAmbiguousResponse].
func (c *Client) AuthorizationResponse(r *http.Request) (*AuthorizationResponse, error) {
	form, err := c.responseForm(r)
	if err != nil {
		return nil, err
	}
	if len(r.URL.RawQuery) > maxQuery || len(form) > maxForm {
		return nil, malformed("size")
	}
	query, err := parseParams(r.URL.RawQuery)
	if err != nil {
		return nil, malformed("encoding")
	}
	body, err := parseParams(form)
	if err != nil {
		return nil, malformed("encoding")
	}
	resp := &AuthorizationResponse{query: query}
	params := query
	if c.cfg.ResponseMode == FormPost {
		params = body
		for _, p := range query {
			if knownResponseParams[p.name] {
				return nil, NewError(ErrAmbiguousResponse, "query_and_form", nil)
			}
		}
	}
	if err := resp.fill(params); err != nil {
		return nil, err
	}
	if err := resp.checkOwnQuery(c.cfg.RedirectURI); err != nil {
		return nil, err
	}
	return resp, nil
}

// responseForm checks method and content type and returns the form of a form_post response.
func (c *Client) responseForm(r *http.Request) (string, error) {
	if c.cfg.ResponseMode == Query {
		if r.Method != http.MethodGet {
			return "", NewError(ErrCallbackMethod, "", nil)
		}
		return "", nil
	}
	if r.Method != http.MethodPost {
		if r.Method != http.MethodGet {
			return "", NewError(ErrCallbackMethod, "", nil)
		}
		return "", NewError(ErrResponseMode, "method", nil)
	}
	ct, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || ct != "application/x-www-form-urlencoded" || len(r.Header["Content-Type"]) != 1 {
		return "", NewError(ErrResponseMode, "content_type", nil)
	}
	if r.Body == nil { // a request that no server made
		return "", nil
	}
	if r.ContentLength > maxForm {
		return "", malformed("size")
	}
	b, err := io.ReadAll(io.LimitReader(r.Body, maxForm+1))
	if err != nil {
		return "", malformed("body")
	}
	return string(b), nil
}

// fill takes the parameters of the protocol, each at most once. One without a
// value counts as omitted (OAuth 2.1 §3.1).
func (r *AuthorizationResponse) fill(params []param) error {
	var seen [16]string // more than there are known names
	n, smuggled, jarm := 0, false, false
	for _, p := range params {
		if !knownResponseParams[p.name] {
			continue
		}
		for _, s := range seen[:n] {
			if s == p.name {
				return NewError(ErrDuplicateParam, "", nil)
			}
		}
		seen[n] = p.name
		n++
		if p.value == "" {
			continue
		}
		switch p.name {
		case "code":
			r.code = p.value
		case "state":
			r.state = p.value
		case "iss":
			r.iss = p.value
		case "error":
			r.err.code = p.value
		case "error_description":
			r.err.description = p.value
		case "error_uri":
			r.err.uri = p.value
		case "response":
			jarm = true
		default:
			smuggled = true
		}
	}
	switch {
	case jarm && (r.code != "" || r.err.code != "" || r.state != ""):
		return NewError(ErrAmbiguousResponse, "response", nil)
	case jarm, smuggled: // this client asked for neither a JWT response nor front-channel tokens
		return NewError(ErrResponseMode, "parameter", nil)
	case len(r.code) > maxCode || len(r.state) > maxState || len(r.iss) > maxResponse || len(r.err.code) > maxState:
		return malformed("size")
	}
	for _, s := range [...]string{r.code, r.err.code} { // state and iss are only compared
		for i := range len(s) {
			if s[i] < ' ' || s[i] > '~' {
				return malformed("character")
			}
		}
	}
	return nil
}

// checkOwnQuery holds the query of the redirect URI, if it has one, to what
// came back: the same parameters, once, with the same values (ATK-R07).
func (r *AuthorizationResponse) checkOwnQuery(redirectURI string) error {
	u, err := url.Parse(redirectURI)
	if err != nil || u.RawQuery == "" {
		return nil
	}
	own, err := parseParams(u.RawQuery)
	if err != nil {
		return malformed("redirect_uri")
	}
	for _, want := range own {
		found := 0
		for _, p := range r.query {
			if p.name != want.name {
				continue
			}
			if found++; found > 1 {
				return NewError(ErrDuplicateParam, "redirect_uri", nil)
			}
			if p.value != want.value {
				return NewError(ErrStateMismatch, "redirect_uri", nil)
			}
		}
		if found == 0 {
			return NewError(ErrStateMismatch, "redirect_uri", nil)
		}
	}
	return nil
}

// CheckResponse holds a response to the request it claims to answer: state
// (constant time), the age of the request, the issuer (RFC 9207), and that
// there is exactly one of code and error. [Client.Exchange] begins with it;
// call it yourself to check before a pending login is marked as used.
//
// Failure: [ErrStateMissing], [ErrStateMismatch], [ErrStateExpired],
// [ErrIssMissing], [ErrIssMismatch], [ErrAmbiguousResponse] or [ErrMalformedResponse].
func (c *Client) CheckResponse(req *AuthorizationRequest, resp *AuthorizationResponse) error {
	if req == nil || req.state == "" || resp == nil || resp.state == "" {
		return NewError(ErrStateMissing, "", nil)
	}
	if subtle.ConstantTimeCompare([]byte(req.state), []byte(resp.state)) != 1 {
		return NewError(ErrStateMismatch, "", nil)
	}
	if age := c.now().Sub(req.created); age > c.cfg.LoginTimeout || age < -c.cfg.Leeway {
		return NewError(ErrStateExpired, "", nil)
	}
	// RFC 9700 §4.4.2: the request's issuer, client and redirect URI are this client's own.
	if req.issuer != c.cfg.Issuer || req.clientID != c.cfg.ClientID || req.redirectURI != c.cfg.RedirectURI {
		return NewError(ErrStateMismatch, "client", nil)
	}
	if err := c.checkIss(req, resp); err != nil {
		return err
	}
	switch {
	case resp.code != "" && resp.err.code != "":
		return NewError(ErrAmbiguousResponse, "code_and_error", nil)
	case resp.code == "" && resp.err.code == "":
		return malformed("no_code")
	case resp.err.code != "" && strings.ContainsAny(resp.err.code, `"\`): // OAuth 2.1 §4.1.2.1
		return malformed("error")
	}
	return nil
}

// checkIss is RFC 9207 §2.4: simple string comparison, before anything else of
// the response is looked at, errors included.
func (c *Client) checkIss(req *AuthorizationRequest, resp *AuthorizationResponse) error {
	switch {
	case resp.iss == "" && req.issRequired:
		return NewError(ErrIssMissing, "", nil).WithHint("the server announces the iss parameter and did not send it: a setting of the client there may exclude it")
	case resp.iss == "" || !req.issRequired && c.cfg.Quirks.IgnoreUnannouncedIss:
		return nil
	case resp.iss != req.issuer:
		return NewError(ErrIssMismatch, "", nil)
	}
	return nil
}

// authorizationError is the server's error response as an error (OAuth 2.1 §4.1.2.1, OpenID Connect Core §3.1.2.6).
func (r *AuthorizationResponse) authorizationError() *Error {
	e := NewError(ErrAuthorization, "", nil).serverError(r.err.code, r.err.description, r.err.uri)
	switch r.err.code {
	case "server_error", "temporarily_unavailable":
		e.Outcome, e.Action = Transient, ActionRetry
	case "unmet_authentication_requirements", "insufficient_user_authentication":
		e.Action = ActionStepUp
	case "invalid_request", "unauthorized_client", "unsupported_response_type", "invalid_scope", "invalid_target",
		"request_not_supported", "request_uri_not_supported", "registration_not_supported":
		e.Action = ActionFixConfiguration
	}
	if r.err.code == "invalid_scope" {
		e.hint = "the server refuses one of Scopes: not every server knows offline_access (Google wants AuthorizationParams access_type=offline instead)"
	}
	return e
}

func malformed(reason string) *Error { return NewError(ErrMalformedResponse, reason, nil) }

// State is the state parameter as it came; empty if there was none. It is a stranger's byte string.
func (r *AuthorizationResponse) State() string { return r.state }

// HasCode reports whether it brings a code and no error, so that an exchange would send something.
func (r *AuthorizationResponse) HasCode() bool { return r.code != "" && r.err.code == "" }

// String says no more than what this is.
func (r AuthorizationResponse) String() string { return "authorization response" }

// Format writes String for every verb: the fields are a code and strangers' bytes.
func (r AuthorizationResponse) Format(f fmt.State, _ rune) { io.WriteString(f, r.String()) }

// MarshalJSON writes String.
func (r AuthorizationResponse) MarshalJSON() ([]byte, error) { return json.Marshal(r.String()) }

// LogValue is String for log/slog.
func (r AuthorizationResponse) LogValue() slog.Value { return slog.StringValue(r.String()) }
