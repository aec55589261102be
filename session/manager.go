package session

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport/sallyport/client"
	"github.com/sallyport/sallyport/internal/cookies"
	"github.com/sallyport/sallyport/internal/seal"
)

func itoa(n int) string { return strconv.Itoa(n) }

func asClientError(err error) (*client.Error, bool) {
	var e *client.Error
	ok := errors.As(err, &e)
	return e, ok
}

// futureGeneration is how far ahead of our clock a generation may be before it is taken for planted.
const futureGeneration = 24 * time.Hour

// maxCarried bounds the cookies of one name that are opened to end what they hold.
const maxCarried = 8

// outgrown and replaced are reasons of events and errors.
const (
	outgrown = "size"
	replaced = "replaced"
)

// nextGeneration is for what has no second: a login, and attributes that a request has changed. It is above previous, above what the request carries, and in the order of time over all
// processes: milliseconds of the write, or one more than was seen.
func (m *Manager) nextGeneration(previous uint64, seen *cookies.Found, at time.Time) uint64 {
	now := uint64(max(at.UnixMilli(), 1))
	if g, ok := seen.Split(); ok && g > previous && g < now+uint64(futureGeneration.Milliseconds()) {
		previous = g
	}
	return max(previous+1, now)
}

// sameGeneration is for a write that brings nothing but the time, the newest key or newer tokens. It follows from the cookie
// that was read, so requests at the same time write the same names over each other, however many they are, and one
// with newer tokens is above one without.
func (s *Session) sameGeneration() uint64 {
	return s.shown.generation + 1 + (s.rec.tokenGeneration - s.shown.tokenGeneration)
}

func (m *Manager) now() time.Time { return m.shared.cfg.Now() }

// Create begins a session for tokens that c has just obtained and writes its cookie, under a new id whatever r
// carried; the session in r is ended, and the one that l replaces: the pending login that this completes, nil if there
// was none. Failure: ErrCookie with reason "size" if the session is
// longer than browsers keep, client.ErrConfig if t says of nobody whose it is, ErrSessionEnded with reason "backchannel_logout" if the server has ended the
// user's session since it was asked for these tokens; then nothing is written and the session in r lives on.
func (m *Manager) Create(w http.ResponseWriter, r *http.Request, c *client.Client, l *Login, t *client.Tokens) (*Session, error) {
	return m.createFor(w, r, c.Issuer(), c.ClientID(), l, t)
}

func (m *Manager) createFor(w http.ResponseWriter, r *http.Request, issuer, clientID string, l *Login, t *client.Tokens) (*Session, error) {
	if t.Subject == "" { // all such users would be one
		return nil, configError("subject", "the server did not say who the user is: ask for the openid scope, or set client.Config.Profile")
	}
	now := m.now()
	cfg := &m.shared.cfg
	found := cookies.Find(r.Header["Cookie"], m.session.Name)
	s := &Session{m: m, rec: record{
		created: now.Unix(), seen: now.Unix(), absolute: now.Add(cfg.AbsoluteTimeout).Unix(), idle: int64(cfg.IdleTimeout / time.Second),
		issuer: issuer, clientID: clientID, subject: t.Subject, obtained: now.UnixMilli(),
		tokens: newTokens(t, now, 1),
	}}
	rand.Read(s.rec.id[:])
	if t.IDToken != nil {
		s.rec.sid = t.IDToken.SID
	}
	if !t.ObtainedAt.IsZero() {
		s.rec.obtained = t.ObtainedAt.UnixMilli()
	}
	if _, ended := m.shared.ledger.logouts.find(&s.rec); ended { // ATK-O19
		return nil, fail(ErrSessionEnded, endedByServer)
	}
	old := m.carried(r, &found)
	if l != nil && l.replaces != nil {
		old = append(old, l.replaces.record())
	}
	previous := uint64(0)
	for _, o := range old {
		previous = max(previous, o.generation)
	}
	generation := m.nextGeneration(previous, &found, now)
	if l != nil && l.replaces != nil {
		found.Assume(m.session.Name, l.replaces.generation)
	}
	if err := m.put(w, &found, &s.rec, generation, now); err != nil {
		return nil, err
	}
	s.shown = s.rec.position()
	for _, o := range old { // ATK-K10, ATK-K19
		m.end(r.Context(), o, replaced)
	}
	m.report(r.Context(), client.EventSessionCreated, &s.rec, "", nil)
	return s, nil
}

