package session

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/sallyport/sallyport/client"
)

// server is what a refresh needs of *client.Client.
type server interface {
	Issuer() string
	ClientID() string
	Rotation() client.Rotation
	Reachable(context.Context) error
	Refresh(context.Context, *client.Tokens) (*client.Tokens, error)
	Revoke(context.Context, *client.Tokens) error
}

// Fresh returns the session with an access token that is good for a while: it refreshes when the token is due, a
// minute before its expiry or a tenth of its life, whichever is less. All requests that need it, in this process and in all that share a
// store, share one refresh, failure included; it goes on if they go away. With sessions in a store, requests go on with the old
// token while that happens, as long as it is good. With sessions in cookies, the cookie is written before the
// handler runs; what cannot be written (w belongs to nobody any more) waits for the next request.
//
// A failure that leaves the access token alive is none. Otherwise: ErrNoToken, with reason "refresh_expired" if the server said until
// when the refresh token works and that has passed; client.ErrGrantRevoked, which has ended the
// session; ErrSessionEnded, with reason "size" if the new tokens are longer than browsers keep; client.ErrRefreshInDoubt, the server's failure or ErrStore with
// RetryAfter, and then the session lives on. Nothing is written.
func (m *Manager) Fresh(w http.ResponseWriter, r *http.Request, c *client.Client, s *Session) (*Session, error) {
	return m.fresh(w, r, c, s, false)
}

// Renew is Fresh for an access token that a resource server has refused (OAuth 2.1 §5.3.2): it is due whatever its expiry
// says. If the session has newer tokens by now, they are the answer. A failure is returned even if
// the token of s seems alive.
func (m *Manager) Renew(w http.ResponseWriter, r *http.Request, c *client.Client, s *Session) (*Session, error) {
	return m.fresh(w, r, c, s, true)
}

func (m *Manager) fresh(w http.ResponseWriter, r *http.Request, srv server, s *Session, refused bool) (*Session, error) {
	if s.rec.issuer != srv.Issuer() || s.rec.clientID != srv.ClientID() { // ATK-F19
		return nil, fail(ErrSessionEnded, "client")
	}
	now := m.now()
	if !refused && !m.due(&s.rec, now) {
		return s, nil
	}
	alive := !refused && s.rec.alive(now)
	if alive && (s.rec.refreshToken == "" || !s.rec.renewable(now)) {
		return s, nil
	}
	if s.rec.refreshToken == "" {
		err := fail(ErrNoToken, "").WithHint("the server issued no refresh token: ask for the offline_access scope, or what it has for it")
		m.report(r.Context(), client.EventRefreshFailed, &s.rec, "", err)
		return nil, err
	}
	m.shared.servers.remember(srv)
	f, first := m.join(r.Context(), srv, &s.rec, refused, m.shared.inStore && alive)
	if m.shared.inStore && alive && s.rec.unhurried(now) {
		m.shared.counters.servedStale.Add(1)
		if first {
			m.report(r.Context(), EventRefreshServedStale, &s.rec, "", nil)
		}
		return s, nil
	}
	if !first {
		m.shared.counters.waited.Add(1)
	}
	next, err := f.wait(r.Context())
	if err == nil {
		_, unwritten := m.shared.unsettled.get(s.rec.flight())
		if s = s.with(next); unwritten && m.shared.inStore {
			s.stale = false
			return s, nil // if this process ends before the store has them, the ticket must not promise them
		}
		return m.show(w, r, s, srv)
	}
	if alive && s.rec.alive(m.now()) && !errors.Is(err, ErrSessionEnded) && !errors.Is(err, client.ErrGrantRevoked) {
		m.shared.counters.servedStale.Add(1)
		return s, nil
	}
	return nil, err
}

// due reports whether the access token should be replaced. Sessions in a store do that in the background, so they can begin
// earlier, each at another time: those that were made together do not come back together.
func (m *Manager) due(rec *record, now time.Time) bool {
	if !m.shared.inStore {
		return rec.due(now, 0)
	}
	jitter := (uint64(rec.id[0])<<8 | uint64(rec.id[1])) ^ rec.tokenGeneration*0x9E37%(1<<16)
	return rec.due(now, float64(jitter%(1<<16))/(1<<16))
}

// flightKey says which refreshes are the same. A key that is too coarse hands out another user's tokens
// (CVE-2025-67490), so it is one comparable value and not a text that somebody puts together. The store is the Manager's; a refresh
// asks for neither scopes nor resources.
type flightKey struct {
	session          sessionID
	issuer, clientID string
	tokenGeneration  uint64
}

