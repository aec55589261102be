package middleware

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"strings"

	"golang.org/x/oauth2"

	"github.com/sallyport/sallyport/client"
	"github.com/sallyport/sallyport/session"
)

// ErrResourceRefused is the code of a request that would have carried a user's token where it must not go. Reason: scheme, origin or query.
const ErrResourceRefused client.Code = "resource_refused"

// Client returns an HTTP client that calls APIs with the access token of the user whose request ctx belongs to (see [FromContext]).
//
// It refreshes the token when it is due, and once more when the API answers 401 with error="invalid_token" (RFC 6750 §3.1) and the request can be sent again.
// It refuses, before anything is sent: plain http (except to loopback hosts), origins outside Config.Resources if that is set, access_token in a query (OAuth 2.1 §5.1.1), and to follow a redirect to another origin.
// The browser's cookies do not go out with it, nor do the API's come back.
// A request fails as Token of [Auth.TokenSource] does. If only the second refresh fails, the API's own 401 is the answer.
// It has no timeout of its own. For work that outlives the request, give context.WithoutCancel(ctx).
func (a *Auth) Client(ctx context.Context) *http.Client {
	return &http.Client{Transport: &apiTransport{source: a.source(ctx), base: a.cfg.Transport, allowed: a.api}}
}

// TokenSource returns the access token of the user whose request ctx belongs to, refreshed when it is due, in the form that Go's API clients take.
// The tokens that it returns have no refresh token: nobody but the session may spend that.
// Token fails with session.ErrNoSession when ctx has no session, and as [session.Manager.Fresh] does: an error with outcome
// client.Transient or client.InDoubt, session.ErrStore among them, logs nobody out. A token that is good needs no store.
func (a *Auth) TokenSource(ctx context.Context) oauth2.TokenSource { return a.source(ctx) }

func (a *Auth) source(ctx context.Context) *userTokens {
	sc, _ := ctx.Value(sessionKey{}).(*sessionContext)
	if sc != nil && sc.auth != nil && sc.auth != a {
		sc = nil
	}
	u := &userTokens{auth: a, at: sc}
	if sc != nil {
		u.request = sc.request.WithContext(ctx)
	}
	return u
}

// userTokens is one user's oauth2.TokenSource.
type userTokens struct {
	auth    *Auth
	at      *sessionContext // nil: nobody is logged in
	request *http.Request   // what carried the session, with the caller's context
}

func (u *userTokens) Token() (*oauth2.Token, error) { return u.token(nil) }

// token returns a fresh token. If refused is not nil, that token was refused by an API and is due whatever its expiry says.
func (u *userTokens) token(refused *oauth2.Token) (t *oauth2.Token, err error) {
	defer contain(&err)
	if u.at == nil {
		return nil, session.ErrNoSession
	}
	s := u.at.session.Load()
	if u.at.auth != nil {
		if s, err = u.fresh(s, refused); err != nil {
			return nil, err
		}
		if u.at.session.Swap(s) != s {
			u.at.unwritten.Store(true)
		}
	}
	t = s.Token()
	t.RefreshToken = ""
	return t, nil
}

// The handler owns the response by now, perhaps in another goroutine, so no cookie is set here: the session manager hands the new tokens over when the browser comes back with the old cookie.
func (u *userTokens) fresh(s *session.Session, refused *oauth2.Token) (*session.Session, error) {
	if refused != nil && refused.AccessToken == string(s.AccessToken()) {
		return u.auth.sessions.Renew(nowhere{}, u.request, u.at.client, s)
	}
	return u.auth.sessions.Fresh(nowhere{}, u.request, u.at.client, s)
}

// nowhere is a ResponseWriter whose headers nobody sees.
type nowhere struct{}

func (nowhere) Header() http.Header         { return http.Header{} }
func (nowhere) Write(b []byte) (int, error) { return len(b), nil }
func (nowhere) WriteHeader(int)             {}

type apiTransport struct {
	source  *userTokens
	base    http.RoundTripper
	allowed map[string]bool
}

