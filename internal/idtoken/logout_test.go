package idtoken

import (
	"strings"
	"testing"
	"time"
)

func logoutClaims(pairs ...any) object {
	return object{
		"iss": testIssuer, "aud": testClient, "iat": testNow.Unix(), "exp": testNow.Add(2 * time.Minute).Unix(), "jti": "id-1",
		"sub": "alice", "sid": "s1", "events": object{logoutEvent: object{}},
	}.with(pairs...)
}

// verifyLogout is both halves.
func verifyLogout(t *testing.T, raw string, p *provider, e Expectation) (*Logout, error) {
	t.Helper()
	l, err := ScreenLogout(raw, e, testNow)
	if err != nil {
		if p.count() != 0 {
			t.Errorf("%d fetches before the screening was over", p.count())
		}
		return nil, err
	}
	return l, l.Authenticate(t.Context(), p.keySet(), e, testNow)
}

func logoutExpectation() Expectation {
	return expectation(func(e *Expectation) { e.MaxIssuedAge = 150 * time.Second })
}

func TestLogoutToken(t *testing.T) {
	raw := token(`{"alg":"ES256","kid":"p256","typ":"logout+jwt"}`, logoutClaims().String(), p256A())
	l, err := verifyLogout(t, raw, honest(), logoutExpectation())
	if err != nil {
		t.Fatal(err)
	}
	if l.Subject != "alice" || l.SID != "s1" || l.ID != "id-1" || !l.IssuedAt.Equal(testNow) || !l.Expiry.Equal(testNow.Add(2*time.Minute)) {
		t.Errorf("%+v", l)
	}
	for _, only := range []string{"sub", "sid"} {
		c := logoutClaims()
		delete(c, only)
		if _, err := verifyLogout(t, es256(c), honest(), logoutExpectation()); err != nil {
			t.Errorf("without %s: %v", only, err)
		}
	}
	if iss, err := UnverifiedIssuer(raw); err != nil || iss != testIssuer {
		t.Errorf("%q, %v", iss, err)
	}
	for raw, reason := range map[string]string{
		"": "missing", "a.b": "format", "e30.e30.": "iss", "e30.e30": "format", "..": "format", "e30.=.": "format", "a.b.c.d.e": "encrypted", strings.Repeat("A", maxToken+1): "size",
		signedAs(plainHeader, `{"iss":7}`): "iss", signedAs(plainHeader, `{"iss":"a","iss":"b"}`): "format",
	} {
		_, err := UnverifiedIssuer(raw)
		wantReason(t, err, reason, raw)
	}
}

// TestLogoutTokenOrder breaks a token in more and more ways, the last check first: what needs a key comes after all that needs none.
func TestLogoutTokenOrder(t *testing.T) {
	h, c, key, e := object{"alg": "ES256", "kid": "p256", "typ": "logout+jwt"}, logoutClaims(), any(p256A()), logoutExpectation()
	check := func(reason string) {
		t.Helper()
		raw := token(h.String(), c.String(), key)
		p := honest()
		_, err := verifyLogout(t, raw, p, e)
		wantReason(t, err, reason, raw)
		if fetched := reason == "" || reason == "sig" || reason == "kid"; fetched != (p.count() > 0) {
			t.Errorf("%q: %d fetches", reason, p.count())
		}
	}
	check("")
	key = p256B()
	check("sig")
	h = h.with("kid", "gone")
	check("kid")
	for _, step := range []struct {
		reason, claim string
		value         any
	}{
		{"sid", "sid", 1}, {"sub", "sub", ""}, {"jti", "jti", strings.Repeat("j", maxTokenID+1)}, {"nbf", "nbf", "x"}, {"iat", "iat", testNow.Add(-151 * time.Second).Unix()},
		{"exp", "exp", 1}, {"nonce", "nonce", nil}, {"events", "events", object{logoutEvent: 1}}, {"events", "events", logoutEvent}, {"aud", "aud", "evil"}, {"iss", "iss", "evil"},
	} {
		if c = c.with(step.claim, step.value); step.claim == "nonce" {
			c[step.claim] = nil // JSON's null is there, too
		}
		check(step.reason)
	}
	e.Algorithms = []string{"RS256"}
	check("alg")
	h = h.with("typ", "at+jwt")
	check("typ")
}

// The algorithms that the metadata leaves count as much as those that were configured.
func TestLogoutTokenNarrowed(t *testing.T) {
	e := logoutExpectation()
	l, err := ScreenLogout(es256(logoutClaims()), e, testNow)
	if err != nil {
		t.Fatal(err)
	}
	p := honest()
	e.Algorithms = []string{"RS256"}
	wantReason(t, l.Authenticate(t.Context(), p.keySet(), e, testNow), "alg", "")
	if p.count() != 0 {
		t.Error("a key was asked for")
	}
}