func (r *record) flight() flightKey {
	return flightKey{r.id, r.issuer, r.clientID, r.tokenGeneration}
}

// flights are the refreshes under way in this process.
type flights struct {
	mu  sync.Mutex
	all map[flightKey]*flight
}

type flight struct {
	done chan struct{}
	next *tokens
	err  error
}

// join returns the flight of this token generation, and whether it is the caller who made it.
func (m *Manager) join(ctx context.Context, srv server, rec *record, refused, background bool) (f *flight, first bool) {
	key := rec.flight()
	fl := &m.shared.flights
	fl.mu.Lock()
	defer fl.mu.Unlock()
	if f, ok := fl.all[key]; ok {
		return f, false
	}
	f = &flight{done: make(chan struct{})}
	if fl.all == nil {
		fl.all = map[flightKey]*flight{}
	}
	fl.all[key] = f
	// A request that goes away must not spend the token and lose the answer.
	t, detached := m.newTransaction(srv, rec, refused, background), context.WithoutCancel(ctx)
	m.shared.work.start(func() {
		f.next, f.err = t.fly(detached)
		fl.mu.Lock()
		delete(fl.all, key)
		fl.mu.Unlock()
		close(f.done)
	})
	return f, true
}

// wait returns what the flight brought.
func (f *flight) wait(ctx context.Context) (*tokens, error) {
	select {
	case <-f.done:
		return f.next, f.err
	case <-ctx.Done():
		return nil, client.NewError(client.ErrTimeout, "canceled", ctx.Err())
	}
}

// fly runs the transaction, unless this process has a result of it that the store has not taken yet.
func (t *transaction) fly(ctx context.Context) (*tokens, error) {
	if next, ok := t.m.shared.unsettled.get(t.rec.flight()); ok {
		if next == nil {
			return nil, storeFault("unavailable", nil)
		}
		return next, nil
	}
	ctx, cancel := context.WithTimeout(ctx, refreshTimeout+leaseTime)
	defer cancel()
	return t.run(ctx)
}

// refreshOnce calls the server. Every failure is a *client.Error. A hook or secret source that panics fails this
// refresh, not the process; what it panicked with may hold a secret.
func refreshOnce(ctx context.Context, srv server, t *client.Tokens) (next *client.Tokens, failed *client.Error) {
	defer func() {
		if recover() != nil {
			next, failed = nil, client.NewError(client.ErrRefreshInDoubt, "panic", nil)
		}
	}()
	next, err := srv.Refresh(ctx, t)
	if err == nil && next != nil {
		return next, nil
	}
	failed, ok := asClientError(err)
	if !ok {
		failed = client.NewError(client.ErrRefreshInDoubt, "unknown", nil)
	}
	return nil, failed
}

// revoke gives tokens back that no session will hold. The client reports what becomes of it.
func (m *Manager) revoke(ctx context.Context, srv server, t *client.Tokens) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), revokeTimeout)
	defer cancel()
	defer func() { _ = recover() }()
	_ = srv.Revoke(ctx, t)
}

// otherUser reports whether the answer was for somebody or something else.
func otherUser(e *client.Error) bool {
	return e.Code == client.ErrIDToken && (e.Reason == "sub" || e.Reason == "iss" || e.Reason == "aud")
}

// answered reports whether a whole answer came and was refused here: the refresh token is spent for certain, and to send
// it again would look like theft.
func answered(e *client.Error) bool {
	return e.Code == client.ErrTokenType || e.Code == client.ErrScope || e.Code == client.ErrIDToken
}

// spent reports whether the refresh token may have been used up by the failure: no answer came, or
// one came that we cannot use.
func spent(e *client.Error) bool {
	switch e.Code {
	case client.ErrTokenResponse, client.ErrContentType, client.ErrResponseTooLarge:
		return true
	}
	return e.Outcome == client.InDoubt
}

// later is err with the time to wait before the next try.
func later(err *client.Error, wait time.Duration) error {
	out := *err
	out.Action, out.RetryAfter = client.ActionRetry, wait
	if out.Outcome == client.Rejected {
		out.Outcome = client.Transient // an operator's mistake is no reason to log users out. ATK-F11
	}
	return &out
}

// lost is err when trying again would be the third time: only a login helps.
func lost(err *client.Error) error {
	e := client.NewError(client.ErrRefreshInDoubt, "", err)
	e.Outcome, e.Action = client.Rejected, client.ActionLogin
	return e
}
