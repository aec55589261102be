package idtoken

import (
	"bytes"
	"compress/flate"
	"context"
	"strings"
	"testing"
	"time"
)

// signedAs signs a header and a payload that need not be JSON with the provider's EC key.
func signedAs(header, payload string) string {
	signed := b64([]byte(header)) + "." + b64([]byte(payload))
	return signed + "." + b64(signature("ES256", []byte(signed), p256A()))
}

const plainHeader = `{"alg":"ES256","kid":"p256"}`

func TestEncryptedAttacks(t *testing.T) {
	jwe := func(header string) string { return b64([]byte(header)) + ".AAAA.AAAA.AAAA.AAAA" }
	var bomb bytes.Buffer
	w := must(flate.NewWriter(&bomb, 9))
	must(w.Write(make([]byte, 10<<20)))
	_ = w.Close()
	run(t, "ATK-J18", []attack{
		{"RSA1_5", jwe(`{"alg":"RSA1_5","enc":"A128CBC-HS256","kid":"rsa"}`), "encrypted", nil},
		{"dir", jwe(`{"alg":"dir","enc":"A256GCM"}`), "encrypted", nil},
		{"PBES2 with 2^31 rounds", jwe(`{"alg":"PBES2-HS256+A128KW","p2c":2147483648,"p2s":"AAAA","enc":"A128GCM"}`), "encrypted", nil},
		{"zip bomb", b64([]byte(`{"alg":"dir","enc":"A128GCM","zip":"DEF"}`)) + "..AAAA." + b64(bomb.Bytes()) + ".AAAA", "encrypted", nil},
		{"five empty segments", "....", "encrypted", nil},
		{"enc in three segments", signedAs(`{"alg":"ES256","kid":"p256","enc":"A128GCM"}`, claims().String()), "encrypted", nil},
		{"zip in three segments", signedAs(`{"alg":"ES256","kid":"p256","zip":"DEF"}`, bomb.String()), "encrypted", nil},
		{"JWE algorithm in three segments", signedAs(`{"alg":"RSA1_5","kid":"p256"}`, claims().String()), "alg", nil},
	})
}

