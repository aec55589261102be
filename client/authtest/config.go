package authtest

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Config says what the server is. The zero value is a strict server with three
// demo users, ES256 and refresh token rotation; only clients have to be
// registered, here or later with [Server.Register].
type Config struct {
	// Issuer is the issuer identifier. New requires it; NewServer makes it
	// from the address it listens on and IssuerPath.
	Issuer string
	// IssuerPath follows the address in the issuer that NewServer makes:
	// "", "/", "/tenant" or "/tenant/". The issuer keeps a trailing slash.
	IssuerPath string
	// TLS makes NewServer serve https with a certificate for 127.0.0.1, ::1
	// and localhost that [Server.CertPool] trusts.
	TLS bool

	// Clients are the registrations to start with.
	Clients []Client
	// Users are the people who can log in, the first of them unless told
	// otherwise. Empty: Alice, Bob and Carol.
	Users []User
	// Interactive shows a login page instead of logging the chosen user in.
	Interactive bool

	// Algorithm signs ID tokens of clients that do not say otherwise: ES256
	// (also if empty), RS256, PS256 or EdDSA.
	Algorithm string
	// ACRValues are the authentication context classes that a login can
	// reach, the weakest first. Empty: "1", "2" and "3". A login has the first
	// one unless the request asks for another.
	ACRValues []string

	// CodeLifetime is how long a code can be redeemed; zero: one minute.
	CodeLifetime time.Duration
	// AccessTokenLifetime is told as expires_in, in whole seconds; zero: one hour.
	AccessTokenLifetime time.Duration
	// IDTokenLifetime is the distance from iat to exp; zero: one hour.
	IDTokenLifetime time.Duration
	// RefreshTokenLifetime is counted from each rotation; zero: 30 days.
	RefreshTokenLifetime time.Duration
	// RotationGrace is how long the refresh token before the current one still
	// works and yields the current one again. Zero: its use is reuse, which
	// revokes the whole grant.
	RotationGrace time.Duration
	// NoRotation keeps one refresh token for the life of the grant.
	NoRotation bool

	// LogoutTransport carries logout tokens to the clients; nil:
	// http.DefaultTransport.
	LogoutTransport http.RoundTripper

	// Now is the server's clock; nil: time.Now.
	Now func() time.Time
}

// Client is one registration, in the words of RFC 7591.
type Client struct {
	ID string
	// Name is shown on the login page; empty: ID.
	Name string
	// Secret is the client secret. Empty makes a public client, which sends
	// its client_id alone.
	Secret string
	// AuthMethod pins client_secret_basic or client_secret_post; empty: either,
	// but never both in one request.
	AuthMethod string
	// RedirectURIs are compared byte for byte. A loopback http URI without a
	// port allows any port (RFC 8252 §7.3).
	RedirectURIs []string
	// PostLogoutRedirectURIs are compared byte for byte.
	PostLogoutRedirectURIs []string
	// BackchannelLogoutURI is told when a login ends that the client has seen
	// (OpenID Connect Back-Channel Logout 1.0 §2.2); empty: the client is not told.
	BackchannelLogoutURI string
	// Scopes the client may have; what else it asks for is left out of the
	// grant. Nil: whatever it asks for.
	Scopes []string
	// IDTokenAlgorithm overrides Config.Algorithm.
	IDTokenAlgorithm string
	// UserInfoAlgorithm makes userinfo a JWT signed with it; empty: JSON.
	UserInfoAlgorithm string
}

// User is somebody who can log in.
type User struct {
	// Subject is the sub claim.
	Subject string
	// Claims are given out in the ID token and by userinfo: those of a
	// standard scope (OpenID Connect Core §5.4) when it was granted or when
	// the claims parameter names them, all others always.
	Claims map[string]any
}

func (u User) text(claim string) string {
	v, _ := u.Claims[claim].(string)
	return v
}

func (u User) answersTo(hint string) bool {
	return hint != "" && (hint == u.Subject || hint == u.text("email") || hint == u.text("preferred_username"))
}

func demoUsers() []User {
	user := func(sub, given, family string) User {
		return User{Subject: sub, Claims: map[string]any{
			"name": given + " " + family, "given_name": given, "family_name": family,
			"preferred_username": strings.ToLower(given),
			"email":              strings.ToLower(given) + "@example.com", "email_verified": true,
			"locale": "en", "zoneinfo": "Europe/Berlin",
		}}
	}
	return []User{user("user-alice", "Alice", "Adams"), user("user-bob", "Bob", "Brown"), user("user-carol", "Carol", "Clark")}
}

var algorithms = []string{"ES256", "RS256", "PS256", "EdDSA"}