// RoundTrip sends req with the user's access token.
func (t *apiTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	if err := t.check(req); err != nil {
		closeBody(req)
		return nil, err
	}
	token, err := t.source.token(nil)
	if err != nil {
		closeBody(req)
		return nil, err
	}
	resp, err := t.send(req, req.Body, token)
	if err != nil || resp.StatusCode != http.StatusUnauthorized || !invalidToken(resp.Header) {
		return resp, err
	}
	// OAuth 2.1 §5.3.2: refresh and ask once more, if what was sent can be sent again.
	body := req.Body
	if body != nil && body != http.NoBody {
		if req.GetBody == nil {
			return resp, nil
		}
		if body, err = req.GetBody(); err != nil {
			return resp, nil
		}
	}
	renewed, err := t.source.token(token)
	if err != nil || renewed.AccessToken == token.AccessToken {
		if body != nil {
			_ = body.Close()
		}
		return resp, nil // the API's own answer says more than our failure to mend it
	}
	_, _ = io.CopyN(io.Discard, resp.Body, 64<<10)
	_ = resp.Body.Close()
	return t.send(req, body, renewed)
}

// check refuses to send a token where it must not go. Its errors name no part of the address.
func (t *apiTransport) check(req *http.Request) error {
	u := req.URL
	switch {
	case u.Scheme != "https" && !(u.Scheme == "http" && isLoopback(u.Hostname())): // OAuth 2.1 §1.5
		return client.NewError(ErrResourceRefused, "scheme", nil).WithHint("call the API over https")
	case t.allowed != nil && !t.allowed[originOf(u)]:
		return client.NewError(ErrResourceRefused, "origin", nil).WithHint("add the origin of this API to middleware.Config.Resources if it may see the user's token")
	case req.Response != nil && req.Response.Request != nil && originOf(req.Response.Request.URL) != originOf(u):
		return client.NewError(client.ErrRedirectRefused, "origin", nil)
	}
	for pair := range strings.SplitSeq(u.RawQuery, "&") {
		if name, _, _ := strings.Cut(pair, "="); isAccessToken(name) { // OAuth 2.1 §5.1.1, C-21-36
			return client.NewError(ErrResourceRefused, "query", nil).WithHint("do not put access_token into the query: the token is sent in the Authorization header")
		}
	}
	return nil
}

func (t *apiTransport) send(req *http.Request, body io.ReadCloser, token *oauth2.Token) (*http.Response, error) {
	out := req.Clone(req.Context())
	out.Body = body
	out.Header.Del("Cookie") // C-BFF-6: a proxied request carries the browser's
	out.Header.Set("Authorization", "Bearer "+token.AccessToken)
	resp, err := t.base.RoundTrip(out)
	if resp != nil {
		resp.Header.Del("Set-Cookie")
		resp.Request = req // what a redirect comes from, also of a transport that does not say so
	}
	return resp, err
}

// invalidToken reports whether a Bearer challenge says that the token is at fault (RFC 6750 §3.1).
func invalidToken(h http.Header) bool {
	for _, challenge := range h["Www-Authenticate"] {
		lower := strings.ToLower(challenge)
		if containsScheme(lower) && (strings.Contains(lower, `error="invalid_token"`) || strings.Contains(lower, "error=invalid_token")) {
			return true
		}
	}
	return false
}

// containsScheme reports whether a WWW-Authenticate value in lower case has a Bearer challenge, first or behind others (RFC 9110 §11.6.1).
func containsScheme(challenges string) bool {
	for part := range strings.SplitSeq(challenges, ",") {
		scheme, _, _ := strings.Cut(strings.TrimLeft(part, " \t"), " ")
		if scheme == "bearer" {
			return true
		}
	}
	return false
}

func closeBody(req *http.Request) {
	if req.Body != nil {
		_ = req.Body.Close()
	}
}

// isAccessToken reports whether a query parameter's encoded name is access_token, in any case.
func isAccessToken(encoded string) bool {
	name, err := url.QueryUnescape(encoded)
	return err == nil && strings.EqualFold(name, "access_token")
}
