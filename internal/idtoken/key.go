package idtoken

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"math/big"
	"slices"
	"strings"

	jose "github.com/go-jose/go-jose/v4"

	"github.com/sallyport/sallyport/internal/strictjson"
)

const (
	maxKeySet = 512 << 10 // bytes of the document
	maxKeys   = 50        // entries, usable or not
	minRSA    = 2048      // bits of the modulus
	maxRSA    = 8192
)

var (
	errKeySetSize    = errors.New("idtoken: the key set is too large")
	errKeySetKeys    = errors.New("idtoken: keys is not an array")
	errKeySetEntries = errors.New("idtoken: the key set has too many keys")
)

// publicKey is one entry of a key set that may verify a signature: parsed once, and kept.
type publicKey struct {
	id     string // "" when the entry has no kid
	kty    string
	alg    string // "" when the entry does not say
	issuer string // Entra names an issuer per key
	curve  elliptic.Curve
	key    crypto.PublicKey
}

// parseKeySet reads a JWK Set (RFC 7517 §5). An entry that cannot verify anything for us is left out, as §5 asks; a document that
// is not one strict JSON object, or is over the limits, is an error.
func parseKeySet(document []byte) ([]publicKey, error) {
	if len(document) > maxKeySet {
		return nil, errKeySetSize
	}
	object, err := strictjson.Parse(document)
	if err != nil {
		return nil, err
	}
	raw, _ := object.Get("keys")
	var entries []json.RawMessage
	if err := json.Unmarshal(raw, &entries); err != nil || entries == nil {
		return nil, errKeySetKeys
	}
	if len(entries) > maxKeys {
		return nil, errKeySetEntries
	}
	keys := make([]publicKey, 0, len(entries))
	for _, entry := range entries {
		if k, ok := parseKey(entry); ok {
			keys = append(keys, k)
		}
	}
	return keys, nil
}

// privateMembers are those of RFC 7518 §6.2.2, §6.3.2 and §6.4.1. A key whose private half is published is nobody's.
var privateMembers = [...]string{"d", "p", "q", "dp", "dq", "qi", "oth", "k"}

// parseKey reports whether the entry is a public key meant to verify signatures. x5c and its relatives are not read: the key is
// what the issuer's key set says it is, whatever a certificate beside it looks like.
func parseKey(entry json.RawMessage) (publicKey, bool) {
	o, err := strictjson.Parse(entry)
	if err != nil {
		return publicKey{}, false
	}
	for _, name := range privateMembers {
		if _, present := o.Get(name); present {
			return publicKey{}, false
		}
	}
	var k publicKey
	for name, value := range map[string]*string{"kid": &k.id, "kty": &k.kty, "alg": &k.alg, "issuer": &k.issuer} {
		if *value, _, err = o.String(name); err != nil {
			return publicKey{}, false
		}
	}
	if !verifies(o) {
		return publicKey{}, false
	}
	switch k.kty {
	case "RSA":
		k.key = rsaKey(o)
	case "EC":
		k.curve, k.key = ecKey(o)
	case "OKP":
		k.key = ed25519Key(o)
	}
	return k, k.key != nil
}

// verifies reports whether use (RFC 7517 §4.2) and key_ops (§4.3) allow what we do with the key.
func verifies(o strictjson.Object) bool {
	use, present, err := o.String("use")
	if err != nil || present && use != "sig" {
		return false
	}
	operations, present, err := o.Strings("key_ops")
	return err == nil && (!present || slices.Contains(operations, "verify"))
}

// rsaKey returns nil unless the members are an RSA key of a sound size. go-jose's reader stops at 4096 bits, a limit that is
// global to the program.
func rsaKey(o strictjson.Object) crypto.PublicKey {
	modulus, exponent := octets(o, "n"), octets(o, "e")
	if len(modulus) > maxRSA/8+1 || len(exponent) > 4 {
		return nil
	}
	n, e := new(big.Int).SetBytes(modulus), new(big.Int).SetBytes(exponent)
	if n.BitLen() < minRSA || n.BitLen() > maxRSA || n.Bit(0) == 0 {
		return nil
	}
	// RFC 8017 §3.1: odd and at least 3. crypto/rsa takes no exponent beyond 31 bits.
	if e.BitLen() < 2 || e.BitLen() > 31 || e.Bit(0) == 0 {
		return nil
	}
	return &rsa.PublicKey{N: n, E: int(e.Int64())}
}

