package idtoken

import (
	"crypto/subtle"
	"encoding/json"
	"errors"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/strictjson"
)

const (
	maxLeeway   = 2 * time.Minute
	futureIssue = time.Minute               // how far iat and auth_time may lie ahead of our clock
	maxLifetime = 10 * 365 * 24 * time.Hour // an exp beyond it is a unit mistaken, not a lifetime
	maxSubject  = 255                       // characters, OpenID Connect Core §2
	maxDate     = 253402300799              // 9999-12-31T23:59:59Z
)

var errNumericDate = errors.New("idtoken: not a NumericDate")

// numericDate is RFC 7519 §2: seconds, possibly with a fraction, always a JSON number. What no calendar holds is refused.
func numericDate(o strictjson.Object, name string) (t time.Time, present bool, err error) {
	number, present, err := o.Number(name)
	if !present || err != nil {
		return time.Time{}, present, err
	}
	seconds, err := strconv.ParseFloat(string(number), 64)
	if err != nil || seconds < 0 || seconds > maxDate {
		return time.Time{}, true, errNumericDate
	}
	whole, fraction := math.Modf(seconds)
	return time.Unix(int64(whole), int64(fraction*1e9)).UTC(), true, nil
}

// audience is the aud claim, a string or an array of strings (RFC 7519 §4.1.3).
func audience(o strictjson.Object) ([]string, error) {
	if one, present, err := o.String("aud"); present && err == nil {
		return []string{one}, nil
	}
	all, present, err := o.Strings("aud")
	if err == nil && !present {
		err = strictjson.ErrType
	}
	return all, err
}

// checkIssuer is step 2 of OpenID Connect Core §3.1.3.7: byte for byte.
func (m *message) checkIssuer(e *Expectation) error {
	iss, _, err := m.claims.String("iss")
	if err != nil || e.Issuer == "" || iss != e.Issuer {
		return fail(reasonIss, "the token is another issuer's")
	}
	return nil
}

// checkAudience is steps 3 to 5: for us, for nobody we do not trust, and issued to us. The azp rules are an ID token's only.
func (m *message) checkAudience(e *Expectation, azpRules bool) error {
	aud, err := audience(m.claims)
	if err != nil || e.ClientID == "" || !slices.Contains(aud, e.ClientID) {
		return fail(reasonAud, "the token is not for this client")
	}
	several := slices.ContainsFunc(aud, func(a string) bool { return a != e.ClientID })
	if azpRules {
		azp, present, err := m.claims.String("azp")
		if several && !present && !e.AzpOptional {
			return fail(reasonAzp, "several audiences and no authorized party")
		}
		if err != nil || present && azp != e.ClientID {
			return fail(reasonAzp, "the token was issued to another client")
		}
	}
	for _, a := range aud {
		if a != e.ClientID && !slices.Contains(e.TrustedAudiences, a) {
			return fail(reasonAud, "the token is also for a party that is not trusted")
		}
	}
	return nil
}

// strictClaims are the claims go-oidc judges, as we read them. exp is in whole seconds, which is all it can count in.
func (m *message) strictClaims() ([]byte, error) {
	iss, _ := m.claims.Get("iss")
	aud, _ := m.claims.Get("aud")
	exp, present, err := numericDate(m.claims, "exp")
	if err != nil {
		return nil, fail(reasonExp, "exp is not a date")
	}
	b := append([]byte(`{"iss":`), iss...)
	b = append(append(b, `,"aud":`...), aud...)
	if present {
		b = strconv.AppendInt(append(b, `,"exp":`...), exp.Unix(), 10)
	}
	return append(b, '}'), nil
}

// checkTimes is steps 9 and 10, and nbf of RFC 7519 §4.1.5. required: exp and iat must be there.
func (m *message) checkTimes(e *Expectation, now time.Time, required bool) error {
	leeway := e.leeway()
	exp, present, err := numericDate(m.claims, "exp")
	switch {
	case err != nil || !present && required:
		return fail(reasonExp, "exp is missing or not a date")
	case present && !now.Before(exp.Add(leeway)):
		return fail(reasonExp, "the token has expired")
	case present && exp.After(now.Add(maxLifetime)):
		return fail(reasonExp, "exp is absurdly late")
	}
	iat, present, err := numericDate(m.claims, "iat")
	switch {
	case err != nil || !present && required:
		return fail(reasonIat, "iat is missing or not a date")
	case present && iat.After(now.Add(futureIssue)):
		return fail(reasonIat, "the token was issued in the future")
	case present && e.MaxIssuedAge > 0 && now.Sub(iat) > e.MaxIssuedAge:
		return fail(reasonIat, "the token was issued too long ago")
	}
	nbf, present, err := numericDate(m.claims, "nbf")
	switch {
	case err != nil:
		return fail(reasonNbf, "nbf is not a date")
	case present && nbf.After(now.Add(leeway)):
		return fail(reasonNbf, "the token is not valid yet")
	}
	return nil
}

