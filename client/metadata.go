package client

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/internal/strictjson"
)

// Metadata is what this module reads of the server's metadata (RFC 8414 §2,
// OpenID Connect Discovery 1.0 §3), checked. Endpoints that the server does not
// have are empty.
type Metadata struct {
	Issuer                string
	AuthorizationEndpoint string
	TokenEndpoint         string
	JWKSURI               string
	UserInfoEndpoint      string
	RevocationEndpoint    string
	EndSessionEndpoint    string

	// Lists are nil if the server does not announce them.
	IDTokenAlgorithms     []string // id_token_signing_alg_values_supported
	CodeChallengeMethods  []string
	TokenAuthMethods      []string
	ResponseModes         []string
	ScopesSupported       []string
	IssParameterSupported bool // authorization_response_iss_parameter_supported (RFC 9207 §3)
}

func (m *Metadata) clone() *Metadata {
	c := *m
	for _, l := range [...]*[]string{&c.IDTokenAlgorithms, &c.CodeChallengeMethods, &c.TokenAuthMethods, &c.ResponseModes, &c.ScopesSupported} {
		*l = slices.Clone(*l)
	}
	return &c
}

// parseMetadata judges one metadata document. The error's code is
// ErrIssuerMismatch, ErrEndpointRefused, ErrConfig or ErrDiscovery.
func (c *Client) parseMetadata(body []byte) (*Metadata, error) {
	doc, err := strictjson.Parse(body)
	if err != nil {
		return nil, badMetadata("json")
	}
	doc = doc.WithoutNull()
	var m Metadata
	iss, present, err := doc.String("issuer")
	if err != nil || !present {
		return nil, badMetadata("issuer")
	}
	// RFC 8414 §3.3, OpenID Connect Discovery §4.3: identical, no normalisation.
	if iss != c.cfg.Issuer {
		return nil, NewError(ErrIssuerMismatch, "", nil).WithHint("the metadata at this issuer names another issuer: set Issuer to exactly what the server writes, trailing slash included")
	}
	m.Issuer = iss
	if err := c.readEndpoints(doc, &m); err != nil {
		return nil, err
	}
	for _, l := range [...]struct {
		name string
		to   *[]string
	}{
		{"id_token_signing_alg_values_supported", &m.IDTokenAlgorithms},
		{"code_challenge_methods_supported", &m.CodeChallengeMethods},
		{"token_endpoint_auth_methods_supported", &m.TokenAuthMethods},
		{"response_modes_supported", &m.ResponseModes},
		{"scopes_supported", &m.ScopesSupported},
	} {
		v, present, err := doc.Strings(l.name)
		if err != nil {
			return nil, badMetadata(l.name)
		}
		if *l.to = v; present && v == nil {
			*l.to = []string{}
		}
	}
	if m.IssParameterSupported, _, err = doc.Bool("authorization_response_iss_parameter_supported"); err != nil {
		return nil, badMetadata("authorization_response_iss_parameter_supported")
	}
	if err := c.supported(&m); err != nil {
		return nil, err
	}
	return &m, nil
}

// readEndpoints reads every endpoint and refuses the document for one that may
// not be used (ATK-D03, D06, D12). Of those that this module does not call only
// the form is judged: a document that is careless with them is not to be trusted.
func (c *Client) readEndpoints(doc strictjson.Object, m *Metadata) error {
	for _, e := range [...]struct {
		name string
		to   *string
	}{
		{"authorization_endpoint", &m.AuthorizationEndpoint}, {"token_endpoint", &m.TokenEndpoint}, {"jwks_uri", &m.JWKSURI},
		{"userinfo_endpoint", &m.UserInfoEndpoint}, {"revocation_endpoint", &m.RevocationEndpoint}, {"end_session_endpoint", &m.EndSessionEndpoint},
		{"pushed_authorization_request_endpoint", nil}, {"introspection_endpoint", nil}, {"device_authorization_endpoint", nil},
	} {
		v, present, err := doc.String(e.name)
		switch {
		case err != nil:
			return badMetadata(e.name)
		case !present || v == "":
		case !c.endpointWellFormed(v):
			return NewError(ErrEndpointRefused, e.name, nil).WithHint("it must be https, without fragment or user information")
		case e.to == nil:
		case !c.endpointAllowed(v):
			return NewError(ErrEndpointRefused, e.name, nil).WithHint("it is not on the issuer's own domain: name its host in Config.EndpointHosts if that is where the server has it")
		case namesOurs(v):
			return NewError(ErrEndpointRefused, e.name, nil).WithHint("its query has a parameter that this client sends, and a server that takes the first of two would take the other")
		default:
			*e.to = v
		}
	}
	if raw, present := doc.Get("mtls_endpoint_aliases"); present {
		aliases, err := strictjson.Parse(raw)
		if err != nil {
			return badMetadata("mtls_endpoint_aliases")
		}
		for _, value := range aliases.All() { // by name each would be searched for
			var v string
			if json.Unmarshal(value, &v) != nil || !c.endpointWellFormed(v) {
				return NewError(ErrEndpointRefused, "mtls_endpoint_aliases", nil).WithHint("it must be https, without fragment or user information")
			}
		}
	}
	if m.AuthorizationEndpoint == "" || m.TokenEndpoint == "" {
		return badMetadata("endpoints")
	}
	if c.openID(c.cfg.Scopes) && m.JWKSURI == "" {
		return badMetadata("jwks_uri")
	}
	return nil
}