var curves = map[string]elliptic.Curve{"P-256": elliptic.P256(), "P-384": elliptic.P384(), "P-521": elliptic.P521()}

// ecKey returns nil unless the members are a point on one of the curves of RFC 7518 §6.2.1, in full length.
func ecKey(o strictjson.Object) (elliptic.Curve, crypto.PublicKey) {
	name, _, _ := o.String("crv")
	curve := curves[name]
	if curve == nil {
		return nil, nil
	}
	x, y := octets(o, "x"), octets(o, "y")
	if size := (curve.Params().BitSize + 7) / 8; len(x) != size || len(y) != size {
		return nil, nil
	}
	key, err := ecdsa.ParseUncompressedPublicKey(curve, slices.Concat([]byte{4}, x, y))
	if err != nil {
		return nil, nil
	}
	return curve, key
}

// ed25519Key returns nil unless the members are an Ed25519 key of RFC 8037 §2. go-jose knows the points of small order, under
// which crypto/ed25519 accepts a signature for any message.
func ed25519Key(o strictjson.Object) crypto.PublicKey {
	name, _, _ := o.String("crv")
	x := octets(o, "x")
	if name != "Ed25519" || len(x) != ed25519.PublicKeySize {
		return nil
	}
	var k jose.JSONWebKey
	if err := k.UnmarshalJSON([]byte(`{"kty":"OKP","crv":"Ed25519","x":"` + base64url.EncodeToString(x) + `"}`)); err != nil {
		return nil
	}
	return k.Key
}

// octets is a base64url member, nil if it is absent or malformed.
func octets(o strictjson.Object, name string) []byte {
	text, _, err := o.String(name)
	if err != nil {
		return nil
	}
	b, err := decode(text)
	if err != nil {
		return nil
	}
	return b
}

// wanted is what a token says about its key.
type wanted struct {
	alg    *algorithm
	kid    string
	issuer string
	tenant string // the token's tid
}

// candidates are the keys to try, the best first: more than two are never tried, so that a key set cannot make a token expensive.
type candidates struct {
	keys [2]*publicKey
	n    int
	from *snapshot // the key set they are of
}

// choose picks by kid, and where a kid occurs twice by kty, use, alg and curve (FAPI 2.0 Security Profile §5.4.3). It fails with
// errNoKey, which a fresh key set may mend, or with an *Error that it will not mend.
func choose(keys []publicKey, w wanted) (candidates, error) {
	var found candidates
	count, otherCurve := 0, false
	for i := range keys {
		k := &keys[i]
		if w.kid != "" && k.id != w.kid || !k.suits(w) {
			continue
		}
		if k.curve != w.alg.curve {
			otherCurve = true
			continue
		}
		if count++; found.n < len(found.keys) {
			found.keys[found.n] = k
			found.n++
		}
	}
	switch {
	case w.kid == "" && count > 1:
		// OpenID Connect Core §10.1: with several keys the token must say which.
		return candidates{}, errAmbiguous
	case count == 0 && w.kid != "" && otherCurve:
		return candidates{}, fail(reasonSig, "the key is on another curve than the algorithm's")
	case count == 0:
		return candidates{}, errNoKey
	}
	return found, nil
}

// What a newer key set may mend.
var (
	errNoKey     = fail(reasonKid, "the key set has no such key for this algorithm")
	errAmbiguous = fail(reasonKid, "no key id, and more than one key fits")
)

// suits reports whether the key is of the algorithm's type, meant for the algorithm, and this issuer's.
func (k *publicKey) suits(w wanted) bool {
	if k.kty != w.alg.kty || k.alg != "" && k.alg != w.alg.name {
		return false
	}
	// Entra: the keys of all tenants lie in one document, each with its issuer, or a template of it.
	return k.issuer == "" || strings.ReplaceAll(k.issuer, "{tenantid}", w.tenant) == w.issuer
}
