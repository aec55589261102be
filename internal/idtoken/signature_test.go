package idtoken

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/asn1"
	"encoding/hex"
	"math/big"
	"strings"
	"testing"
)

func TestEveryAlgorithm(t *testing.T) {
	for alg, key := range map[string]any{
		"RS256": rsaA(), "RS384": rsaA(), "RS512": rsaA(), "PS256": rsaA(), "PS384": rsaA(), "PS512": rsaA(),
		"ES256": p256A(), "ES384": p384A(), "ES512": p521A(), "EdDSA": edA(),
	} {
		t.Run(alg, func(t *testing.T) {
			p := newProvider(jwk(key, "k"))
			good := token(header(alg, "k").String(), claims().String(), key)
			got, err := Verify(t.Context(), good, p.keySet(), expectation(), testNow)
			if err != nil || got.Subject != "alice" {
				t.Fatal(got, err)
			}
			// Each bit of the signature, and one bit of each part of what is signed.
			set := p.keySet()
			dot := strings.LastIndexByte(good, '.')
			sig := must(strictEncoding.DecodeString(good[dot+1:]))
			for i := 0; i < len(sig)*8; i += max(1, len(sig)/8) {
				sig[i/8] ^= 1 << (i % 8)
				_, err := Verify(t.Context(), good[:dot+1]+b64(sig), set, expectation(), testNow)
				wantReason(t, err, "sig", good)
				sig[i/8] ^= 1 << (i % 8)
			}
			other := token(header(alg, "k").String(), claims("sub", "bob").String(), key)
			_, err = Verify(t.Context(), good[:dot]+other[strings.LastIndexByte(other, '.'):], set, expectation(), testNow)
			wantReason(t, err, "sig", good)
			for _, n := range []int{0, 1, len(sig) - 1} {
				_, err := Verify(t.Context(), good[:dot+1]+b64(sig[:n]), set, expectation(), testNow)
				wantReason(t, err, "sig", good)
			}
			_, err = Verify(t.Context(), good[:dot+1]+b64(append(sig, 0)), set, expectation(), testNow)
			wantReason(t, err, "sig", good)
		})
	}
}

func bigHex(s string) *big.Int {
	n, ok := new(big.Int).SetString(s, 16)
	if !ok {
		panic(s)
	}
	return n
}

