package middleware

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/sallyport/sallyport/client"
	"github.com/sallyport/sallyport/session"
)

const (
	// maxLogoutsAtOnce bounds the logout tokens of one client that are verified at the same time; more are asked to come back.
	maxLogoutsAtOnce = 16
	// verifyTimeout bounds one of them, should keys have to be fetched first.
	verifyTimeout = 10 * time.Second
	// endTimeout bounds the end of all sessions that one of them names.
	endTimeout = 30 * time.Second
)

// errBusy is the answer to a flood (ATK-Q03). Nothing was judged.
var errBusy = func() error {
	e := client.NewError(session.ErrStore, "busy", nil)
	e.Outcome, e.Action, e.RetryAfter = client.Transient, client.ActionRetry, time.Second
	return e
}()

// backchannelLogout answers the provider's own requests (OpenID Connect Back-Channel Logout 1.0 §2.5, §2.8): 200 for a valid token, whether or not a session of ours was meant, else no session is touched.
func (a *Auth) backchannelLogout(w http.ResponseWriter, r *http.Request) {
	var c *client.Client
	err := contained(func() (err error) {
		c, err = a.endByLogoutToken(r)
		return err
	})
	if err != nil {
		a.report(r, c, client.Event{Kind: EventLogoutRefused, Err: err, Correlation: newCorrelation()})
		refuseLogout(w, err)
		return
	}
	a.report(r, c, client.Event{Kind: EventLogoutReceived})
	secure(w)
	w.Header().Set("Content-Length", "0")
	w.WriteHeader(http.StatusOK)
}

// endByLogoutToken verifies the request and ends what it names. What comes first costs least; who the token says it is from decides which client looks at it, and that is all that is taken from it before it is verified.
func (a *Auth) endByLogoutToken(r *http.Request) (*client.Client, error) {
	l, err := client.ReadLogoutRequest(r)
	if err != nil {
		return nil, err
	}
	c := a.byIssuer([]string{l.UnverifiedIssuer()})
	if c == nil { // ATK-O08
		return nil, client.NewError(client.ErrLogoutToken, "iss", nil)
	}
	select {
	case a.logouts[c] <- struct{}{}:
		defer func() { <-a.logouts[c] }()
	default:
		return c, errBusy
	}
	ctx, cancel := context.WithTimeout(r.Context(), verifyTimeout)
	defer cancel()
	t, err := c.VerifyLogout(ctx, l)
	if err != nil {
		return c, err
	}
	// A provider that does not wait may not come again.
	ctx, cancel = context.WithTimeout(context.WithoutCancel(r.Context()), endTimeout)
	defer cancel()
	return c, a.sessions.EndByLogoutToken(ctx, c, t)
}

// refuseLogout answers with our own words only (§2.8). Nothing but a judgement of the token is the sender's fault.
func refuseLogout(w http.ResponseWriter, err error) {
	status, code, retryAfter := http.StatusServiceUnavailable, "temporarily_unavailable", 5
	var e *client.Error
	errors.As(err, &e)
	switch {
	case errors.Is(err, errInternal):
		status, code, retryAfter = http.StatusInternalServerError, "server_error", 0
	case errors.Is(err, client.ErrLogoutToken):
		status, code, retryAfter = http.StatusBadRequest, "invalid_request", 0
		switch e.Reason {
		case "content_type":
			status = http.StatusUnsupportedMediaType
		case "size":
			status = http.StatusRequestEntityTooLarge
		}
	case e != nil && e.RetryAfter > 0:
		retryAfter = seconds(e.RetryAfter)
	}
	secure(w)
	h := w.Header()
	h.Set("Content-Type", "application/json")
	if retryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(retryAfter))
	}
	w.WriteHeader(status)
	_, _ = w.Write([]byte(`{"error":"` + code + `"}`))
}
