package idtoken

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"testing"
)

// FuzzVerify: no token makes Verify panic, and what it accepts was signed by one of the keys, byte for byte.
func FuzzVerify(f *testing.F) {
	genuine := map[string]bool{}
	for _, t := range []string{
		es256(claims()),
		es256(claims("aud", []string{"me"}, "acr", "x", "auth_time", testNow.Unix(), "ISS", "x")),
		token(`{"alg":"RS256","kid":"rsa"}`, claims().String(), rsaA()),
		token(`{"alg":"PS512"}`, claims().String(), rsaA()),
		token(`{"alg":"EdDSA","kid":"ed","typ":"JWT"}`, claims().String(), edA()),
	} {
		genuine[t] = true
		f.Add(t)
	}
	f.Add(es256(claims("iss", "https://evil.example")))
	f.Add(token(`{"alg":"HS256","kid":"rsa"}`, claims().String(), []byte(jwks(jwk(rsaA(), "rsa")))))
	f.Add(rawToken(`{"alg":"none"}`, claims().String(), ""))
	f.Add(rawToken(`{"alg":"ES256","crit":["b64"],"b64":false}`, claims().String(), "AA"))
	f.Add("e30.e30.e30.e30.e30")
	f.Add("..")
	set := honest().keySet()
	e := expectation()
	f.Fuzz(func(t *testing.T, raw string) {
		got, err := Verify(context.Background(), raw, set, e, testNow)
		if err == nil {
			// ECDSA is malleable (s and n-s): what was signed is what must not vary.
			signed := raw[:strings.LastIndexByte(raw, '.')]
			known := false
			for g := range genuine {
				known = known || g[:strings.LastIndexByte(g, '.')] == signed
			}
			if !known {
				t.Fatal("accepted what nobody signed")
			}
			if !json.Valid(got.Payload) || got.Issuer != testIssuer || got.Subject != "alice" {
				t.Fatalf("%+v", got)
			}
		} else if reasonOf(err) == "" || strings.HasPrefix(reasonOf(err), "untyped") {
			t.Fatal(err)
		}
		_, _ = Unverified(raw)
		_, _ = VerifySigned(context.Background(), raw, set, e, testNow)
	})
}

// FuzzKeySet: no document makes the reader panic or the verification with what it has read.
func FuzzKeySet(f *testing.F) {
	f.Add([]byte(jwks(jwk(rsaA(), "rsa"), jwk(p256A(), "p256", "use", "sig"), jwk(edA(), "ed", "key_ops", []string{"verify"}))))
	f.Add([]byte(jwks(1, nil, object{"kty": "EC", "crv": "P-521", "x": "AA", "y": "AA"}, object{"kty": "RSA", "n": "AQ", "e": "AQ"})))
	f.Add([]byte(`{"keys":[{"kty":"OKP","crv":"Ed25519","x":""}]}`))
	signed := []byte("a.b")
	f.Fuzz(func(t *testing.T, document []byte) {
		keys, err := parseKeySet(bytes.Clone(document))
		if err != nil && keys != nil {
			t.Fatal("keys beside an error")
		}
		for _, k := range keys {
			for _, a := range algorithms {
				if a.verify(k.key, signed, make([]byte, 64)) {
					t.Fatal("zero is a signature")
				}
			}
		}
	})
}
