package authtest_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/sallyport/sallyport/client/authtest"
)

func TestAlgorithms(t *testing.T) {
	for _, alg := range []jose.SignatureAlgorithm{"ES256", "RS256", "PS256", "EdDSA"} {
		t.Run(string(alg), func(t *testing.T) {
			c := app()
			c.IDTokenAlgorithm, c.UserInfoAlgorithm = string(alg), string(alg)
			g := newRig(t, authtest.Config{Clients: []authtest.Client{c}})
			before := len(g.keys().Keys)
			tokens := g.logIn()
			claims := g.verify(tokens["id_token"], alg)
			// OpenID Connect Core §3.1.3.6
			sum256, sum512 := sha256.Sum256([]byte(tokens["access_token"].(string))), sha512.Sum512([]byte(tokens["access_token"].(string)))
			want := base64.RawURLEncoding.EncodeToString(sum256[:16])
			if alg == "EdDSA" {
				want = base64.RawURLEncoding.EncodeToString(sum512[:32])
			}
			if claims["at_hash"] != want {
				t.Errorf("at_hash %v, want %v", claims["at_hash"], want)
			}
			if after := len(g.keys().Keys); after != before {
				t.Errorf("the key set grew from %d to %d by use", before, after)
			}
			algs := g.metadata()["id_token_signing_alg_values_supported"].([]any)
			if !slices.Contains(algs, any(string(alg))) || !slices.Contains(algs, any("RS256")) {
				t.Errorf("announced: %v", algs)
			}
		})
	}
}

func TestConfigAlgorithmIsTheDefault(t *testing.T) {
	g := newRig(t, authtest.Config{Algorithm: "EdDSA"})
	g.verify(g.logIn()["id_token"], "EdDSA")
}

func TestRotateKeys(t *testing.T) {
	g := newRig(t, authtest.Config{})
	kids := func() []string {
		var out []string
		for _, k := range g.keys().Keys {
			out = append(out, k.KeyID)
		}
		return out
	}
	kidOf := func(token any) string {
		signed, err := jose.ParseSignedCompact(token.(string), []jose.SignatureAlgorithm{"ES256"})
		if err != nil {
			t.Fatal(err)
		}
		return signed.Signatures[0].Header.KeyID
	}
	first := kidOf(g.logIn()["id_token"])
	g.as.RotateKeys()
	second := kidOf(g.logIn()["id_token"])
	if got := kids(); !slices.Equal(got, []string{second, first}) || first == second {
		t.Errorf("after one rotation: %v, signed with %s then %s", got, first, second)
	}
	g.as.RotateKeys()
	if got := kids(); len(got) != 2 || slices.Contains(got, first) || got[1] != second {
		t.Errorf("after two rotations: %v", got)
	}
}

func TestSigningKey(t *testing.T) {
	g := newRig(t, authtest.Config{})
	key := g.as.SigningKey("EdDSA")
	if got := g.keys().Key(key.KeyID); len(got) != 1 {
		t.Error("the key is not published")
	}
	defer func() {
		if recover() == nil {
			t.Error("no panic for an unknown algorithm")
		}
	}()
	g.as.SigningKey("none")
}

func parts(t *testing.T, compact any) (header, claims map[string]any, signature []byte) {
	t.Helper()
	p := strings.Split(compact.(string), ".")
	if len(p) != 3 {
		t.Fatalf("%d parts", len(p))
	}
	for i, target := range []*map[string]any{&header, &claims} {
		text, err := base64.RawURLEncoding.DecodeString(p[i])
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(text, target); err != nil {
			t.Fatal(err)
		}
	}
	signature, err := base64.RawURLEncoding.DecodeString(p[2])
	if err != nil {
		t.Fatal(err)
	}
	return header, claims, signature
}