func TestHeaderAttacks(t *testing.T) {
	with := func(member string) string {
		return signedAs(`{"alg":"ES256","kid":"p256",`+member+`}`, claims().String())
	}
	run(t, "ATK-J19", []attack{
		{"unknown", with(`"crit":["x"],"x":1`), "crit", nil},
		{"empty", with(`"crit":[]`), "crit", nil},
		{"exp", with(`"crit":["exp"],"exp":1`), "crit", nil},
		{"b64, which go-jose knows", with(`"crit":["b64"],"b64":true`), "crit", nil},
		{"null", with(`"crit":null`), "crit", nil},
		{"other case is not it", with(`"Crit":["x"]`), "", nil},
		{"b64 without crit is unknown and ignored", with(`"b64":false`), "", nil},
	})
	logout := func(e *Expectation) { e.Typ = "logout+jwt" }
	run(t, "typ", []attack{
		{"JWT", with(`"typ":"JWT"`), "", nil},
		{"jwt", with(`"typ":"jwt"`), "", nil},
		{"access token", with(`"typ":"at+jwt"`), "typ", nil},
		{"logout token", with(`"typ":"logout+jwt"`), "typ", nil},
		{"proof", with(`"typ":"dpop+jwt"`), "typ", nil},
		{"empty", with(`"typ":""`), "typ", nil},
		{"number", with(`"typ":1`), "typ", nil},
		{"null", with(`"typ":null`), "typ", nil},
		{"another asked for", with(`"typ":"JWT"`), "typ", logout},
		{"another asked for, absent", signedAs(plainHeader, claims().String()), "typ", logout},
		{"asked for", with(`"typ":"Logout+JWT"`), "", logout},
	})
	mine := jwk(p256B(), "evil").String()
	injected := func(member string) string {
		header := `{"alg":"ES256",` + member + `}`
		return token(header, claims().String(), p256B())
	}
	run(t, "ATK-J23", []attack{
		{"jku, unknown kid", injected(`"kid":"evil","jku":"https://evil.example/jwks"`), "kid", nil},
		{"jku, real kid", injected(`"kid":"p256","jku":"https://evil.example/jwks"`), "sig", nil},
		{"jku, no kid", injected(`"jku":"https://evil.example/jwks"`), "sig", nil},
		{"x5u", injected(`"kid":"p256","x5u":"https://evil.example/cert"`), "sig", nil},
		{"jwk", injected(`"kid":"p256","jwk":` + mine), "sig", nil},
		{"jwk, unknown kid", injected(`"kid":"evil","jwk":` + mine), "kid", nil},
		{"jwk with its private half", injected(`"kid":"p256","jwk":{"kty":"EC","d":"AAAA"}`), "sig", nil},
		{"x5c", injected(`"kid":"p256","x5c":["bm8="]`), "sig", nil},
		{"all of them beside a good signature are ignored", with(`"jku":"https://evil.example/","x5u":1,"jwk":{"kty":"oct"},"x5c":["bm8="]`), "", nil},
	})
	run(t, "ATK-J27", []attack{
		{"path", signedAs(`{"alg":"ES256","kid":"../../dev/null"}`, claims().String()), "kid", nil},
		{"SQL", signedAs(`{"alg":"ES256","kid":"' OR 1=1"}`, claims().String()), "kid", nil},
		{"CR LF", signedAs(`{"alg":"ES256","kid":"p256\r\nX: evil"}`, claims().String()), "kid", nil},
		{"NUL", signedAs(`{"alg":"ES256","kid":"p256\u0000"}`, claims().String()), "kid", nil},
		{"513 bytes", signedAs(`{"alg":"ES256","kid":"`+strings.Repeat("k", 513)+`"}`, claims().String()), "kid", nil},
		{"10 kB, and with it the header too long", signedAs(`{"alg":"ES256","kid":"`+strings.Repeat("k", 10<<10)+`"}`, claims().String()), "size", nil},
		{"number", signedAs(`{"alg":"ES256","kid":1}`, claims().String()), "kid", nil},
		{"null", signedAs(`{"alg":"ES256","kid":null}`, claims().String()), "kid", nil},
		{"case", signedAs(`{"alg":"ES256","kid":"P256"}`, claims().String()), "kid", nil},
	})
}

// TestLongKeyID: ATK-J27. It is refused before anybody is asked for it.
func TestLongKeyID(t *testing.T) {
	p := honest()
	for n, fetches := range map[int]int{512: 2, 513: 0} {
		p.set(func() { p.fetches = 0 })
		raw := signedAs(`{"alg":"ES256","kid":"`+strings.Repeat("k", n)+`"}`, claims().String())
		_, err := Verify(t.Context(), raw, p.keySet(), expectation(), testNow)
		wantReason(t, err, "kid", raw)
		if p.count() != fetches {
			t.Fatalf("%d bytes: %d fetches", n, p.count())
		}
	}
}

func TestSizeAttacks(t *testing.T) {
	filled := func(total int) string {
		base := len(signedAs(plainHeader, claims("x", "").String()))
		for n := (total - base) * 3 / 4; ; n-- {
			if s := signedAs(plainHeader, claims("x", strings.Repeat("x", n)).String()); len(s) <= total {
				return s
			}
		}
	}
	run(t, "ATK-J21", []attack{
		{"1 MB payload", signedAs(plainHeader, claims("x", strings.Repeat("x", 1<<20)).String()), "size", nil},
		{"64 kB header", signedAs(`{"alg":"ES256","kid":"p256","x":"`+strings.Repeat("x", 64<<10)+`"}`, claims().String()), "size", nil},
		{"header just too long, not even base64", strings.Repeat("=", maxHeader+1) + ".e30.e30", "size", nil},
		{"header as long as may be, not base64", strings.Repeat("=", maxHeader) + ".e30.e30", "format", nil},
		{"one byte too long", filled(maxToken) + strings.Repeat("x", maxToken+1-len(filled(maxToken))), "size", nil},
		{"as long as may be", filled(maxToken), "", nil},
		{"1 MB of dots", strings.Repeat(".", 1<<20), "size", nil},
	})
	run(t, "missing", []attack{{"no token", "", "missing", nil}})
}

