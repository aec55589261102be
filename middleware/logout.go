package middleware

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"github.com/sallyport/sallyport/client"
	"github.com/sallyport/sallyport/session"
)

// logoutTimeout bounds what a logout asks of the server, revocation and metadata together. The user is logged out here before it starts.
const logoutTimeout = 5 * time.Second

// logout ends the session, revokes its tokens and sends the browser to the provider's end_session_endpoint, if there is one.
// Nothing that the browser sends decides where it goes (ATK-R18).
func (a *Auth) logout(w http.ResponseWriter, r *http.Request) {
	if err := a.crossOrigin(r); err != nil {
		p := describe(errCrossOrigin)
		p.links, p.correlation = a.onward(), newCorrelation()
		a.report(r, nil, client.Event{Kind: EventRequestRefused, Err: errCrossOrigin, Correlation: p.correlation})
		p.write(w, r)
		return
	}
	s, err := a.sessions.LoadToEnd(r)
	if err != nil {
		s = nil // what cannot be read is taken away all the same
	}
	// First of all, whatever the server will say (C-RPI-5).
	tokens := a.sessions.End(w, r, s)
	var c *client.Client
	if s != nil {
		c = a.clientOf(s)
	}
	if c == nil || tokens == nil {
		a.farewell(w, r)
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), logoutTimeout)
	defer cancel()
	location := a.endSession(ctx, w, r, c, s, tokens)
	if location == "" {
		a.farewell(w, r)
		return
	}
	redirect(w, location)
}

// endSession tells the server as much as it wants to hear and returns where it wants the browser, or "".
// Neither a failure nor a panic of a secret source matters to the user any more: the client's events tell the operator.
func (a *Auth) endSession(ctx context.Context, w http.ResponseWriter, r *http.Request, c *client.Client, s *session.Session, tokens *client.Tokens) (location string) {
	_ = contained(func() error { return c.Revoke(ctx, tokens) })
	var hint client.Secret
	if tokens.IDToken != nil {
		hint = tokens.IDToken.Raw
	}
	err := contained(func() error {
		state, err := a.sessions.SaveLogout(w, r)
		if err == nil {
			location, err = c.EndSessionURL(ctx, hint, state)
		}
		return err
	})
	if err != nil {
		a.report(r, c, client.Event{Kind: EventLogoutIncomplete, Session: s.ID(), Err: err})
	}
	return location
}

// contained runs f and makes its panic an error.
func contained(f func() error) (err error) {
	defer contain(&err)
	return f()
}

// farewell is the page after a logout.
func (a *Auth) farewell(w http.ResponseWriter, r *http.Request) {
	page{status: http.StatusOK, title: "You are logged out", text: "This application has no session of yours.", links: a.onward()}.write(w, r)
}

// loggedOut answers the post-logout redirect URI. The session ended before the browser left, so all that state decides is which page to show (ATK-O02).
func (a *Auth) loggedOut(w http.ResponseWriter, r *http.Request) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if state := query["state"]; err == nil && len(state) == 1 && a.sessions.TakeLogout(w, r, state[0]) == nil {
		a.farewell(w, r)
		return
	}
	if _, err := a.Session(r); err != nil { // nobody is logged in: a provider that does not send state back is no reason to worry the user
		a.farewell(w, r)
		return
	}
	page{status: http.StatusBadRequest, title: "Nothing to do here", text: "Nothing was changed. This address belongs to a logout that this browser did not begin, or that is over.", links: a.onward()}.write(w, r)
}
