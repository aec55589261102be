package idtoken

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rsa"
	_ "crypto/sha256" // crypto.SHA256
	_ "crypto/sha512" // crypto.SHA384, crypto.SHA512
	"encoding/base64"
	"math/big"
)

// algorithm is one row of RFC 7518 §3.1 (and RFC 8037 §3.1): what signs, and what at_hash is computed with.
type algorithm struct {
	name  string
	kty   string // key type of RFC 7517 §4.1
	hash  crypto.Hash
	curve elliptic.Curve // EC: an ES algorithm means exactly one curve
	pss   bool
}

// algorithms are all that this package can verify. "none" is not among them, so no allow-list can let it in (RFC 8725 §3.2).
var algorithms = map[string]*algorithm{
	"RS256": {name: "RS256", kty: "RSA", hash: crypto.SHA256},
	"RS384": {name: "RS384", kty: "RSA", hash: crypto.SHA384},
	"RS512": {name: "RS512", kty: "RSA", hash: crypto.SHA512},
	"PS256": {name: "PS256", kty: "RSA", hash: crypto.SHA256, pss: true},
	"PS384": {name: "PS384", kty: "RSA", hash: crypto.SHA384, pss: true},
	"PS512": {name: "PS512", kty: "RSA", hash: crypto.SHA512, pss: true},
	"ES256": {name: "ES256", kty: "EC", hash: crypto.SHA256, curve: elliptic.P256()},
	"ES384": {name: "ES384", kty: "EC", hash: crypto.SHA384, curve: elliptic.P384()},
	"ES512": {name: "ES512", kty: "EC", hash: crypto.SHA512, curve: elliptic.P521()},
	"EdDSA": {name: "EdDSA", kty: "OKP", hash: crypto.SHA512},
	"HS256": {name: "HS256", kty: "oct", hash: crypto.SHA256},
	"HS384": {name: "HS384", kty: "oct", hash: crypto.SHA384},
	"HS512": {name: "HS512", kty: "oct", hash: crypto.SHA512},
}

// verify reports whether signature is key's over signed. A key of another type than the algorithm's verifies nothing.
func (a *algorithm) verify(key crypto.PublicKey, signed, signature []byte) bool {
	switch key := key.(type) {
	case *rsa.PublicKey:
		if a.kty != "RSA" {
			return false
		}
		digest := a.sum(signed)
		if a.pss {
			// RFC 7518 §3.5: the salt is as long as the hash, not as long as the signer likes.
			options := &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}
			return rsa.VerifyPSS(key, a.hash, digest, signature, options) == nil
		}
		return rsa.VerifyPKCS1v15(key, a.hash, digest, signature) == nil
	case *ecdsa.PublicKey:
		// RFC 7518 §3.4: r and s in full length side by side, never DER; ecdsa.Verify refuses those outside [1, n-1].
		if key.Curve != a.curve {
			return false
		}
		half := (a.curve.Params().BitSize + 7) / 8
		if len(signature) != 2*half {
			return false
		}
		r, s := new(big.Int).SetBytes(signature[:half]), new(big.Int).SetBytes(signature[half:])
		return ecdsa.Verify(key, a.sum(signed), r, s)
	case ed25519.PublicKey:
		return a.kty == "OKP" && ed25519.Verify(key, signed, signature)
	}
	return false
}

// verifyMAC is verify for the HS algorithms. RFC 7518 §3.2: the key is at least as long as the hash.
func (a *algorithm) verifyMAC(secret, signed, signature []byte) bool {
	if a.kty != "oct" || len(secret) < a.hash.Size() {
		return false
	}
	mac := hmac.New(a.hash.New, secret)
	mac.Write(signed)
	return hmac.Equal(mac.Sum(nil), signature)
}

func (a *algorithm) sum(b []byte) []byte {
	h := a.hash.New()
	h.Write(b)
	return h.Sum(nil)
}

// halfHash is the value of at_hash for an access token and of c_hash for a code: OpenID Connect Core §3.1.3.6 and §3.3.2.11.
func (a *algorithm) halfHash(value string) string {
	sum := a.sum([]byte(value))
	return base64.RawURLEncoding.EncodeToString(sum[:len(sum)/2])
}
