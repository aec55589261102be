package idtoken

import (
	"bytes"
	"math/big"
	"strings"
	"testing"
)

func TestKeyChoice(t *testing.T) {
	noKid := token(`{"alg":"ES256"}`, claims().String(), p256A())
	emptyKid := token(`{"alg":"ES256","kid":""}`, claims().String(), p256A())
	a, b := jwk(p256A(), ""), jwk(p256B(), "b")
	for _, c := range []struct {
		name   string
		keys   []any
		reason string
	}{
		{"one key", []any{a}, ""},
		{"one key, with a kid", []any{jwk(p256A(), "a")}, ""},
		{"one usable for the algorithm", []any{a, jwk(rsaA(), "r"), jwk(p384A(), "x"), jwk(edA(), ""), jwk(p256B(), "b", "use", "enc")}, ""},
		{"two", []any{a, b}, "kid"},
		{"two, one for another algorithm", []any{a, jwk(p256B(), "b", "alg", "ES384")}, ""},
		{"two of which one is another issuer's", []any{a, jwk(p256B(), "b", "issuer", "https://as-b.example")}, ""},
		{"none", []any{jwk(rsaA(), "")}, "kid"},
		{"another", []any{b}, "sig"},
	} {
		t.Run("ATK-J25/"+c.name, func(t *testing.T) {
			for _, raw := range []string{noKid, emptyKid} {
				_, err := Verify(t.Context(), raw, newProvider(c.keys...).keySet(), expectation(), testNow)
				wantReason(t, err, c.reason, raw)
			}
		})
	}

	rs := token(`{"alg":"RS256","kid":"k"}`, claims().String(), rsaA())
	es := token(`{"alg":"ES256","kid":"k"}`, claims().String(), p256A())
	for _, c := range []struct {
		name   string
		keys   []any
		reason string
	}{
		{"by kty", []any{jwk(edA(), "k"), jwk(p256A(), "k"), jwk(rsaA(), "k")}, ""},
		{"by use", []any{jwk(p256B(), "k", "use", "enc"), jwk(rsaB(), "k", "use", "enc"), jwk(p256A(), "k"), jwk(rsaA(), "k")}, ""},
		{"by alg", []any{jwk(rsaB(), "k", "alg", "RS512"), jwk(rsaA(), "k", "alg", "RS256"), jwk(p256A(), "k", "alg", "ES256")}, ""},
		{"by curve", []any{jwk(p384A(), "k"), jwk(p521A(), "k"), jwk(p256A(), "k"), jwk(rsaA(), "k")}, ""},
		{"the second of two that fit", []any{jwk(rsaB(), "k"), jwk(p256B(), "k"), jwk(rsaA(), "k"), jwk(p256A(), "k")}, ""},
		{"never a third", []any{
			jwk(rsaB(), "k"), jwk(rsaB(), "k"), jwk(rsaA(), "k"), jwk(p256B(), "k"), jwk(p256B(), "k"), jwk(p256A(), "k"),
		}, "sig"},
	} {
		t.Run("ATK-J26/"+c.name, func(t *testing.T) {
			set := newProvider(c.keys...).keySet()
			for _, raw := range []string{rs, es} {
				_, err := Verify(t.Context(), raw, set, expectation(), testNow)
				wantReason(t, err, c.reason, raw)
			}
		})
	}
}