// checkSubject: OpenID Connect Core §2, at most 255 ASCII characters.
func (m *message) checkSubject() error {
	sub, _, err := m.claims.String("sub")
	unprintable := func(r rune) bool { return r < ' ' || r > '~' }
	if err != nil || sub == "" || len(sub) > maxSubject || strings.ContainsFunc(sub, unprintable) {
		return fail(reasonSub, "sub is missing or is not a short printable ASCII string")
	}
	return nil
}

// checkNonce is step 11. A claim that is there is compared even where it may be absent (§12.2, the ID token of a refresh).
func (m *message) checkNonce(e *Expectation) error {
	nonce, present, err := m.claims.String("nonce")
	switch {
	case err != nil:
		return fail(reasonNonce, "nonce is not a string")
	case !present && e.RequireNonce:
		return fail(reasonNonce, "nonce is missing")
	case e.RequireNonce && e.Nonce == "":
		return fail(reasonNonce, "no nonce was sent")
	case present && e.Nonce != "" && !equal(nonce, e.Nonce):
		return fail(reasonNonce, "nonce is another login's")
	}
	return nil
}

// checkAuthentication is steps 12 and 13: how and when the user was authenticated.
func (m *message) checkAuthentication(e *Expectation, now time.Time) error {
	acr, _, err := m.claims.String("acr")
	if err != nil || len(e.ACRValues) > 0 && !slices.Contains(e.ACRValues, acr) {
		return fail(reasonACR, "the user was not authenticated as asked")
	}
	at, present, err := numericDate(m.claims, "auth_time")
	switch {
	case err != nil:
		return fail(reasonAuthTime, "auth_time is not a date")
	case !present && e.MaxAgeAsked:
		return fail(reasonAuthTime, "auth_time is missing")
	case present && at.After(now.Add(futureIssue)):
		return fail(reasonAuthTime, "the user was authenticated in the future")
	case e.MaxAgeAsked && now.Sub(at) > max(e.MaxAge, 0)+e.leeway():
		return fail(reasonAuthTime, "the user was authenticated too long ago")
	}
	return nil
}

// checkHashes: OpenID Connect Core §3.1.3.8 for the access token, §3.3.2.11 for the code, with the hash of the token's own alg.
func (m *message) checkHashes(e *Expectation) error {
	if !m.checkHash("at_hash", e.AccessToken) {
		return fail(reasonAtHash, "the access token is another token's")
	}
	if !m.checkHash("c_hash", e.Code) {
		return fail(reasonCHash, "the code is another token's")
	}
	return nil
}

func (m *message) checkHash(name, value string) bool {
	hash, present, err := m.claims.String(name)
	return err == nil && (!present || value == "" || equal(hash, m.alg.halfHash(value)))
}

// token reads the claims that Token has fields for; those that a check has not seen must have the right type as well.
func (m *message) token() (*Token, error) {
	t := &Token{Payload: json.RawMessage(m.payload)}
	if m.alg != nil {
		t.Algorithm = m.alg.name
	}
	var err error
	if t.Audience, err = audience(m.claims); err != nil {
		return nil, fail(reasonAud, "aud is neither a string nor an array of strings")
	}
	for _, c := range [...]struct {
		name, reason string
		value        *string
	}{
		{"iss", reasonIss, &t.Issuer}, {"sub", reasonSub, &t.Subject}, {"azp", reasonAzp, &t.AuthorizedParty},
		{"nonce", reasonNonce, &t.Nonce}, {"acr", reasonACR, &t.ACR}, {"sid", reasonFormat, &t.SID},
	} {
		if *c.value, _, err = m.claims.String(c.name); err != nil {
			return nil, fail(c.reason, "a claim is not a string")
		}
	}
	for _, c := range [...]struct {
		name, reason string
		value        *time.Time
	}{
		{"exp", reasonExp, &t.Expiry}, {"iat", reasonIat, &t.IssuedAt}, {"auth_time", reasonAuthTime, &t.AuthTime},
	} {
		if *c.value, _, err = numericDate(m.claims, c.name); err != nil {
			return nil, fail(c.reason, "a claim is not a date")
		}
	}
	return t, nil
}

func equal(a, b string) bool {
	return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1
}
