package idtoken

import (
	"context"
	"crypto"
	"encoding/json"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
)

// BenchmarkVerify compares one verification, the keys at hand, with go-oidc alone (which checks less) and with the work that
// cannot be avoided: the signature, base64 and one json.Unmarshal.
func BenchmarkVerify(b *testing.B) {
	c := claims("email", "alice@example.org", "email_verified", true, "name", "Alice Liddell", "given_name", "Alice",
		"family_name", "Liddell", "preferred_username", "alice", "locale", "en", "picture", "https://as-a.example/p/alice.png",
		"auth_time", testNow.Unix(), "at_hash", testHalfHash(16, "access"), "sid", "08a5019c-17e1-4977-8f42-65a12843ea02",
		"groups", []string{"admin", "staff"})
	for _, k := range []struct {
		alg  string
		key  any
		half int
	}{{"RS256", rsaA(), 16}, {"ES256", p256A(), 16}, {"EdDSA", edA(), 32}} {
		raw := token(header(k.alg, "k", "typ", "JWT").String(), c.with("at_hash", testHalfHash(k.half, "access")).String(), k.key)
		public := k.key.(crypto.Signer).Public()
		b.Run(k.alg+"/ours", func(b *testing.B) {
			set := newProvider(jwk(k.key, "k")).keySet()
			e := expectation(only(k.alg), func(e *Expectation) { e.AccessToken = "access" })
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Verify(context.Background(), raw, set, e, testNow); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(k.alg+"/go-oidc", func(b *testing.B) {
			v := oidc.NewVerifier(testIssuer, &oidc.StaticKeySet{PublicKeys: []crypto.PublicKey{public}}, &oidc.Config{
				ClientID: testClient, SupportedSigningAlgs: []string{k.alg}, Now: func() time.Time { return testNow },
			})
			b.ReportAllocs()
			for b.Loop() {
				t, err := v.Verify(context.Background(), raw)
				if err != nil || t.Nonce != testNonce || t.VerifyAccessToken("access") != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(k.alg+"/raw", func(b *testing.B) {
			a := algorithms[k.alg]
			b.ReportAllocs()
			for b.Loop() {
				var claims struct {
					Iss, Sub, Aud, Nonce string
					Exp, Iat, Auth_time  int64
					At_hash, Sid         string
				}
				header, payload, signature, _ := split(raw)
				claimed, _ := strictEncoding.DecodeString(payload)
				sig, _ := strictEncoding.DecodeString(signature)
				if json.Unmarshal(claimed, &claims) != nil || !a.verify(public, []byte(raw[:len(header)+1+len(payload)]), sig) {
					b.Fatal("refused")
				}
			}
		})
	}
}
