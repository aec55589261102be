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
)

func itoa(n int) string { return strconv.Itoa(n) }

func asClientError(err error) (*client.Error, bool) {
	if err == nil { // nearly always: costs no allocation
		return nil, false
	}
	var e *client.Error
	ok := errors.As(err, &e)
	return e, ok
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// futureGeneration is how far ahead of our clock a generation may be before it is taken for planted.
const futureGeneration = 24 * time.Hour

// maxCarried bounds the cookies of one name that are opened to end what they hold.
const maxCarried = 8

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
// was none. Failure: ErrCookie with reason "size" if the session is longer than browsers or stores keep; client.ErrConfig if t says of nobody whose it is;
// ErrSessionEnded if the server or an operator has ended the user's sessions since it was asked for these tokens; ErrStore. Then
// nothing is written to w, and the session in r lives on.
func (m *Manager) Create(w http.ResponseWriter, r *http.Request, c *client.Client, l *Login, t *client.Tokens) (*Session, error) {
	m.shared.servers.remember(c)
	return m.createFor(w, r, c.Issuer(), c.ClientID(), l, t)
}

func (m *Manager) createFor(w http.ResponseWriter, r *http.Request, issuer, clientID string, l *Login, t *client.Tokens) (*Session, error) {
	if t.Subject == "" { // all such users would be one
		return nil, configError("subject", "the server did not say who the user is: ask for the openid scope, or set client.Config.Profile")
	}
	now := m.now()
	found := cookies.Find(r.Header["Cookie"], m.session.Name)
	s := &Session{m: m, read: now.Unix(), rec: m.newRecord(issuer, clientID, t, now)}
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
	lines := draft{}
	if err := m.put(lines, &found, &s.rec, generation, now); err != nil {
		return nil, err
	}
	s.shown = s.rec.position()
	if err := m.begin(r.Context(), &s.rec, now); err != nil {
		return nil, err
	}
	for _, o := range old { // ATK-K10, ATK-K19
		_, err := m.end(r.Context(), o, replaced)
		if e, ok := asClientError(err); ok && unreadable[e.Reason] {
			continue // whatever it was, no request can use it
		}
		if err != nil {
			_, _, _ = m.remember(r.Context(), &s.rec, replaced) // nobody has its cookie
			return nil, err
		}
	}
	lines.copyTo(w)
	m.report(r.Context(), client.EventSessionCreated, &s.rec, "", nil)
	return s, nil
}

func (m *Manager) newRecord(issuer, clientID string, t *client.Tokens, now time.Time) record {
	cfg := &m.shared.cfg
	rec := record{
		created: now.Unix(), seen: now.Unix(), absolute: now.Add(cfg.AbsoluteTimeout).Unix(), idle: int64(cfg.IdleTimeout / time.Second),
		issuer: issuer, clientID: clientID, subject: t.Subject, obtained: now.UnixMilli(),
		tokens: newTokens(t, now, 1),
	}
	rand.Read(rec.id[:])
	if t.IDToken != nil {
		rec.sid = t.IDToken.SID
	}
	if !t.ObtainedAt.IsZero() {
		rec.obtained = t.ObtainedAt.UnixMilli()
	}
	return rec
}

// begin makes a new session known: to logouts first, so that none misses it, then to the store.
func (m *Manager) begin(ctx context.Context, rec *record, now time.Time) error {
	if err := m.enrol(ctx, rec, now); err != nil || !m.shared.inStore {
		return err
	}
	key, mine := sessionKey(rec.id), entry{rec: *rec}
	var ended string
	_, err := update(ctx, m.shared.entries, &key, &versioned[entry]{}, func(e *entry, version int64) (time.Time, error) {
		ended = e.ended
		if version != 0 { // a logout was faster, or the answer to our own write was lost
			return time.Time{}, nil
		}
		*e = mine
		return e.deadline(&m.shared.cfg, now, rec.absoluteDeadline(&m.shared.cfg), true), nil
	})
	switch {
	case err != nil:
		return m.storeFailed(ctx, rec, err)
	case ended != "":
		return fail(ErrSessionEnded, ended)
	}
	return nil
}

// unreadable are the reasons of ErrStore that are about one record and not about the store.
var unreadable = map[string]bool{"corrupt": true, "version": true, "clock": true}

// draft is a ResponseWriter for lines that are sent later, or not at all.
type draft http.Header

func (d draft) Header() http.Header         { return http.Header(d) }
func (d draft) Write(b []byte) (int, error) { return len(b), nil }
func (d draft) WriteHeader(int)             {}

func (d draft) copyTo(w http.ResponseWriter) {
	h := w.Header()
	for name, lines := range d {
		if name == "Set-Cookie" {
			lines = append(h[name], lines...)
		}
		h[name] = lines
	}
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
	if !t.RefreshExpiry.IsZero() {
		out.refreshExpiry = max(t.RefreshExpiry.Unix(), 1)
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
		if s, err := m.open(text, m.now()); err == nil {
			old = append(old, &s.rec)
		}
	}
	return old
}
