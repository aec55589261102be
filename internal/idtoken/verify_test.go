package idtoken

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/strictjson"
)

func TestToken(t *testing.T) {
	c := claims("aud", []string{"me", "api"}, "azp", "me", "acr", "gold", "sid", "s1",
		"auth_time", testNow.Add(-time.Minute).Unix(), "email", "a@example.org")
	raw := es256(c)
	e := expectation(func(e *Expectation) { e.TrustedAudiences = []string{"api"} })
	got, err := Verify(t.Context(), raw, honest().keySet(), e, testNow)
	if err != nil {
		t.Fatal(err)
	}
	restored, err := Unverified(raw)
	if err != nil {
		t.Fatal(err)
	}
	for name, tok := range map[string]*Token{"verified": got, "restored": restored} {
		t.Run(name, func(t *testing.T) {
			if tok.Issuer != testIssuer || tok.Subject != "alice" || !slices.Equal(tok.Audience, []string{"me", "api"}) ||
				tok.AuthorizedParty != "me" || tok.Nonce != testNonce || tok.ACR != "gold" || tok.SID != "s1" ||
				!tok.Expiry.Equal(testNow.Add(5*time.Minute)) || !tok.IssuedAt.Equal(testNow) ||
				!tok.AuthTime.Equal(testNow.Add(-time.Minute)) || string(tok.Payload) != c.String() {
				t.Fatalf("%+v", tok)
			}
		})
	}
	bare, err := Verify(t.Context(), es256(claims()), honest().keySet(), e, testNow)
	if err != nil || !bare.AuthTime.IsZero() || bare.SID != "" || bare.ACR != "" || bare.AuthorizedParty != "" {
		t.Fatal(bare, err)
	}
	run(t, "sid", []attack{{"of another type", es256(claims("sid", 1)), "format", nil}})
}

func TestZeroExpectation(t *testing.T) {
	raw := es256(claims())
	_, err := Verify(t.Context(), raw, honest().keySet(), Expectation{}, testNow)
	wantReason(t, err, "alg", raw)
	_, err = Verify(t.Context(), raw, honest().keySet(), Expectation{Algorithms: []string{"ES256"}}, testNow)
	wantReason(t, err, "iss", raw)
	_, err = Verify(t.Context(), raw, honest().keySet(), Expectation{Algorithms: []string{"ES256"}, Issuer: testIssuer}, testNow)
	wantReason(t, err, "aud", raw)
}

func TestVerifySigned(t *testing.T) {
	userinfo := object{"iss": testIssuer, "aud": testClient, "sub": "alice", "email": "a@example.org"}
	trusting := func(e *Expectation) { e.TrustedAudiences = []string{"api"} }
	at := func(d time.Duration) int64 { return testNow.Add(d).Unix() }
	for _, c := range []struct {
		name, token, reason string
		change              func(*Expectation)
	}{
		{"bare", es256(userinfo), "", nil},
		{"no sub", es256(userinfo.with("sub", nil)), "", nil},
		{"with times", es256(userinfo.with("exp", at(time.Minute), "iat", at(0), "nbf", at(0))), "", nil},
		{"iss missing", es256(userinfo.with("iss", nil)), "iss", nil},
		{"iss of another", es256(userinfo.with("iss", "https://evil.example")), "iss", nil},
		{"aud missing", es256(userinfo.with("aud", nil)), "aud", nil},
		{"aud of another", es256(userinfo.with("aud", "evil")), "aud", nil},
		{"aud of two", es256(userinfo.with("aud", []string{"me", "evil"})), "aud", nil},
		{"aud of two, trusted", es256(userinfo.with("aud", []string{"me", "api"})), "", trusting},
		{"expired", es256(userinfo.with("exp", at(-time.Minute))), "exp", nil},
		{"exp malformed", es256(userinfo.with("exp", "x")), "exp", nil},
		{"exp absurd", es256(userinfo.with("exp", 99999999999)), "exp", nil},
		{"iat in the future", es256(userinfo.with("iat", at(2*time.Minute))), "iat", nil},
		{"not yet valid", es256(userinfo.with("nbf", at(time.Hour))), "nbf", nil},
		{"none", rawToken(`{"alg":"none"}`, userinfo.String(), ""), "alg", nil},
		{"alg not allowed", es256(userinfo), "alg", only("RS256")},
		{"unknown key", token(header("ES256", "x").String(), userinfo.String(), p256B()), "kid", nil},
		{"forged", token(header("ES256", "p256").String(), userinfo.String(), p256B()), "sig", nil},
		{"encrypted", "e30.e30.e30.e30.e30", "encrypted", nil},
		{"too long", strings.Repeat("x", maxToken+1), "size", nil},
		{"duplicate sub", signedAs(plainHeader, `{"sub":"a","sub":"evil"}`), "format", nil},
		{"missing", "", "missing", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := expectation()
			if c.change != nil {
				c.change(&e)
			}
			payload, err := VerifySigned(t.Context(), c.token, honest().keySet(), e, testNow)
			wantReason(t, err, c.reason, c.token)
			if (payload != nil) != (err == nil) {
				t.Fatalf("payload %s beside error %v", payload, err)
			}
		})
	}
	payload, err := VerifySigned(t.Context(), es256(userinfo), honest().keySet(), expectation(), testNow)
	if err != nil || string(payload) != userinfo.String() {
		t.Fatal(string(payload), err)
	}
}

func TestUnverified(t *testing.T) {
	for _, c := range []struct{ name, token, reason string }{
		{"no token", "", "missing"},
		{"too long", strings.Repeat("x", maxToken+1), "size"},
		{"encrypted", "....", "encrypted"},
		{"two segments", "e30.e30", "format"},
		{"payload not base64url", "e30.e30=.", "format"},
		{"payload not JSON", "e30." + b64([]byte("{")) + ".", "format"},
		{"aud missing", es256(claims("aud", nil)), "aud"},
		{"exp malformed", es256(claims("exp", "x")), "exp"},
		{"sub a number", es256(claims("sub", 1)), "sub"},
		{"expired and forged is not its business", token(plainHeader, claims("exp", 1).String(), p256B()), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := Unverified(c.token)
			wantReason(t, err, c.reason, c.token)
			if (got != nil) != (err == nil) {
				t.Fatal(got, err)
			}
		})
	}
}

func TestError(t *testing.T) {
	cause := errors.New("https://evil.example")
	err := failCause("jwks", "the key set is unavailable", cause)
	if !errors.Is(err, cause) || err.Error() != "idtoken: jwks: the key set is unavailable" {
		t.Fatal(err)
	}
	if text := fmt.Sprintf("%v %+v %#v", err, err, err); strings.Contains(text, "evil") {
		t.Fatal(text)
	}
	if err := (&Error{Reason: "sig", Err: cause}); err.Error() != "idtoken: sig" {
		t.Fatal(err)
	}
	if err.(*Error).Err.Error() != "the key set is unavailable" {
		t.Fatal(err)
	}
	_, err = Unverified(signedAs(plainHeader, `{"a":1,"a":2}`))
	if !errors.Is(err, strictjson.ErrDuplicate) {
		t.Fatal(err)
	}
}
