package middleware

import (
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/sallyport/sallyport/client"
	"github.com/sallyport/sallyport/session"
)

// frontchannelLogout answers what the provider's logout page loads in a frame, in the browser of the user who logs out (OpenID Connect
// Front-Channel Logout 1.0 §2). Nothing proves who asks, so iss and sid have to be those of the session that the request's own cookie
// carries; everything else changes nothing (ATK-O15). Tokens are not revoked, and no other session ends.
func (a *Auth) frontchannelLogout(w http.ResponseWriter, r *http.Request) {
	c, s, err := a.endFrontchannel(w, r)
	status := http.StatusOK
	switch {
	case err == nil:
		a.report(r, c, client.Event{Kind: EventLogoutReceived, Session: s.ID(), Reason: "frontchannel"})
	case isUnavailable(err):
		status = http.StatusServiceUnavailable
		w.Header().Set("Retry-After", strconv.Itoa(retryAfter(err)))
	case errors.Is(err, errInternal):
		status = http.StatusInternalServerError
	case errors.Is(err, client.ErrDuplicateParam), errors.Is(err, client.ErrMalformedResponse):
		status = http.StatusBadRequest
	}
	if err != nil {
		a.report(r, c, client.Event{Kind: EventLogoutRefused, Err: err, Correlation: newCorrelation()})
	}
	// Nobody sees the page. Whoever loads it learns nothing from it but whether the request was well made.
	secure(w)
	h := w.Header()
	if c != nil {
		h.Set("Content-Security-Policy", a.framed[c])
		h.Del("X-Frame-Options") // it cannot name an origin
	}
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Length", "0")
	w.WriteHeader(status)
}

// endFrontchannel judges the request and ends the session that it is about. c is the client whose server is named, whatever comes of it.
func (a *Auth) endFrontchannel(w http.ResponseWriter, r *http.Request) (c *client.Client, s *session.Session, err error) {
	defer contain(&err)
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, nil, client.NewError(client.ErrMalformedResponse, "encoding", nil)
	}
	iss, sid := query["iss"], query["sid"]
	c = a.byIssuer(iss)
	switch {
	case len(iss) > 1:
		return nil, nil, client.NewError(client.ErrDuplicateParam, "iss", nil)
	case len(sid) > 1:
		return c, nil, client.NewError(client.ErrDuplicateParam, "sid", nil)
	case len(iss) != len(sid): // C-FCL-2: both or neither
		return c, nil, client.NewError(client.ErrMalformedResponse, "missing", nil)
	case len(iss) == 0: // the user, whoever it is: any page could say that
		return nil, nil, client.NewError(session.ErrNoSession, "unnamed", nil)
	case c == nil:
		return nil, nil, client.NewError(errUnknownIssuer, "", nil)
	}
	r, cancel := outlasting(r) // the provider's page does not wait for its frames
	defer cancel()
	if s, err = a.sessions.Load(r); err != nil {
		return c, nil, err
	}
	if s.SID() == "" || s.SID() != sid[0] || a.clientOf(s) != c { // C-FCL-3
		return c, nil, client.NewError(session.ErrNoSession, "sid", nil)
	}
	_, err = a.sessions.End(w, r, s) // the tokens are the provider's affair
	return c, s, err
}

// framedBy is the policy of a page that the issuer alone may show in a frame.
func framedBy(issuer string) string {
	u, err := url.Parse(issuer)
	if err != nil {
		return contentSecurityPolicy
	}
	return strings.Replace(contentSecurityPolicy, "frame-ancestors 'none'", "frame-ancestors "+originOf(u), 1)
}
