package session

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/sallyport/sallyport/client"
)

const (
	// refreshTimeout bounds one refresh, which lives on when the request that caused it is gone.
	refreshTimeout = 30 * time.Second
	// revokeTimeout bounds the revocation of tokens that came for an ended session.
	revokeTimeout = 10 * time.Second
	// maxSends is how often one refresh token is sent when no usable answer comes: once, and once more when
	// the access token is dead and there is nothing better to try.
	maxSends = 2

	firstBackoff = time.Second
	lastBackoff  = time.Minute
)

// server is what a refresh needs of *client.Client.
type server interface {
	Issuer() string
	ClientID() string
	Refresh(context.Context, *client.Tokens) (*client.Tokens, error)
	Revoke(context.Context, *client.Tokens) error
}

// Fresh returns the session with an access token that is good for a while: it refreshes when the token is due, a
// minute before its expiry or a tenth of its life, whichever is less. All requests of this process that need it share
// one refresh, failure included; it goes on if they go away. The cookie is written before the
// handler runs; what cannot be written (w belongs to nobody any more) waits here for the next request.
//
// A failure that leaves the access token alive is none. Otherwise: ErrNoToken; client.ErrGrantRevoked, which has ended the
// session; ErrSessionEnded, with reason "size" if the new tokens are longer than browsers keep; client.ErrRefreshInDoubt, or the server's failure with
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
	now, adopted := m.now(), false
	e, _ := m.shared.ledger.get(s.rec.id, now)
	if e.ended {
		return nil, fail(ErrSessionEnded, e.reason)
	}
	if err := m.checkLogout(r.Context(), &s.rec, false); err != nil {
		return nil, err
	}
	if e.newest != nil && e.newest.tokenGeneration > s.rec.tokenGeneration {
		s = &Session{rec: s.rec, m: m, changed: s.changed, shown: s.shown}
		s.adopt(e.newest)
		adopted, refused = true, false
	}
	if !refused && !s.rec.due(now) {
		if adopted {
			return m.save(w, r, s, srv)
		}
		return s, nil
	}
	alive := !refused && s.rec.alive(now)
	if s.rec.refreshToken == "" {
		if alive {
			return s, nil
		}
		err := fail(ErrNoToken, "").WithHint("the server issued no refresh token: ask for the offline_access scope, or what it has for it")
		m.report(r.Context(), client.EventRefreshFailed, &s.rec, "", err)
		return nil, err
	}
	next, err := m.refresh(r.Context(), srv, &s.rec, refused)
	if err == nil {
		s = &Session{rec: s.rec, m: m, changed: s.changed, shown: s.shown}
		s.adopt(next)
		return m.save(w, r, s, srv)
	}
	if alive && !errors.Is(err, ErrSessionEnded) && !errors.Is(err, client.ErrGrantRevoked) {
		return s, nil
	}
	return nil, err
}

// flightKey says which refreshes are the same. A key that is too coarse hands out another user's tokens
// (CVE-2025-67490), so it is one comparable value and not a text that somebody puts together.
type flightKey struct {
	session          sessionID
	issuer, clientID string
	tokenGeneration  uint64
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

// refresh returns newer tokens than rec has, by joining the flight of this token generation.
func (m *Manager) refresh(ctx context.Context, srv server, rec *record, refused bool) (*tokens, error) {
	key := flightKey{rec.id, rec.issuer, rec.clientID, rec.tokenGeneration}
	fl := &m.shared.flights
	fl.mu.Lock()
	f, ok := fl.all[key]
	if !ok {
		f = &flight{done: make(chan struct{})}
		if fl.all == nil {
			fl.all = map[flightKey]*flight{}
		}
		fl.all[key] = f
		// A request that goes away must not spend the token and lose the answer.
		detached := context.WithoutCancel(ctx)
		copied := *rec
		go func() {
			f.next, f.err = m.fly(detached, srv, &copied, refused)
			fl.mu.Lock()
			delete(fl.all, key)
			fl.mu.Unlock()
			close(f.done)
		}()
	}
	fl.mu.Unlock()
	select {
	case <-f.done:
		return f.next, f.err
	case <-ctx.Done():
		return nil, client.NewError(client.ErrTimeout, "canceled", ctx.Err())
	}
}

// fly refreshes once.
func (m *Manager) fly(ctx context.Context, srv server, rec *record, refused bool) (*tokens, error) {
	now, id := m.now(), rec.id
	absolute := rec.absoluteDeadline(&m.shared.cfg)
	sent, count := 0, 0
	if e, ok := m.shared.ledger.get(id, now); ok {
		switch f := e.failed; {
		case e.ended:
			return nil, fail(ErrSessionEnded, e.reason)
		case e.newest != nil && e.newest.tokenGeneration > rec.tokenGeneration:
			return e.newest, nil // done between the caller's look and ours
		case f != nil && f.tokenGeneration == rec.tokenGeneration:
			sent, count = f.spent, f.count
			switch {
			case sent >= maxSends:
				return nil, lost(f.err)
			case now.Before(f.until):
				return nil, later(f.err, f.until.Sub(now))
			case sent > 0 && !refused && rec.alive(now):
				return nil, f.err // the token may be spent: not again before we must
			}
		}
	}
	ctx, cancel := context.WithTimeout(ctx, refreshTimeout)
	defer cancel()
	t, err := refreshOnce(ctx, srv, (&Session{rec: *rec}).Tokens())
	now = m.now()
	if err == nil { // from here on the new tokens are known, whatever becomes of the request
		next := newTokens(t, now, rec.tokenGeneration+1)
		latest := *rec
		latest.tokens = next
		if err := m.checkLogout(ctx, &latest, true); err != nil { // it arrived while the server was asked
			return nil, err
		}
		if !m.shared.ledger.refreshed(id, now, absolute, &next) {
			m.revoke(ctx, srv, t) // ATK-F04
			return nil, fail(ErrSessionEnded, "")
		}
		rec.tokens = next
		m.report(ctx, client.EventTokenRefreshed, rec, "", nil)
		return &next, nil
	}
	m.report(ctx, client.EventRefreshFailed, rec, "", err)
	switch {
	case errors.Is(err, client.ErrGrantRevoked): // ATK-F05
		m.end(ctx, rec, "grant_revoked")
		return nil, err
	case otherUser(err): // ATK-F09: the grant cannot be trusted
		m.end(ctx, rec, "id_token")
		m.revoke(ctx, srv, (&Session{rec: *rec}).Tokens())
		return nil, client.NewError(ErrSessionEnded, "id_token", err)
	}
	switch {
	case answered(err):
		sent = maxSends
	case spent(err):
		sent++
	}
	wait := min(firstBackoff<<min(count, 10), lastBackoff)
	wait = max(wait, err.RetryAfter)
	wait += rand.N(wait/4 + 1) // so that sessions that failed together do not come back together
	m.shared.ledger.failedRefresh(id, now, absolute, &failure{
		tokenGeneration: rec.tokenGeneration, err: err, spent: sent, count: count + 1, until: now.Add(wait),
	})
	if sent >= maxSends {
		return nil, lost(err)
	}
	return nil, later(err, wait)
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
