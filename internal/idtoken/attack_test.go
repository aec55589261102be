package idtoken

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"strings"
	"testing"
	"time"
)

// attack is one token and what must come of it; reason "" means that it must be accepted.
type attack struct {
	name   string
	token  string
	reason string
	change func(*Expectation)
}

// honest is the usual provider of these tests: one key per type.
func honest() *provider {
	return newProvider(jwk(rsaA(), "rsa"), jwk(p256A(), "p256"), jwk(p384A(), "p384"), jwk(edA(), "ed"))
}

// run gives every attack a provider of its own and checks the reason, and that nothing comes back with an error.
func run(t *testing.T, id string, attacks []attack) {
	t.Helper()
	for _, a := range attacks {
		t.Run(id+"/"+a.name, func(t *testing.T) {
			e := expectation()
			if a.change != nil {
				a.change(&e)
			}
			got, err := Verify(t.Context(), a.token, honest().keySet(), e, testNow)
			wantReason(t, err, a.reason, a.token)
			if (got != nil) != (err == nil) {
				t.Fatalf("token %v beside error %v", got, err)
			}
		})
	}
}

// es256 signs claims with a key of the provider.
func es256(c object) string { return token(header("ES256", "p256").String(), c.String(), p256A()) }

func rawToken(header, payload, signature string) string {
	return b64([]byte(header)) + "." + b64([]byte(payload)) + "." + signature
}

func TestAlgorithmAttacks(t *testing.T) {
	good := claims().String()
	run(t, "ATK-J01", []attack{
		{"none", rawToken(`{"alg":"none"}`, good, ""), "alg", nil},
		{"none, allowed by mistake", rawToken(`{"alg":"none"}`, good, ""), "alg", only("none", "ES256")},
	})
	hs := token(`{"alg":"ES256","kid":"p256"}`, good, p256A())
	run(t, "ATK-J02", []attack{
		{"nOnE", rawToken(`{"alg":"nOnE"}`, good, ""), "alg", nil},
		{"NONE", rawToken(`{"alg":"NONE"}`, good, ""), "alg", nil},
		{"empty", rawToken(`{"alg":""}`, good, ""), "alg", nil},
		{"empty, allowed by mistake", rawToken(`{"alg":""}`, good, ""), "alg", only("")},
		{"absent", rawToken(`{"kid":"p256"}`, good, ""), "alg", nil},
		{"null", rawToken(`{"alg":null}`, good, ""), "alg", nil},
		{"array", rawToken(`{"alg":["ES256"]}`, good, ""), "alg", nil},
		{"lower case", rawToken(`{"alg":"es256","kid":"p256"}`, good, hs[strings.LastIndexByte(hs, '.')+1:]), "alg", nil},
		{"none with a real signature", rawToken(`{"alg":"none","kid":"p256"}`, good, hs[strings.LastIndexByte(hs, '.')+1:]), "alg", nil},
		{"two segments", b64([]byte(`{"alg":"none"}`)) + "." + b64([]byte(good)), "format", nil},
		{"signature stripped", hs[:strings.LastIndexByte(hs, '.')+1], "sig", nil},
		{"no algorithm allowed", hs, "alg", only()},
	})

	public := &rsaA().PublicKey
	der := must(x509.MarshalPKIXPublicKey(public))
	var confused []attack
	for name, secret := range map[string][]byte{
		"PEM":       pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}),
		"DER":       der,
		"PKCS1 DER": x509.MarshalPKCS1PublicKey(public),
		"JWK":       toJSON(jwk(rsaA(), "rsa")),
		"modulus":   public.N.Bytes(),
	} {
		forged := token(`{"alg":"HS256","kid":"rsa"}`, good, secret)
		confused = append(confused,
			attack{name, forged, "alg", only("RS256")},
			attack{name + ", HS256 allowed by mistake", forged, "alg", only("RS256", "HS256")})
	}
	run(t, "ATK-J03", confused)

	rs256 := only("RS256")
	run(t, "ATK-J04", []attack{
		{"PS256", token(`{"alg":"PS256","kid":"rsa"}`, good, rsaA()), "alg", rs256},
		{"RS384", token(`{"alg":"RS384","kid":"rsa"}`, good, rsaA()), "alg", rs256},
		{"ES256", token(`{"alg":"ES256","kid":"p256"}`, good, p256A()), "alg", rs256},
		{"RS256", token(`{"alg":"RS256","kid":"rsa"}`, good, rsaA()), "", rs256},
	})
}

