package session

import (
	"encoding/binary"
	"errors"
	"math"
	"time"
	"unsafe"
)

// recordVersion is the first byte of a record. A record of any other version is refused: a release that
// does not know a field must not write the record back without it.
const recordVersion = 3

var errRecord = errors.New("session: not a record of this version")

type sessionID [32]byte

// record is a session as it is sealed. Strings of a record that was read lie in one buffer, which
// nobody writes to again.
type record struct {
	id         sessionID
	generation uint64 // grows with every write, over processes too: see Manager.nextGeneration
	// Times are seconds since 1970. The deadlines are here so that writing the record
	// again cannot move the absolute one.
	created, seen, absolute int64
	idle                    int64 // seconds
	// obtained is when the tokens of the login were asked for, in milliseconds since 1970: a logout
	// of the server that arrives later ends the session.
	obtained int64

	issuer, clientID, subject, sid string
	attributes                     []attribute

	tokens
}

// tokens is the part of a record that a refresh replaces.
type tokens struct {
	tokenGeneration uint64 // counts the refreshes: 1 after the login
	accessToken     string
	refreshToken    string
	tokenType       string
	scopes          string // separated by single spaces
	accessIssued    int64  // when we received it
	accessExpiry    int64  // 0: the server did not say
	refreshExpiry   int64  // the same, of the refresh token
	idToken         packedJWT
	userInfo        string // JSON
}

type attribute struct{ name, value string }

// AppendBinary writes the record.
func (r *record) AppendBinary(b []byte) ([]byte, error) {
	b = append(b, recordVersion)
	b = append(b, r.id[:]...)
	b = binary.AppendUvarint(b, uint64(r.textSize()))
	for _, n := range [...]uint64{
		r.generation, uint64(r.created), uint64(r.seen), uint64(r.absolute), uint64(r.idle), uint64(r.obtained),
		r.tokenGeneration, uint64(r.accessIssued), uint64(r.accessExpiry), uint64(r.refreshExpiry),
	} {
		b = binary.AppendUvarint(b, n)
	}
	for _, s := range [...]string{r.issuer, r.clientID, r.subject, r.sid, r.tokenType, r.scopes, r.userInfo, string(r.idToken)} {
		b = appendString(b, s)
	}
	b = appendPacked(b, r.accessToken)
	b = appendPacked(b, r.refreshToken)
	b = binary.AppendUvarint(b, uint64(len(r.attributes)))
	for _, a := range r.attributes {
		b = appendString(appendString(b, a.name), a.value)
	}
	return b, nil
}

// UnmarshalBinary reads what AppendBinary wrote and keeps none of b. It returns errRecord for anything else.
func (r *record) UnmarshalBinary(b []byte) error {
	if len(b) < 1+len(r.id) || b[0] != recordVersion {
		return errRecord
	}
	d := decoder{b: b[1+len(r.id):]}
	size := d.uvarint()
	if size > uint64(len(d.b))*4/3+maxParts {
		return errRecord
	}
	d.text = make([]byte, 0, size) // one buffer for all strings
	*r = record{id: sessionID(b[1:])}
	r.generation = d.uvarint()
	for _, n := range [...]*int64{&r.created, &r.seen, &r.absolute, &r.idle, &r.obtained} {
		*n = d.int64()
	}
	r.tokenGeneration = d.uvarint()
	r.accessIssued, r.accessExpiry, r.refreshExpiry = d.int64(), d.int64(), d.int64()
	for _, s := range [...]*string{&r.issuer, &r.clientID, &r.subject, &r.sid, &r.tokenType, &r.scopes, &r.userInfo} {
		*s = d.string()
	}
	r.idToken = packedJWT(d.string())
	r.accessToken, r.refreshToken = d.packed(), d.packed()
	n := d.uvarint()
	if n > maxAttributes {
		d.fail()
		n = 0
	}
	if n > 0 {
		r.attributes = make([]attribute, 0, n)
	}
	for range n {
		r.attributes = append(r.attributes, attribute{d.string(), d.string()})
	}
	if d.failed || len(d.b) != 0 || uint64(len(d.text)) != size || !r.idToken.valid() {
		*r = record{}
		return errRecord
	}
	return nil
}

