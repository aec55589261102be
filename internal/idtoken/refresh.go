package idtoken

// Continues checks that refreshed goes on with the login that previous tells of: OpenID Connect Core §12.2. previous is the ID token
// of that login or of an earlier refresh, refreshed one that Verify has accepted for the same client; so its aud is right already.
//
// It returns an *Error with reason iss, sub, azp, iat, auth_time or nonce, in this order. After iss or sub the grant itself cannot be
// trusted any more.
func Continues(previous, refreshed *Token) error {
	switch {
	case refreshed.Issuer != previous.Issuer:
		return fail(reasonIss, "the refreshed token is another issuer's")
	case refreshed.Subject != previous.Subject:
		return fail(reasonSub, "the refreshed token is about another user")
	case refreshed.AuthorizedParty != previous.AuthorizedParty:
		return fail(reasonAzp, "the refreshed token has another authorized party")
	case refreshed.IssuedAt.Before(previous.IssuedAt):
		return fail(reasonIat, "the refreshed token is older than the one before")
	}
	// The time of the original authentication, not of the refresh; either token may leave it out.
	if !refreshed.AuthTime.IsZero() && !previous.AuthTime.IsZero() && !refreshed.AuthTime.Equal(previous.AuthTime) {
		return fail(reasonAuthTime, "the refreshed token speaks of another authentication")
	}
	// A refreshed token should have no nonce; if it has one it is the login's.
	if refreshed.Nonce != "" && previous.Nonce != "" && !equal(refreshed.Nonce, previous.Nonce) {
		return fail(reasonNonce, "the refreshed token has another login's nonce")
	}
	return nil
}
