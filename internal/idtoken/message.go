package idtoken

import (
	"encoding/base64"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/internal/strictjson"
)

const (
	maxToken  = 64 << 10 // bytes of the whole compact serialization
	maxHeader = 8 << 10  // bytes of its first segment, still encoded
	maxKeyID  = 512      // bytes of kid
)

// base64url refuses padding, the other alphabet and trailing bits that are not zero, so a token has one spelling only.
var base64url = base64.RawURLEncoding.Strict()

// message is a JWS in compact serialization (RFC 7515 §7.1) after a strict reading. Nothing in it is authenticated.
type message struct {
	signed    []byte // header "." payload: what the signature covers
	tail      string // "." payload "." signature, as received
	alg       *algorithm
	kid       string
	payload   []byte
	claims    strictjson.Object
	signature []byte
}

// parse reads raw as far as it can be read without a key. The order of its refusals is the documented one.
func parse(raw string, e *Expectation) (*message, error) {
	header, payload, signature, err := split(raw)
	if err != nil {
		return nil, err
	}
	m := &message{tail: raw[len(header):]}
	if err := m.readHeader(header, e); err != nil {
		return nil, err
	}
	if m.payload, err = decode(payload); err != nil {
		return nil, err
	}
	if m.signature, err = decode(signature); err != nil {
		return nil, err
	}
	if m.claims, err = strictjson.Parse(m.payload); err != nil {
		return nil, failCause(reasonFormat, "the payload is not one strict JSON object", err)
	}
	m.signed = []byte(raw[:len(header)+1+len(payload)])
	return m, nil
}

// split checks the sizes before anything is decoded, and then the number of segments.
func split(raw string) (header, payload, signature string, err error) {
	if raw == "" {
		return "", "", "", fail(reasonMissing, "there is no token")
	}
	if len(raw) > maxToken {
		return "", "", "", fail(reasonSize, "the token is too long")
	}
	header, rest, _ := strings.Cut(raw, ".")
	if len(header) > maxHeader {
		return "", "", "", fail(reasonSize, "the header is too long")
	}
	switch strings.Count(raw, ".") {
	case 2:
		payload, signature, _ = strings.Cut(rest, ".")
		return header, payload, signature, nil
	case 4:
		// RFC 7516 §9. No encryption is ever negotiated: refused before any key is unwrapped or any iteration counted.
		return "", "", "", fail(reasonEncrypted, "the token is encrypted")
	}
	return "", "", "", fail(reasonFormat, "the token does not have three segments")
}

func (m *message) readHeader(segment string, e *Expectation) error {
	b, err := decode(segment)
	if err != nil {
		return err
	}
	header, err := strictjson.Parse(b)
	if err != nil {
		return failCause(reasonFormat, "the header is not one strict JSON object", err)
	}
	// enc and zip exist in JWE only: RFC 7516 §4.1.2, §4.1.3.
	for _, name := range [...]string{"enc", "zip"} {
		if _, ok := header.Get(name); ok {
			return fail(reasonEncrypted, "the header speaks of encryption or compression")
		}
	}
	// RFC 7515 §4.1.11: what is critical must be understood, and no extension is. An empty list is malformed anyway.
	if _, ok := header.Get("crit"); ok {
		return fail(reasonCrit, "the header has crit")
	}
	if err := checkType(header, e); err != nil {
		return err
	}
	// jku, jwk, x5u and x5c are never looked at (RFC 8725 §3.10): keys come from the issuer's own key set.
	name, _, err := header.String("alg")
	if err != nil || !slices.Contains(e.Algorithms, name) {
		return fail(reasonAlg, "the algorithm is not one of those expected")
	}
	if m.alg = algorithms[name]; m.alg == nil {
		return fail(reasonAlg, "the algorithm is not supported")
	}
	// OpenID Connect Core §3.1.3.7 (8). With both kinds on, a public key would do as an HMAC secret (RFC 8725 §2.1).
	if hmac := len(e.HMACSecret) > 0; hmac != (m.alg.kty == "oct") {
		return fail(reasonAlg, "HMAC and signatures do not mix")
	}
	// OpenID Connect Core §16.19.
	if m.alg.kty == "oct" && len(e.HMACSecret) < m.alg.hash.Size() {
		return fail(reasonAlg, "the client secret is too short for this algorithm")
	}
	m.kid, _, err = header.String("kid")
	if err != nil || len(m.kid) > maxKeyID {
		return fail(reasonKid, "the key id is not a short string")
	}
	return nil
}

// checkType keeps one kind of JWT from being taken for another: RFC 8725 §3.11.
func checkType(header strictjson.Object, e *Expectation) error {
	typ, present, err := header.String("typ")
	plain := e.Typ == "" || e.TypOptional
	switch {
	case err == nil && plain && !present:
		return nil
	case err == nil && plain && strings.EqualFold(typ, "JWT"):
		return nil
	case err == nil && e.Typ != "" && strings.EqualFold(typ, e.Typ):
		return nil
	}
	return fail(reasonTyp, "the token is of another type")
}

// decode is the one base64url reader for tokens. encoding/base64 skips line breaks even when strict.
func decode(segment string) ([]byte, error) {
	if strings.ContainsAny(segment, "\r\n") {
		return nil, fail(reasonFormat, "a segment has a line break")
	}
	b, err := base64url.DecodeString(segment)
	if err != nil {
		return nil, fail(reasonFormat, "a segment is not canonical base64url")
	}
	return b, nil
}
