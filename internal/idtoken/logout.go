package idtoken

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/strictjson"
)

// logoutEvent is the member of events that makes a JWT a logout token: OpenID Connect Back-Channel Logout 1.0 §2.4.
const logoutEvent = "http://schemas.openid.net/event/backchannel-logout"

// maxTokenID is the length of a jti in bytes: it is only compared.
const maxTokenID = 1 << 10

// Logout is a logout token. Nothing in it is to be believed before Authenticate has returned nil.
type Logout struct {
	Subject, SID     string // at least one of them
	ID               string // jti
	IssuedAt, Expiry time.Time

	message *message
}

// ScreenLogout reads a logout token and makes every check that needs no key, so that what anybody can post costs neither a signature
// nor a fetch. Of e it reads Issuer, ClientID, Algorithms, TrustedAudiences, Leeway, MaxIssuedAge and HMACSecret. The reasons, the first that applies:
//
//	missing size encrypted format crit typ alg kid   as for Verify; typ: none, "JWT" or "logout+jwt"
//	iss aud                                          another's
//	events nonce                                     not a logout token, or one that could be taken for an ID token
//	exp iat nbf jti sub sid                          OpenID Connect Back-Channel Logout 1.0 §2.4; sub if there is neither sub nor sid
func ScreenLogout(raw string, e Expectation, now time.Time) (*Logout, error) {
	e.Typ, e.TypOptional = "logout+jwt", true // §2.4: recommended only
	m, err := parse(raw, &e)
	if err != nil {
		return nil, err
	}
	if err := m.checkIssuer(&e); err != nil {
		return nil, err
	}
	if err := m.checkAudience(&e, false); err != nil {
		return nil, err
	}
	if err := m.checkLogoutKind(); err != nil {
		return nil, err
	}
	if err := m.checkTimes(&e, now, true); err != nil { // §2.6 (4)
		return nil, err
	}
	return m.logout()
}

// Authenticate verifies the signature. e.Algorithms may be narrower than it was for ScreenLogout. It fails with reason alg, jwks, kid
// or sig; it fetches the key set if it must, and then obeys ctx.
func (l *Logout) Authenticate(ctx context.Context, keys *KeySet, e Expectation, now time.Time) error {
	if !slices.Contains(e.Algorithms, l.message.alg.name) { // §2.6 (3)
		return fail(reasonAlg, "the algorithm is not one of those expected")
	}
	return l.message.authenticate(ctx, keys, &e, now)
}

// UnverifiedIssuer returns the iss claim of a JWT whose form is right, to find out who is to verify it. It fails with reason missing,
// size, encrypted, format or iss.
func UnverifiedIssuer(raw string) (string, error) {
	_, payload, _, err := split(raw)
	if err != nil {
		return "", err
	}
	b, err := decode(payload)
	if err != nil {
		return "", err
	}
	claims, err := strictjson.Parse(b)
	if err != nil {
		return "", failCause(reasonFormat, "the payload is not one strict JSON object", err)
	}
	iss, present, err := claims.String("iss")
	if err != nil || !present {
		return "", fail(reasonIss, "iss is missing or not a string")
	}
	return iss, nil
}

// checkLogoutKind is steps 6 and 7 of §2.6: no other kind of token is a logout token, and no logout token an ID token.
func (m *message) checkLogoutKind() error {
	raw, present := m.claims.Get("events")
	if !present || raw[0] != '{' {
		return fail(reasonEvents, "events is missing or not an object")
	}
	events, err := strictjson.Parse(raw)
	if err != nil {
		return fail(reasonEvents, "events is not an object")
	}
	if event, present := events.Get(logoutEvent); !present || event[0] != '{' {
		return fail(reasonEvents, "events does not tell of a logout")
	}
	if _, present := m.claims.Get("nonce"); present {
		return fail(reasonNonce, "a logout token has no nonce")
	}
	return nil
}

// logout reads what the token says: §2.4, §2.6 (5).
func (m *message) logout() (*Logout, error) {
	l := &Logout{message: m}
	var present bool
	var err error
	if l.ID, _, err = m.claims.String("jti"); err != nil || l.ID == "" || len(l.ID) > maxTokenID {
		return nil, fail(reasonJTI, "jti is missing or not a short string")
	}
	if _, present = m.claims.Get("sub"); present {
		if err := m.checkSubject(); err != nil {
			return nil, err
		}
		l.Subject, _, _ = m.claims.String("sub")
	}
	if l.SID, present, err = m.claims.String("sid"); err != nil || present && strings.TrimSpace(l.SID) == "" {
		return nil, fail(reasonSID, "sid is not a string that names something")
	}
	if l.Subject == "" && l.SID == "" {
		return nil, fail(reasonSub, "there is neither sub nor sid")
	}
	l.IssuedAt, _, _ = numericDate(m.claims, "iat") // checkTimes has read them before
	l.Expiry, _, _ = numericDate(m.claims, "exp")
	return l, nil
}
