package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"

	"golang.org/x/oauth2"
)

// Code names a failure. It is stable, safe to show and to use as a metric
// label, and is itself an error, so that errors.Is(err, client.ErrIDToken)
// holds for every *Error with that code.
type Code string

// Error returns the code with the module's prefix.
func (c Code) Error() string { return "sallyport: " + string(c) }

// Configuration and discovery.
const (
	ErrConfig          Code = "config"           // construction or a call's options refused
	ErrDiscovery       Code = "discovery"        // metadata could not be had or used
	ErrIssuerMismatch  Code = "issuer_mismatch"  // metadata names another issuer (RFC 8414 §3.3)
	ErrEndpointRefused Code = "endpoint_refused" // scheme, host or address of an endpoint not allowed
)

// Authorization response: shape, binding, content.
const (
	ErrCallbackMethod    Code = "callback_method"
	ErrDuplicateParam    Code = "duplicate_parameter"
	ErrAmbiguousResponse Code = "ambiguous_response"
	ErrMalformedResponse Code = "malformed_response"
	ErrResponseMode      Code = "response_mode"
	ErrStateMissing      Code = "state_missing"
	ErrStateMismatch     Code = "state_mismatch"
	ErrStateExpired      Code = "state_expired"
	ErrStateReplayed     Code = "state_replayed"
	ErrIssMissing        Code = "iss_missing"   // RFC 9207 §2.4
	ErrIssMismatch       Code = "iss_mismatch"  // RFC 9207 §2.4
	ErrAuthorization     Code = "authorization" // the server's error response; see Error.ServerCode
)

// Back channel.
const (
	ErrTransport        Code = "transport"
	ErrTimeout          Code = "timeout"
	ErrRedirectRefused  Code = "redirect_refused"
	ErrResponseTooLarge Code = "response_too_large"
	ErrContentType      Code = "content_type"
	ErrTokenEndpoint    Code = "token_endpoint" // the server's error answer; see Error.ServerCode and Status
	ErrTokenResponse    Code = "token_response"
	ErrTokenType        Code = "token_type"
	ErrScope            Code = "scope"    // Reason "missing" or "extra"
	ErrIDToken          Code = "id_token" // Reason says which check
	ErrJWKS             Code = "jwks"
	ErrUserInfo         Code = "userinfo"
	ErrGrantRevoked     Code = "grant_revoked"    // refresh token refused: the grant is over
	ErrRefreshInDoubt   Code = "refresh_in_doubt" // written, no answer: the refresh token may be spent
	ErrRevocation       Code = "revocation"
)

// Outcome says what is known about the request that failed.
type Outcome int

const (
	// Rejected: it was refused, here or by the server, and trying the same again is useless.
	Rejected Outcome = iota + 1
	// Transient: nothing was spent, trying again later may succeed.
	Transient
	// InDoubt: it was written and no usable answer came, so a one-time grant may be spent.
	InDoubt
)

// String returns "rejected", "transient" or "in_doubt".
func (o Outcome) String() string {
	return pick(int(o), "unknown", "rejected", "transient", "in_doubt")
}

// Action is what the caller can do about a failure.
type Action int

const (
	// ActionLogin: send the user through a new login.
	ActionLogin Action = iota + 1
	// ActionRetry: try again, not before Error.RetryAfter.
	ActionRetry
	// ActionStepUp: log in again with more (RFC 9470): a stronger or fresher authentication was asked for.
	ActionStepUp
	// ActionFixConfiguration: nobody but the operator can help.
	ActionFixConfiguration
)

// String returns "login", "retry", "step_up" or "fix_configuration".
func (a Action) String() string {
	return pick(int(a), "unknown", "login", "retry", "step_up", "fix_configuration")
}

func pick(i int, names ...string) string {
	if i < 0 || i >= len(names) {
		i = 0
	}
	return names[i]
}

// Error is the one error type of this module. Its text, its formatted forms and
// its JSON hold the code, the reason and our own words only.
type Error struct {
	Code    Code
	Reason  string // which check, from a fixed vocabulary; may be empty
	Outcome Outcome
	Action  Action
	Status  int // HTTP status the server answered with; 0 if none

	// RetryAfter is how long the server asked to be left alone, at most 60 s; 0 if it did not say.
	RetryAfter time.Duration

	// ServerCode is the error code of the server's answer if it is one that a
	// specification registers ("invalid_grant", "login_required", …), else empty.
	ServerCode string

	hint         string // our own words: how to mend it
	server       serverText
	refusedEmpty bool // by the token endpoint, with 400 or 403 and no body
	cause        error
}

// serverText is what the server said about itself: hostile until proven otherwise.
type serverText struct{ code, description, uri string }