func (cfg *Config) complete() error {
	if cfg.Algorithm == "" {
		cfg.Algorithm = "ES256"
	}
	if !slices.Contains(algorithms, cfg.Algorithm) {
		return errors.New("authtest: Config.Algorithm is not ES256, RS256, PS256 or EdDSA")
	}
	if len(cfg.Users) == 0 {
		cfg.Users = demoUsers()
	}
	users, seen := make([]User, len(cfg.Users)), make(map[string]bool, len(cfg.Users))
	for i, u := range cfg.Users {
		if u.Subject == "" {
			return errors.New("authtest: a user has no Subject")
		}
		if seen[u.Subject] {
			return errors.New("authtest: two users have the same Subject")
		}
		seen[u.Subject] = true
		users[i] = User{Subject: u.Subject, Claims: cloneObject(u.Claims)}
	}
	cfg.Users = users
	if len(cfg.ACRValues) == 0 {
		cfg.ACRValues = []string{"1", "2", "3"}
	}
	cfg.ACRValues = slices.Clone(cfg.ACRValues)
	for _, d := range []struct {
		field *time.Duration
		value time.Duration
	}{
		{&cfg.CodeLifetime, time.Minute},
		{&cfg.AccessTokenLifetime, time.Hour},
		{&cfg.IDTokenLifetime, time.Hour},
		{&cfg.RefreshTokenLifetime, 30 * 24 * time.Hour},
		{&cfg.RotationGrace, 0},
	} {
		if *d.field < 0 {
			return errors.New("authtest: a lifetime is negative")
		}
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	if cfg.LogoutTransport == nil {
		cfg.LogoutTransport = http.DefaultTransport
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return nil
}

// checkIssuer returns the issuer's origin and its path without a trailing slash.
func checkIssuer(issuer string) (origin, path string, err error) {
	u, err := url.Parse(issuer)
	// OpenID Connect Discovery 1.0 §3: scheme, host, optionally port and path.
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil ||
		strings.ContainsAny(issuer, "?#") {
		return "", "", errors.New("authtest: the issuer must be an http or https URL without userinfo, query and fragment")
	}
	return u.Scheme + "://" + u.Host, strings.TrimSuffix(u.EscapedPath(), "/"), nil
}

func (c Client) check() (Client, error) {
	if c.ID == "" {
		return c, errors.New("authtest: a client has no ID")
	}
	switch c.AuthMethod {
	case "":
	case basic, post:
		if c.Secret == "" {
			return c, errors.New("authtest: a client with an AuthMethod needs a Secret")
		}
	default:
		return c, errors.New("authtest: Client.AuthMethod is neither client_secret_basic nor client_secret_post")
	}
	for _, alg := range []string{c.IDTokenAlgorithm, c.UserInfoAlgorithm} {
		if alg != "" && !slices.Contains(algorithms, alg) {
			return c, errors.New("authtest: a client's algorithm is not ES256, RS256, PS256 or EdDSA")
		}
	}
	for _, list := range [][]string{c.RedirectURIs, c.PostLogoutRedirectURIs, nonEmpty(c.BackchannelLogoutURI)} {
		for _, uri := range list {
			u, err := url.Parse(uri)
			// OAuth 2.1 §2.3
			if err != nil || !u.IsAbs() || strings.Contains(uri, "#") {
				return c, fmt.Errorf("authtest: client %q: a redirect URI must be absolute and have no fragment", c.ID)
			}
		}
	}
	c.RedirectURIs = slices.Clone(c.RedirectURIs)
	c.PostLogoutRedirectURIs = slices.Clone(c.PostLogoutRedirectURIs)
	c.Scopes = slices.Clone(c.Scopes)
	return c, nil
}

func nonEmpty(s string) []string {
	if s == "" {
		return nil
	}
	return []string{s}
}

// redirects reports whether uri is registered: byte for byte, except for the
// port of a loopback address registered without one (RFC 8252 §7.3).
func (c Client) redirects(uri string) bool {
	if slices.Contains(c.RedirectURIs, uri) {
		return true
	}
	for _, host := range []string{"http://127.0.0.1", "http://[::1]"} {
		port, ok := strings.CutPrefix(uri, host+":")
		if !ok {
			continue
		}
		path := strings.TrimLeft(port, "0123456789")
		if len(path) < len(port) && slices.Contains(c.RedirectURIs, host+path) {
			return true
		}
	}
	return false
}

// cloneObject copies v and the objects and arrays in it, so that an edit made
// by a fault never reaches the configuration.
func cloneObject(v map[string]any) map[string]any {
	out := make(map[string]any, len(v))
	for name, value := range v {
		out[name] = cloneValue(value)
	}
	return out
}

func cloneValue(v any) any {
	switch v := v.(type) {
	case map[string]any:
		return cloneObject(v)
	case []any:
		out := make([]any, len(v))
		for i, item := range v {
			out[i] = cloneValue(item)
		}
		return out
	case []string:
		return slices.Clone(v)
	}
	return v
}
