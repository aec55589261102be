package session

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/sallyport/sallyport/client"
	"github.com/sallyport/sallyport/internal/cookies"
	"github.com/sallyport/sallyport/internal/seal"
)

const (
	// maxExpired bounds the pending logins that one response takes away; the next takes more.
	maxExpired = 512
	// maxOpened bounds the pending logins of one request that are opened; more are expired unread.
	maxOpened = 16
	// maxState is far above the 43 characters that a state has.
	maxState = 512
	// loginTag is the length of what names a login's cookie.
	loginTag = 22
	// maxHeader is what the Cookie header should stay under: servers and proxies refuse more.
	maxHeader = 8 << 10
)

// LoginOptions is what a pending login keeps beyond the request.
type LoginOptions struct {
	// ReturnTo is where the user goes after the login. The caller has judged it.
	ReturnTo string
	// CrossSite is for response mode form_post: the answer is a POST from the server's site, which
	// carries only cookies with SameSite=None. Those need Secure, so without https browsers that do
	// not trust loopback hosts drop it. The session that r carries stays behind as well, so it is sealed in here
	// by name, and ends when the login completes.
	CrossSite bool
}

// Login is a pending login that a response belongs to.
type Login struct {
	// Request is the authorization request that was sent.
	Request *client.AuthorizationRequest
	// ReturnTo is LoginOptions.ReturnTo.
	ReturnTo string

	kind     cookies.Kind
	claim    claim
	expires  time.Time
	replaces *predecessor
}

// predecessor is the session that a browser had when it began a login whose answer comes without it.
type predecessor struct {
	id         sessionID
	absolute   int64 // seconds since 1970
	generation uint64
}

// record is as much of the session as it takes to end it.
func (p *predecessor) record() *record {
	return &record{id: p.id, created: p.absolute, absolute: p.absolute, generation: p.generation}
}

// loginKind is the cookie of the login with this state: named by a hash of it, so tabs do not disturb each other.
func (m *Manager) loginKind(state string) cookies.Kind {
	sum := sha256.Sum256([]byte(state))
	k := m.login
	k.Name += base64.RawURLEncoding.EncodeToString(sum[:])[:loginTag]
	return k
}

// forSite gives a cookie the attributes to come along with a POST from another site.
func forSite(k cookies.Kind, cross bool) cookies.Kind {
	if cross {
		k.SameSite, k.Secure = http.SameSiteNoneMode, true
	}
	return k
}

func (m *Manager) loginSeal(name string) string { return seal.Name(seal.Login, name, m.origin) }

// SaveLogin writes the cookie of a pending login. A browser keeps at most Config.MaxLogins of them, and no more than
// keep its Cookie header under 8 kB: the oldest go first. Failure: ErrCookie with reason "size" if the login
// does not fit into one cookie; with CrossSite, ErrStore. Nothing is written then.
func (m *Manager) SaveLogin(w http.ResponseWriter, r *http.Request, req *client.AuthorizationRequest, opts LoginOptions) error {
	kind := forSite(m.loginKind(req.State()), opts.CrossSite)
	expires := req.CreatedAt().Add(m.shared.cfg.LoginTimeout)
	p := pending{request: req, returnTo: opts.ReturnTo, crossSite: opts.CrossSite}
	if opts.CrossSite {
		var err error
		if p.replaces, err = m.predecessor(r); err != nil {
			return err
		}
	}
	text, err := m.shared.logins.Seal(m.loginSeal(kind.Name), &p, expires)
	if err == nil {
		err = kind.SetWhole(w.Header(), text, expires.Sub(m.now()))
	}
	if err != nil {
		return cookieError(err)
	}
	cookies.ExpireAll(w.Header(), m.surplus(r, kind.Name, cookieBytes(kind.Name, text)))
	return nil
}

