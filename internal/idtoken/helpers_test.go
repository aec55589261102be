package idtoken

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	testIssuer = "https://as-a.example"
	testClient = "me"
	testNonce  = "n-0S6_WzA2Mj"
)

var testNow = time.Unix(1_700_000_000, 0).UTC()

// The keys of the tests, made once: an RSA key takes a while.
var (
	rsaA, rsaB     = onceRSA(), onceRSA()
	p256A, p256B   = onceEC(elliptic.P256()), onceEC(elliptic.P256())
	p384A, p521A   = onceEC(elliptic.P384()), onceEC(elliptic.P521())
	edA, edB       = onceEd(), onceEd()
	strictEncoding = base64.RawURLEncoding
)

func onceRSA() func() *rsa.PrivateKey {
	return sync.OnceValue(func() *rsa.PrivateKey { return must(rsa.GenerateKey(rand.Reader, 2048)) })
}

func onceEC(c elliptic.Curve) func() *ecdsa.PrivateKey {
	return sync.OnceValue(func() *ecdsa.PrivateKey { return must(ecdsa.GenerateKey(c, rand.Reader)) })
}

func onceEd() func() ed25519.PrivateKey {
	return sync.OnceValue(func() ed25519.PrivateKey {
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return must(key, err)
	})
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func b64(b []byte) string { return strictEncoding.EncodeToString(b) }

func toJSON(v any) []byte { return must(json.Marshal(v)) }

// object is a JSON object of a test; with returns a changed copy, a nil value removes the member.
type object map[string]any

func (o object) with(pairs ...any) object {
	c := maps.Clone(o)
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] == nil {
			delete(c, pairs[i].(string))
		} else {
			c[pairs[i].(string)] = pairs[i+1]
		}
	}
	return c
}

func (o object) String() string { return string(toJSON(o)) }

// null is a JSON null, where nil would remove the member.
var null = json.RawMessage("null")

func claims(pairs ...any) object {
	return object{
		"iss": testIssuer, "sub": "alice", "aud": testClient, "nonce": testNonce,
		"exp": testNow.Add(5 * time.Minute).Unix(), "iat": testNow.Unix(),
	}.with(pairs...)
}

func header(alg, kid string, pairs ...any) object {
	h := object{"alg": alg}
	if kid != "" {
		h["kid"] = kid
	}
	return h.with(pairs...)
}

// token signs what it is given, as it is given.
func token(header, payload string, key any) string {
	var h struct{ Alg string }
	_ = json.Unmarshal([]byte(header), &h)
	signed := b64([]byte(header)) + "." + b64([]byte(payload))
	return signed + "." + b64(signature(h.Alg, []byte(signed), key))
}

// signature signs with the algorithm's own rules, written out here a second time.
func signature(alg string, signed []byte, key any) []byte {
	hash := map[string]crypto.Hash{"256": crypto.SHA256, "384": crypto.SHA384, "512": crypto.SHA512}[strings.TrimLeft(alg, "RSPEH")]
	digest := func() []byte {
		h := hash.New()
		h.Write(signed)
		return h.Sum(nil)
	}
	switch key := key.(type) {
	case *rsa.PrivateKey:
		if strings.HasPrefix(alg, "PS") {
			return must(rsa.SignPSS(rand.Reader, key, hash, digest(), &rsa.PSSOptions{SaltLength: hash.Size()}))
		}
		return must(rsa.SignPKCS1v15(rand.Reader, key, hash, digest()))
	case *ecdsa.PrivateKey:
		r, s, err := ecdsa.Sign(rand.Reader, key, digest())
		if err != nil {
			panic(err)
		}
		return raw(key.Curve, r, s)
	case ed25519.PrivateKey:
		return ed25519.Sign(key, signed)
	case []byte:
		mac := hmac.New(hash.New, key)
		mac.Write(signed)
		return mac.Sum(nil)
	case signerFunc:
		return key(digest())
	case nil:
		return nil
	}
	panic(fmt.Sprintf("no such key: %T", key))
}

