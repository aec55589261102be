package session

import (
	"encoding/binary"
	"strings"
	"unsafe"

	"github.com/sallyport/sallyport/internal/seal"
)

// Tokens are mostly base64url text: JWTs, and opaque ones. Each of their parts is kept as the bytes it
// stands for, a quarter less in a cookie that net/http charges for by the byte. Only text that comes
// back exactly is packed.
//
// The packed form is a count of parts and each part's bytes; count 0 is followed by the text as it was.

// maxParts are the parts of a JWE in compact form.
const maxParts = 5

// appendPacked appends s in the packed form.
func appendPacked(b []byte, s string) []byte {
	start := len(b)
	n := strings.Count(s, ".") + 1
	if s == "" || n > maxParts {
		return appendString(append(b, 0), s)
	}
	b = append(b, byte(n))
	for part := range strings.SplitSeq(s, ".") {
		size := seal.DecodedLen(len(part))
		b = binary.AppendUvarint(b, uint64(size))
		at := len(b)
		b = append(b, make([]byte, size)...)
		if _, ok := seal.Decode(b[at:], part); !ok {
			return appendString(append(b[:start], 0), s)
		}
	}
	return b
}

// packed reads the packed form and writes the text.
func (d *decoder) packed() string {
	n := d.uvarint()
	if n == 0 {
		return d.string()
	}
	if n > maxParts {
		d.fail()
		return ""
	}
	start := len(d.text)
	for i := range n {
		part, dot := d.bytes(), min(int(i), 1)
		if dot+seal.EncodedLen(len(part)) > cap(d.text)-len(d.text) {
			d.fail()
			return ""
		}
		d.text = seal.AppendEncode(append(d.text, "."[:dot]...), part)
	}
	return d.since(start)
}

// packedJWT is a JWT in the packed form, or empty.
type packedJWT string

func packJWT(s string) packedJWT {
	if s == "" {
		return ""
	}
	b := appendPacked(make([]byte, 0, len(s)+2), s)
	return packedJWT(unsafe.String(&b[0], len(b))) // nobody else has b
}

// payload returns the JSON of the middle part of three.
func (p packedJWT) payload() string {
	if len(p) == 0 || p[0] != 3 {
		return ""
	}
	rest := string(p[1:])
	for i := range 2 {
		n, k := uvarintString(rest)
		if k <= 0 || n > uint64(len(rest)-k) {
			return ""
		}
		if i == 1 {
			return rest[k : k+int(n)]
		}
		rest = rest[k+int(n):]
	}
	return ""
}

// text returns the JWT as it came.
func (p packedJWT) text() string {
	if p == "" {
		return ""
	}
	d := decoder{b: []byte(p), text: make([]byte, 0, seal.EncodedLen(len(p))+maxParts)}
	return d.packed()
}

// valid reports whether text will find what it expects.
func (p packedJWT) valid() bool {
	if p == "" {
		return true
	}
	n, rest := p[0], string(p[1:])
	if n > maxParts {
		return false
	}
	for range max(n, 1) {
		size, k := uvarintString(rest)
		if k <= 0 || size > uint64(len(rest)-k) {
			return false
		}
		rest = rest[k+int(size):]
	}
	return rest == ""
}

func uvarintString(s string) (uint64, int) {
	var buf [binary.MaxVarintLen64]byte
	return binary.Uvarint(buf[:copy(buf[:], s)])
}