func TestJSONAttacks(t *testing.T) {
	payload := claims().String()
	cut := func(extra string) string { return payload[:len(payload)-1] + "," + extra + "}" }
	deep := strings.Repeat("[", 10_000) + strings.Repeat("]", 10_000)
	run(t, "ATK-J22", []attack{
		{"depth 10000", signedAs(plainHeader, cut(`"x":`+deep)), "format", nil},
		{"depth 10000 in the header", signedAs(`{"alg":"ES256","x":`+deep[7000:13000]+`}`, payload), "format", nil},
		{"duplicate sub", signedAs(plainHeader, cut(`"sub":"evil"`)), "format", nil},
		{"duplicate aud", signedAs(plainHeader, cut(`"aud":"me"`)), "format", nil},
		{"duplicate iss, escaped", signedAs(plainHeader, cut(`"\u0069ss":"https://evil.example"`)), "format", nil},
		{"duplicate alg", signedAs(`{"alg":"ES256","alg":"none","kid":"p256"}`, payload), "format", nil},
		{"ISS beside iss", signedAs(plainHeader, cut(`"ISS":"https://evil.example"`)), "", nil},
		{"Aud, Exp, Nonce, SUB beside theirs", signedAs(plainHeader, cut(`"Aud":"evil","EXP":1,"Nonce":1,"SUB":"evil"`)), "", nil},
		{"ISS for iss", es256(claims("iss", nil, "ISS", testIssuer)), "iss", nil},
		{"Aud for aud", es256(claims("aud", nil, "Aud", testClient)), "aud", nil},
		{"EXP for exp", es256(claims("exp", nil, "EXP", testNow.Add(time.Minute).Unix())), "exp", nil},
		{"Nonce for nonce", es256(claims("nonce", nil, "Nonce", testNonce)), "nonce", nil},
		{"Alg for alg", signedAs(`{"Alg":"ES256","kid":"p256"}`, payload), "alg", nil},
		{"trailing bytes", signedAs(plainHeader, payload+"x"), "format", nil},
		{"a second object", signedAs(plainHeader, payload+"{}"), "format", nil},
		{"trailing bytes in the header", signedAs(plainHeader+"{}", payload), "format", nil},
		{"BOM", signedAs(plainHeader, "\ufeff"+payload), "format", nil},
		{"BOM in the header", signedAs("\ufeff"+plainHeader, payload), "format", nil},
		{"invalid UTF-8", signedAs(plainHeader, cut("\"x\":\"\xff\"")), "format", nil},
		{"array", signedAs(plainHeader, "["+payload+"]"), "format", nil},
		{"null", signedAs(plainHeader, "null"), "format", nil},
		{"header null", signedAs("null", payload), "format", nil},
		{"empty", signedAs(plainHeader, ""), "format", nil},
		{"empty header", signedAs("", payload), "format", nil},
		{"white space around", signedAs(plainHeader, " "+payload+"\n"), "", nil},
		{"claims of sources that are not there", signedAs(plainHeader, cut(`"_claim_names":{"address":"src1"}`)), "", nil},
	})
	many := claims()
	for i := range 100 {
		many = many.with(strings.Repeat("x", i+1), []any{i, nil, object{"y": i}})
	}
	run(t, "unknown claims", []attack{{"a hundred", es256(many), "", nil}})
}