func raw(c elliptic.Curve, r, s *big.Int) []byte {
	size := (c.Params().BitSize + 7) / 8
	b := make([]byte, 2*size)
	r.FillBytes(b[:size])
	s.FillBytes(b[size:])
	return b
}

// jwk is a key's public half as a JWK.
func jwk(key any, kid string, pairs ...any) object {
	o := object{}
	switch key := key.(type) {
	case *rsa.PrivateKey:
		o = object{"kty": "RSA", "n": b64(key.N.Bytes()), "e": b64(big.NewInt(int64(key.E)).Bytes())}
	case *ecdsa.PrivateKey:
		point := must(key.PublicKey.Bytes())
		half := len(point) / 2
		o = object{"kty": "EC", "crv": key.Curve.Params().Name, "x": b64(point[1 : 1+half]), "y": b64(point[1+half:])}
	case ed25519.PrivateKey:
		o = object{"kty": "OKP", "crv": "Ed25519", "x": b64(key.Public().(ed25519.PublicKey))}
	}
	if kid != "" {
		o["kid"] = kid
	}
	return o.with(pairs...)
}

func jwks(keys ...any) string { return string(toJSON(object{"keys": append([]any{}, keys...)})) }

// provider is the issuer's jwks_uri.
type provider struct {
	mu           sync.Mutex
	document     string
	cacheControl string
	err          error
	fetches      int
	events       []string
	now          time.Time
}

func newProvider(keys ...any) *provider { return &provider{document: jwks(keys...), now: testNow} }

func (p *provider) keySet() *KeySet {
	return NewKeySet(KeySetConfig{Fetch: p.fetch, Now: p.clock, OnEvent: p.event})
}

func (p *provider) fetch(context.Context) ([]byte, string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fetches++
	return []byte(p.document), p.cacheControl, p.err
}

func (p *provider) clock() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.now
}

func (p *provider) event(kind string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.events = append(p.events, kind)
}

func (p *provider) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.fetches
}

func (p *provider) set(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
}

// expectation is that of a login with every asymmetric algorithm allowed.
func expectation(change ...func(*Expectation)) Expectation {
	e := Expectation{
		Issuer: testIssuer, ClientID: testClient, Nonce: testNonce, RequireNonce: true,
		Algorithms: []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"},
		Leeway:     30 * time.Second, MaxIssuedAge: 10 * time.Minute,
	}
	for _, f := range change {
		f(&e)
	}
	return e
}

func only(algs ...string) func(*Expectation) {
	return func(e *Expectation) { e.Algorithms = algs }
}

func reasonOf(err error) string {
	var e *Error
	switch {
	case err == nil:
		return ""
	case errors.As(err, &e):
		return e.Reason
	}
	return "untyped: " + err.Error()
}

// wantReason checks the reason ("" for success) and that the error says nothing of the token.
func wantReason(t *testing.T, err error, reason, token string) {
	t.Helper()
	if got := reasonOf(err); got != reason {
		t.Fatalf("reason %q, want %q (%v)", got, reason, err)
	}
	if err == nil {
		return
	}
	for _, text := range []string{err.Error(), fmt.Sprintf("%v %+v %q", err, err, err)} {
		for part := range strings.SplitSeq(token, ".") {
			if len(part) > 8 && strings.Contains(text, part) {
				t.Fatal("the error quotes the token")
			}
		}
		if strings.Contains(text, "evil") || strings.Contains(text, "alice") || strings.ContainsAny(text, "\r\n\x1b") {
			t.Fatalf("the error quotes a claim: %q", text)
		}
	}
}

// testHalfHash is at_hash written down a second time: the hash whose half has this many bytes.
func testHalfHash(half int, value string) string {
	hash := map[int]crypto.Hash{16: crypto.SHA256, 24: crypto.SHA384, 32: crypto.SHA512}[half].New()
	hash.Write([]byte(value))
	return b64(hash.Sum(nil)[:half])
}
