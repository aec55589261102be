package session

import (
	"bytes"
	"encoding"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"github.com/gorilla/securecookie"
)

// SecureCookie returns gorilla/securecookie's own codec for Config.Codecs, set up for sessions: it writes
// the record's binary form, has no limit of length (cookies are split here) and leaves the
// deadlines to the record. hashKey needs 32 bytes or more, blockKey 16, 24 or 32; wrong
// keys are told by New, and by each call of the codec.
//
// Our own AEAD (Config.Keys) reads a session several times faster and in a quarter fewer bytes.
func SecureCookie(hashKey, blockKey []byte) securecookie.Codec {
	c := &gorillaCodec{}
	switch {
	case len(hashKey) < 32:
		c.err = errors.New("session: the hash key of SecureCookie has fewer than 32 bytes")
	case len(blockKey) != 16 && len(blockKey) != 24 && len(blockKey) != 32:
		c.err = errors.New("session: the block key of SecureCookie must have 16, 24 or 32 bytes")
	case bytes.Equal(hashKey, blockKey):
		c.err = errors.New("session: the two keys of SecureCookie are the same")
	default:
		c.SecureCookie = securecookie.New(hashKey, blockKey).MaxLength(0).MaxAge(0).SetSerializer(binarySerializer{})
	}
	return c
}

type gorillaCodec struct {
	*securecookie.SecureCookie
	err error
}

func (c *gorillaCodec) Encode(name string, value any) (string, error) {
	if c.err != nil {
		return "", c.err
	}
	return c.SecureCookie.Encode(name, value)
}

// Decode refuses a second spelling of a value before securecookie, whose base64 decoder skips line breaks
// and stray bits at the end. ATK-K13
func (c *gorillaCodec) Decode(name, value string, dst any) error {
	if c.err != nil {
		return c.err
	}
	if len(value) < 4 || strings.IndexByte(value, '\n') >= 0 || strings.IndexByte(value, '\r') >= 0 {
		return securecookie.ErrMacInvalid
	}
	last := value[len(value)-4:]
	if _, err := base64.URLEncoding.Strict().DecodeString(last); err != nil {
		return securecookie.ErrMacInvalid
	}
	return c.SecureCookie.Decode(name, value, dst)
}

// binarySerializer passes bytes through without gob. Unlike securecookie.NopEncoder it does not let
// the codec encrypt in the caller's slice.
type binarySerializer struct{}

func (binarySerializer) Serialize(src any) ([]byte, error) {
	switch v := src.(type) {
	case []byte:
		return bytes.Clone(v), nil
	case encoding.BinaryAppender:
		return v.AppendBinary(nil)
	}
	return nil, fmt.Errorf("session: a %T is neither bytes nor an encoding.BinaryAppender", src)
}

func (binarySerializer) Deserialize(src []byte, dst any) error {
	switch d := dst.(type) {
	case *[]byte:
		*d = src // src is the codec's own and fresh
		return nil
	case encoding.BinaryUnmarshaler:
		return d.UnmarshalBinary(src)
	}
	return fmt.Errorf("session: a %T is neither *[]byte nor an encoding.BinaryUnmarshaler", dst)
}

// probe tries a codec once: it must give back what it sealed, under that name only, and not be readable by who has no key.
func probe(c securecookie.Codec) error {
	if c == nil {
		return errors.New("is nil")
	}
	canary := []byte(strings.Repeat("sallyport probes a codec ", 8))
	text, err := c.Encode("probe", bytes.Clone(canary))
	if err != nil {
		return errors.New("does not seal bytes: check its keys and its serializer")
	}
	var back []byte
	if err := c.Decode("probe", text, &back); err != nil || !bytes.Equal(back, canary) {
		return errors.New("does not give back what it sealed: check its serializer")
	}
	var elsewhere []byte
	if c.Decode("another", text, &elsewhere) == nil { // what is sealed for one origin or purpose would open for all
		return errors.New("does not bind a value to its name: use another codec")
	}
	if readable([]byte(text), canary[:24], 3) {
		return errors.New("does not encrypt: give it a block key")
	}
	return nil
}

// readable looks for want in b and in everything in b that is base64, some levels deep.
func readable(b, want []byte, depth int) bool {
	if bytes.Contains(b, want) {
		return true
	}
	if depth == 0 {
		return false
	}
	for _, run := range bytes.FieldsFunc(b, func(r rune) bool {
		return !(r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' || strings.ContainsRune("+/-_", r))
	}) {
		for _, enc := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
			if plain, err := enc.DecodeString(string(run)); err == nil && readable(plain, want, depth-1) {
				return true
			}
		}
	}
	return false
}