func TestEditJWT(t *testing.T) {
	g := newRig(t, authtest.Config{})
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rs := g.as.SigningKey("RS256")
	for _, test := range []struct {
		name string
		edit func(*authtest.JWT)
		alg  any
		size int // of the signature
		key  any // verifies
	}{
		{"alg none", func(j *authtest.JWT) { j.Header["alg"], j.Key = "none", nil }, "none", 0, nil},
		{"HMAC with a public key", func(j *authtest.JWT) { j.Header["alg"], j.Key = "HS256", []byte(strings.Repeat("public key", 4)) }, "HS256", 32, []byte(strings.Repeat("public key", 4))},
		{"HS512", func(j *authtest.JWT) { j.Header["alg"], j.Key = "HS512", []byte(strings.Repeat("k", 64)) }, "HS512", 64, []byte(strings.Repeat("k", 64))},
		{"another published key", func(j *authtest.JWT) { j.Header["alg"], j.Header["kid"], j.Key = "RS256", rs.KeyID, rs }, "RS256", 256, rs.Public()},
		{"a pointer to it, RS384", func(j *authtest.JWT) { j.Header["alg"], j.Key = "RS384", &rs }, "RS384", 256, rs.Public()},
		{"PSS", func(j *authtest.JWT) { j.Header["alg"], j.Key = "PS512", rs.Key }, "PS512", 256, rs.Public()},
		{"another curve", func(j *authtest.JWT) { j.Header["alg"], j.Key = "ES384", p384 }, "ES384", 96, p384.Public()},
		{"a lie about alg", func(j *authtest.JWT) { j.Header["alg"] = "RS256" }, "RS256", 64, nil},
		{"alg of another type", func(j *authtest.JWT) { j.Header["alg"] = 1 }, 1.0, 64, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			defer g.as.Misbehave(authtest.Fault{Endpoint: authtest.Token, JWT: test.edit})()
			token := g.logIn()["id_token"]
			header, _, sig := parts(t, token)
			if header["alg"] != test.alg || len(sig) != test.size {
				t.Errorf("alg %v, %d bytes of signature", header["alg"], len(sig))
			}
			if test.key == nil {
				return
			}
			signed, err := jose.ParseSignedCompact(token.(string), []jose.SignatureAlgorithm{jose.SignatureAlgorithm(test.alg.(string))})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := signed.Verify(test.key); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestRawJWT(t *testing.T) {
	g := newRig(t, authtest.Config{})
	defer g.as.Behave()
	g.as.Misbehave(
		authtest.Fault{Endpoint: authtest.Token, JWT: func(j *authtest.JWT) {
			j.RawHeader = []byte(`{"alg":"ES256","alg":"none"}`)
			j.RawClaims = []byte(`{"sub":"a","sub":"b"}`)
		}},
		authtest.Fault{Endpoint: authtest.Token, RawJWT: func(compact string) string { return compact + "=" }},
	)
	p := strings.Split(g.logIn()["id_token"].(string), ".")
	header, _ := base64.RawURLEncoding.DecodeString(p[0])
	claims, _ := base64.RawURLEncoding.DecodeString(p[1])
	if string(header) != `{"alg":"ES256","alg":"none"}` || string(claims) != `{"sub":"a","sub":"b"}` || !strings.HasSuffix(p[2], "=") {
		t.Errorf("%s %s %s", header, claims, p[2])
	}
}

func TestImpossibleJWT(t *testing.T) {
	g := newRig(t, authtest.Config{})
	for name, edit := range map[string]func(*authtest.JWT){
		"key":    func(j *authtest.JWT) { j.Key = "a string" },
		"header": func(j *authtest.JWT) { j.Header["x"] = func() {} },
		"claims": func(j *authtest.JWT) { j.Claims["x"] = func() {} },
	} {
		t.Run(name, func(t *testing.T) {
			defer g.as.Misbehave(authtest.Fault{Endpoint: authtest.Token, JWT: edit})()
			verifier := newVerifier()
			code := g.authorize(g.request(verifier)).Get("code")
			resp, body := g.do(g.postRequest("token", codeForm(code, verifier)))
			if resp.StatusCode != 500 || !strings.Contains(string(body), "authtest: ") {
				t.Errorf("%d %s", resp.StatusCode, body)
			}
		})
	}
}
