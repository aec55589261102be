package seal

import (
	"encoding"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/gorilla/securecookie"
)

// futureLeeway is how far another replica's clock may be ahead of ours.
const futureLeeway = 5 * time.Minute

// Sealer seals values with a deadline inside: what a browser keeps beyond Max-Age is refused all the
// same. It takes any securecookie.Codec; the first seals, all open. Safe for concurrent use.
type Sealer struct {
	codecs []securecookie.Codec
	aead   *Codec // codecs[0] if it is ours: spares the copies that the interface costs
	now    func() time.Time
}

// Opened says what a seal said besides its content.
type Opened struct {
	Issued, Expires time.Time
	Stale           bool // sealed by another key or codec than the one that seals now
}

// NewSealer takes codecs newest first, at least one.
func NewSealer(now func() time.Time, codecs ...securecookie.Codec) (*Sealer, error) {
	if len(codecs) == 0 {
		return nil, errors.New("no codec")
	}
	for i, c := range codecs {
		if c == nil {
			return nil, fmt.Errorf("codec %d is nil", i+1)
		}
	}
	s := &Sealer{codecs: codecs, now: now}
	s.aead, _ = codecs[0].(*Codec)
	return s, nil
}

// Name is the name to seal under: it binds a value to its purpose, its cookie and the application's
// origin. ATK-K09
func Name(p Purpose, cookie, origin string) string {
	// NUL is in none of the three, so no two triples give one name.
	return p.String() + "\x00" + cookie + "\x00" + origin
}

// Seal seals v under name until expires. The error is an *Error with reason Size or Unsealed, or what
// AppendBinary returned.
func (s *Sealer) Seal(name string, v encoding.BinaryAppender, expires time.Time) (string, error) {
	return s.SealBetween("", "", name, v, expires)
}

// SealBetween is Seal that puts the text between before and after, without copying it once more.
func (s *Sealer) SealBetween(before, after, name string, v encoding.BinaryAppender, expires time.Time) (string, error) {
	if s.aead != nil {
		sc := borrow()
		defer sc.giveBack()
		b, err := s.appendTo(sc.begin(), v, expires)
		if err != nil {
			return "", err
		}
		return s.aead.seal(sc, b, name, before, after)
	}
	var first error
	for _, c := range s.codecs {
		// Made anew for each codec: securecookie.NopEncoder lets the codec encrypt in our slice, and
		// the next one would seal that.
		b, err := s.appendTo(nil, v, expires)
		if err != nil {
			return "", err
		}
		text, err := c.Encode(name, b)
		if err == nil {
			if len(text) > MaxText {
				return "", &Error{Reason: Size}
			}
			return before + text + after, nil
		}
		if first == nil {
			first = err
		}
	}
	return "", &Error{Reason: Unsealed, err: first}
}

func (s *Sealer) appendTo(b []byte, v encoding.BinaryAppender, expires time.Time) ([]byte, error) {
	b = appendTime(b, s.now())
	b = appendTime(b, expires)
	return v.AppendBinary(b)
}

// Open opens a text sealed under name and hands the content to v, which must not keep the bytes.
// The error is an *Error, or whatever v returned. Nothing reaches v unless it is authentic;
// what is not within its time does, beside the error and Opened, so that the caller can say whose it was.
func (s *Sealer) Open(name, text string, v encoding.BinaryUnmarshaler) (Opened, error) {
	return s.OpenAt(s.now(), name, text, v)
}

// OpenAt is Open for a caller that has looked at the clock.
func (s *Sealer) OpenAt(now time.Time, name, text string, v encoding.BinaryUnmarshaler) (Opened, error) {
	if len(text) > MaxText {
		return Opened{}, &Error{Reason: Size}
	}
	var first error
	rest := s.codecs
	if s.aead != nil {
		sc := borrow()
		defer sc.giveBack()
		plain, newest, err := s.aead.open(sc, name, text)
		if err == nil {
			return s.take(now, plain, !newest, v)
		}
		first, rest = err, rest[1:]
	}
	for i, c := range rest {
		var plain []byte
		err := c.Decode(name, text, &plain)
		if err == nil {
			o, err := s.take(now, plain, s.aead != nil || i > 0, v)
			clear(plain)
			return o, err
		}
		if first == nil {
			first = err
		}
	}
	if _, ours := first.(*Error); ours {
		return Opened{}, first
	}
	return Opened{}, &Error{Reason: Auth, err: first}
}

func (s *Sealer) take(now time.Time, plain []byte, stale bool, v encoding.BinaryUnmarshaler) (Opened, error) {
	issued, plain, ok1 := cutTime(plain)
	expires, plain, ok2 := cutTime(plain)
	if !ok1 || !ok2 {
		return Opened{}, &Error{Reason: Version}
	}
	o := Opened{Issued: issued, Expires: expires, Stale: stale}
	if !now.Before(expires) || issued.After(now.Add(futureLeeway)) {
		_ = v.UnmarshalBinary(plain)
		return o, &Error{Reason: Expired}
	}
	return o, v.UnmarshalBinary(plain)
}

// appendTime and cutTime keep whole seconds since 1970.
func appendTime(b []byte, t time.Time) []byte {
	return binary.AppendUvarint(b, uint64(max(t.Unix(), 0)))
}

func cutTime(b []byte) (time.Time, []byte, bool) {
	n, k := binary.Uvarint(b)
	if k <= 0 || n > math.MaxInt64>>20 {
		return time.Time{}, nil, false
	}
	return time.Unix(int64(n), 0), b[k:], true
}
