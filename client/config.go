package client

import (
	"context"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/oauth2"

	"github.com/sallyport/sallyport/internal/backchannel"
	"github.com/sallyport/sallyport/internal/idtoken"
)

// ResponseMode is how the authorization response comes back.
type ResponseMode string

const (
	// Query is the default: parameters in the query of a GET.
	Query ResponseMode = ""
	// FormPost: an auto-submitted form (OAuth 2.0 Form Post Response Mode). The
	// pending login's cookie is then SameSite=None, as the POST comes from the server's site.
	FormPost ResponseMode = "form_post"
)

// MetadataKind is the well-known document that metadata is read from. One is
// chosen; there is no fallback from one to the other.
type MetadataKind string

const (
	// MetadataByScope is the default: OpenID Connect Discovery if the scopes have openid, else RFC 8414.
	MetadataByScope MetadataKind = ""
	// MetadataOpenID appends /.well-known/openid-configuration to the issuer (OpenID Connect Discovery 1.0 §4).
	MetadataOpenID MetadataKind = "openid-configuration"
	// MetadataOAuth inserts /.well-known/oauth-authorization-server before the issuer's path (RFC 8414 §3).
	MetadataOAuth MetadataKind = "oauth-authorization-server"
	// MetadataBoth reads both and refuses them unless they agree.
	MetadataBoth MetadataKind = "both"
)