// NewError returns an *Error with the default outcome and action of its code.
// Reason must be a constant of the caller; cause may be nil and must itself be
// free of secrets and of bytes chosen by a peer.
func NewError(code Code, reason string, cause error) *Error {
	e := &Error{Code: code, Reason: reason, Outcome: Rejected, Action: ActionLogin, cause: cause}
	switch code {
	case ErrConfig, ErrIssuerMismatch, ErrEndpointRefused:
		e.Action = ActionFixConfiguration
	case ErrDiscovery, ErrTransport, ErrTimeout, ErrJWKS, ErrRevocation:
		e.Outcome, e.Action = Transient, ActionRetry
	case ErrRefreshInDoubt:
		e.Outcome, e.Action = InDoubt, ActionRetry
	}
	return e
}

// configError is NewError(ErrConfig) with the sentence that says how to mend it.
func configError(reason, hint string) *Error {
	e := NewError(ErrConfig, reason, nil)
	e.hint = hint
	return e
}

// WithHint sets the sentence that tells the operator what to do and returns e.
// The sentence must be the caller's own words.
func (e *Error) WithHint(sentence string) *Error {
	e.hint = sentence
	return e
}

// Error says code, reason and what to do, in our own words.
func (e *Error) Error() string {
	s := e.Code.Error()
	if e.Reason != "" {
		s += " (" + e.Reason + ")"
	}
	if e.ServerCode != "" {
		s += ": the server answered " + e.ServerCode
	}
	if e.Status != 0 {
		s += fmt.Sprintf(" with status %d", e.Status)
	}
	if e.hint != "" {
		s += ": " + e.hint
	}
	if e.cause != nil {
		s += ": " + e.cause.Error()
	}
	return s
}

// Is reports whether target is the error's code.
func (e *Error) Is(target error) bool {
	c, ok := target.(Code)
	return ok && c == e.Code
}

// Unwrap returns the cause, which is as free of strangers' bytes as e itself.
func (e *Error) Unwrap() error { return e.cause }

// As fills an *oauth2.RetrieveError for callers that look for x/oauth2's own
// type: code and status only, without body, request, headers or description.
func (e *Error) As(target any) bool {
	t, ok := target.(**oauth2.RetrieveError)
	if !ok || e.Status == 0 {
		return false
	}
	*t = &oauth2.RetrieveError{
		Response:  &http.Response{StatusCode: e.Status, Status: http.StatusText(e.Status), Body: http.NoBody},
		ErrorCode: e.ServerCode,
	}
	return true
}

// UntrustedServerError returns error, error_description and error_uri as the
// server (or whoever forged its answer) wrote them. Never show them to a user
// and never log them without escaping.
func (e *Error) UntrustedServerError() (code, description, uri string) {
	return e.server.code, e.server.description, e.server.uri
}

// Format writes Error() for every verb, so that %+v and %#v cannot reach the server's text.
func (e Error) Format(f fmt.State, _ rune) { io.WriteString(f, (&e).Error()) }

// MarshalJSON returns code, reason, outcome, action and status.
func (e Error) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Code       Code   `json:"code"`
		Reason     string `json:"reason,omitempty"`
		Outcome    string `json:"outcome"`
		Action     string `json:"action"`
		Status     int    `json:"status,omitempty"`
		ServerCode string `json:"server_code,omitempty"`
	}{e.Code, e.Reason, e.Outcome.String(), e.Action.String(), e.Status, e.ServerCode})
}

// LogValue is the same as MarshalJSON for log/slog.
func (e Error) LogValue() slog.Value {
	return slog.GroupValue(slog.String("code", string(e.Code)), slog.String("reason", e.Reason),
		slog.String("outcome", e.Outcome.String()), slog.String("action", e.Action.String()),
		slog.Int("status", e.Status), slog.String("server_code", e.ServerCode))
}

// asError returns err as an *Error, wrapping what is not one.
func asError(err error, code Code, reason string) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return NewError(code, reason, nil)
}

// serverError fills e with what the server said; a code that no specification
// registers stays behind UntrustedServerError.
func (e *Error) serverError(code, description, uri string) *Error {
	e.server = serverText{code, description, uri}
	if registeredErrors[code] {
		e.ServerCode = code
	}
	return e
}

// registeredErrors are the error codes a client may meet: IANA's OAuth
// Extensions Error Registry, OpenID Connect Core §3.1.2.6, and GitHub's own.
var registeredErrors = func() map[string]bool {
	m := map[string]bool{}
	for _, c := range []string{
		"invalid_request", "unauthorized_client", "access_denied", "unsupported_response_type", "invalid_scope",
		"server_error", "temporarily_unavailable", "invalid_client", "invalid_grant", "unsupported_grant_type",
		"interaction_required", "login_required", "account_selection_required", "consent_required",
		"invalid_request_uri", "invalid_request_object", "request_not_supported", "request_uri_not_supported",
		"registration_not_supported", "unmet_authentication_requirements", "insufficient_user_authentication",
		"invalid_token", "insufficient_scope", "unsupported_token_type", "invalid_target", "invalid_authorization_details",
		"invalid_dpop_proof", "use_dpop_nonce", "authorization_pending", "slow_down", "expired_token",
		"bad_verification_code", "incorrect_client_credentials", "bad_refresh_token",
	} {
		m[c] = true
	}
	return m
}()
