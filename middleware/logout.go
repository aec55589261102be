package middleware

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"time"

	"github.com/sallyport/sallyport/client"
	"github.com/sallyport/sallyport/session"
)

// logoutTimeout bounds what a logout asks of the store, and after that what it asks of the server, revocation and metadata together.
// The user is logged out here before the latter starts.
const logoutTimeout = 5 * time.Second

// logout ends the session, revokes its tokens and sends the browser to the provider's end_session_endpoint, if there is one. It is 503
// if the session's store does not answer: the user is still logged in then, and knows it.
// Nothing that the browser sends decides where it goes (ATK-R18).
func (a *Auth) logout(w http.ResponseWriter, r *http.Request) {
	if err := a.crossOrigin(r); err != nil {
		p := describe(errCrossOrigin)
		p.links, p.correlation = a.onward(), newCorrelation()
		a.report(r, nil, client.Event{Kind: EventRequestRefused, Err: errCrossOrigin, Correlation: p.correlation})
		p.write(w, r)
		return
	}
	s, tokens, err := a.end(w, r)
	if err != nil {
		a.stillLoggedIn(w, r, err)
		return
	}
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

// end ends the session here: first of all, whatever the server will say (C-RPI-5). The error says that the store does not answer: then
// the session may live, so nobody is told that it has ended, the server neither.
func (a *Auth) end(w http.ResponseWriter, r *http.Request) (s *session.Session, tokens *client.Tokens, err error) {
	r, cancel := outlasting(r)
	defer cancel()
	s, err = a.sessions.LoadToEnd(r)
	switch {
	case errors.Is(err, session.ErrStore):
		return nil, nil, err
	case err != nil:
		s = nil // what cannot be read is taken away all the same
	}
	tokens, err = a.sessions.End(w, r, s)
	return s, tokens, err
}

// outlasting is r for what has to be done even if the browser does not wait for the answer: who logs out and closes the tab is logged out.
func outlasting(r *http.Request) (*http.Request, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), logoutTimeout)
	return r.WithContext(ctx), cancel
}

// stillLoggedIn is the page of a logout that could not be done. The browser keeps its cookie, to try again.
func (a *Auth) stillLoggedIn(w http.ResponseWriter, r *http.Request, err error) {
	p := page{status: http.StatusServiceUnavailable, code: string(errUnavailable), correlation: newCorrelation(), retryAfter: retryAfter(err),
		title: "You are still logged in", text: "The logout could not be done, as a part of this application does not answer. Wait a little and log out again.",
		links: []link{{a.cfg.DefaultReturnTo, "Back to the application"}}}
	a.report(r, nil, client.Event{Kind: EventRequestRefused, Err: err, Correlation: p.correlation})
	p.write(w, r)
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
	switch _, err := a.Session(r); {
	case isUnavailable(err):
		a.unavailable(w, r, err)
		return
	case err != nil: // nobody is logged in: a provider that does not send state back is no reason to worry the user
		a.farewell(w, r)
		return
	}
	page{status: http.StatusBadRequest, title: "Nothing to do here", text: "Nothing was changed. This address belongs to a logout that this browser did not begin, or that is over.", links: a.onward()}.write(w, r)
}
