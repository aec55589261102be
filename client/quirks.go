package client

import (
	"slices"
	"strings"
)

// Quirks are relaxations for a provider that does not keep to the standard.
// Each field says what the caller takes over; each one that is set raises an
// [EventQuirkActive] when the client is made.
type Quirks struct {
	// NoPKCE sends no code_challenge, for providers that reject it (LinkedIn, unless it is switched on for the app).
	// The nonce (or, without ID tokens, the state alone) then stands between a
	// stolen code and the session.
	NoPKCE bool
	// AssumePKCE accepts metadata that does not list code_challenge_methods_supported
	// (Microsoft, Apple, many others). S256 is still sent. The caller has made
	// sure that the server checks it, or relies on the nonce (RFC 9700 §2.1.1).
	// Metadata that lists methods without S256 is refused all the same.
	AssumePKCE bool
	// NoNonce accepts ID tokens without nonce (LinkedIn). Only together with PKCE, which has to be switched on there; ErrConfig otherwise.
	NoNonce bool
	// IgnoreUnannouncedIss ignores the iss response parameter of a server that
	// does not announce it, instead of comparing it (RFC 9207 §2.4).
	IgnoreUnannouncedIss bool
	// TrustedAudiences may stand beside the client id in an ID token's aud.
	TrustedAudiences []string
	// AzpOptional accepts several audiences without azp.
	AzpOptional bool
	// AllowHMAC accepts ID tokens signed with the client secret, and then only those.
	AllowHMAC bool
	// MissingTokenType accepts a token response without token_type as Bearer.
	MissingTokenType bool
	// StringExpiresIn accepts expires_in as a string of digits (PayPal).
	StringExpiresIn bool
	// FormTokenResponse accepts a form-encoded token response.
	FormTokenResponse bool
	// ScopeArray accepts scope as a JSON array (Twitch).
	ScopeArray bool
	// ScopeComma accepts commas between scopes (GitHub).
	ScopeComma bool
	// ExtraScopes may be granted without having been asked for; "*" means any.
	ExtraScopes []string
	// AllowPrivateAddresses lets the back channel connect to private addresses, for an on-premises server.
	AllowPrivateAddresses bool
}

// active lists the names of the relaxations that are on.
func (q Quirks) active() []string {
	var names []string
	for _, f := range [...]struct {
		on   bool
		name string
	}{
		{q.NoPKCE, "NoPKCE"}, {q.AssumePKCE, "AssumePKCE"}, {q.NoNonce, "NoNonce"}, {q.IgnoreUnannouncedIss, "IgnoreUnannouncedIss"},
		{len(q.TrustedAudiences) > 0, "TrustedAudiences"}, {q.AzpOptional, "AzpOptional"}, {q.AllowHMAC, "AllowHMAC"},
		{q.MissingTokenType, "MissingTokenType"}, {q.StringExpiresIn, "StringExpiresIn"}, {q.FormTokenResponse, "FormTokenResponse"},
		{q.ScopeArray, "ScopeArray"}, {q.ScopeComma, "ScopeComma"}, {len(q.ExtraScopes) > 0, "ExtraScopes"},
		{q.AllowPrivateAddresses, "AllowPrivateAddresses"},
	} {
		if f.on {
			names = append(names, f.name)
		}
	}
	return names
}

// provider is what is known about one issuer beyond its metadata.
type provider struct {
	hosts     []string            // endpoints live there too
	scopes    map[string][]string // a scope and the names it is granted under
	anyScope  bool                // grants what was consented to before, asked for or not
	noConsent bool                // prompt=consent is not what gets a refresh token
	reusable  bool                // each refresh gives a new refresh token, and the old one stays valid
}

// providerOf returns what is known about an issuer.
func providerOf(issuer string) provider {
	if strings.HasPrefix(issuer, "https://login.microsoftonline.com/") { // one issuer for each tenant
		return provider{hosts: []string{"graph.microsoft.com"}, anyScope: true, noConsent: true, reusable: true}
	}
	return providers[issuer]
}

// providers are the issuers whose endpoints or scope names differ from what
// was asked by design. Facts from the providers' own documentation.
var providers = map[string]provider{
	"https://accounts.google.com": {
		hosts: []string{"oauth2.googleapis.com", "openidconnect.googleapis.com", "www.googleapis.com"},
		scopes: map[string][]string{
			"email":   {"https://www.googleapis.com/auth/userinfo.email"},
			"profile": {"https://www.googleapis.com/auth/userinfo.profile"},
		},
	},
	"https://www.linkedin.com/oauth": {hosts: []string{"api.linkedin.com"}},
	"https://slack.com":              {hosts: []string{"slack.com"}},
	"https://www.facebook.com":       {hosts: []string{"graph.facebook.com", "limited.facebook.com"}},
	"https://github.com/login/oauth": {hosts: []string{"api.github.com"}},
}

// granted reports whether a scope that was asked for is among those granted, be
// it under another name.
func (c *Client) granted(asked string, scopes []string) bool {
	return slices.Contains(scopes, asked) || slices.ContainsFunc(c.provider.scopes[asked], func(name string) bool {
		return slices.Contains(scopes, name)
	})
}

// mayGrant reports whether a granted scope is covered by what was asked.
func (c *Client) mayGrant(granted string, asked []string) bool {
	if c.provider.anyScope || slices.Contains(asked, granted) || slices.Contains(c.cfg.Quirks.ExtraScopes, granted) || slices.Contains(c.cfg.Quirks.ExtraScopes, "*") {
		return true
	}
	for _, a := range asked {
		if slices.Contains(c.provider.scopes[a], granted) {
			return true
		}
	}
	return false
}