// newTokens is the part of the record that came from the server.
func newTokens(t *client.Tokens, now time.Time, generation uint64) tokens {
	out := tokens{
		tokenGeneration: generation, accessToken: string(t.AccessToken), refreshToken: string(t.RefreshToken), tokenType: t.TokenType,
		scopes: strings.Join(t.Scopes, " "), accessIssued: now.Unix(), userInfo: string(t.UserInfo),
	}
	if !t.Expiry.IsZero() {
		out.accessExpiry = max(t.Expiry.Unix(), 1)
	}
	if t.IDToken != nil {
		out.idToken = packJWT(string(t.IDToken.Raw))
	}
	return out
}

// carried returns every session that the request's cookies hold, live or not, those of duplicates too.
func (m *Manager) carried(r *http.Request, found *cookies.Found) (old []*record) {
	var texts []string
	for s := cookies.Scan(r.Header["Cookie"]); s.Next() && len(texts) < maxCarried; {
		if s.Name == m.session.Name {
			texts = append(texts, s.Value)
		}
	}
	if text, err := found.Join(); err == nil {
		texts = append(texts, text)
	}
	for _, text := range texts {
		rec := new(record)
		if _, err := m.shared.sessions.Open(m.sessionSeal, text, rec); err == nil {
			old = append(old, rec)
		}
	}
	return old
}

// put seals rec under that generation and writes it. Nothing is written, and rec keeps its generation, if
// that fails.
func (m *Manager) put(w http.ResponseWriter, found *cookies.Found, rec *record, generation uint64, now time.Time) error {
	absolute := rec.absoluteDeadline(&m.shared.cfg)
	before := rec.generation
	rec.generation = generation
	// Max-Age ends with the idle deadline: a browser that stays away need not keep the cookie.
	age := earlier(rec.idleDeadline(&m.shared.cfg), absolute).Sub(now) + time.Second
	start, end := m.session.Frame(age)
	line, err := m.shared.sessions.SealBetween(start, end, m.sessionSeal, rec, absolute)
	if err == nil {
		err = m.session.SetLine(w.Header(), *found, line, rec.generation, age)
	}
	if err != nil {
		rec.generation = before
		return cookieError(err)
	}
	return nil
}

// Load reads the session that r carries. It writes nothing.
//
// Failure, each meaning "not logged in": ErrNoSession; ErrCookie; ErrSessionExpired; ErrSessionEnded.
func (m *Manager) Load(r *http.Request) (*Session, error) { return m.load(r, false) }

// LoadToEnd is Load for who will End the session. It also reads one among more chunks than any of our writes leaves behind,
// so that its tokens can be revoked.
func (m *Manager) LoadToEnd(r *http.Request) (*Session, error) { return m.load(r, true) }

func (m *Manager) load(r *http.Request, toEnd bool) (*Session, error) {
	found := cookies.Find(r.Header["Cookie"], m.session.Name)
	if err := found.Err(); err != nil && !(toEnd && found.Overflow()) {
		return nil, cookieError(err) // ATK-K01, ATK-K02
	}
	now, cfg := m.now(), &m.shared.cfg
	s, err := m.read(&found, now)
	if err != nil {
		return nil, err
	}
	absolute := s.rec.absoluteDeadline(cfg)
	if !now.Before(absolute) {
		return nil, m.expired(r, &s.rec, "absolute")
	}
	if !now.Before(s.rec.idleDeadline(cfg)) {
		return nil, m.expired(r, &s.rec, "idle")
	}
	e, _ := m.shared.ledger.get(s.rec.id, now)
	if e.ended { // ATK-K15
		return nil, fail(ErrSessionEnded, e.reason)
	}
	if err := m.checkLogout(r.Context(), &s.rec, false); err != nil {
		return nil, err
	}
	if e.newest != nil {
		if e.shown != (s.rec.tokenGeneration >= e.newest.tokenGeneration) {
			m.shared.ledger.seen(s.rec.id, now, absolute, s.rec.tokenGeneration)
		}
		s.adopt(e.newest)
	}
	return s, nil
}

// expired says why a user who comes back has to log in again.
func (m *Manager) expired(r *http.Request, rec *record, reason string) error {
	m.report(r.Context(), client.EventSessionEnded, rec, reason, nil)
	return expiredError(reason)
}

