package authtest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"slices"
	"strings"
	"sync"

	"github.com/go-jose/go-jose/v4"
)

// JWT is a token that is about to be signed, for [Fault.JWT] to edit. Editing
// Header never changes which key signs, nor the other way round: a lie about
// the key is part of the trade.
type JWT struct {
	Header map[string]any
	Claims map[string]any
	// RawHeader and RawClaims, if not nil, are signed instead of Header and
	// Claims: for JSON that no encoder would write.
	RawHeader, RawClaims []byte
	// Key signs: a private key of crypto/ecdsa, crypto/rsa or crypto/ed25519, a
	// jose.JSONWebKey that holds one, or a []byte for HMAC. The hash, and the
	// padding of RSA, are those of the header's alg, SHA-256 and PKCS #1 v1.5
	// if it names none. With nil the signature is empty.
	Key any
}

// keyRing makes keys when they are first needed: an RSA key takes long.
type keyRing struct {
	mu       sync.Mutex
	made     int
	current  map[string]jose.JSONWebKey // by algorithm
	previous map[string]jose.JSONWebKey
	known    map[string]jose.JSONWebKey // public, by kid, for id_token_hint
}

func (k *keyRing) get(alg string) jose.JSONWebKey {
	k.mu.Lock()
	defer k.mu.Unlock()
	if key, ok := k.current[alg]; ok {
		return key
	}
	var private crypto.Signer
	var err error
	switch alg {
	case "ES256":
		private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "EdDSA":
		_, private, err = ed25519.GenerateKey(rand.Reader)
	default:
		private, err = rsa.GenerateKey(rand.Reader, 2048)
	}
	if err != nil {
		panic(fmt.Sprintf("authtest: cannot make a key: %v", err))
	}
	var unique [4]byte
	_, _ = rand.Read(unique[:])
	k.made++
	key := jose.JSONWebKey{
		Key: private, Algorithm: alg, Use: "sig",
		KeyID: fmt.Sprintf("%s-%d-%s", strings.ToLower(alg), k.made, hex.EncodeToString(unique[:])),
	}
	if k.current == nil {
		k.current, k.known = make(map[string]jose.JSONWebKey), make(map[string]jose.JSONWebKey)
	}
	k.current[alg] = key
	k.known[key.KeyID] = key.Public()
	return key
}

// SigningKey returns the private key that signs with an algorithm now, to be
// used or misused by a test; its KeyID is the kid in the key set, where it is
// published from then on. It panics for any other algorithm than ES256, RS256,
// PS256 and EdDSA.
func (s *Server) SigningKey(alg string) jose.JSONWebKey {
	if !slices.Contains(algorithms, alg) {
		panic("authtest: no such algorithm")
	}
	return s.keys.get(alg)
}

// RotateKeys signs with new keys from now on. The keys before stay in the key
// set; those before them are withdrawn, so that calling it twice withdraws a key.
func (s *Server) RotateKeys() {
	s.keys.mu.Lock()
	defer s.keys.mu.Unlock()
	s.keys.previous = s.keys.current
	s.keys.current = make(map[string]jose.JSONWebKey)
}

// publicKeys returns the key set: newest first, a key for each algorithm in use.
func (s *Server) publicKeys() []jose.JSONWebKey {
	for _, alg := range s.algorithmsInUse() {
		s.keys.get(alg)
	}
	s.keys.mu.Lock()
	defer s.keys.mu.Unlock()
	var out []jose.JSONWebKey
	for _, generation := range []map[string]jose.JSONWebKey{s.keys.current, s.keys.previous} {
		for _, alg := range algorithms {
			if key, ok := generation[alg]; ok {
				out = append(out, key.Public())
			}
		}
	}
	return out
}

func (s *Server) algorithmsInUse() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	used := map[string]bool{s.cfg.Algorithm: true}
	for _, c := range s.clients {
		used[c.IDTokenAlgorithm], used[c.UserInfoAlgorithm] = true, true
	}
	var out []string
	for _, alg := range algorithms {
		if used[alg] {
			out = append(out, alg)
		}
	}
	return out
}

