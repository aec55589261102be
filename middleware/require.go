package middleware

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"

	"github.com/sallyport/sallyport/client"
	"github.com/sallyport/sallyport/internal/returnto"
	"github.com/sallyport/sallyport/session"
)

// RequireLogin lets a request through to next only with a live session, which [FromContext] then returns.
//
// Without one, a browser that opens a page is sent into a login and comes back to the same path and query; everything else gets 401 as application/problem+json (RFC 9457), code "login_required".
// A request that another origin's page makes with the user's cookies gets 403, code "csrf": every unsafe method, and reads that are no navigation.
// If the store does not answer in which sessions live, or what is known of their ends, nobody can tell: 503 with Retry-After, a page or code "unavailable", for each
// request with a session's cookie. No cookie is set or taken away, nobody is sent into a login, and next is not called.
// The ResponseWriter reaches next as it is. Cookies are set before; a handler that overwrites Cache-Control on such a response publishes them.
func (a *Auth) RequireLogin(next http.Handler) http.Handler { return a.require(next, false) }

// RequireToken is RequireLogin for handlers that call APIs in the user's name: it also makes sure that the access token is fresh, refreshing it if it is due.
//
// It never redirects by itself, only inside a RequireLogin. It answers 401, code "login_required", when the grant is over, and 503 with Retry-After, code "unavailable", when the access token is dead and the server does not answer, or when the store does not: that logs nobody out.
// With sessions in a store, a token that is due and good for a while yet is refreshed in the background, and the request does not wait.
func (a *Auth) RequireToken(next http.Handler) http.Handler { return a.require(next, true) }

func (a *Auth) require(next http.Handler, token bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		outer, _ := r.Context().Value(sessionKey{}).(*sessionContext)
		if outer != nil && outer.auth != nil && outer.auth != a {
			outer = nil // another Auth's session says nothing here
		}
		redirects, asked := !token, r
		if outer != nil {
			redirects, asked = outer.redirects, outer.request
		}
		if outer == nil {
			if !token && a.sendHome(w, r) {
				return
			}
			if err := a.crossOrigin(r); err != nil {
				a.deny(w, r, errCrossOrigin, false)
				return
			}
		}
		c, s, err := a.admit(w, r, outer, token)
		if err != nil {
			a.deny(w, r, err, redirects && isNavigation(asked) && !isSpeculative(asked))
			return
		}
		if len(w.Header()["Set-Cookie"]) > 0 {
			w.Header().Set("Cache-Control", "no-store")
		}
		if outer != nil {
			outer.session.Store(s)
			next.ServeHTTP(w, r)
			return
		}
		sc := &sessionContext{Context: r.Context(), auth: a, client: c, request: r, redirects: redirects}
		sc.session.Store(s)
		next.ServeHTTP(w, r.WithContext(sc))
	})
}

// admit returns the session of the request and its client, with a fresh access token if token is set.
func (a *Auth) admit(w http.ResponseWriter, r *http.Request, outer *sessionContext, token bool) (c *client.Client, s *session.Session, err error) {
	defer contain(&err)
	if outer != nil {
		c, s = outer.client, outer.session.Load()
		if outer.auth == nil { // WithSession: whoever holds the request vouches for it
			return c, s, nil
		}
	} else {
		if s, err = a.sessions.Load(r); err != nil {
			return nil, nil, err
		}
		if c = a.clientOf(s); c == nil {
			return nil, nil, session.ErrNoSession
		}
		if a.foreignRead(r) { // before anything is sent or written in the user's name
			return nil, nil, errCrossOrigin
		}
	}
	if token {
		if s, err = a.sessions.Fresh(w, r, c, s); err != nil {
			return nil, nil, writeFault(err)
		}
	}
	if outer == nil {
		err = a.sessions.Touch(w, r, s)
	}
	return c, s, writeFault(err)
}

// writeFault marks a session that was read and cannot be written: a login would end the same way.
func writeFault(err error) error {
	if errors.Is(err, session.ErrCookie) {
		return ownFault{err}
	}
	return err
}

// clientOf returns the client that a session was made with; nil if the configuration does not have it any more. ATK-K09
func (a *Auth) clientOf(s *session.Session) *client.Client {
	for _, c := range a.clients {
		if c.Issuer() == s.Issuer() && c.ClientID() == s.ClientID() {
			return c
		}
	}
	return nil
}

// contain turns a panic of a hook or a secret source into an error. What it panicked with may be a secret.
func contain(err *error) {
	if v := recover(); v != nil {
		if v == http.ErrAbortHandler {
			panic(v)
		}
		*err = client.NewError(errInternal, "panic", nil)
	}
}

// deny answers a request that has no usable session or token. Failing closed, every error ends here; only who is to blame differs.
func (a *Auth) deny(w http.ResponseWriter, r *http.Request, err error, navigates bool) {
	var own ownFault
	switch {
	case errors.Is(err, ErrCSRF):
		a.refuse(r, err, problem{Status: http.StatusForbidden, Code: string(ErrCSRF), Detail: "A page of another origin made this request."}).write(w, r)
	case errors.Is(err, errInternal), errors.As(err, &own):
		a.refuse(r, err, problem{Status: http.StatusInternalServerError, Code: string(errInternal)}).write(w, r)
	case isUnavailable(err) && navigates:
		a.unavailable(w, r, err)
	case isUnavailable(err):
		problem{Status: http.StatusServiceUnavailable, Code: string(errUnavailable), Detail: "The login service does not answer at the moment.", retryAfter: retryAfter(err)}.write(w, r)
	case navigates:
		a.forget(w, r, err)
		redirect(w, a.base+a.loginFor(r))
	default:
		a.forget(w, r, err)
		a.loginRequired.write(w, r)
	}
}