// Config is one registration at one authorization server. The zero value of
// every field is the safe choice.
type Config struct {
	// Issuer is the issuer identifier, exactly as the server writes it: https
	// (http for a loopback host in development), no query, no fragment. A
	// trailing slash matters.
	Issuer string
	// ClientID is the client identifier of the registration.
	ClientID string
	// Authentication is how this client authenticates: [SecretBasic] or [SecretPost]. One method, never a second try with another.
	Authentication Authentication
	// RedirectURI is the registered redirect URI; it is sent and compared byte
	// for byte. https, or http for a loopback host in development.
	RedirectURI string

	// Name tells several clients of one application apart ("google"): it is
	// part of the login route and shown to users. Letters, digits, "-" and "_".
	Name string
	// PostLogoutRedirectURI is the registered one, if any (OpenID Connect RP-Initiated Logout 1.0 §3).
	PostLogoutRedirectURI string
	// Scopes to ask for; none means openid alone. A list of your own should have
	// openid too, or nobody says who the user is, and offline_access (or what the
	// provider has for it) if the session is to outlive the first access token.
	Scopes []string
	// RequiredScopes must be among the granted ones, or the login fails with ErrScope.
	RequiredScopes []string
	// ResponseMode is how the response comes back; Query by default.
	ResponseMode ResponseMode
	// AuthorizationParams are sent with every authorization request, for what a
	// provider asks for beyond the standard ("access_type", "audience"). They
	// cannot name a parameter of the protocol.
	AuthorizationParams url.Values
	// NoConsentPrompt leaves prompt=consent out when offline_access is asked for:
	// the server has the user's consent by other means (OpenID Connect Core §11).
	NoConsentPrompt bool
	// UserInfo makes Exchange fetch the userinfo endpoint too, if the server has one; sub must match.
	UserInfo bool
	// UserInfoAlgorithm is the registered userinfo_signed_response_alg. If set, an
	// unsigned answer is refused; if empty, a signed one is.
	UserInfoAlgorithm string
	// Rotation says what the server does with refresh tokens, where it differs
	// from the standard or is kinder.
	Rotation Rotation
	// Profile identifies the user where there is no ID token (plain OAuth without the openid scope).
	Profile *Profile

	// Metadata chooses the well-known document.
	Metadata MetadataKind
	// EndpointHosts are hosts beside the issuer's own registrable domain that
	// endpoints may be on, as "host" or "host:port".
	EndpointHosts []string
	// IDTokenAlgorithms are accepted for ID tokens; none means PS256, ES256,
	// EdDSA and RS256, each only if the server announces it. Set it to the
	// registered id_token_signed_response_alg.
	IDTokenAlgorithms []string
	// Leeway is the clock difference that is tolerated: 30 s by default, at most 120 s.
	Leeway time.Duration
	// Timeout bounds one back-channel call from connect to the last byte: 10 s by default, at most 30 s.
	Timeout time.Duration
	// LoginTimeout bounds the age of an authorization request: 10 min by default, at most 30 min.
	LoginTimeout time.Duration

	// RootCAs are the trusted roots for the server's certificate; nil means the system's.
	RootCAs *x509.CertPool
	// Transport replaces the network transport (for a proxy, for tests). The
	// guard against private addresses is part of our own transport: with
	// another one, keeping to public addresses is the caller's job.
	Transport http.RoundTripper
	// Quirks are named relaxations for one provider. Each raises an event.
	Quirks Quirks
	// OnEvent receives audit events, synchronously; it may be called concurrently.
	OnEvent func(context.Context, Event)
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Authentication is a client authentication method; see [SecretBasic] and [SecretPost].
type Authentication interface {
	// method is the registered name of the method and how x/oauth2 sends it.
	method() (name string, style oauth2.AuthStyle)
	secret(ctx context.Context) (Secret, error)
	check() error
}

// secretAuth keeps the source behind a function value: fmt does not ask the
// methods of what it finds in an unexported field, and would print a literal
// Secret there in clear.
type secretAuth struct {
	name   string
	style  oauth2.AuthStyle
	ask    func(context.Context) (Secret, error) // nil: no source was given
	length int                                   // of a literal secret, else -1
}

func newSecretAuth(name string, style oauth2.AuthStyle, source SecretSource) Authentication {
	a := secretAuth{name: name, style: style, length: -1}
	switch s := source.(type) {
	case nil:
		return a
	case Secret:
		a.length = len(s)
	case SecretFunc:
		if s == nil {
			return a
		}
	}
	a.ask = source.Secret
	return a
}

func (a secretAuth) method() (string, oauth2.AuthStyle) { return a.name, a.style }

func (a secretAuth) secret(ctx context.Context) (Secret, error) {
	s, err := a.ask(ctx)
	if err == nil && s == "" {
		return "", configError("secret", "the client secret is empty")
	}
	if err != nil {
		e := NewError(ErrConfig, "secret", asSourceError(err))
		e.Outcome = Transient
		return "", e
	}
	return s, nil
}

func (a secretAuth) check() error {
	switch {
	case a.ask == nil:
		return configError("secret", "the client secret is missing: give client.Secret, client.SecretFunc or client.SecretFile")
	case a.length == 0:
		return configError("secret", "the client secret is empty")
	}
	return nil
}

// SecretBasic is client_secret_basic: id and secret, form-encoded, in the Authorization header (RFC 6749 §2.3.1).
func SecretBasic(s SecretSource) Authentication {
	return newSecretAuth("client_secret_basic", oauth2.AuthStyleInHeader, s)
}

// SecretPost is client_secret_post: id and secret in the form body (RFC 6749 §2.3.1).
func SecretPost(s SecretSource) Authentication {
	return newSecretAuth("client_secret_post", oauth2.AuthStyleInParams, s)
}

// Client is one registration at one authorization server. It is safe for concurrent use.
type Client struct {
	cfg      Config
	http     *backchannel.Client
	metadata metadataCache
	provider provider

	keysMu sync.Mutex
	keys   *idtoken.KeySet

	signedWith sync.Map // algorithms of the ID tokens that were verified, of the few that there are
}

// New checks everything that can be checked without the network and returns an
// error with [ErrConfig] that says how to mend it. It never contacts the
// server: an identity provider that is down must not stop an application from
// starting. See [Client.Discover] to fail at start instead.
func New(cfg Config) (*Client, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	cfg = cfg.clone() // what was checked is what is used, whatever the caller does to its slices and maps
	if len(cfg.Scopes) == 0 {
		cfg.Scopes = []string{"openid"}
	}
	if cfg.Metadata == MetadataByScope {
		cfg.Metadata = MetadataOAuth
		if slices.Contains(cfg.Scopes, "openid") {
			cfg.Metadata = MetadataOpenID
		}
	}
	if len(cfg.IDTokenAlgorithms) == 0 {
		cfg.IDTokenAlgorithms = []string{"PS256", "ES256", "EdDSA", "RS256"}
	}
	cfg.Leeway = defaultTo(cfg.Leeway, 30*time.Second)
	cfg.Timeout = defaultTo(cfg.Timeout, 10*time.Second)
	cfg.LoginTimeout = defaultTo(cfg.LoginTimeout, 10*time.Minute)
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	c := &Client{cfg: cfg, provider: providerOf(cfg.Issuer)}
	c.http = backchannel.New(backchannel.Config{
		Base: cfg.Transport, RootCAs: cfg.RootCAs, Timeout: cfg.Timeout, Now: cfg.Now,
		AllowLoopback: isLoopback(hostOf(cfg.Issuer)), AllowPrivate: cfg.Quirks.AllowPrivateAddresses,
	})
	for _, name := range slices.Concat(cfg.Quirks.active(), cfg.Rotation.active()) {
		c.emit(context.Background(), Event{Kind: EventQuirkActive, Reason: name})
	}
	return c, nil
}

func (cfg Config) clone() Config {
	for _, l := range [...]*[]string{&cfg.Scopes, &cfg.RequiredScopes, &cfg.EndpointHosts, &cfg.IDTokenAlgorithms,
		&cfg.Quirks.TrustedAudiences, &cfg.Quirks.ExtraScopes, &cfg.Rotation.OverCodes} {
		*l = slices.Clone(*l)
	}
	extra := url.Values{}
	for name, values := range cfg.AuthorizationParams {
		extra[name] = slices.Clone(values)
	}
	cfg.AuthorizationParams = extra
	if cfg.Profile != nil {
		p := *cfg.Profile
		cfg.Profile = &p
	}
	return cfg
}

func defaultTo[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}

func (cfg *Config) check() error {
	switch {
	case cfg.Issuer == "":
		return configError("issuer", "Issuer is empty: set it to the server's issuer identifier, for example https://login.example.com")
	case cfg.ClientID == "":
		return configError("client_id", "ClientID is empty: set it to the client identifier of the registration")
	case cfg.Authentication == nil:
		return configError("authentication", "Authentication is missing: use client.SecretBasic(secret) or client.SecretPost(secret)")
	case cfg.RedirectURI == "":
		return configError("redirect_uri", "RedirectURI is empty: set it to the registered redirect URI, for example https://app.example/auth/callback")
	}
	if err := checkIssuer(cfg.Issuer); err != nil {
		return err
	}
	if err := checkRedirectURI("RedirectURI", cfg.RedirectURI); err != nil {
		return err
	}
	if cfg.PostLogoutRedirectURI != "" {
		if err := checkRedirectURI("PostLogoutRedirectURI", cfg.PostLogoutRedirectURI); err != nil {
			return err
		}
	}
	if err := cfg.Authentication.check(); err != nil {
		return err
	}
	for _, s := range slices.Concat(cfg.Scopes, cfg.RequiredScopes) {
		if !isScopeToken(s) {
			return configError("scopes", "a scope is empty or has a character that scopes cannot have (RFC 6749 §3.3): give each scope as one element")
		}
	}
	if cfg.Name != "" && strings.Trim(cfg.Name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") != "" {
		return configError("name", "Name may only have letters, digits, - and _")
	}
	if cfg.ResponseMode != Query && cfg.ResponseMode != FormPost {
		return configError("response_mode", "ResponseMode is client.Query or client.FormPost")
	}
	if !slices.Contains([]MetadataKind{MetadataByScope, MetadataOpenID, MetadataOAuth, MetadataBoth}, cfg.Metadata) {
		return configError("metadata", "Metadata is one of the MetadataKind constants")
	}
	if err := checkExtra(cfg.AuthorizationParams); err != nil {
		return err
	}
	for _, h := range cfg.EndpointHosts {
		if u, ok := parseURI("https://" + h); !ok || u.Host != h || h != strings.ToLower(h) {
			return configError("endpoint_hosts", "EndpointHosts are names like api.example.com or api.example.com:8443, in lower case, without scheme and path")
		}
	}
	if cfg.Profile != nil {
		if err := cfg.Profile.check(); err != nil {
			return err
		}
	}
	if err := cfg.Rotation.check(); err != nil {
		return err
	}
	return cfg.checkLimits()
}

func (cfg *Config) checkLimits() error {
	for _, l := range [...]struct {
		name string
		v    time.Duration
		max  time.Duration
	}{{"Leeway", cfg.Leeway, 120 * time.Second}, {"Timeout", cfg.Timeout, 30 * time.Second}, {"LoginTimeout", cfg.LoginTimeout, 30 * time.Minute}} {
		if l.v < 0 || l.v > l.max {
			return configError("limit", l.name+" is out of range: between 0 and "+l.max.String())
		}
	}
	for _, alg := range slices.Concat(cfg.IDTokenAlgorithms, nonEmpty(cfg.UserInfoAlgorithm)) {
		hmac := strings.HasPrefix(alg, "HS")
		if hmac && !cfg.Quirks.AllowHMAC || !hmac && !asymmetric[alg] {
			return configError("algorithm", "an accepted algorithm is unknown or symmetric: use PS256, ES256, EdDSA or RS256 (or their 384 and 512 forms); HS256 needs Quirks.AllowHMAC")
		}
	}
	if cfg.Quirks.NoPKCE && cfg.Quirks.NoNonce {
		return configError("quirks", "NoPKCE and NoNonce together leave nothing against a stolen code: switch PKCE on at the provider and drop NoPKCE")
	}
	if cfg.Quirks.AllowHMAC {
		return cfg.checkHMAC()
	}
	return nil
}

// checkHMAC holds a literal secret to the length that OpenID Connect Core §16.19 asks of it.
func (cfg *Config) checkHMAC() error {
	for _, alg := range cfg.IDTokenAlgorithms {
		if !strings.HasPrefix(alg, "HS") {
			return configError("algorithm", "Quirks.AllowHMAC switches asymmetric algorithms off: list HS algorithms alone in IDTokenAlgorithms")
		}
	}
	if len(cfg.IDTokenAlgorithms) == 0 {
		return configError("algorithm", "Quirks.AllowHMAC needs IDTokenAlgorithms: []string{\"HS256\"}")
	}
	if a, ok := cfg.Authentication.(secretAuth); ok && a.length >= 0 && a.length < 32 {
		return configError("secret", "HS256 needs a client secret of at least 32 octets (OpenID Connect Core §16.19)")
	}
	return nil
}

var asymmetric = map[string]bool{"RS256": true, "RS384": true, "RS512": true, "PS256": true, "PS384": true, "PS512": true,
	"ES256": true, "ES384": true, "ES512": true, "EdDSA": true}

func nonEmpty(s string) []string {
	if s == "" {
		return nil
	}
	return []string{s}
}

// IdentifiesUser reports whether a login says who the user is: by an ID token
// (scope openid) or by Config.Profile. Without either, tokens are all there is.
func (c *Client) IdentifiesUser() bool { return c.openID(c.cfg.Scopes) || c.cfg.Profile != nil }

func (c *Client) now() time.Time { return c.cfg.Now() }

// String names the registration, and Format keeps every verb to it: the rest of
// a Client is in use by others and not for printing.
func (c *Client) String() string { return "client " + c.cfg.ClientID + " of " + c.cfg.Issuer }

// Format writes String for every verb.
func (c *Client) Format(f fmt.State, _ rune) { io.WriteString(f, c.String()) }

// Name returns the configured name.
func (c *Client) Name() string { return c.cfg.Name }

// Issuer returns the configured issuer identifier.
func (c *Client) Issuer() string { return c.cfg.Issuer }

// ClientID returns the configured client identifier.
func (c *Client) ClientID() string { return c.cfg.ClientID }

// RedirectURI returns the configured redirect URI, byte for byte.
func (c *Client) RedirectURI() string { return c.cfg.RedirectURI }

// PostLogoutRedirectURI returns the configured one, or "".
func (c *Client) PostLogoutRedirectURI() string { return c.cfg.PostLogoutRedirectURI }

// ResponseMode returns the configured response mode.
func (c *Client) ResponseMode() ResponseMode { return c.cfg.ResponseMode }

func (c *Client) openID(scopes []string) bool { return slices.Contains(scopes, "openid") }