func TestSignatureAttacks(t *testing.T) {
	signed := b64([]byte(plainHeader)) + "." + b64([]byte(claims().String()))
	with := func(sig []byte) string { return signed + "." + b64(sig) }
	good := signature("ES256", []byte(signed), p256A())
	r, s := new(big.Int).SetBytes(good[:32]), new(big.Int).SetBytes(good[32:])
	n := elliptic.P256().Params().N
	zero, one := new(big.Int), big.NewInt(1)
	pair := func(r, s *big.Int) []byte { return raw(elliptic.P256(), r, s) }
	der := must(asn1.Marshal(struct{ R, S *big.Int }{r, s}))
	other := es256(claims("sub", "bob"))
	run(t, "ATK-J35/ECDSA", []attack{
		{"untouched", with(good), "", nil},
		{"r = s = 0", with(pair(zero, zero)), "sig", nil},
		{"r = 0", with(pair(zero, s)), "sig", nil},
		{"s = 0", with(pair(r, zero)), "sig", nil},
		{"r = s = 1", with(pair(one, one)), "sig", nil},
		{"r = n", with(pair(n, s)), "sig", nil},
		{"s = n", with(pair(r, n)), "sig", nil},
		{"r = s = n", with(pair(n, n)), "sig", nil},
		{"r = n, s = 0", with(pair(n, zero)), "sig", nil},
		{"r = p", with(pair(elliptic.P256().Params().P, s)), "sig", nil},
		{"all ones", with([]byte(strings.Repeat("\xff", 64))), "sig", nil},
		{"r and s exchanged", with(pair(s, r)), "sig", nil},
		{"DER", with(der), "sig", nil},
		{"DER, as long as raw", with(append(der, make([]byte, 64)...)[:64]), "sig", nil},
		{"r alone", with(good[:32]), "sig", nil},
		{"a leading zero each", with(append(append([]byte{0}, good[:32]...), append([]byte{0}, good[32:]...)...)), "sig", nil},
		{"a zero in the middle", with(append(append(append([]byte{}, good[:32]...), 0), good[32:]...)), "sig", nil},
		{"of another token", signed + other[strings.LastIndexByte(other, '.'):], "sig", nil},
	})
	if sum := new(big.Int).Add(r, n); sum.BitLen() <= 256 {
		run(t, "ATK-J35/ECDSA", []attack{{"r + n", with(pair(sum, s)), "sig", nil}})
	}
	run(t, "ATK-J35/wrong curve", []attack{
		{"ES256 with the P-384 key", token(`{"alg":"ES256","kid":"p384"}`, claims().String(), p384A()), "sig", nil},
		{"ES384 with the P-256 key", token(`{"alg":"ES384","kid":"p256"}`, claims().String(), p256A()), "sig", nil},
		{"ES256 with the P-384 key, no kid", token(`{"alg":"ES256"}`, claims().String(), p384A()), "sig", nil},
	})

	const rsaHeader = `{"alg":"RS256","kid":"rsa"}`
	genuine := token(rsaHeader, claims().String(), rsaA())
	dot := strings.LastIndexByte(genuine, '.')
	sig := must(strictEncoding.DecodeString(genuine[dot+1:]))
	modulus := rsaA().N.Bytes()
	plusN := new(big.Int).Add(new(big.Int).SetBytes(sig), rsaA().N).Bytes()
	rs := func(sig []byte) string { return genuine[:dot+1] + b64(sig) }
	run(t, "ATK-J35/RSA", []attack{
		{"short", rs(sig[:255]), "sig", nil},
		{"without the first byte", rs(sig[1:]), "sig", nil},
		{"with a leading zero", rs(append([]byte{0}, sig...)), "sig", nil},
		{"empty", rs(nil), "sig", nil},
		{"zero", rs(make([]byte, 256)), "sig", nil},
		{"one", rs(append(make([]byte, 255), 1)), "sig", nil},
		{"the modulus", rs(modulus), "sig", nil},
		{"plus the modulus", rs(plusN), "sig", nil},
		{"PKCS #1 v1.5 under PS256", token(`{"alg":"PS256","kid":"rsa"}`, claims().String(), pkcs1(rsaA())), "sig", nil},
		{"salt of one byte", token(`{"alg":"PS256","kid":"rsa"}`, claims().String(), salted(rsaA(), 1)), "sig", nil},
		{"salt as long as fits", token(`{"alg":"PS256","kid":"rsa"}`, claims().String(), salted(rsaA(), 222)), "sig", nil},
		{"salt as long as the hash", token(`{"alg":"PS256","kid":"rsa"}`, claims().String(), salted(rsaA(), 32)), "", nil},
	})

	edToken := token(`{"alg":"EdDSA","kid":"ed"}`, claims().String(), edA())
	dot = strings.LastIndexByte(edToken, '.')
	sig = must(strictEncoding.DecodeString(edToken[dot+1:]))
	ed := func(sig []byte) string { return edToken[:dot+1] + b64(sig) }
	// S + L is the same scalar: RFC 8032 §5.1.7 asks for S < L.
	order := bigHex("1000000000000000000000000000000014def9dea2f79cd65812631a5cf5d3ed")
	scalar := new(big.Int).Add(new(big.Int).SetBytes(reversed(sig[32:])), order)
	malleable := append(append([]byte{}, sig[:32]...), reversed(scalar.FillBytes(make([]byte, 32)))...)
	attacks := []attack{{"untouched", ed(sig), "", nil}, {"S + L", ed(malleable), "sig", nil}, {"zero", ed(make([]byte, 64)), "sig", nil}}
	for _, point := range smallOrder {
		attacks = append(attacks, attack{"small order R " + point[:4], ed(append(must(hex.DecodeString(point)), make([]byte, 32)...)), "sig", nil})
	}
	run(t, "ATK-J35/Ed25519", attacks)
	for _, point := range smallOrder {
		t.Run("ATK-J35/Ed25519 key of small order "+point[:4], func(t *testing.T) {
			key := must(hex.DecodeString(point))
			p := newProvider(object{"kty": "OKP", "crv": "Ed25519", "kid": "ed", "x": b64(key)})
			for _, r := range smallOrder {
				forged := ed(append(must(hex.DecodeString(r)), make([]byte, 32)...))
				_, err := Verify(t.Context(), forged, p.keySet(), expectation(), testNow)
				wantReason(t, err, "kid", forged) // the key is none
			}
		})
	}
}

// smallOrder are Ed25519 points under which crypto/ed25519 accepts a signature for any message.
var smallOrder = []string{
	"0100000000000000000000000000000000000000000000000000000000000000",
	"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"0000000000000000000000000000000000000000000000000000000000000000",
	"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
}

func reversed(b []byte) []byte {
	r := make([]byte, len(b))
	for i := range b {
		r[len(b)-1-i] = b[i]
	}
	return r
}

