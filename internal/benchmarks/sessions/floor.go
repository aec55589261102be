package sessions

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"net/http"
	"strings"
	"sync"
	"unsafe"
)

// The floor: one AES-256-GCM over length-prefixed fields, one base64url of encoding/base64, the
// header parsed by hand, one allocation. An encrypted cookie is not read with less, except
// by other arithmetic. It checks nothing that a session must: it is a ruler, not a peer.

var errFloor = errors.New("floor: bad cookie")

// appendRecord writes version, expiry and three length-prefixed fields.
func appendRecord(b []byte, s *Record) []byte {
	b = append(b, 1)
	b = binary.BigEndian.AppendUint64(b, uint64(s.Expiry))
	for _, f := range [...]string{s.AccessToken, s.RefreshToken, s.Claims} {
		b = binary.AppendUvarint(b, uint64(len(f)))
		b = append(b, f...)
	}
	return b
}

// parseRecord fills s with strings that point into b, which nobody may write to any more.
func parseRecord(b []byte, s *Record) error {
	if len(b) < 9 || b[0] != 1 {
		return errFloor
	}
	s.Expiry = int64(binary.BigEndian.Uint64(b[1:]))
	b = b[9:]
	for _, f := range [...]*string{&s.AccessToken, &s.RefreshToken, &s.Claims} {
		n, k := binary.Uvarint(b)
		if k <= 0 || uint64(len(b)-k) < n {
			return errFloor
		}
		*f = unsafe.String(unsafe.SliceData(b[k:k+int(n)]), int(n))
		b = b[k+int(n):]
	}
	return nil
}

// floor is nonce ‖ AEAD(record) in base64url, the cookie's name as associated data.
type floor struct {
	aead cipher.AEAD
	pool sync.Pool
}

func newFloor(key []byte) (*floor, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	f := &floor{pool: sync.Pool{New: func() any { b := make([]byte, 4096); return &b }}}
	f.aead, err = cipher.NewGCM(block)
	return f, err
}

const nonceSize = 12

// encode allocates the cookie's value and nothing else.
func (f *floor) encode(name string, s *Record) string {
	p := f.pool.Get().(*[]byte)
	defer f.pool.Put(p)
	b := (*p)[:nonceSize]
	rand.Read(b)
	b = appendRecord(b, s)
	sealed := f.aead.Seal(b[:nonceSize], b[:nonceSize], b[nonceSize:], bytesOf(name))
	out := make([]byte, base64.RawURLEncoding.EncodedLen(len(sealed)))
	base64.RawURLEncoding.Encode(out, sealed)
	return unsafe.String(&out[0], len(out))
}

// decode allocates the one buffer that the session's strings live in.
func (f *floor) decode(name, value string, s *Record) error {
	b := make([]byte, base64.RawURLEncoding.DecodedLen(len(value)))
	n, err := base64.RawURLEncoding.Decode(b, bytesOf(value))
	if err != nil || n < nonceSize+f.aead.Overhead() {
		return errFloor
	}
	plain, err := f.aead.Open(b[nonceSize:nonceSize], b[:nonceSize], b[nonceSize:n], bytesOf(name))
	if err != nil {
		return err
	}
	return parseRecord(plain, s)
}

func bytesOf(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }

// findCookie looks in one header line, without unquoting.
func findCookie(line, name string) (string, bool) {
	for len(line) > 0 {
		part := line
		if i := strings.IndexByte(line, ';'); i >= 0 {
			part, line = line[:i], line[i+1:]
		} else {
			line = ""
		}
		part = strings.TrimLeft(part, " ")
		if len(part) > len(name) && part[len(name)] == '=' && part[:len(name)] == name {
			return part[len(name)+1:], true
		}
	}
	return "", false
}

func floorKind() Kind {
	return Kind{Name: Floor, New: func() (*Setup, error) {
		f, err := newFloor(blockKey)
		if err != nil {
			return nil, err
		}
		s := NewRecord()
		return &Setup{
			Cookie: cookieName + "=" + f.encode(cookieName, s),
			Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				var s Record
				v, ok := findCookie(r.Header["Cookie"][0], cookieName)
				if !ok || f.decode(cookieName, v, &s) != nil {
					refuse(w)
					return
				}
				s.answer(w)
			}),
			Write: func(http.ResponseWriter, *http.Request) error { f.encode(cookieName, s); return nil },
		}, nil
	}}
}
