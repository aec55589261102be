package idtoken

import (
	"testing"
	"time"
)

func TestContinues(t *testing.T) {
	later := testNow.Add(time.Hour)
	original := claims("azp", "me", "auth_time", testNow.Add(-time.Minute).Unix())
	refreshed := original.with("iat", later.Unix(), "exp", later.Add(5*time.Minute).Unix())
	refresh := func(e *Expectation) { e.RequireNonce = false }
	for _, c := range []struct {
		name     string
		original object
		token    string
		verify   string // the reason of Verify
		reason   string // the reason of Continues
	}{
		{"the same login", original, es256(refreshed), "", ""},
		{"without a nonce", original, es256(refreshed.with("nonce", nil)), "", ""},
		{"without auth_time", original, es256(refreshed.with("auth_time", nil)), "", ""},
		{"auth_time for the first time", original.with("auth_time", nil), es256(refreshed), "", ""},
		{"in the same second", original, es256(refreshed.with("iat", testNow.Unix())), "", ""},
		{"(a) other sub", original, es256(refreshed.with("sub", "bob")), "", "sub"},
		{"(a) sub in another case", original, es256(refreshed.with("sub", "Alice")), "", "sub"},
		{"(b) other iss", original, es256(refreshed.with("iss", "https://evil.example")), "iss", ""},
		{"(b) issuer of the client has changed", original.with("iss", "https://old.example"), es256(refreshed), "", "iss"},
		{"(c) other aud", original, es256(refreshed.with("aud", "evil")), "aud", ""},
		{"(d) nonce of another login", original, es256(refreshed.with("nonce", "evil")), "nonce", ""},
		{"(d) nonce of another login, none known", original.with("nonce", "first"), es256(refreshed), "", "nonce"},
		{"(e) auth_time changed", original, es256(refreshed.with("auth_time", testNow.Unix())), "", "auth_time"},
		{"(f) alg none", original, rawToken(`{"alg":"none"}`, refreshed.String(), ""), "alg", ""},
		{"(g) iat older", original, es256(refreshed.with("iat", testNow.Unix()-1)), "", "iat"},
		{"azp dropped", original, es256(refreshed.with("azp", nil)), "", "azp"},
		{"azp added", original.with("azp", nil), es256(refreshed), "", "azp"},
	} {
		t.Run("ATK-F09/"+c.name, func(t *testing.T) {
			previous, err := Unverified(es256(c.original))
			if err != nil {
				t.Fatal(err)
			}
			e := expectation(refresh, func(e *Expectation) { e.MaxIssuedAge = 0 })
			next, err := Verify(t.Context(), c.token, honest().keySet(), e, later)
			wantReason(t, err, c.verify, c.token)
			if err == nil {
				wantReason(t, Continues(previous, next), c.reason, c.token)
			}
		})
	}
}