// sign makes a compact JWS, edited by the faults.
func (x *exchange) sign(key jose.JSONWebKey, claims map[string]any) (string, error) {
	return x.signTyped("JWT", key, claims)
}

func (x *exchange) signTyped(typ string, key jose.JSONWebKey, claims map[string]any) (string, error) {
	t := &JWT{
		Header: map[string]any{"alg": key.Algorithm, "kid": key.KeyID, "typ": typ},
		Claims: claims, Key: key,
	}
	for _, f := range x.faults {
		if f.JWT != nil {
			f.JWT(t)
		}
	}
	compact, err := t.compact()
	if err != nil {
		return "", err
	}
	for _, f := range x.faults {
		if f.RawJWT != nil {
			compact = f.RawJWT(compact)
		}
	}
	return compact, nil
}

func (t *JWT) compact() (string, error) {
	var err error
	header, claims := t.RawHeader, t.RawClaims
	if header == nil {
		if header, err = json.Marshal(t.Header); err != nil {
			return "", fmt.Errorf("authtest: JWT header: %w", err)
		}
	}
	if claims == nil {
		if claims, err = json.Marshal(t.Claims); err != nil {
			return "", fmt.Errorf("authtest: JWT claims: %w", err)
		}
	}
	b64 := base64.RawURLEncoding
	input := b64.EncodeToString(header) + "." + b64.EncodeToString(claims)
	alg, _ := t.Header["alg"].(string)
	signature, err := signature(t.Key, alg, []byte(input))
	if err != nil {
		return "", err
	}
	return input + "." + b64.EncodeToString(signature), nil
}

// hashOf returns the hash that an alg value names (RFC 7518 §3.1), or SHA-256.
func hashOf(alg string) (crypto.Hash, func() hash.Hash) {
	switch {
	case strings.HasSuffix(alg, "384"):
		return crypto.SHA384, sha512.New384
	case strings.HasSuffix(alg, "512"):
		return crypto.SHA512, sha512.New
	}
	return crypto.SHA256, sha256.New
}

func signature(key any, alg string, input []byte) ([]byte, error) {
	id, newHash := hashOf(alg)
	h := newHash()
	h.Write(input)
	switch k := key.(type) {
	case nil:
		return nil, nil
	case jose.JSONWebKey:
		return signature(k.Key, alg, input)
	case *jose.JSONWebKey:
		return signature(k.Key, alg, input)
	case []byte:
		mac := hmac.New(newHash, k)
		mac.Write(input)
		return mac.Sum(nil), nil
	case ed25519.PrivateKey:
		return ed25519.Sign(k, input), nil
	case *rsa.PrivateKey:
		if strings.HasPrefix(alg, "PS") {
			return rsa.SignPSS(rand.Reader, k, id, h.Sum(nil), &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
		}
		return rsa.SignPKCS1v15(rand.Reader, k, id, h.Sum(nil))
	case *ecdsa.PrivateKey:
		r, s, err := ecdsa.Sign(rand.Reader, k, h.Sum(nil))
		if err != nil {
			return nil, err
		}
		// RFC 7518 §3.4: r and s, each as long as the order of the curve.
		size := (k.Params().BitSize + 7) / 8
		out := make([]byte, 2*size)
		r.FillBytes(out[:size])
		s.FillBytes(out[size:])
		return out, nil
	}
	return nil, fmt.Errorf("authtest: cannot sign with a %T", key)
}

// halfHash is at_hash (OpenID Connect Core §3.1.3.6). Ed25519 hashes with
// SHA-512 inside, and that is what implementations agree on for EdDSA.
func halfHash(alg, value string) string {
	_, newHash := hashOf(alg)
	if alg == "EdDSA" {
		newHash = sha512.New
	}
	h := newHash()
	h.Write([]byte(value))
	sum := h.Sum(nil)
	return base64.RawURLEncoding.EncodeToString(sum[:len(sum)/2])
}
