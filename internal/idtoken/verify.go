package idtoken

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"

	"github.com/sallyport/sallyport/internal/strictjson"
)

// Expectation is what the client knows before it looks at a token. The zero value accepts nothing.
type Expectation struct {
	Issuer   string // compared byte for byte
	ClientID string // must be among the audiences

	// Algorithms is the allow-list: OpenID Connect Core §3.1.3.7 (7). Names of RFC 7518 §3.1, compared exactly; "none" is
	// never accepted, HS256 and its like only with HMACSecret.
	Algorithms []string

	TrustedAudiences []string // audiences that may stand beside ClientID
	AzpOptional      bool     // several audiences are accepted without azp

	Nonce        string // compared in constant time if the token has one
	RequireNonce bool   // the token must have one: always at a login

	AccessToken string // checked against at_hash if the token has one
	Code        string // checked against c_hash if the token has one

	MaxAge      time.Duration // since the user's authentication, if MaxAgeAsked
	MaxAgeAsked bool          // auth_time is required
	ACRValues   []string      // if there are any, acr must be one of them

	Leeway       time.Duration // for exp, nbf and MaxAge; at most 2 minutes of it are granted
	MaxIssuedAge time.Duration // how long ago iat may be; 0: not checked

	// HMACSecret is the client secret of a registration that signs ID tokens with it. While it is set, no asymmetric algorithm
	// is accepted and no key set is read. It must be as long as the hash: 32 bytes for HS256, 48, 64.
	HMACSecret []byte

	// Typ is the typ header that must be there, in any case; "" accepts none or "JWT".
	Typ string
	// TypOptional accepts none or "JWT" beside Typ, for kinds of token that once had no typ of their own.
	TypOptional bool
}

func (e *Expectation) leeway() time.Duration { return min(max(e.Leeway, 0), maxLeeway) }

// Token is a verified token. A time is zero and a string empty if the token has no such claim.
type Token struct {
	Issuer, Subject                  string
	Audience                         []string
	AuthorizedParty, Nonce, ACR, SID string
	Expiry, IssuedAt, AuthTime       time.Time
	Payload                          json.RawMessage // all claims as they were signed
	Algorithm                        string          // of the signature; empty if it was not verified
}

// Verify checks an ID token as OpenID Connect Core §3.1.3.7 asks, and more strictly where the package says so. It returns an
// *Error with the first reason that applies. It fetches the key set if it must, and then obeys ctx. It may be called concurrently.
func Verify(ctx context.Context, raw string, keys *KeySet, e Expectation, now time.Time) (*Token, error) {
	m, err := open(ctx, raw, keys, &e, now, true)
	if err != nil {
		return nil, err
	}
	if err := m.checkTimes(&e, now, true); err != nil {
		return nil, err
	}
	if err := m.checkSubject(); err != nil {
		return nil, err
	}
	if err := m.checkNonce(&e); err != nil {
		return nil, err
	}
	if err := m.checkAuthentication(&e, now); err != nil {
		return nil, err
	}
	if err := m.checkHashes(&e); err != nil {
		return nil, err
	}
	return m.token()
}

// VerifySigned checks a signed UserInfo response (OpenID Connect Core §5.3.2) and returns its claims: the signature as Verify does,
// iss and aud, which must be there, and exp, iat and nbf if they are. It does not compare sub: the caller has the ID token. Of e it
// reads Issuer, ClientID, Algorithms, TrustedAudiences, Leeway, MaxIssuedAge, HMACSecret and Typ. It fails as Verify does.
func VerifySigned(ctx context.Context, raw string, keys *KeySet, e Expectation, now time.Time) (json.RawMessage, error) {
	m, err := open(ctx, raw, keys, &e, now, false)
	if err != nil {
		return nil, err
	}
	if err := m.checkTimes(&e, now, false); err != nil {
		return nil, err
	}
	return m.payload, nil
}