func TestKeyMisuse(t *testing.T) {
	good := claims().String()
	forged := token(`{"alg":"RS256","kid":"k"}`, good, rsaA())
	for name, key := range map[string]object{
		"use enc":                jwk(rsaA(), "k", "use", "enc"),
		"use of another type":    jwk(rsaA(), "k", "use", []string{"sig"}),
		"key_ops encrypt":        jwk(rsaA(), "k", "key_ops", []string{"encrypt"}),
		"key_ops empty":          jwk(rsaA(), "k", "key_ops", []string{}),
		"key_ops a string":       jwk(rsaA(), "k", "key_ops", "verify"),
		"alg of another":         jwk(rsaA(), "k", "alg", "RS512"),
		"alg PS256 of RS256":     jwk(rsaA(), "k", "alg", "PS256"),
		"alg of another type":    jwk(rsaA(), "k", "alg", 256),
		"kty of another":         jwk(p256A(), "k"),
		"kty unknown":            jwk(rsaA(), "k", "kty", "rsa"),
		"kty missing":            jwk(rsaA(), "k", "kty", nil),
		"oct":                    {"kty": "oct", "kid": "k", "k": b64(make([]byte, 32))},
		"another issuer's":       jwk(rsaA(), "k", "issuer", "https://as-b.example"),
		"the private half, too":  jwk(rsaA(), "k", "d", b64(rsaA().D.Bytes())),
		"another kid":            jwk(rsaA(), "K"),
		"kid of another type":    jwk(rsaA(), "", "kid", 1),
		"no kid beside a kid":    jwk(rsaA(), ""),
		"certificate but no key": {"kty": "RSA", "kid": "k", "x5c": []string{"AAAA"}},
	} {
		t.Run("ATK-J05/"+name, func(t *testing.T) {
			p := newProvider(key)
			_, err := Verify(t.Context(), forged, p.keySet(), expectation(), testNow)
			wantReason(t, err, "kid", forged)
		})
	}
	t.Run("ATK-J05/oct is no HMAC key", func(t *testing.T) {
		secret := make([]byte, 64)
		p := newProvider(object{"kty": "oct", "kid": "k", "k": b64(secret), "alg": "HS256"})
		forged := token(`{"alg":"HS256","kid":"k"}`, good, secret)
		_, err := Verify(t.Context(), forged, p.keySet(), expectation(only("HS256", "RS256")), testNow)
		wantReason(t, err, "alg", forged)
	})
	for name, key := range map[string]object{
		"plain":                      jwk(rsaA(), "k"),
		"use, key_ops and alg right": jwk(rsaA(), "k", "use", "sig", "key_ops", []string{"sign", "verify"}, "alg", "RS256"),
		"certificate that is none":   jwk(rsaA(), "k", "x5c", []string{"bm90IGEgY2VydGlmaWNhdGU="}, "x5u", 7, "x5t", false),
		"its issuer":                 jwk(rsaA(), "k", "issuer", testIssuer),
	} {
		t.Run("usable/"+name, func(t *testing.T) {
			// What stands beside it is skipped and does no harm.
			p := newProvider(1, "x", nil, object{}, []int{}, object{"kty": "AKP"}, key, object{"kty": "EC", "crv": "secp256k1"})
			if _, err := Verify(t.Context(), forged, p.keySet(), expectation(), testNow); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestAudienceAttacks(t *testing.T) {
	trusting := func(e *Expectation) { e.TrustedAudiences = []string{"evil"} }
	run(t, "ATK-J06", []attack{
		{"other", es256(claims("aud", "other")), "aud", nil},
		{"missing", es256(claims("aud", nil)), "aud", nil},
		{"empty", es256(claims("aud", []string{})), "aud", nil},
		{"null", es256(claims("aud", null)), "aud", nil},
		{"number", es256(claims("aud", 123)), "aud", nil},
		{"object", es256(claims("aud", object{"me": "me"})), "aud", nil},
		{"other, array", es256(claims("aud", []string{"other"})), "aud", nil},
		{"me among numbers", es256(claims("aud", []any{"me", 1})), "aud", nil},
		{"case", es256(claims("aud", "ME")), "aud", nil},
		{"empty for a client without id", es256(claims("aud", "")), "aud", func(e *Expectation) { e.ClientID = "" }},
	})
	run(t, "ATK-J07", []attack{
		{"two, no azp", es256(claims("aud", []string{"me", "evil"})), "azp", nil},
		{"two, azp me", es256(claims("aud", []string{"me", "evil"}, "azp", "me")), "aud", nil},
		{"two, azp me, trusted", es256(claims("aud", []string{"me", "evil"}, "azp", "me")), "", trusting},
		{"two, trusted, no azp", es256(claims("aud", []string{"me", "evil"})), "azp", trusting},
		{"two, trusted, azp optional", es256(claims("aud", []string{"me", "evil"})), "", func(e *Expectation) { trusting(e); e.AzpOptional = true }},
		{"two, azp optional, not trusted", es256(claims("aud", []string{"me", "evil"})), "aud", func(e *Expectation) { e.AzpOptional = true }},
		{"array of one", es256(claims("aud", []string{"me"})), "", nil},
		{"the same twice", es256(claims("aud", []string{"me", "me"})), "", nil},
	})
	run(t, "ATK-J08", []attack{
		{"azp other", es256(claims("azp", "evil")), "azp", nil},
		{"azp other, trusted audience", es256(claims("aud", []string{"evil", "me"}, "azp", "evil")), "azp", trusting},
		{"azp other, optional", es256(claims("azp", "evil")), "azp", func(e *Expectation) { e.AzpOptional = true }},
		{"azp null", es256(claims("azp", null)), "azp", nil},
		{"azp empty", es256(claims("azp", "")), "azp", nil},
		{"azp array", es256(claims("azp", []string{"me"})), "azp", nil},
		{"azp me", es256(claims("azp", "me")), "", nil},
	})
}

func TestIssuerAttacks(t *testing.T) {
	google := func(e *Expectation) { e.Issuer = "https://accounts.google.com" }
	run(t, "ATK-J09", []attack{
		{"other", es256(claims("iss", "https://evil.example")), "iss", nil},
		{"slash", es256(claims("iss", testIssuer+"/")), "iss", nil},
		{"case", es256(claims("iss", "https://AS-A.example")), "iss", nil},
		{"missing", es256(claims("iss", nil)), "iss", nil},
		{"array", es256(claims("iss", []string{testIssuer})), "iss", nil},
		{"null", es256(claims("iss", null)), "iss", nil},
		{"empty for a client without issuer", es256(claims("iss", "")), "iss", func(e *Expectation) { e.Issuer = "" }},
		{"Google without a scheme", es256(claims("iss", "accounts.google.com")), "iss", google},
		{"Google", es256(claims("iss", "https://accounts.google.com")), "", google},
		{"escaped, equal", token(`{"alg":"ES256","kid":"p256"}`,
			strings.Replace(claims().String(), "https://as-a", `https:\/\/\u0061s-a`, 1), p256A()), "", nil},
	})
	t.Run("ATK-J09/nothing is fetched for it", func(t *testing.T) {
		p := honest()
		foreign := es256(claims("iss", "https://evil.example"))
		_, err := Verify(t.Context(), foreign, p.keySet(), expectation(), testNow)
		wantReason(t, err, "iss", foreign)
		if p.count() != 0 {
			t.Fatalf("%d fetches", p.count())
		}
	})
}

func TestNonceAttacks(t *testing.T) {
	refresh := func(e *Expectation) { e.RequireNonce = false }
	run(t, "ATK-J10", []attack{
		{"missing", es256(claims("nonce", nil)), "nonce", nil},
		{"missing, at a refresh", es256(claims("nonce", nil)), "", refresh},
		{"required and none sent", es256(claims("nonce", "")), "nonce", func(e *Expectation) { e.Nonce = "" }},
	})
	run(t, "ATK-J11", []attack{
		{"of an earlier login", es256(claims("nonce", "earlier")), "nonce", nil},
		{"of an earlier login, at a refresh", es256(claims("nonce", "earlier")), "nonce", refresh},
		{"array", es256(claims("nonce", []string{testNonce})), "nonce", nil},
		{"null", es256(claims("nonce", null)), "nonce", nil},
		{"null, at a refresh", es256(claims("nonce", null)), "nonce", refresh},
		{"with NUL", es256(claims("nonce", testNonce+"\x00")), "nonce", nil},
		{"prefix", es256(claims("nonce", testNonce[:4])), "nonce", nil},
		{"empty", es256(claims("nonce", "")), "nonce", nil},
		{"case", es256(claims("nonce", strings.ToUpper(testNonce))), "nonce", nil},
	})
}

func TestTimeAttacks(t *testing.T) {
	at := func(name string, d time.Duration) string { return es256(claims(name, testNow.Add(d).Unix())) }
	number := func(name, text string) string { return es256(claims(name, json.RawMessage(text))) }
	leeway := 30 * time.Second
	run(t, "ATK-J12", []attack{
		{"just too late", at("exp", -leeway-time.Second), "exp", nil},
		{"at the end of the leeway", at("exp", -leeway), "exp", nil},
		{"within the leeway", at("exp", -leeway+time.Second), "", nil},
		{"no leeway", at("exp", 0), "exp", func(e *Expectation) { e.Leeway = 0 }},
		{"negative leeway is none", at("exp", time.Second), "", func(e *Expectation) { e.Leeway = -time.Hour }},
		{"two minutes at most", at("exp", -2*time.Minute), "exp", func(e *Expectation) { e.Leeway = time.Hour }},
	})
	run(t, "ATK-J13", []attack{
		{"61 s", at("iat", 61*time.Second), "iat", nil},
		{"61 s, more leeway", at("iat", 61*time.Second), "iat", func(e *Expectation) { e.Leeway = 2 * time.Minute }},
		{"10 s", at("iat", 10*time.Second), "", nil},
		{"60 s", at("iat", 60*time.Second), "", nil},
	})
	run(t, "ATK-J14", []attack{
		{"61 s", at("nbf", 61*time.Second), "nbf", nil},
		{"31 s", at("nbf", 31*time.Second), "nbf", nil},
		{"one hour", at("nbf", time.Hour), "nbf", nil},
		{"30 s", at("nbf", 30*time.Second), "", nil},
		{"string", es256(claims("nbf", "1700000000")), "nbf", nil},
	})
	run(t, "ATK-J15", []attack{
		{"one day", at("iat", -24*time.Hour), "iat", nil},
		{"10 min and 1 s", at("iat", -10*time.Minute-time.Second), "iat", nil},
		{"10 min", at("iat", -10*time.Minute), "", nil},
		{"not asked", at("iat", -24*time.Hour), "", func(e *Expectation) { e.MaxIssuedAge = 0 }},
	})
	run(t, "ATK-J16", []attack{
		{"exp missing", es256(claims("exp", nil)), "exp", nil},
		{"iat missing", es256(claims("iat", nil)), "iat", nil},
		{"exp null", es256(claims("exp", null)), "exp", nil},
		{"iat null", es256(claims("iat", null)), "iat", nil},
		{"exp a string", es256(claims("exp", "1700000300")), "exp", nil},
		{"iat a string", es256(claims("iat", "1700000000")), "iat", nil},
		{"exp 1e400", number("exp", "1e400"), "exp", nil},
		{"iat 1e400", number("iat", "1e400"), "iat", nil},
		{"exp -1", number("exp", "-1"), "exp", nil},
		{"iat -1", number("iat", "-1"), "iat", func(e *Expectation) { e.MaxIssuedAge = 0 }},
		{"nbf -1", number("nbf", "-1"), "nbf", nil},
		{"nbf 1e300", number("nbf", "1e300"), "nbf", nil},
		{"nbf 2^63", number("nbf", "9223372036854775808"), "nbf", nil},
		{"exp 2^63", number("exp", "9223372036854775808"), "exp", nil},
		{"iat 2^63", number("iat", "9223372036854775808"), "iat", nil},
		{"exp 2^64", number("exp", "18446744073709551616"), "exp", nil},
		{"exp in milliseconds", number("exp", "1700000300000"), "exp", nil},
		{"exp in 100 years", at("exp", 100*365*24*time.Hour), "exp", nil},
		{"exp an object", es256(claims("exp", object{"t": 1})), "exp", nil},
		{"exp NaN", token(`{"alg":"ES256","kid":"p256"}`, `{"iss":"https://as-a.example","aud":"me","exp":NaN}`, p256A()), "format", nil},
		{"exp with a fraction", number("exp", "1700000000.5"), "", nil},
		{"iat with a fraction", number("iat", "1699999999.5"), "", nil},
		{"exp with an exponent", number("exp", "1.7000003e9"), "", nil},
		{"exp ended a fraction ago", number("exp", "1699999969.9"), "exp", nil},
		{"exp a fraction away", number("exp", "1699999970.1"), "", nil},
	})
}

// TestFractions: our clock and the token's may both lie inside the same second.
func TestFractions(t *testing.T) {
	now := testNow.Add(500 * time.Millisecond)
	for text, reason := range map[string]string{"1699999970.9": "", "1699999970.5": "exp", "1699999970.4": "exp", "1699999970": "exp", "1699999971": ""} {
		raw := es256(claims("exp", json.RawMessage(text)))
		_, err := Verify(t.Context(), raw, honest().keySet(), expectation(), now)
		if got := reasonOf(err); got != reason {
			t.Errorf("ATK-J16: exp %s: %q, want %q", text, got, reason)
		}
	}
}

func TestSubjectAttacks(t *testing.T) {
	run(t, "ATK-J17", []attack{
		{"missing", es256(claims("sub", nil)), "sub", nil},
		{"null", es256(claims("sub", null)), "sub", nil},
		{"number", es256(claims("sub", 1)), "sub", nil},
		{"empty", es256(claims("sub", "")), "sub", nil},
		{"256 characters", es256(claims("sub", strings.Repeat("a", 256))), "sub", nil},
		{"255 characters", es256(claims("sub", strings.Repeat("a", 255))), "", nil},
		{"not ASCII", es256(claims("sub", "alicé")), "sub", nil},
		{"line break", es256(claims("sub", "alice\r\nevil")), "sub", nil},
		{"NUL", es256(claims("sub", "alice\x00")), "sub", nil},
		{"DEL", es256(claims("sub", "alice\x7f")), "sub", nil},
	})
}

func TestClockSkew(t *testing.T) {
	fresh := es256(claims())
	for _, c := range []struct {
		name   string
		clock  time.Duration
		reason string
	}{
		{"20 s behind", -20 * time.Second, ""},
		{"20 s ahead", 20 * time.Second, ""},
		{"2 min behind", -2 * time.Minute, "iat"},
		{"1 h behind", -time.Hour, "iat"},
		{"the life of the token ahead", 5*time.Minute + 31*time.Second, "exp"},
	} {
		t.Run("ATK-J37/"+c.name, func(t *testing.T) {
			_, err := Verify(t.Context(), fresh, honest().keySet(), expectation(), testNow.Add(c.clock))
			wantReason(t, err, c.reason, fresh)
		})
	}
}

func TestHashAttacks(t *testing.T) {
	const accessToken, code = "ya29.access", "SplxlOBeZQQYbYS6WxSbIA"
	given := func(e *Expectation) { e.AccessToken, e.Code = accessToken, code }
	for alg, signer := range map[string]struct {
		kid string
		key any
	}{
		"RS256": {"rsa", rsaA()}, "RS384": {"rsa", rsaA()}, "RS512": {"rsa", rsaA()}, "PS256": {"rsa", rsaA()}, "PS384": {"rsa", rsaA()},
		"PS512": {"rsa", rsaA()}, "ES256": {"p256", p256A()}, "ES384": {"p384", p384A()}, "EdDSA": {"ed", edA()},
	} {
		sign := func(pairs ...any) string {
			return token(header(alg, signer.kid).String(), claims(pairs...).String(), signer.key)
		}
		size := map[string]int{"256": 16, "384": 24, "512": 32, "EdDSA": 32}[strings.TrimLeft(alg, "RSP")]
		if alg == "ES256" || alg == "ES384" {
			size = map[string]int{"ES256": 16, "ES384": 24}[alg]
		}
		right := func(value string) string { return testHalfHash(size, value) }
		run(t, "ATK-J31/"+alg, []attack{
			{"right", sign("at_hash", right(accessToken)), "", given},
			{"absent", sign(), "", given},
			{"of another token", sign("at_hash", right("evil")), "at_hash", given},
			{"shortened", sign("at_hash", right(accessToken)[:10]), "at_hash", given},
			{"padded", sign("at_hash", right(accessToken)+"=="), "at_hash", given},
			{"empty", sign("at_hash", ""), "at_hash", given},
			{"number", sign("at_hash", 1), "at_hash", given},
		})
		run(t, "ATK-J32/"+alg, []attack{
			{"right", sign("c_hash", right(code)), "", given},
			{"of another code", sign("c_hash", right("evil")), "c_hash", given},
			{"null", sign("c_hash", null), "c_hash", given},
			{"no code at a refresh", sign("c_hash", right(code)), "", func(e *Expectation) { e.AccessToken = accessToken }},
		})
	}
	t.Run("the vector of OpenID Connect Core A.3", func(t *testing.T) {
		if got := algorithms["RS256"].halfHash("jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Y"); got != "77QmUPtjPfzWtF2AnpK9RQ" {
			t.Fatal(got)
		}
	})
}

func TestAuthenticationAttacks(t *testing.T) {
	ago := func(d time.Duration) string { return es256(claims("auth_time", testNow.Add(-d).Unix())) }
	maxAge := func(d time.Duration) func(*Expectation) {
		return func(e *Expectation) { e.MaxAge, e.MaxAgeAsked = d, true }
	}
	acr := func(e *Expectation) { e.ACRValues = []string{"gold", "platinum"} }
	run(t, "ATK-J33", []attack{
		{"acr asked, absent", es256(claims()), "acr", acr},
		{"acr asked, weaker", es256(claims("acr", "silver")), "acr", acr},
		{"acr asked, array", es256(claims("acr", []string{"gold"})), "acr", acr},
		{"acr asked, case", es256(claims("acr", "GOLD")), "acr", acr},
		{"acr asked, one of them", es256(claims("acr", "platinum")), "", acr},
		{"acr not asked", es256(claims("acr", "silver")), "", nil},
		{"acr not asked, no string", es256(claims("acr", 0)), "acr", nil},
		{"auth_time absent", es256(claims()), "auth_time", maxAge(time.Hour)},
		{"auth_time too old", ago(time.Hour + 31*time.Second), "auth_time", maxAge(time.Hour)},
		{"auth_time old enough to pass", ago(time.Hour + 30*time.Second), "", maxAge(time.Hour)},
		{"max_age 0, just now", ago(0), "", maxAge(0)},
		{"max_age 0, a minute ago", ago(time.Minute), "auth_time", maxAge(0)},
		{"max_age negative", ago(time.Minute), "auth_time", maxAge(-time.Hour)},
		{"auth_time in the future", ago(-61 * time.Second), "auth_time", maxAge(time.Hour)},
		{"auth_time in the future, not asked", ago(-61 * time.Second), "auth_time", nil},
		{"auth_time a string", es256(claims("auth_time", "1700000000")), "auth_time", maxAge(time.Hour)},
		{"auth_time a string, not asked", es256(claims("auth_time", "1700000000")), "auth_time", nil},
		{"auth_time old, not asked", ago(1000 * time.Hour), "", nil},
		{"auth_time 1970", es256(claims("auth_time", 0)), "auth_time", maxAge(time.Hour)},
	})
}

func TestForeignSignature(t *testing.T) {
	run(t, "ATK-J38", []attack{
		{"B's key under A's kid", token(`{"alg":"ES256","kid":"p256"}`, claims().String(), p256B()), "sig", nil},
		{"B's key under A's kid, RSA", token(`{"alg":"RS256","kid":"rsa"}`, claims().String(), rsaB()), "sig", nil},
		{"B's key under A's kid, Ed25519", token(`{"alg":"EdDSA","kid":"ed"}`, claims().String(), edB()), "sig", nil},
		{"B's key under B's kid", token(`{"alg":"ES256","kid":"b"}`, claims().String(), p256B()), "kid", nil},
	})
	entra := func(tenant string) func(*Expectation) {
		return func(e *Expectation) { e.Issuer = "https://login.example/" + tenant + "/v2.0" }
	}
	for _, c := range []struct {
		name, issuer, tenant string
		reason               string
	}{
		{"the tenant's own", "https://login.example/t1/v2.0", "t1", ""},
		{"any tenant's", "https://login.example/{tenantid}/v2.0", "t1", ""},
		{"another tenant's", "https://login.example/t2/v2.0", "t1", "kid"},
		{"template, tid of another", "https://login.example/{tenantid}/v2.0", "t2", "kid"},
		{"template, no tid", "https://login.example/{tenantid}/v2.0", "", "kid"},
	} {
		t.Run("ATK-J38/per-key issuer/"+c.name, func(t *testing.T) {
			e := expectation(entra("t1"))
			p := newProvider(jwk(p256A(), "p256", "issuer", c.issuer))
			raw := es256(claims("iss", e.Issuer, "tid", c.tenant))
			_, err := Verify(t.Context(), raw, p.keySet(), e, testNow)
			wantReason(t, err, c.reason, raw)
		})
	}
}
