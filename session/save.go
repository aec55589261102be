package session

import (
	"encoding"
	"errors"
	"net/http"
	"time"

	"github.com/sallyport/sallyport/internal/cookies"
)

// put seals what the cookie of rec has to hold, under that generation, and writes it. Nothing is written, and rec keeps its
// generation, if that fails.
func (m *Manager) put(w http.ResponseWriter, found *cookies.Found, rec *record, generation uint64, now time.Time) error {
	absolute := rec.absoluteDeadline(&m.shared.cfg)
	before := rec.generation
	rec.generation = generation
	var content encoding.BinaryAppender = rec
	if m.shared.inStore {
		content = (*ticket)(rec)
	}
	// Max-Age ends with the idle deadline: a browser that stays away need not keep the cookie.
	age := earlier(rec.idleDeadline(&m.shared.cfg), absolute).Sub(now) + time.Second
	start, end := m.session.Frame(age)
	line, err := m.shared.sessions.SealBetween(start, end, m.sessionSeal, content, absolute)
	if err == nil {
		err = m.session.SetLine(w.Header(), *found, line, rec.generation, age)
	}
	if err != nil {
		rec.generation = before
		return cookieError(err)
	}
	return nil
}

// Touch moves the idle deadline, seals the session with the newest key, and brings the browser's
// cookie up to a refresh that happened elsewhere: each only if needed, so that most
// requests write nothing. With a store it also makes sure that logouts find the session, should the store have lost what it knew. Call it before the handler writes. Failure: ErrSessionEnded, with reason "size" if newer tokens
// are longer than browsers keep; ErrCookie with reason "size"; nothing is written to w then. That a store does not answer is no
// failure here: the next request tries again.
func (m *Manager) Touch(w http.ResponseWriter, r *http.Request, s *Session) error {
	idle := min(s.rec.idle, int64(m.shared.cfg.IdleTimeout/time.Second))
	late := s.read-s.rec.seen >= max(idle/10, 1)
	var err error
	if late && m.shared.inShare {
		if err = m.enrol(r.Context(), &s.rec, m.now()); errors.Is(err, ErrSessionEnded) {
			ended, _ := asClientError(err)
			_, _ = m.end(r.Context(), &s.rec, ended.Reason)
			return err
		}
	}
	switch {
	case late, s.unsealed, s.stale && !m.shared.inStore:
		_, err = m.save(w, r, s, nil)
	case s.stale:
		_, err = m.show(w, r, s, nil)
	}
	if e, ok := asClientError(err); ok && e.Code == ErrStore {
		return nil
	}
	return err
}

// Save writes the session, with the attributes that With has set, and returns what it wrote. With sessions in a store, requests at
// the same time that change different attributes keep both changes; in cookies, they overwrite each other. Tokens are never set back.
// Failure: as Touch, and ErrStore.
func (m *Manager) Save(w http.ResponseWriter, r *http.Request, s *Session) (*Session, error) {
	return m.save(w, r, s, nil)
}

func (m *Manager) save(w http.ResponseWriter, r *http.Request, s *Session, srv server) (*Session, error) {
	if !m.shared.inStore {
		next := *s
		if err := m.consult(r.Context(), &next, false); err != nil {
			return nil, err
		}
		return m.show(w, r, &next, srv)
	}
	now := m.now()
	key := sessionKey(s.rec.id)
	var ended error
	h, err := update(r.Context(), m.shared.entries, &key, nil, func(e *entry, version int64) (time.Time, error) {
		switch ended = nil; {
		case e.ended != "":
			ended = fail(ErrSessionEnded, e.ended)
		case e.rec.tokenGeneration == 0:
			ended = fail(ErrSessionEnded, gone)
		case e.rec.tokenGeneration < s.rec.tokenGeneration && e.lease.tokenGeneration == 0: // ATK-F17: an old copy
			return time.Time{}, storeFault("stale", nil)
		}
		if ended != nil {
			return time.Time{}, nil
		}
		if len(s.edits) == 0 && !s.unsealed && e.rec.seen > s.rec.seen { // a request at the same time has done it
			return time.Time{}, nil
		}
		e.rec.seen = max(e.rec.seen, now.Unix())
		for _, a := range s.edits {
			e.rec.attributes = setAttribute(e.rec.attributes, a)
		}
		return e.deadline(&m.shared.cfg, now, e.rec.absoluteDeadline(&m.shared.cfg), true), nil
	})
	if err != nil {
		return nil, m.storeFailed(r.Context(), &s.rec, err)
	}
	if ended != nil {
		return nil, ended
	}
	next := *s
	next.rec, next.edits, next.unsealed = h.value.rec, nil, false
	shown, err := m.show(w, r, &next, srv)
	if err != nil {
		return nil, err
	}
	// Tokens that this process has, and the store has not taken yet, stay, and the ticket does not promise them.
	shown = shown.with(&s.rec.tokens)
	shown.stale = false
	return shown, nil
}

// show writes the browser's cookie. The tokens of s came from srv, nil if that is not known.
func (m *Manager) show(w http.ResponseWriter, r *http.Request, s *Session, srv server) (*Session, error) {
	now := m.now()
	next := &Session{rec: s.rec, m: m, shown: s.shown, read: s.read}
	if !m.shared.inStore { // what is in the store says there
		next.rec.seen = max(now.Unix(), s.rec.seen)
	}
	found := cookies.Find(r.Header["Cookie"], m.session.Name)
	generation := next.sameGeneration()
	if len(s.edits) > 0 {
		generation = m.nextGeneration(max(s.rec.generation, s.shown.generation), &found, now)
	}
	err := m.put(w, &found, &next.rec, generation, now)
	switch {
	case err == nil && len(s.edits) > 0:
		next.shown = next.rec.position()
	case err != nil && len(s.edits) == 0 && !m.shared.inStore && next.rec.tokenGeneration > s.shown.tokenGeneration && tooLong(err):
		// The browser cannot have these tokens, and the refresh token that it has is spent: nobody may send it again.
		if _, err := m.end(r.Context(), &next.rec, outgrown); err != nil {
			return nil, err
		}
		if srv != nil {
			t := next.Tokens()
			m.shared.work.start(func() { m.revoke(r.Context(), srv, t) })
		}
		return nil, fail(ErrSessionEnded, outgrown)
	}
	if err != nil {
		return nil, err
	}
	return next, nil
}