// unavailable is the page for a person who cannot be served for want of a token, or of whom nobody knows whether there is a session.
func (a *Auth) unavailable(w http.ResponseWriter, r *http.Request, err error) {
	p := page{status: http.StatusServiceUnavailable, code: string(errUnavailable), correlation: newCorrelation(), retryAfter: retryAfter(err),
		title: "Not available at the moment", text: "You are logged in, but the login service does not answer, and this page needs it. Wait a little and open it again."}
	if errors.Is(err, session.ErrStore) {
		p.links = []link{{a.cfg.BasePath + "/login", "Log in again"}} // should it never come back as it was
		p.text = "It cannot be told at the moment whether you are logged in, as a part of this application does not answer. If you were, you still are. Wait a little and open this page again."
	}
	a.report(r, nil, client.Event{Kind: EventRequestRefused, Err: err, Correlation: p.correlation})
	p.write(w, r)
}

// forget takes the cookie of a session that is over from the browser (ATK-F05): what this process knows about it would be
// forgotten before the cookie expires by itself. Cookies that do not open stay: they may be somebody else's doing, and the
// session of the user may be among them.
func (a *Auth) forget(w http.ResponseWriter, r *http.Request, err error) {
	var e *client.Error
	if errors.As(err, &e) && e.Code == session.ErrSessionEnded && e.Reason == "replaced" {
		return // a late request: the browser has the cookie of the login that replaced it
	}
	if errors.Is(err, client.ErrGrantRevoked) || errors.Is(err, session.ErrSessionEnded) || errors.Is(err, session.ErrSessionExpired) {
		a.sessions.Forget(w, r)
	}
	a.noteCookie(r, err)
}

// loginFor is the login route that comes back to where r is.
func (a *Auth) loginFor(r *http.Request) string {
	u := a.cfg.BasePath + "/login"
	if here := returnto.Clean(requested(r), a.isOwn, ""); here != "" {
		u += "?return_to=" + url.QueryEscape(here)
	}
	return u
}

// requested is the path and query that the browser asked for, even where a router has cut off a prefix since.
func requested(r *http.Request) string {
	if strings.HasPrefix(r.RequestURI, "/") {
		return r.RequestURI
	}
	if r.URL.RawQuery != "" {
		return r.URL.EscapedPath() + "?" + r.URL.RawQuery
	}
	return r.URL.EscapedPath()
}

// refuse reports a request that is not served for a reason that an operator may look up.
func (a *Auth) refuse(r *http.Request, err error, p problem) problem {
	p.Correlation = newCorrelation()
	a.report(r, nil, client.Event{Kind: EventRequestRefused, Err: err, Correlation: p.Correlation})
	return p
}

// noteCookie reports cookies that are not merely old.
func (a *Auth) noteCookie(r *http.Request, err error) {
	if errors.Is(err, session.ErrCookie) && !errors.Is(err, session.ErrSessionExpired) {
		a.report(r, nil, client.Event{Kind: EventCookieRefused, Err: err})
	}
}

// sessionContext is a context that carries a session: one allocation for both.
type sessionContext struct {
	context.Context
	session   atomic.Pointer[session.Session] // replaced when a refresh happens while the handler runs
	auth      *Auth                           // nil: from WithSession
	client    *client.Client
	request   *http.Request
	unwritten atomic.Bool // session is newer than what the browser has been sent
	redirects bool        // it was RequireLogin: a navigation is sent into a login
}

type sessionKey struct{}

func (c *sessionContext) Value(key any) any {
	if _, ok := key.(sessionKey); ok {
		return c
	}
	return c.Context.Value(key)
}

// FromContext returns the session of the request that ctx belongs to. It is there inside [Auth.RequireLogin] and [Auth.RequireToken], and in what they call.
func FromContext(ctx context.Context) (*session.Session, bool) {
	if c, ok := ctx.Value(sessionKey{}).(*sessionContext); ok {
		return c.session.Load(), true
	}
	return nil, false
}

// Session returns the session of r for handlers that are open to everybody, session.ErrNoSession when there is none, or why there is none.
// session.ErrStore means that nobody can tell; every other error means "not logged in". It changes nothing and sets no cookie.
func (a *Auth) Session(r *http.Request) (s *session.Session, err error) {
	if sc, ok := r.Context().Value(sessionKey{}).(*sessionContext); ok && (sc.auth == nil || sc.auth == a) {
		return sc.session.Load(), nil
	}
	defer contain(&err)
	if s, err = a.sessions.Load(r); err != nil {
		return nil, err
	}
	if a.clientOf(s) == nil {
		return nil, session.ErrNoSession
	}
	return s, nil
}

// WithSession returns r as [Auth.RequireLogin] would pass it on for a user logged in with s, for testing handlers:
//
//	handler.ServeHTTP(rec, middleware.WithSession(req, s))
//
// FromContext, RequireLogin, RequireToken and Auth.Client all take s as it is. No request from outside can carry this.
func WithSession(r *http.Request, s *session.Session) *http.Request {
	sc := &sessionContext{Context: r.Context(), request: r}
	sc.session.Store(s)
	return r.WithContext(sc)
}
