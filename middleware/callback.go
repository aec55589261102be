package middleware

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/sallyport/sallyport/client"
	"github.com/sallyport/sallyport/internal/returnto"
	"github.com/sallyport/sallyport/session"
)

// exchangeTimeout bounds the back channel of one login: token endpoint, keys and userinfo, each of which has a deadline of its own.
const exchangeTimeout = 30 * time.Second

// callback answers the redirect URI of c. The order of the steps is the protection: nothing is sent to the server, and nobody's pending login is used up, before what comes first has passed.
func (a *Auth) callback(w http.ResponseWriter, r *http.Request, c *client.Client) {
	returnTo, err := a.complete(w, r, c)
	if err != nil {
		a.fail(w, r, c, responseFault{err})
		return
	}
	redirect(w, returnTo)
}

func (a *Auth) complete(w http.ResponseWriter, r *http.Request, c *client.Client) (returnTo string, err error) {
	if err := a.atOrigin(r); err != nil {
		return "", err
	}
	if isSpeculative(r) { // ATK-L36: a prefetch must not use up the code
		return "", client.NewError(errSpeculative, "", nil)
	}
	// Steps 1 to 4: method, size, encoding, no parameter twice. No cookie is opened for a malformed response.
	resp, err := c.AuthorizationResponse(r)
	if err != nil {
		return "", err
	}
	// Steps 5 and 6: the pending login that this browser has for this state.
	login, err := a.sessions.FindLogin(r, resp.State())
	if err != nil {
		return "", err
	}
	// Steps 7 to 10 judge the response, step 11 uses the login up; a response that fails uses it up too, for whoever sent it knew state and cookie.
	// Where nobody can tell whether it was used up before, no code is sent.
	checkErr := c.CheckResponse(login.Request, resp)
	if err := a.sessions.TakeLogin(w, r, login, checkErr == nil && resp.HasCode()); err != nil {
		return "", err
	}
	if checkErr != nil {
		return "", checkErr
	}
	// Steps 12 to 17. A browser that goes away must not leave a code spent and its tokens lost.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), exchangeTimeout)
	defer cancel()
	tokens, err := c.Exchange(ctx, login.Request, resp)
	if err != nil {
		return "", err
	}
	// Step 18: a new session id, whatever this browser carried before.
	s, err := a.sessions.Create(w, r.WithContext(ctx), c, login, tokens)
	if err != nil {
		_ = c.Revoke(ctx, tokens)                    // no session keeps them, nor may one that a store has of which nobody knows; the client reports a failure
		if errors.Is(err, session.ErrSessionEnded) { // ATK-O19: the provider, or an operator, ended it meanwhile
			return "", err
		}
		return "", ownFault{err}
	}
	a.report(r, c, client.Event{Kind: client.EventLoginCompleted, Session: s.ID()})
	// Step 19. It was judged before it was sealed; keys outlive releases, so it is judged again.
	return returnto.Clean(login.ReturnTo, a.isOwn, a.cfg.DefaultReturnTo), nil
}