// adopt takes newer tokens over; a session never goes back to older ones.
func (s *Session) adopt(t *tokens) {
	if t.tokenGeneration > s.rec.tokenGeneration {
		s.rec.tokens, s.stale = *t, true
	}
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

func (m *Manager) open(text string, now time.Time) (*Session, error) {
	s := &Session{m: m, read: now.Unix()}
	o, err := m.shared.sessions.OpenAt(now, m.sessionSeal, text, &s.rec)
	if err != nil {
		e := cookieError(err)
		if e.Reason == string(seal.Expired) {
			return nil, expiredError("absolute") // ATK-K18
		}
		return nil, e
	}
	s.stale, s.shown = o.Stale, s.rec.position()
	return s, nil
}

// Touch moves the idle deadline, seals the session with the newest key, and brings the browser's
// cookie up to a refresh that happened elsewhere: each only if needed, so that most
// requests get no cookie. Call it before the handler writes. Failure: ErrSessionEnded, with reason "size" if newer tokens
// are longer than browsers keep; ErrCookie with reason "size"; nothing is written then.
func (m *Manager) Touch(w http.ResponseWriter, r *http.Request, s *Session) error {
	idle := min(s.rec.idle, int64(m.shared.cfg.IdleTimeout/time.Second))
	if !s.stale && s.read-s.rec.seen < max(idle/10, 1) {
		return nil
	}
	_, err := m.save(w, r, s, nil)
	return err
}

// Save writes the session, with the attributes that With has set, and returns what it wrote. Requests at the same
// time that save different attributes overwrite each other; tokens are never set back. Failure: as Touch.
func (m *Manager) Save(w http.ResponseWriter, r *http.Request, s *Session) (*Session, error) {
	return m.save(w, r, s, nil)
}

// save writes s. Its tokens came from srv, nil if that is not known.
func (m *Manager) save(w http.ResponseWriter, r *http.Request, s *Session, srv server) (*Session, error) {
	now := m.now()
	next := &Session{rec: s.rec, m: m, shown: s.shown}
	e, _ := m.shared.ledger.get(s.rec.id, now)
	if e.ended {
		return nil, fail(ErrSessionEnded, e.reason)
	}
	if err := m.checkLogout(r.Context(), &s.rec, false); err != nil {
		return nil, err
	}
	if e.newest != nil {
		next.adopt(e.newest)
	}
	next.stale = false
	next.rec.seen = max(now.Unix(), s.rec.seen)
	found := cookies.Find(r.Header["Cookie"], m.session.Name)
	generation := next.sameGeneration()
	if s.changed {
		generation = m.nextGeneration(max(s.rec.generation, s.shown.generation), &found, now)
	}
	err := m.put(w, &found, &next.rec, generation, now)
	switch {
	case err == nil && s.changed:
		next.shown = next.rec.position()
	case err != nil && !s.changed && next.rec.tokenGeneration > s.shown.tokenGeneration && tooLong(err):
		// The browser cannot have these tokens, and the refresh token that it has is spent: nobody may send it again.
		m.end(r.Context(), &next.rec, outgrown)
		if srv != nil {
			go m.revoke(r.Context(), srv, next.Tokens())
		}
		return nil, fail(ErrSessionEnded, outgrown)
	}
	if err != nil {
		return nil, err
	}
	return next, nil
}

// End ends s and expires the cookies of r; s may be nil, for a request whose session cannot be read. The id
// is remembered as ended until the session's absolute deadline, so a copy of the cookie is worth nothing
// in this process, and a refresh in flight revokes what it gets. It returns the newest tokens,
// for revocation; nil without a session.
func (m *Manager) End(w http.ResponseWriter, r *http.Request, s *Session) *client.Tokens {
	var last *client.Tokens
	found := cookies.Find(r.Header["Cookie"], m.session.Name)
	if s != nil {
		rec := s.rec
		if newest := m.end(r.Context(), &rec, "logout"); newest != nil && newest.tokenGeneration > rec.tokenGeneration {
			rec.tokens = *newest
		}
		last = (&Session{rec: rec}).Tokens()
	}
	for _, o := range m.carried(r, &found) {
		m.end(r.Context(), o, "logout")
	}
	m.session.Expire(w.Header(), found)
	return last
}

// Forget takes the session's cookies away from the browser, and nothing else: for a session that Load or Fresh
// has found to be over. Not for ErrSessionEnded with reason "replaced": the browser has the newer login's cookie, maybe under
// the same name.
func (m *Manager) Forget(w http.ResponseWriter, r *http.Request) {
	m.session.Expire(w.Header(), cookies.Find(r.Header["Cookie"], m.session.Name))
}

// end remembers the session as ended and says so once.
func (m *Manager) end(ctx context.Context, rec *record, reason string) (newest *tokens) {
	newest, was := m.remember(ctx, rec, reason)
	if was {
		m.report(ctx, client.EventSessionEnded, rec, reason, nil)
	}
	return newest
}

// remember writes the end of a session into the ledger.
func (m *Manager) remember(ctx context.Context, rec *record, reason string) (newest *tokens, was bool) {
	newest, was, lost := m.shared.ledger.end(rec.id, m.now(), rec.absoluteDeadline(&m.shared.cfg), reason)
	if lost != nil {
		m.Report(ctx, client.Event{Kind: EventEndForgotten, Session: m.fingerprint(*lost)})
	}
	return newest, was
}
