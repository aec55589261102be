// Package idtoken verifies ID tokens and other JWTs signed by an authorization server, and caches the keys they are signed with.
//
// [Verify] is for the ID token of a token response, [VerifySigned] for a signed UserInfo response, [Continues] for the ID token of a
// refresh, [Unverified] for a token that was verified before and comes back out of our own sealed session. [ScreenLogout] and
// [Logout.Authenticate] are for a logout token, which comes from anybody: their order is their own.
//
// # What is checked, and in which order
//
// Every failure is an [*Error] whose Reason is the first of these that applies. The order is part of the contract:
//
//	missing              there is no token
//	size                 more than 64 kB, or a header of more than 8 kB; nothing has been decoded yet
//	encrypted, format    five segments; any number of segments but three
//	format               header: canonical base64url, one strict JSON object
//	encrypted            header: enc or zip
//	crit typ alg kid     header: crit present at all; typ; alg in the allow-list; kid a string of at most 512 bytes
//	format               payload and signature: the same strictness
//	iss aud azp          before a key is looked for: a foreign token never causes a fetch
//	jwks kid             the key set; the key
//	sig                  the signature; no other claim has been looked at before
//	exp iat nbf sub nonce acr auth_time at_hash c_hash
//	format               sid, if it is there, is a string
//
// The checks follow OpenID Connect Core §3.1.3.7 and RFC 8725. The verification runs through go-oidc, which is given the strict
// reading of the token: its own reader takes claim names in any case, "exp" as a string, certificates in headers, blanks inside
// base64, and Google's issuer without a scheme.
package idtoken
