package client

import (
	"context"
	"log/slog"
	"time"
)

// The kinds of audit events. Names are stable.
const (
	EventLoginStarted    = "login.started"        // from middleware: the browser was sent to the server
	EventLoginCompleted  = "login.completed"      // from middleware, with the new session
	EventLoginRejected   = "login.rejected"       // from middleware, with the code, the reason and the reference on the page
	EventTokenRefreshed  = "token.refreshed"      // from session, with the new generation
	EventRefreshFailed   = "token.refresh_failed" // from session, with the code
	EventTokenRevoked    = "token.revoked"        // from client
	EventRevokeFailed    = "token.revoke_failed"  // from client: the tokens may live on
	EventSessionCreated  = "session.created"      // from session
	EventSessionEnded    = "session.ended"        // from session. Reason: idle, absolute, or one of session.ErrSessionEnded
	EventMetadataLoaded  = "metadata.loaded"      // Code and Reason are set if it is weaker than what was too old to keep
	EventMetadataRefused = "metadata.refused"     // new metadata would weaken the old: kept the old
	EventMetadataFailed  = "metadata.failed"
	EventJWKS            = "jwks"          // Reason: refetched, unavailable, budget_spent
	EventScopeIgnored    = "scope.ignored" // from client: a refresh granted more than the login; it is left out of account
	EventQuirkActive     = "quirk.active"
)

// Event is one line of the audit trail. It holds no secret, no token and no
// byte chosen by a peer, so it may be logged as it is.
type Event struct {
	Kind        string
	Time        time.Time
	Issuer      string // as configured
	ClientID    string // as configured
	Code        Code   // of a failure
	Reason      string // of a failure, or the quirk's name
	Session     string // keyed fingerprint of the session, never its id
	Generation  uint64 // of the session's tokens
	Correlation string // the one on the page that the user saw
	Err         error  // of a failure
}

// LogEvents returns an event hook that writes to l: failures at level WARN, the rest at INFO.
func LogEvents(l *slog.Logger) func(context.Context, Event) {
	return func(ctx context.Context, e Event) {
		level := slog.LevelInfo
		if e.Err != nil || e.Code != "" || e.Kind == EventQuirkActive {
			level = slog.LevelWarn
		}
		attrs := make([]slog.Attr, 0, 8)
		for _, a := range [...]struct{ k, v string }{
			{"issuer", e.Issuer}, {"client_id", e.ClientID}, {"code", string(e.Code)}, {"reason", e.Reason},
			{"session", e.Session}, {"correlation", e.Correlation},
		} {
			if a.v != "" {
				attrs = append(attrs, slog.String(a.k, a.v))
			}
		}
		if e.Generation != 0 {
			attrs = append(attrs, slog.Uint64("generation", e.Generation))
		}
		if e.Err != nil {
			attrs = append(attrs, slog.String("error", e.Err.Error()))
		}
		l.LogAttrs(ctx, level, e.Kind, attrs...)
	}
}

// emit fills in who and when and calls the hook. A hook that panics must not
// break a login, and what it panicked with is not ours to print.
func (c *Client) emit(ctx context.Context, e Event) {
	if c.cfg.OnEvent == nil {
		return
	}
	e.Time, e.Issuer, e.ClientID = c.now(), c.cfg.Issuer, c.cfg.ClientID
	if e.Err != nil && e.Code == "" {
		ce := asError(e.Err, "", "")
		e.Code, e.Reason = ce.Code, ce.Reason
	}
	defer func() { _ = recover() }()
	c.cfg.OnEvent(ctx, e)
}