func TestWeakKeys(t *testing.T) {
	odd := func(bits int) *big.Int {
		n := new(big.Int).Lsh(big.NewInt(1), uint(bits-1))
		return n.Add(n, big.NewInt(1))
	}
	rsaJWK := func(n *big.Int, e []byte) object {
		return object{"kty": "RSA", "kid": "k", "n": b64(n.Bytes()), "e": b64(e)}
	}
	f4 := []byte{1, 0, 1}
	ec, ed := jwk(p256A(), "k"), jwk(edA(), "k")
	x := must(strictEncoding.DecodeString(ec["x"].(string)))
	y := must(strictEncoding.DecodeString(ec["y"].(string)))
	off := bytes.Clone(x)
	off[31] ^= 1
	for name, c := range map[string]struct {
		key    object
		usable bool
	}{
		"RSA 512":                  {rsaJWK(odd(512), f4), false},
		"RSA 1024":                 {rsaJWK(odd(1024), f4), false},
		"RSA 2047":                 {rsaJWK(odd(2047), f4), false},
		"RSA 2048":                 {rsaJWK(odd(2048), f4), true},
		"RSA 8192":                 {rsaJWK(odd(8192), f4), true},
		"RSA 8193":                 {rsaJWK(odd(8193), f4), false},
		"RSA 16384":                {rsaJWK(odd(16384), f4), false}, // ATK-Q07: what costs too much to verify with is no key
		"RSA 65536":                {rsaJWK(odd(65536), f4), false},
		"n even":                   {rsaJWK(new(big.Int).Lsh(big.NewInt(1), 2047), f4), false},
		"n zero":                   {rsaJWK(new(big.Int), f4), false},
		"n padded":                 {rsaJWK(odd(2048), f4).with("n", b64(odd(2048).Bytes())+"="), false},
		"n missing":                {rsaJWK(odd(2048), f4).with("n", nil), false},
		"n a number":               {rsaJWK(odd(2048), f4).with("n", 5), false},
		"e 0":                      {rsaJWK(odd(2048), []byte{0}), false},
		"e 1":                      {rsaJWK(odd(2048), []byte{1}), false},
		"e 2":                      {rsaJWK(odd(2048), []byte{2}), false},
		"e 3":                      {rsaJWK(odd(2048), []byte{3}), true},
		"e even":                   {rsaJWK(odd(2048), []byte{1, 0, 0}), false},
		"e of 32 bits":             {rsaJWK(odd(2048), []byte{0x80, 0, 0, 1}), false},
		"e of 40 bits":             {rsaJWK(odd(2048), []byte{1, 0, 0, 0, 1}), false},
		"e missing":                {rsaJWK(odd(2048), f4).with("e", nil), false},
		"EC":                       {ec, true},
		"EC off its curve":         {ec.with("x", b64(off)), false},
		"EC at infinity":           {ec.with("x", b64(make([]byte, 32)), "y", b64(make([]byte, 32))), false},
		"EC x short":               {ec.with("x", b64(x[1:])), false},
		"EC x long":                {ec.with("x", b64(append([]byte{0}, x...))), false},
		"EC y missing":             {ec.with("y", nil), false},
		"EC x and y cut elsewhere": {ec.with("x", b64(x[:31]), "y", b64(append(bytes.Clone(x[31:]), y...))), false},
		"EC of another curve":      {ec.with("crv", "P-384"), false},
		"EC secp256k1":             {ec.with("crv", "secp256k1"), false},
		"EC without a curve":       {ec.with("crv", nil), false},
		"EC with d":                {ec.with("d", b64(x)), false},
		"EC with k":                {ec.with("k", b64(x)), false},
		"Ed25519":                  {ed, true},
		"Ed25519 short":            {ed.with("x", b64(x[1:])), false},
		"Ed25519 without x":        {ed.with("x", nil), false},
		"Ed448":                    {ed.with("crv", "Ed448"), false},
		"X25519":                   {ed.with("crv", "X25519"), false},
		"Ed25519 small order":      {ed.with("x", b64(append([]byte{1}, make([]byte, 31)...))), false},
		"symmetric":                {object{"kty": "oct", "kid": "k", "k": b64(x)}, false},
		"post-quantum":             {object{"kty": "AKP", "alg": "ML-DSA-44", "kid": "k", "pub": b64(x)}, false},
		"a kid of 10 kB":           {ec.with("kid", strings.Repeat("k", 10<<10)), true},
		"use empty":                {ec.with("use", ""), false},
		"use null":                 {ec.with("use", null), false},
		"alg null":                 {ec.with("alg", null), false},
		"key_ops of numbers":       {ec.with("key_ops", []any{"verify", 1}), false},
		"a private key's primes":   {rsaJWK(odd(2048), f4).with("oth", []any{}), false},
	} {
		t.Run("ATK-J28/"+name, func(t *testing.T) {
			keys, err := parseKeySet([]byte(jwks(c.key)))
			if err != nil || (len(keys) == 1) != c.usable {
				t.Fatalf("%d keys, error %v", len(keys), err)
			}
		})
	}
}

// TestLargeRSA: 8192 bits are beyond what go-jose reads.
func TestLargeRSA(t *testing.T) {
	n := new(big.Int).Lsh(big.NewInt(1), 8191)
	n.Add(n, big.NewInt(1))
	p := newProvider(object{"kty": "RSA", "kid": "k", "n": b64(n.Bytes()), "e": "AQAB"})
	forged := rawToken(`{"alg":"RS256","kid":"k"}`, claims().String(), b64(make([]byte, 1024)))
	_, err := Verify(t.Context(), forged, p.keySet(), expectation(), testNow)
	wantReason(t, err, "sig", forged)
}