// textSize is the length of all strings together, as they will be in memory.
func (r *record) textSize() int {
	n := len(r.issuer) + len(r.clientID) + len(r.subject) + len(r.sid) + len(r.tokenType) + len(r.scopes) +
		len(r.userInfo) + len(r.idToken) + len(r.accessToken) + len(r.refreshToken)
	for _, a := range r.attributes {
		n += len(a.name) + len(a.value)
	}
	return n
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// decoder reads fields and remembers the first failure; after it, everything is empty.
type decoder struct {
	b      []byte
	text   []byte // what strings are copied to; its capacity is all there is
	failed bool
}

func (d *decoder) fail() {
	d.failed, d.b = true, nil
}

func (d *decoder) uvarint() uint64 {
	if len(d.b) > 0 && d.b[0] < 0x80 {
		n := d.b[0]
		d.b = d.b[1:]
		return uint64(n)
	}
	n, k := binary.Uvarint(d.b)
	if k <= 0 {
		d.fail()
		return 0
	}
	d.b = d.b[k:]
	return n
}

func (d *decoder) int64() int64 {
	n := d.uvarint()
	if n > math.MaxInt64>>20 {
		d.fail()
		return 0
	}
	return int64(n)
}

// bytes returns the next length-prefixed field, which lives in the input.
func (d *decoder) bytes() []byte {
	n := d.uvarint()
	if n > uint64(len(d.b)) {
		d.fail()
		return nil
	}
	f := d.b[:n]
	d.b = d.b[n:]
	return f
}

func (d *decoder) string() string {
	f := d.bytes()
	if len(f) > cap(d.text)-len(d.text) {
		d.fail()
		return ""
	}
	start := len(d.text)
	d.text = append(d.text, f...)
	return d.since(start)
}

// since returns the text from start on without copying it. No byte of d.text is written twice, and nobody else has it.
func (d *decoder) since(start int) string {
	if start == len(d.text) {
		return ""
	}
	return unsafe.String(&d.text[start], len(d.text)-start)
}

// absoluteDeadline and idleDeadline hold what the record says and what the configuration says
// now: an operator who shortens a deadline means the sessions that exist, too.
func (r *record) absoluteDeadline(cfg *Config) time.Time {
	return time.Unix(min(r.absolute, r.created+int64(cfg.AbsoluteTimeout/time.Second)), 0)
}

func (r *record) idleDeadline(cfg *Config) time.Time {
	return time.Unix(r.seen+min(r.idle, int64(cfg.IdleTimeout/time.Second)), 0)
}

// skew is how long before its end an access token should be replaced: a tenth of its life, at most a minute.
func (t *tokens) skew() time.Duration {
	return max(min(60*time.Second, time.Duration(t.accessExpiry-t.accessIssued)*time.Second/10), 0)
}

// due reports whether the access token should be replaced. early adds a part of the skew to it.
func (t *tokens) due(now time.Time, early float64) bool {
	if t.accessExpiry == 0 {
		return false
	}
	skew := t.skew()
	return !now.Before(time.Unix(t.accessExpiry, 0).Add(-skew - time.Duration(early*float64(skew))))
}

// unhurried reports whether the access token is good for long enough that its replacement can be awaited in the background.
func (t *tokens) unhurried(now time.Time) bool {
	return t.alive(now) && now.Before(time.Unix(t.accessExpiry, 0).Add(-t.skew()/4))
}

// renewable reports whether the refresh token still works, as far as we know.
func (t *tokens) renewable(now time.Time) bool {
	return t.refreshExpiry == 0 || now.Before(time.Unix(t.refreshExpiry, 0))
}

// alive reports whether the access token still works, as far as we know.
func (t *tokens) alive(now time.Time) bool {
	return t.accessToken != "" && (t.accessExpiry == 0 || now.Before(time.Unix(t.accessExpiry, 0)))
}