func TestBase64Attacks(t *testing.T) {
	// Trailing bits exist where a segment's length is no multiple of 4; an RSA signature's never is.
	good := token(`{"alg":"RS256","kid":"rsa"}`, claims("x", "").String(), rsaA())
	for len(strings.Split(good, ".")[1])%4 == 0 {
		good = token(`{"alg":"RS256","kid":"rsa"}`, claims("x", "xx").String(), rsaA())
	}
	parts := strings.Split(good, ".")
	replace := func(i int, s string) string {
		c := append([]string{}, parts...)
		c[i] = s
		return strings.Join(c, ".")
	}
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	loose := func(s string) string { // the same bytes to a lenient decoder
		i := strings.IndexByte(alphabet, s[len(s)-1])
		return s[:len(s)-1] + alphabet[i+1:i+2]
	}
	for name, i := range map[string]int{"header": 0, "payload": 1, "signature": 2} {
		run(t, "ATK-J36/"+name, []attack{
			{"padding", replace(i, parts[i]+"="), "format", nil},
			{"right padding", replace(i, parts[i]+strings.Repeat("=", 3-(len(parts[i])+3)%4)+"="), "format", nil},
			{"plus", replace(i, "+"+parts[i][1:]), "format", nil},
			{"slash", replace(i, parts[i][:4]+"/"+parts[i][5:]), "format", nil},
			{"LF inside", replace(i, parts[i][:8]+"\n"+parts[i][8:]), "format", nil},
			{"CR LF at the end", replace(i, parts[i]+"\r\n"), "format", nil},
			{"blank inside", replace(i, parts[i][:8]+" "+parts[i][8:]), "format", nil},
			{"blank before", replace(i, " "+parts[i]), "format", nil},
			{"tab at the end", replace(i, parts[i]+"\t"), "format", nil},
			{"NUL", replace(i, parts[i]+"\x00"), "format", nil},
		})
		if len(parts[i])%4 != 0 {
			run(t, "ATK-J36/"+name, []attack{{"trailing bits", replace(i, loose(parts[i])), "format", nil}})
		}
	}
	run(t, "ATK-J36", []attack{
		{"untouched", good, "", nil},
		{"fourth segment", good + ".AAAA", "format", nil},
		{"fourth segment, empty", good + ".", "format", nil},
		{"one segment", parts[0], "format", nil},
		{"six segments", good + ".a.b.c", "format", nil},
		{"JSON serialization", `{"protected":"` + parts[0] + `","payload":"` + parts[1] + `","signature":"` + parts[2] + `"}`, "format", nil},
	})
}

// TestOrder breaks a token in more and more ways, the last check first: each time the reason is that of the earliest check.
func TestOrder(t *testing.T) {
	e := expectation(func(e *Expectation) {
		e.ACRValues, e.MaxAgeAsked, e.AccessToken, e.Code = []string{"gold"}, true, "at", "code"
	})
	h := object{"alg": "ES256", "kid": "p256"}
	c := claims("acr", "gold", "auth_time", testNow.Unix(), "at_hash", testHalfHash(16, "at"), "c_hash", testHalfHash(16, "code"))
	key, suffix, prefix := any(p256A()), "", ""
	p := honest()
	check := func(reason string) {
		t.Helper()
		raw := prefix + token(h.String(), c.String(), key) + suffix
		_, err := Verify(context.Background(), raw, p.keySet(), e, testNow)
		wantReason(t, err, reason, raw)
	}
	check("")
	for _, step := range []struct {
		reason, claim string
		value         any
	}{
		{"c_hash", "c_hash", "x"}, {"at_hash", "at_hash", "x"}, {"auth_time", "auth_time", 1}, {"acr", "acr", "x"},
		{"nonce", "nonce", "x"}, {"sub", "sub", ""}, {"nbf", "nbf", "x"}, {"iat", "iat", "x"}, {"exp", "exp", 1},
	} {
		c = c.with(step.claim, step.value)
		check(step.reason)
	}
	key = p256B()
	check("sig")
	h = h.with("kid", "gone")
	check("kid")
	p.document = "<html>"
	check("jwks")
	c = c.with("azp", "evil")
	check("azp")
	c = c.with("aud", "evil")
	check("aud")
	c = c.with("iss", "evil")
	check("iss")
	suffix = "="
	check("format")
	h = h.with("kid", 1)
	check("kid")
	e.Algorithms = []string{"RS256"}
	check("alg")
	h = h.with("typ", "at+jwt")
	check("typ")
	h = h.with("crit", []string{})
	check("crit")
	h = h.with("zip", "DEF")
	check("encrypted")
	prefix = "="
	check("format")
	suffix = ".a.b"
	check("encrypted")
	suffix = strings.Repeat(".", maxToken)
	check("size")
	if p.count() != 14 { // one each down to sig, two for kid, one for jwks, none for what comes before
		t.Fatalf("%d fetches", p.count())
	}
}