// predecessor returns the session that r carries if it lives. Failure: ErrStore: a login now could not end it later.
func (m *Manager) predecessor(r *http.Request) (*predecessor, error) {
	s, err := m.Load(r)
	if e, ok := asClientError(err); ok && e.Code == ErrStore {
		return nil, e
	}
	if err != nil {
		return nil, nil
	}
	return &predecessor{s.rec.id, s.rec.absoluteDeadline(&m.shared.cfg).Unix(), s.shown.generation}, nil
}

// cookieBytes is what a cookie takes of a Cookie header.
func cookieBytes(name, value string) int { return len(name) + len("=") + len(value) + len("; ") }

// held is a pending login in the request.
type held struct {
	kind    cookies.Kind
	value   string
	created time.Time
}

func (h held) bytes() int { return cookieBytes(h.kind.Name, h.value) }

// surplus returns the pending logins of r that have to go when one of that name and size comes. ATK-K14
func (m *Manager) surplus(r *http.Request, name string, size int) (gone []cookies.Kind) {
	lines := r.Header["Cookie"]
	budget := maxHeader - cookies.HeaderSize(lines) - size
	var all []held
	for s := cookies.Scan(lines); s.Next(); {
		if m.isLogin(s.Name) && s.Name != name {
			k := m.login
			k.Name = s.Name
			h := held{kind: k, value: s.Value}
			all, budget = append(all, h), budget+h.bytes()
		}
	}
	// Browsers send the oldest first (RFC 6265bis §5.8.3): what is beyond all measure goes unread.
	for len(all) > maxOpened {
		if len(gone) < maxExpired-maxOpened {
			gone = append(gone, all[0].kind)
		}
		all = all[1:]
	}
	keep := all[:0]
	for _, h := range all {
		var p pending
		if _, err := m.shared.logins.Open(m.loginSeal(h.kind.Name), h.value, &p); err != nil {
			gone = append(gone, h.kind) // expired, or sealed by a key that is gone
			continue
		}
		h.kind, h.created = forSite(h.kind, p.crossSite), p.request.CreatedAt()
		if m.takenHere(claimOf(p.request.State())) {
			gone = append(gone, h.kind)
			continue
		}
		keep = append(keep, h)
	}
	slices.Reverse(keep) // of those begun in one moment the header's order tells which is newer
	slices.SortStableFunc(keep, func(a, b held) int { return b.created.Compare(a.created) })
	for i, h := range keep {
		if budget -= h.bytes(); i >= m.shared.cfg.MaxLogins-1 || budget < 0 {
			gone = append(gone, h.kind)
		}
	}
	return gone
}

// isLogin reports whether a cookie of that name is a pending login's.
func (m *Manager) isLogin(name string) bool {
	tag, ok := strings.CutPrefix(name, m.login.Name)
	if !ok || len(tag) != loginTag {
		return false
	}
	return validCookieName("x" + tag)
}

// FindLogin returns the pending login that belongs to an authorization response with this state, without using it up.
//
// Failure: ErrStore; client.ErrStateMissing without a state; client.ErrStateMismatch if this browser has no such login;
// client.ErrStateExpired; client.ErrStateReplayed if it was taken before; ErrCookie with reason duplicate,
// auth, version, purpose or size if it has one that cannot be used.
func (m *Manager) FindLogin(r *http.Request, state string) (*Login, error) {
	switch {
	case state == "":
		return nil, fail(client.ErrStateMissing, "")
	case len(state) > maxState:
		return nil, fail(client.ErrStateMismatch, "")
	}
	key := claimOf(state)
	kind := m.loginKind(state)
	text, found, err := cookies.Get(r.Header["Cookie"], kind.Name)
	switch {
	case err != nil: // ATK-K01
		return nil, cookieError(err)
	case m.takenHere(key): // ATK-L05, ATK-L12
		return nil, fail(client.ErrStateReplayed, "")
	case !found: // ATK-L01, ATK-L07. Nobody without the cookie costs a store anything.
		return nil, fail(client.ErrStateMismatch, "")
	}
	var p pending
	opened, err := m.shared.logins.Open(m.loginSeal(kind.Name), text, &p)
	if err != nil {
		e := cookieError(err)
		if e.Reason == string(seal.Expired) { // ATK-L08
			return nil, client.NewError(client.ErrStateExpired, "", e)
		}
		return nil, e
	}
	// The cookie's name is a hash of the state; the state itself is what counts. Constant time: ATK-S07
	if subtle.ConstantTimeCompare([]byte(p.request.State()), []byte(state)) != 1 {
		return nil, fail(client.ErrStateMismatch, "")
	}
	switch taken, err := m.taken(r.Context(), key); {
	case err != nil:
		return nil, m.storeFailed(r.Context(), nil, err)
	case taken:
		return nil, fail(client.ErrStateReplayed, "")
	}
	return &Login{
		Request: p.request, ReturnTo: p.returnTo,
		kind: forSite(kind, p.crossSite), claim: key, expires: opened.Expires, replaces: p.replaces,
	}, nil
}

