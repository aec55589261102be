package seal

import (
	"encoding/base64"
	"encoding/binary"
	"slices"
)

// base64url without padding, strict: one text for each byte string. encoding/base64 skips
// line breaks even in Strict mode, and with it base64 is more than half of what reading a
// session costs; the tables here make it a little more than half of that.

const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

// bad marks a byte outside of the alphabet; it survives being or-ed with digits.
const bad = 1 << 31

// digits[i][c] is the value of character c at place i of a group of four.
var digits = func() (t [4][256]uint32) {
	for i := range t {
		for c := range t[i] {
			t[i][c] = bad
		}
		for v := range len(alphabet) {
			t[i][alphabet[v]] = uint32(v) << (18 - 6*i)
		}
	}
	return t
}()

// pairs[v] are the two characters of twelve bits.
var pairs = func() (t [1 << 12]uint16) {
	for v := range t {
		t[v] = uint16(alphabet[v>>6])<<8 | uint16(alphabet[v&63])
	}
	return t
}()

// EncodedLen is the length of n bytes in base64url without padding.
func EncodedLen(n int) int { return base64.RawURLEncoding.EncodedLen(n) }

// DecodedLen is the number of bytes that n characters hold.
func DecodedLen(n int) int { return base64.RawURLEncoding.DecodedLen(n) }

// AppendEncode appends src in base64url without padding.
func AppendEncode(dst, src []byte) []byte {
	n := EncodedLen(len(src))
	dst = slices.Grow(dst, n)[:len(dst)+n]
	out := dst[len(dst)-n:]
	for len(src) >= 8 && len(out) >= 8 {
		v := binary.BigEndian.Uint64(src) // six bytes of it
		binary.BigEndian.PutUint64(out, uint64(pairs[v>>52])<<48|uint64(pairs[v>>40&0xfff])<<32|
			uint64(pairs[v>>28&0xfff])<<16|uint64(pairs[v>>16&0xfff]))
		src, out = src[6:], out[8:]
	}
	base64.RawURLEncoding.Encode(out, src)
	return dst
}

// Decode writes the bytes that src holds to dst, which must have room for DecodedLen(len(src)).
// It reports false for everything that AppendEncode would not have written: other
// characters, line breaks, padding, an impossible length, trailing bits that are not zero.
// RFC 4648 §3.3, §3.5
func Decode(dst []byte, src string) (n int, ok bool) {
	if len(src)%4 == 1 || len(dst) < DecodedLen(len(src)) {
		return 0, false
	}
	var seen uint32
	for len(src) >= 8 && len(dst) >= 8 {
		a := digits[0][src[0]] | digits[1][src[1]] | digits[2][src[2]] | digits[3][src[3]]
		b := digits[0][src[4]] | digits[1][src[5]] | digits[2][src[6]] | digits[3][src[7]]
		seen |= a | b
		binary.BigEndian.PutUint64(dst, uint64(a)<<40|uint64(b)<<16)
		src, dst = src[8:], dst[6:]
		n += 6
	}
	for len(src) >= 4 {
		a := digits[0][src[0]] | digits[1][src[1]] | digits[2][src[2]] | digits[3][src[3]]
		seen |= a
		dst[0], dst[1], dst[2] = byte(a>>16), byte(a>>8), byte(a)
		src, dst = src[4:], dst[3:]
		n += 3
	}
	switch len(src) {
	case 2:
		a := digits[0][src[0]] | digits[1][src[1]]
		seen |= a | a&0xffff<<16 // bits below the last whole byte must be zero
		dst[0] = byte(a >> 16)
		n++
	case 3:
		a := digits[0][src[0]] | digits[1][src[1]] | digits[2][src[2]]
		seen |= a | a&0xff<<24
		dst[0], dst[1] = byte(a>>16), byte(a>>8)
		n += 2
	}
	return n, seen>>24 == 0
}
