package session

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/sallyport/sallyport/client"
	"github.com/sallyport/sallyport/internal/cookies"
	"github.com/sallyport/sallyport/internal/seal"
)

// Load reads the session that r carries: one look into the store, and nothing is written.
//
// Failure: ErrNoSession, ErrCookie, ErrSessionExpired, ErrSessionEnded, each meaning "not logged in"; ErrStore, which means that
// nobody knows.
func (m *Manager) Load(r *http.Request) (*Session, error) { return m.load(r, false) }

// LoadToEnd is Load for a caller that is going to End the session. It also reads one among more chunks than any of our writes leaves behind,
// so that its tokens can be revoked.
func (m *Manager) LoadToEnd(r *http.Request) (*Session, error) { return m.load(r, true) }

func (m *Manager) load(r *http.Request, toEnd bool) (*Session, error) {
	found := cookies.Find(r.Header["Cookie"], m.session.Name)
	if err := found.Err(); err != nil && !(toEnd && found.Overflow()) {
		return nil, cookieError(err) // ATK-K01, ATK-K02
	}
	now := m.now()
	s, err := m.read(&found, now)
	if s != nil && errors.Is(err, ErrSessionExpired) {
		return nil, m.expired(r.Context(), &s.rec, "absolute") // ATK-K18
	}
	if err != nil {
		return nil, err
	}
	if !now.Before(s.rec.absoluteDeadline(&m.shared.cfg)) {
		return nil, m.expired(r.Context(), &s.rec, "absolute")
	}
	if !m.shared.inStore && !now.Before(s.rec.idleDeadline(&m.shared.cfg)) {
		return nil, m.expired(r.Context(), &s.rec, "idle")
	}
	if err := m.consult(r.Context(), s, toEnd); err != nil {
		return nil, err
	}
	if m.shared.inStore && !now.Before(s.rec.idleDeadline(&m.shared.cfg)) {
		return nil, m.expired(r.Context(), &s.rec, "idle")
	}
	return s, nil
}

// readEntries are what consult reads into.
var readEntries = sync.Pool{New: func() any { return new(entry) }}

// consult looks up what has become of a session since its cookie was written: the end, newer tokens, or the session itself. To end one,
// an old copy of it will do.
func (m *Manager) consult(ctx context.Context, s *Session, toEnd bool) error {
	e := readEntries.Get().(*entry)
	defer func() {
		*e = entry{} // there are tokens in it
		readEntries.Put(e)
	}()
	key := sessionKey(s.rec.id)
	version, stale, err := m.shared.entries.get(ctx, &key, e)
	switch {
	case err == errPast && !m.shared.inStore:
	case err == errPast, err == nil && version == 0 && m.shared.inStore:
		if !m.now().Before(s.rec.idleDeadline(&m.shared.cfg)) { // as the ticket has it
			return m.expired(ctx, &s.rec, "idle")
		}
		m.reportOnce(ctx, client.EventSessionEnded, &s.rec, gone, nil)
		return fail(ErrSessionEnded, gone)
	case err != nil: // ATK-K17
		return m.storeFailed(ctx, &s.rec, err)
	case e.ended != "": // ATK-K15
		if e.due {
			m.handIn(ctx, &key, s, e.ended)
		}
		return fail(ErrSessionEnded, e.ended)
	case m.shared.inStore && !toEnd && e.rec.tokenGeneration < s.shown.tokenGeneration: // an old copy of the store. ATK-F17
		return m.storeFailed(ctx, &s.rec, storeFault("stale", nil))
	case m.shared.inStore:
		s.rec, s.unsealed = e.rec, stale
		s.stale = s.stale || s.shown.tokenGeneration < e.rec.tokenGeneration
	case e.rec.tokenGeneration != 0:
		s.adopt(&e.rec.tokens)
	}
	return m.checkStruck(ctx, &s.rec)
}

// handIn gives the tokens of a session back that was ended by somebody who did not have them: who comes first does.
func (m *Manager) handIn(ctx context.Context, key *storeKey, s *Session, reason string) {
	srv := m.shared.servers.of(&s.rec)
	if srv == nil {
		return // another process knows the client
	}
	first := false
	_, err := update(ctx, m.shared.entries, key, nil, func(e *entry, _ int64) (time.Time, error) {
		first = e.due
		e.due = false
		if !first {
			return time.Time{}, nil
		}
		return time.Unix(e.keep, 0).Add(time.Minute), nil
	})
	if err == nil && first {
		m.giveBack(ctx, srv, s, reason)
	}
}

// giveBack revokes the tokens of a session that its server or an operator has ended, if the client is known. The request does not wait for
// it. If it was the server, what was issued with offline_access is meant to outlive the session (OpenID Connect Back-Channel
// Logout 1.0 §2.7).
func (m *Manager) giveBack(ctx context.Context, srv server, s *Session, reason string) {
	if srv == nil || reason == endedByServer && s.HasScope("offline_access") || srv.ClientID() != s.rec.clientID {
		return
	}
	t := s.Tokens()
	m.shared.work.start(func() { m.revoke(ctx, srv, t) })
}

// expired says why a user who comes back has to log in again.
func (m *Manager) expired(ctx context.Context, rec *record, reason string) error {
	m.reportOnce(ctx, client.EventSessionEnded, rec, reason, nil)
	return expiredError(reason)
}

// adopt takes newer tokens over; a session never goes back to older ones.
func (s *Session) adopt(t *tokens) {
	if t.tokenGeneration > s.rec.tokenGeneration {
		s.rec.tokens, s.stale = *t, true
	}
}

// with returns the session with newer tokens.
func (s *Session) with(t *tokens) *Session {
	next := *s
	next.adopt(t)
	return &next
}

// read opens the newest of what the request carries: a whole cookie, chunks, or both.
func (m *Manager) read(found *cookies.Found, now time.Time) (*Session, error) {
	generation, split := found.Split()
	if !found.Present && !split {
		return nil, fail(ErrNoSession, "")
	}
	var whole *Session
	if found.Present {
		s, err := m.open(found.Value, now)
		if !split {
			return s, err
		}
		if err == nil && s.rec.generation >= generation {
			return s, nil // what is left of older chunks says nothing
		}
		whole = s
	}
	text, err := found.Join()
	if err != nil {
		return nil, cookieError(err)
	}
	s, err := m.open(text, now)
	if err != nil {
		return nil, err
	}
	if s.rec.generation != generation { // ATK-K07: the name says one, the seal another
		return nil, fail(ErrCookie, string(cookies.Chunk))
	}
	s.stale = s.stale || whole != nil
	return s, nil
}

// open opens a cookie: the session, or with sessions in a store, the ticket that says which it is. An expired one is returned with the error.
func (m *Manager) open(text string, now time.Time) (*Session, error) {
	s := &Session{m: m, read: now.Unix()}
	var o seal.Opened
	var err error
	if m.shared.inStore {
		o, err = m.shared.sessions.OpenAt(now, m.sessionSeal, text, (*ticket)(&s.rec))
	} else {
		o, err = m.shared.sessions.OpenAt(now, m.sessionSeal, text, &s.rec)
	}
	if err != nil {
		switch e := cookieError(err); {
		case e.Reason != string(seal.Expired):
			return nil, e
		case now.Before(o.Expires): // made by a process whose clock is far ahead: no reason to log anybody out
			return nil, storeFault("clock", nil)
		}
		return s, expiredError("absolute")
	}
	s.stale, s.shown = o.Stale, s.rec.position()
	return s, nil
}