// open reads a token and verifies its issuer, audience and signature, in this order: what is not for us causes no fetch.
func open(ctx context.Context, raw string, keys *KeySet, e *Expectation, now time.Time, azpRules bool) (*message, error) {
	m, err := parse(raw, e)
	if err != nil {
		return nil, err
	}
	if err := m.checkIssuer(e); err != nil {
		return nil, err
	}
	if err := m.checkAudience(e, azpRules); err != nil {
		return nil, err
	}
	return m, m.authenticate(ctx, keys, e, now)
}

// Unverified reads a token without checking anything but its form. It is for a token that Verify accepted once and that comes
// back out of our own sealed session. It fails with reason missing, size, encrypted or format, or that of a claim of the wrong type.
func Unverified(raw string) (*Token, error) {
	_, payload, _, err := split(raw)
	if err != nil {
		return nil, err
	}
	m := &message{}
	if m.payload, err = decode(payload); err != nil {
		return nil, err
	}
	if m.claims, err = strictjson.Parse(m.payload); err != nil {
		return nil, failCause(reasonFormat, "the payload is not one strict JSON object", err)
	}
	return m.token()
}

// authenticate verifies the signature, by way of go-oidc, which asks for it through its KeySet interface and then judges issuer,
// audience and expiry itself.
func (m *message) authenticate(ctx context.Context, keys *KeySet, e *Expectation, now time.Time) error {
	_, expires := m.claims.Get("exp")
	s := &signed{message: m, keys: keys, expected: e}
	verifier := oidc.NewVerifier(e.Issuer, s, &oidc.Config{
		ClientID:             e.ClientID,
		SupportedSigningAlgs: e.Algorithms,
		SkipExpiryCheck:      !expires, // Verify insists on exp, VerifySigned does not
		// It counts in whole seconds and has no leeway.
		Now: func() time.Time { return now.Add(-e.leeway()).Truncate(time.Second) },
	})
	// Of the header it gets what we have read: it would parse certificates and keys in there before any signature is checked.
	header := base64url.EncodeToString([]byte(`{"alg":"` + m.alg.name + `"}`))
	_, err := verifier.Verify(ctx, header+m.tail)
	var expired *oidc.TokenExpiredError
	switch {
	case s.err != nil:
		return s.err
	case errors.As(err, &expired):
		return fail(reasonExp, "the token has expired")
	case err != nil || !s.verified:
		// Its own words quote the token.
		return fail(reasonFormat, "the token does not survive a second reading")
	}
	return nil
}

// signed is the oidc.KeySet for one token. go-oidc flattens the errors of a KeySet into text, so the reason waits here.
type signed struct {
	*message
	keys     *KeySet
	expected *Expectation
	verified bool
	err      error
}

var _ oidc.KeySet = (*signed)(nil)

// VerifySignature verifies the bytes that were received, and returns the claims as strictly read.
func (s *signed) VerifySignature(ctx context.Context, _ string) ([]byte, error) {
	if s.err = s.verify(ctx); s.err != nil {
		return nil, s.err
	}
	s.verified = true
	claims, err := s.strictClaims()
	s.err = err
	return claims, err
}

func (s *signed) verify(ctx context.Context) error {
	if s.alg.kty == "oct" {
		if !s.alg.verifyMAC(s.expected.HMACSecret, s.message.signed, s.signature) {
			return fail(reasonSig, "the MAC is not the client secret's")
		}
		return nil
	}
	tenant, _, _ := s.claims.String("tid")
	w := wanted{alg: s.alg, kid: s.kid, issuer: s.expected.Issuer, tenant: tenant}
	found, err := s.keys.find(ctx, w)
	if err != nil {
		return err
	}
	if s.byOneOf(found) || s.kid == "" && s.byOneOf(s.keys.newer(ctx, w, found)) {
		return nil
	}
	return fail(reasonSig, "the signature is not the key's")
}

func (s *signed) byOneOf(c candidates) bool {
	for _, k := range c.keys[:c.n] {
		if s.alg.verify(k.key, s.message.signed, s.signature) {
			return true
		}
	}
	return false
}
