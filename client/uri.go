package client

import (
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/net/publicsuffix"
)

// parseURI parses an absolute http(s) URI of the configuration or of metadata
// and refuses what no such URI needs: user information, an opaque part, control
// or non-ASCII characters, backslashes, a port that is not one.
func parseURI(s string) (*url.URL, bool) {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' || s[i] == '\\' {
			return nil, false
		}
	}
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || !strings.HasPrefix(s, u.Scheme+"://") {
		return nil, false
	}
	if u.Opaque != "" || u.User != nil || u.Hostname() == "" || strings.HasSuffix(u.Host, ":") {
		return nil, false
	}
	if p := u.Port(); p != "" {
		if n, err := strconv.ParseUint(p, 10, 16); err != nil || n == 0 || p[0] == '0' {
			return nil, false
		}
	}
	// url.Parse decodes what was percent-encoded in a host; what that means to a resolver is not ours to guess.
	for i := range len(u.Host) {
		if u.Host[i] > '~' || u.Host[i] == '%' {
			return nil, false
		}
	}
	return u, true
}

// isLoopback reports whether a host name means this machine, by its name alone.
func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

func hostOf(s string) string {
	if u, ok := parseURI(s); ok {
		return u.Hostname()
	}
	return ""
}

// secure reports whether a URI may be used at all: https, or http to a loopback
// host in development (OAuth 2.1 §1.5).
func secure(u *url.URL) bool {
	return u.Scheme == "https" || isLoopback(u.Hostname())
}

// checkIssuer holds an issuer identifier to OpenID Connect Discovery §3 and RFC 8414 §2.
func checkIssuer(s string) error {
	u, ok := parseURI(s)
	switch {
	case !ok:
		return configError("issuer", "Issuer is not an absolute https URL: copy the issuer from the server's metadata")
	case strings.ContainsAny(s, "?#"):
		return configError("issuer", "Issuer has a query or a fragment, which an issuer identifier cannot have")
	case strings.Contains(s, "/.well-known/"):
		return configError("issuer", "Issuer is the address of a metadata document: give the issuer that the document names")
	case strings.ContainsAny(s, "{}*"):
		return configError("issuer", "Issuer is a template: set the issuer of one tenant")
	case !secure(u):
		return configError("issuer", "Issuer is http: only https is accepted (http only for a loopback host in development)")
	}
	return nil
}

// checkRedirectURI holds a redirect URI to OAuth 2.1 §2.3 and to what a browser leaves unchanged.
func checkRedirectURI(field, s string) error {
	bad := func(hint string) error { return configError("redirect_uri", field+" "+hint) }
	u, ok := parseURI(s)
	if !ok {
		return bad("is not an absolute https URL without user information: write it exactly as it is registered")
	}
	switch {
	case strings.Contains(s, "#"):
		return bad("has a fragment, which a redirect URI cannot have (OAuth 2.1 §2.3)")
	case strings.Contains(s, "*"):
		return bad("has a wildcard: register and configure the one exact URI")
	case !secure(u):
		return bad("is http: only https is accepted (http only for a loopback host in development)")
	case u.Host != strings.ToLower(u.Host):
		return bad("has upper-case letters in its host, which browsers write in lower case: register and configure it that way")
	case u.Scheme == "https" && u.Port() == "443" || u.Scheme == "http" && u.Port() == "80":
		return bad("names the default port, which browsers leave out: register and configure it without")
	case u.Path == "":
		return bad("has no path: use one that only the callback is served at, for example /auth/callback")
	}
	for seg := range strings.SplitSeq(u.Path, "/") {
		if seg == "." || seg == ".." {
			return bad("has dot segments, which browsers resolve: configure the resolved path")
		}
	}
	if strings.Contains(u.Path, "//") || strings.Contains(u.Path, `\`) || strings.ContainsRune(u.EscapedPath(), '%') {
		return bad("has a path that servers and browsers normalise differently: use plain segments")
	}
	if u.ForceQuery {
		return bad("ends in a question mark, after which servers disagree how to go on: configure it without")
	}
	if u.RawQuery != "" {
		params, err := parseParams(u.RawQuery)
		if err != nil {
			return bad("has a query that does not parse")
		}
		for i, p := range params {
			if knownResponseParams[p.name] {
				return bad("has a query parameter that an authorization response uses: choose another name")
			}
			if slices.ContainsFunc(params[:i], func(o param) bool { return o.name == p.name }) {
				return bad("has a query parameter twice")
			}
		}
	}
	return nil
}

// endpointAllowed decides whether an endpoint that metadata names may be used:
// https (loopback http in development), no fragment, no user information, and a
// host of the issuer's own registrable domain or of the configured list.
func (c *Client) endpointAllowed(s string) bool {
	u, _ := parseURI(s)
	return c.endpointWellFormed(s) && c.hostAllowed(u)
}

// endpointWellFormed is endpointAllowed without regard to the host.
func (c *Client) endpointWellFormed(s string) bool {
	u, ok := parseURI(s)
	if !ok || strings.Contains(s, "#") {
		return false
	}
	iss, _ := parseURI(c.cfg.Issuer)
	return u.Scheme == "https" || u.Scheme == iss.Scheme && isLoopback(u.Hostname())
}

func (c *Client) hostAllowed(u *url.URL) bool {
	iss, _ := parseURI(c.cfg.Issuer)
	host, own := strings.ToLower(u.Hostname()), strings.ToLower(iss.Hostname())
	if host == own || isLoopback(host) && isLoopback(own) {
		return true
	}
	for _, list := range [...][]string{c.cfg.EndpointHosts, c.provider.hosts} {
		if slices.Contains(list, host) || slices.Contains(list, strings.ToLower(u.Host)) {
			return true
		}
	}
	if net.ParseIP(host) != nil || net.ParseIP(own) != nil {
		return false
	}
	a, err := publicsuffix.EffectiveTLDPlusOne(host)
	if err != nil {
		return false
	}
	b, err := publicsuffix.EffectiveTLDPlusOne(own)
	return err == nil && a == b
}

// isScopeToken is RFC 6749 §3.3: scope-token = 1*( %x21 / %x23-5B / %x5D-7E ).
func isScopeToken(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < 0x21 || c > 0x7e || c == '"' || c == '\\' {
			return false
		}
	}
	return s != ""
}

// isVSCHAR is RFC 6749 appendix A without the space, which no credential needs
// and a header cannot carry.
func isVSCHAR(s string) bool {
	for i := range len(s) {
		if s[i] < 0x21 || s[i] > 0x7e {
			return false
		}
	}
	return s != ""
}