// TakeLogin uses a pending login up: of all that take it, at the same time or later, in all processes that share a store, one gets nil, for as
// long as the login lives. It expires the login's cookie. With spending the caller goes on to send a code; without, it
// will do nothing but fail, and that is remembered by this process for as long as there is room. Failure: client.ErrStateReplayed for
// the others; with spending, ErrStore: nothing is written to w then, and the login may be used up or not.
func (m *Manager) TakeLogin(w http.ResponseWriter, r *http.Request, l *Login, spending bool) error {
	first := false
	if spending {
		key := newStoreKey(keyOnce, l.claim[:])
		u, err := m.shared.once.useOnce(r.Context(), &key, 0, l.expires)
		if err != nil {
			return m.storeFailed(r.Context(), nil, err)
		}
		first = u.version != 0 && !m.takenIdly(l.claim)
	} else {
		first = !m.takenHere(l.claim) && m.takeIdly(l.claim, l.expires)
	}
	if !first { // ATK-L11
		return fail(client.ErrStateReplayed, "")
	}
	l.kind.Expire(w.Header(), cookies.Found{})
	return nil
}

// pending is a login as it is sealed.
type pending struct {
	request   *client.AuthorizationRequest
	returnTo  string
	crossSite bool
	replaces  *predecessor // nil: none
}

const (
	pendingVersion = 1
	// The flags after it.
	pendingCrossSite = 1
	pendingReplaces  = 2
)

// AppendBinary writes the login.
func (p *pending) AppendBinary(b []byte) ([]byte, error) {
	flags := byte(0)
	if p.crossSite {
		flags |= pendingCrossSite
	}
	if p.replaces != nil {
		flags |= pendingReplaces
	}
	b = append(b, pendingVersion, flags)
	if old := p.replaces; old != nil {
		b = binary.AppendUvarint(append(b, old.id[:]...), uint64(old.absolute))
		b = binary.AppendUvarint(b, old.generation)
	}
	return p.request.AppendBinary(appendString(b, p.returnTo))
}

// UnmarshalBinary reads what AppendBinary wrote.
func (p *pending) UnmarshalBinary(b []byte) error {
	if len(b) < 2 || b[0] != pendingVersion || b[1] > pendingCrossSite|pendingReplaces {
		return errRecord
	}
	d := decoder{b: b[2:], text: make([]byte, 0, len(b))}
	out := pending{request: new(client.AuthorizationRequest), crossSite: b[1]&pendingCrossSite != 0}
	if b[1]&pendingReplaces != 0 {
		out.replaces = new(predecessor)
		if n := copy(out.replaces.id[:], d.b); n < len(out.replaces.id) {
			return errRecord
		}
		d.b = d.b[len(out.replaces.id):]
		out.replaces.absolute, out.replaces.generation = d.int64(), d.uvarint()
	}
	out.returnTo = d.string()
	if d.failed || out.request.UnmarshalBinary(d.b) != nil {
		return errRecord
	}
	*p = out
	return nil
}
