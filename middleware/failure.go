package middleware

import (
	"errors"
	"net/http"

	"github.com/sallyport/sallyport/client"
	"github.com/sallyport/sallyport/session"
)

// ErrCSRF is the code of a request that a page of another origin sent, or that only a person's navigation may send.
const ErrCSRF client.Code = "csrf"

// Codes of failures that have no place in the protocol.
const (
	errSpeculative   client.Code = "prefetch"
	errUnknownIssuer client.Code = "unknown_issuer"
	errMisdirected   client.Code = "misdirected"
	errInternal      client.Code = "internal"
	errLoginRequired client.Code = "login_required"
	errUnavailable   client.Code = "unavailable"
)

// The kinds of events that this package adds to those of package client. Names are stable.
const (
	EventRequestRefused   = "request.refused"   // a page of another origin made it, or we failed to serve it
	EventCookieRefused    = "cookie.refused"    // it carried a session that cannot be used
	EventLogoutIncomplete = "logout.incomplete" // the user is logged out here; the provider could not be told
	EventLogoutReceived   = "logout.received"   // the provider ended sessions. Reason: frontchannel, for the one that the browser has; empty: over the back channel
	EventLogoutRefused    = "logout.refused"    // somebody asked for that whom we do not believe, or it could not be judged
)

var errCrossOrigin = client.NewError(ErrCSRF, "origin", nil)

// publicState is the one code for every failure to find the pending login, so that the browser is no oracle (ATK-S12).
const publicState = "state"

// isState reports whether err says that this browser has no such pending login, for whichever reason.
func isState(err error) bool {
	for _, code := range [...]client.Code{client.ErrStateMissing, client.ErrStateMismatch, client.ErrStateExpired, client.ErrStateReplayed} {
		if errors.Is(err, code) {
			return true
		}
	}
	return errors.Is(err, session.ErrCookie)
}

// isUnavailable reports whether err speaks about the server or a store and not about the user: trying later may help.
func isUnavailable(err error) bool {
	var e *client.Error
	return errors.As(err, &e) && (e.Outcome == client.Transient || e.Outcome == client.InDoubt || e.Code == session.ErrStore)
}

// retryAfter is when it may help, in seconds.
func retryAfter(err error) int {
	var e *client.Error
	if !errors.As(err, &e) {
		return seconds(0)
	}
	return seconds(e.RetryAfter)
}

// ownFault marks a failure that is ours whatever its code: what we could not write, nobody sent us.
type ownFault struct{ error }

func (f ownFault) Unwrap() error { return f.error }

// responseFault marks a failure of the callback: the browser has brought an authorization response that leads nowhere. What
// went wrong behind it is in the event; to the browser 5xx says that we are at fault.
type responseFault struct{ error }

func (f responseFault) Unwrap() error { return f.error }

// fail tells the user that the login did not work and the operator why. It changes no session.
func (a *Auth) fail(w http.ResponseWriter, r *http.Request, c *client.Client, err error) {
	correlation := newCorrelation()
	a.report(r, c, client.Event{Kind: client.EventLoginRejected, Err: err, Correlation: correlation})
	p := describe(err)
	p.links, p.correlation = a.onward(), correlation
	if p.status == http.StatusMethodNotAllowed {
		p.allow = http.MethodGet
		if c != nil && c.ResponseMode() == client.FormPost {
			p.allow = http.MethodPost
		}
	}
	p.write(w, r)
}

// describe chooses status and words. Rejected is the request's fault (4xx), the rest ours or the server's (5xx); on the callback
// only ours is.
func describe(err error) page {
	var own ownFault
	mine := errors.As(err, &own) && !isUnavailable(err)
	if !mine && isState(err) {
		return page{status: http.StatusBadRequest, code: publicState, title: "This login cannot be continued",
			text: "It has expired, was already used, or was started in another browser. If you are already logged in, simply continue. Otherwise start again."}
	}
	var e *client.Error
	if !errors.As(err, &e) {
		e = client.NewError(errInternal, "", nil)
	}
	p := page{code: string(e.Code), status: http.StatusBadRequest, title: "The login did not work",
		text: "Nothing was changed. You can start again. If it fails again, tell the support the code and the reference below."}
	switch {
	case mine:
		p.status = http.StatusInternalServerError
	case e.Code == client.ErrCallbackMethod, e.Code == client.ErrResponseMode && e.Reason == "method":
		p.status = http.StatusMethodNotAllowed
	case e.Code == errMisdirected:
		p.status = http.StatusMisdirectedRequest
	case e.Code == ErrCSRF:
		p.status, p.title, p.text = http.StatusForbidden, "Not from here", "Another page asked for this in your name, so it was refused. Use the links of the application itself."
	case e.Code == errSpeculative:
		p.status, p.retryAfter = http.StatusServiceUnavailable, 1
	case e.Code == errInternal:
		p.status = http.StatusInternalServerError
	case e.Code == client.ErrAuthorization && denied[e.ServerCode]:
		p.status, p.title, p.text = http.StatusForbidden, "You were not logged in", "The login was cancelled or not allowed at the provider. You can start again."
	case e.Code == client.ErrIssuerMismatch, e.Code == client.ErrEndpointRefused, e.Code == client.ErrDiscovery && e.Outcome == client.Rejected:
		p.status = http.StatusBadGateway // it answered, with what cannot be used
	case e.Code == client.ErrConfig: // also a secret that cannot be read at the moment
		p.status = http.StatusInternalServerError
	case e.Code == session.ErrStore:
		p.status, p.retryAfter = http.StatusServiceUnavailable, seconds(e.RetryAfter)
		p.title, p.text = "The login cannot go on at the moment", "A part of this application does not answer. Nothing was changed. Wait a little and start again."
	case e.Outcome == client.Transient:
		p.status, p.retryAfter = http.StatusServiceUnavailable, max(seconds(e.RetryAfter), 5)
		p.title, p.text = "The login service does not answer", "The provider cannot be reached at the moment. Wait a little and start again."
	case e.Outcome == client.InDoubt:
		p.status = http.StatusBadGateway
	case e.Action == client.ActionFixConfiguration && e.Code != client.ErrAuthorization:
		p.status = http.StatusInternalServerError
	}
	var answer responseFault
	ours := errors.As(err, &own) || e.Code == session.ErrStore || e.Code == errSpeculative
	if errors.As(err, &answer) && !ours && (p.status == http.StatusBadGateway || p.status == http.StatusServiceUnavailable) {
		p.status, p.retryAfter = http.StatusBadRequest, 0
	}
	return p
}

// denied are the answers that mean "this user does not get in", and not that something broke.
var denied = map[string]bool{
	"access_denied": true, "login_required": true, "interaction_required": true, "consent_required": true, "account_selection_required": true,
	"unmet_authentication_requirements": true, "insufficient_user_authentication": true,
}

// report sends an event with what is known about the client and the failure.
func (a *Auth) report(r *http.Request, c *client.Client, e client.Event) {
	if c != nil {
		e.Issuer, e.ClientID = c.Issuer(), c.ClientID()
	}
	var ce *client.Error
	if errors.As(e.Err, &ce) {
		e.Code, e.Reason = ce.Code, ce.Reason
	}
	a.sessions.Report(r.Context(), e)
}