// signerFunc signs in a way that the algorithm of the header does not mean.
type signerFunc func(digest []byte) []byte

func pkcs1(key *rsa.PrivateKey) signerFunc {
	return func(digest []byte) []byte { return must(rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, digest)) }
}

func salted(key *rsa.PrivateKey, length int) signerFunc {
	return func(digest []byte) []byte {
		return must(rsa.SignPSS(rand.Reader, key, crypto.SHA256, digest, &rsa.PSSOptions{SaltLength: length}))
	}
}

func TestHMAC(t *testing.T) {
	secret := []byte(strings.Repeat("s", 64))
	with := func(secret []byte, algs ...string) func(*Expectation) {
		return func(e *Expectation) { e.HMACSecret, e.Algorithms = secret, algs }
	}
	hs := func(alg string, secret []byte) string {
		return token(header(alg, "").String(), claims().String(), secret)
	}
	whole := hs("HS256", secret)
	half := b64(must(strictEncoding.DecodeString(whole[strings.LastIndexByte(whole, '.')+1:]))[:16])
	run(t, "C-CORE-8", []attack{
		{"HS256", hs("HS256", secret), "", with(secret, "HS256")},
		{"HS384", hs("HS384", secret), "", with(secret, "HS384")},
		{"HS512", hs("HS512", secret), "", with(secret, "HS512")},
		{"HS256, 32 bytes", hs("HS256", secret[:32]), "", with(secret[:32], "HS256")},
		{"not allowed", hs("HS256", secret), "alg", with(secret, "RS256")},
		{"no secret", hs("HS256", nil), "alg", with(nil, "HS256")},
		{"another secret", hs("HS256", secret[:40]), "sig", with(secret, "HS256")},
		{"empty MAC", rawToken(`{"alg":"HS256"}`, claims().String(), ""), "sig", with(secret, "HS256")},
		{"half a MAC", rawToken(`{"alg":"HS256"}`, claims().String(), half), "sig", with(secret, "HS256")},
		{"asymmetric algorithms are off", es256(claims()), "alg", with(secret, "HS256", "ES256")},
		{"claims are checked as ever", token(`{"alg":"HS256"}`, claims("exp", 1).String(), secret), "exp", with(secret, "HS256")},
	})
	// C-CORE-40
	run(t, "C-CORE-40", []attack{
		{"HS256, 31 bytes", hs("HS256", secret[:31]), "alg", with(secret[:31], "HS256")},
		{"HS384, 47 bytes", hs("HS384", secret[:47]), "alg", with(secret[:47], "HS384")},
		{"HS512, 63 bytes", hs("HS512", secret[:63]), "alg", with(secret[:63], "HS512")},
	})
	t.Run("no key set is read", func(t *testing.T) {
		if _, err := Verify(t.Context(), hs("HS256", secret), nil, expectation(with(secret, "HS256")), testNow); err != nil {
			t.Fatal(err)
		}
		signed := []byte("a.b")
		for alg, n := range map[string]int{"HS256": 31, "HS384": 47, "HS512": 63} {
			if algorithms[alg].verifyMAC(secret[:n], signed, signature(alg, signed, secret[:n])) {
				t.Fatal("a short secret will do")
			}
		}
		if algorithms["RS256"].verifyMAC(secret, signed, signature("HS256", signed, secret)) {
			t.Fatal("a MAC under the name of another algorithm")
		}
		if algorithms["HS256"].verify("no key", nil, nil) {
			t.Fatal("a signature without a key")
		}
	})
}

// TestAlgorithmAndKeyType: verify holds by itself, whatever key is handed to it.
func TestAlgorithmAndKeyType(t *testing.T) {
	signed := []byte("a.b")
	signers := map[string]any{
		"RS256": rsaA(), "PS256": rsaA(), "ES256": p256A(), "ES384": p384A(), "ES512": p521A(), "EdDSA": edA(), "HS256": make([]byte, 32),
	}
	for made, key := range signers {
		public := key
		if s, ok := key.(crypto.Signer); ok {
			public = s.Public()
		}
		sig := signature(made, signed, key)
		for name, a := range algorithms {
			if got, want := a.verify(public, signed, sig), name == made && a.kty != "oct"; got != want {
				t.Errorf("%s signature as %s: %v", made, name, got)
			}
		}
	}
	// What a P-256 key can sign for ES384, padded to its length.
	h := algorithms["ES384"].sum(signed)
	r, s, err := ecdsa.Sign(rand.Reader, p256A(), h)
	if err != nil || algorithms["ES384"].verify(&p256A().PublicKey, signed, raw(elliptic.P384(), r, s)) {
		t.Error("a signature on another curve")
	}
}
