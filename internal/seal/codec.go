package seal

import (
	"crypto/rand"
	"encoding"
	"errors"
	"fmt"
	"sync"

	"github.com/gorilla/securecookie"
)

// The form of a sealed value, in base64url without padding:
//
//	version and purpose (1) | key id (1) | nonce (24) | ciphertext | tag (16)
//
// The name given to Encode is the associated data. The version is part of the subkey's derivation.
const (
	version    = 1
	headerSize = 2 + nonceSize
	overhead   = headerSize + tagSize
)

// MaxText is the longest text that Encode makes and Decode looks at. More than
// all cookies of a header hold.
const MaxText = 16 << 10

// Codec seals values for one purpose. It satisfies securecookie.Codec. A value is a []byte or an
// encoding.BinaryAppender, a destination a *[]byte or an encoding.BinaryUnmarshaler.
// Codec knows no time; Sealer adds the deadline. Safe for concurrent use.
type Codec struct {
	purpose Purpose
	newest  *purposeKey
	byID    [256][]*purposeKey // newest first where ids collide
}

var _ securecookie.Codec = (*Codec)(nil)

// Codec returns the codec of this ring for a purpose.
func (r *Ring) Codec(p Purpose) (*Codec, error) {
	c := &Codec{purpose: p}
	for _, k := range r.keys {
		sub, err := subkey(k.key, "purpose "+p.String(), keySize)
		if err != nil {
			return nil, err
		}
		x, err := newXAES(sub)
		if err != nil {
			return nil, err
		}
		pk := &purposeKey{xaes: x, id: k.id}
		if c.newest == nil {
			c.newest = pk
		}
		c.byID[k.id] = append(c.byID[k.id], pk)
	}
	return c, nil
}

// Encode seals value for name. The error is an *Error with reason Size, or whatever the value's
// AppendBinary returned.
func (c *Codec) Encode(name string, value any) (string, error) {
	s := borrow()
	defer s.giveBack()
	b := s.begin()
	switch v := value.(type) {
	case []byte:
		b = append(b, v...)
	case encoding.BinaryAppender:
		var err error
		if b, err = v.AppendBinary(b); err != nil {
			return "", err
		}
	default:
		return "", fmt.Errorf("seal: a %T is neither bytes nor an encoding.BinaryAppender", value)
	}
	return c.seal(s, b, name, "", "")
}

// Decode opens a value sealed for name and hands the content to dst. A destination must not keep
// the bytes it is given. The error is an *Error, or whatever the destination returned.
func (c *Codec) Decode(name, value string, dst any) error {
	s := borrow()
	defer s.giveBack()
	plain, _, err := c.open(s, name, value)
	if err != nil {
		return err
	}
	switch d := dst.(type) {
	case *[]byte:
		*d = append((*d)[:0:0], plain...)
		return nil
	case encoding.BinaryUnmarshaler:
		return d.UnmarshalBinary(plain)
	}
	return fmt.Errorf("seal: a %T is neither *[]byte nor an encoding.BinaryUnmarshaler", dst)
}

// seal finishes b, which begins with room for the header and may have outgrown the scratch.
func (c *Codec) seal(s *scratch, b []byte, name, before, after string) (string, error) {
	if EncodedLen(len(b)+tagSize) > MaxText {
		clear(b)
		return "", &Error{Reason: Size}
	}
	d, err := c.newest.current()
	if err != nil {
		return "", err
	}
	c.header(b, d)
	nonce := b[2:headerSize]
	s.name = append(s.name[:0], name...)
	sealed := d.gcm.Seal(b[headerSize:headerSize], nonce[prefixSize:], b[headerSize:], s.name)
	if cap(b)-len(b) < tagSize { // no room for the tag: what was sealed lies elsewhere
		clear(b[headerSize:])
		b = append(b[:headerSize:headerSize], sealed...)
	}
	s.used = 0
	s.text = append(AppendEncode(append(s.text[:0], before...), b[:headerSize+len(sealed)]), after...)
	return string(s.text), nil
}

// header writes what stands before the ciphertext, with a new nonce.
func (c *Codec) header(b []byte, d *derived) {
	b[0], b[1] = version<<4|byte(c.purpose), c.newest.id
	nonce := b[2:headerSize]
	copy(nonce, d.prefix[:])
	rand.Read(nonce[prefixSize:])
}

var errFormat = errors.New("seal: not base64url, or too short")

// open returns the content of value, which lives in s, and whether the newest key sealed it.
func (c *Codec) open(s *scratch, name, value string) (plain []byte, newest bool, err error) {
	if len(value) > MaxText {
		return nil, false, &Error{Reason: Size}
	}
	n, ok := Decode(s.buf, value)
	if !ok || n < overhead {
		return nil, false, &Error{Reason: Auth, err: errFormat}
	}
	s.used = n
	return c.openBytes(s, name, s.buf[:n])
}

// openBytes opens b in place.
func (c *Codec) openBytes(s *scratch, name string, b []byte) (plain []byte, newest bool, err error) {
	switch p := Purpose(b[0] & 0xf); {
	case b[0]>>4 != version:
		return nil, false, &Error{Reason: Version}
	case p != c.purpose:
		return nil, false, &Error{Reason: WrongPurpose}
	}
	s.name = append(s.name[:0], name...)
	keys := c.byID[b[1]]
	for i, k := range keys {
		if i < len(keys)-1 {
			// A failed open wipes its destination: a try that has others after it gets its own.
			plain, err = k.open(nil, b[2:headerSize], b[headerSize:], s.name)
		} else {
			plain, err = k.open(b[headerSize:headerSize], b[2:headerSize], b[headerSize:], s.name)
		}
		if err == nil {
			return plain, k == c.newest, nil
		}
	}
	return nil, false, &Error{Reason: Auth}
}

// scratch is working space. It holds plain text only while it is borrowed.
type scratch struct {
	buf        []byte
	used       int // bytes of buf that may hold plain text
	name, text []byte
}

var scratches = sync.Pool{New: func() any { return &scratch{buf: make([]byte, DecodedLen(MaxText))} }}

func borrow() *scratch { return scratches.Get().(*scratch) }

// begin returns the space with room for the header taken.
func (s *scratch) begin() []byte {
	s.used = len(s.buf)
	return s.buf[:headerSize]
}

func (s *scratch) giveBack() {
	clear(s.buf[:s.used])
	s.used = 0
	scratches.Put(s)
}