// namesOurs reports whether the query of an endpoint, which is kept (OAuth 2.1
// §3.1), would make a parameter of the protocol appear twice.
func namesOurs(endpoint string) bool {
	u, ok := parseURI(endpoint)
	if !ok {
		return true
	}
	params, err := parseParams(u.RawQuery)
	for _, p := range params {
		if protocolParams[strings.ToLower(p.name)] || p.name == "token" || p.name == "post_logout_redirect_uri" {
			return true
		}
	}
	return err != nil
}

// supported checks that the server can do what this client insists on.
func (c *Client) supported(m *Metadata) error {
	if !c.cfg.Quirks.NoPKCE {
		switch {
		case m.CodeChallengeMethods == nil && c.cfg.Quirks.AssumePKCE:
		case m.CodeChallengeMethods == nil:
			return configError("pkce", "the server's metadata does not announce PKCE (RFC 9700 §2.1.1): set Quirks.AssumePKCE once you know that it checks code_verifier")
		case !slices.Contains(m.CodeChallengeMethods, "S256"):
			return configError("pkce", "the server's metadata does not announce the code challenge method S256, and plain is never used (RFC 7636 §7.2)")
		}
	}
	if name, _ := c.cfg.Authentication.method(); m.TokenAuthMethods != nil && !slices.Contains(m.TokenAuthMethods, name) {
		return configError("authentication", "the server does not announce the configured client authentication method: use SecretPost where it has client_secret_post, SecretBasic where it has client_secret_basic")
	}
	if c.cfg.ResponseMode == FormPost && m.ResponseModes != nil && !slices.Contains(m.ResponseModes, "form_post") {
		return configError("response_mode", "the server does not announce response_mode form_post")
	}
	if c.openID(c.cfg.Scopes) && len(c.algorithms(m)) == 0 {
		return configError("algorithm", "the server announces no ID token algorithm that is accepted here: see Config.IDTokenAlgorithms")
	}
	return nil
}

// algorithms is the exact allow-list for ID tokens: configured and announced
// (OpenID Connect Core §3.1.3.7 step 7), never what a token says of itself.
func (c *Client) algorithms(m *Metadata) []string {
	if m.IDTokenAlgorithms == nil {
		return c.cfg.IDTokenAlgorithms
	}
	var algs []string
	for _, a := range c.cfg.IDTokenAlgorithms {
		if slices.Contains(m.IDTokenAlgorithms, a) {
			algs = append(algs, a)
		}
	}
	return algs
}

// weaker names what new metadata would take away from old, or "".
func weaker(old, new *Metadata) string {
	switch {
	case slices.Contains(old.CodeChallengeMethods, "S256") && !slices.Contains(new.CodeChallengeMethods, "S256"):
		return "pkce"
	case old.IssParameterSupported && !new.IssParameterSupported:
		return "iss"
	case moved(old.TokenEndpoint, new.TokenEndpoint):
		return "token_endpoint"
	case moved(old.JWKSURI, new.JWKSURI):
		return "jwks_uri"
	case moved(old.AuthorizationEndpoint, new.AuthorizationEndpoint):
		return "authorization_endpoint"
	case moved(old.UserInfoEndpoint, new.UserInfoEndpoint): // it is sent access tokens
		return "userinfo_endpoint"
	case moved(old.RevocationEndpoint, new.RevocationEndpoint): // it is sent every token
		return "revocation_endpoint"
	case moved(old.EndSessionEndpoint, new.EndSessionEndpoint): // it is sent the ID token
		return "end_session_endpoint"
	}
	return ""
}

// moved reports whether an endpoint that there was is now of another origin. One
// that is new or gone has not moved; those that must be there are checked elsewhere.
func moved(old, new string) bool {
	u, _ := parseURI(old)
	v, _ := parseURI(new)
	return u != nil && v != nil && (u.Scheme != v.Scheme || u.Host != v.Host)
}

// agree compares what two metadata documents say of the same server (ATK-D09).
func agree(a, b *Metadata) bool {
	return a.Issuer == b.Issuer && a.AuthorizationEndpoint == b.AuthorizationEndpoint && a.TokenEndpoint == b.TokenEndpoint &&
		a.JWKSURI == b.JWKSURI && a.EndSessionEndpoint == b.EndSessionEndpoint && a.RevocationEndpoint == b.RevocationEndpoint && a.IssParameterSupported == b.IssParameterSupported &&
		slices.Equal(a.CodeChallengeMethods, b.CodeChallengeMethods) && slices.Equal(a.TokenAuthMethods, b.TokenAuthMethods) &&
		// RFC 8414 does not know this one, so its document may leave it out.
		(b.UserInfoEndpoint == "" || a.UserInfoEndpoint == b.UserInfoEndpoint)
}

func badMetadata(reason string) *Error {
	e := NewError(ErrDiscovery, reason, nil)
	e.Outcome, e.Action = Rejected, ActionFixConfiguration
	return e
}

// wellKnown is where one kind of metadata document of an issuer lives.
func wellKnown(issuer string, kind MetadataKind) (string, error) {
	u, ok := parseURI(issuer)
	if !ok {
		return "", errors.New("sallyport: issuer does not parse")
	}
	path := strings.TrimSuffix(u.EscapedPath(), "/")
	origin := u.Scheme + "://" + u.Host
	if kind == MetadataOAuth {
		return origin + "/.well-known/oauth-authorization-server" + path, nil // RFC 8414 §3.1
	}
	return origin + path + "/.well-known/openid-configuration", nil // OpenID Connect Discovery §4.1
}
