package middleware

import (
	"net/http"

	"github.com/sallyport/sallyport/session"
)

// Refresh gets new tokens for the user of r now, due or not, and writes the session's cookie; for a button, or after
// scopes have changed at the server. Call it inside [Auth.RequireLogin], before anything else is written to w.
// An application that only needs a fresh access token uses [Auth.RequireToken], which refreshes when it is time.
//
// It fails with session.ErrNoSession outside of RequireLogin and otherwise as session.Manager.Renew does; then nothing is written. An
// error with outcome client.Transient or client.InDoubt, such as session.ErrStore, logs nobody out: answer 503.
func (a *Auth) Refresh(w http.ResponseWriter, r *http.Request) (s *session.Session, err error) {
	sc, ok := r.Context().Value(sessionKey{}).(*sessionContext)
	switch {
	case !ok, sc.auth != nil && sc.auth != a:
		return nil, session.ErrNoSession
	case sc.auth == nil: // WithSession: a handler under test has nobody to ask
		return sc.session.Load(), nil
	}
	defer contain(&err)
	if s, err = a.sessions.Renew(w, r, sc.client, sc.session.Load()); err != nil {
		return nil, err
	}
	sc.session.Store(s)
	return s, nil
}

// Keep writes the session's cookie if [Auth.Client] or [Auth.TokenSource] has refreshed the tokens while the handler ran,
// so that the browser has them with this answer and not only with the next one. Call it before anything is written to w;
// a handler that cannot need not: the tokens wait for the browser's next request, in the store that the session manager has, or in this process.
//
// It fails with session.ErrNoSession outside of RequireLogin and RequireToken, and as session.Manager.Save does. session.ErrStore is no reason
// not to answer: nothing is lost, and a later request does the same.
func (a *Auth) Keep(w http.ResponseWriter, r *http.Request) (err error) {
	sc, ok := r.Context().Value(sessionKey{}).(*sessionContext)
	if !ok || sc.auth != nil && sc.auth != a {
		return session.ErrNoSession
	}
	if !sc.unwritten.Swap(false) {
		return nil
	}
	defer contain(&err)
	s, err := a.sessions.Save(w, r, sc.session.Load())
	if err != nil {
		sc.unwritten.Store(true)
		return err
	}
	sc.session.Store(s)
	return nil
}
