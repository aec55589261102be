package middleware

import (
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"github.com/sallyport/sallyport/client"
	"github.com/sallyport/sallyport/internal/returnto"
	"github.com/sallyport/sallyport/session"
)

// Config is what can be set beyond the session manager and the clients. Its zero value is what most applications want.
type Config struct {
	// BasePath is where our own routes are: BasePath + "/login", "/logout", "/backchannel-logout", "/session". Default "/auth".
	BasePath string
	// DefaultReturnTo is the path where a browser goes after a login that asked for no other. Default "/".
	DefaultReturnTo string
	// TrustedOrigins are further origins (scheme://host[:port]) whose pages may send requests with the user's cookies, reads and writes.
	// The application's own origin needs no mention.
	TrustedOrigins []string
	// Resources are the origins (scheme://host[:port]) that [Auth.Client] may send the user's access token to.
	// Empty: any https origin, so the caller of the HTTP client decides.
	Resources []string
	// Authorization says what the login that r starts asks for beyond the client's configuration: a fresh authentication
	// (MaxAge), a stronger one (ACRValues), a login hint. Nil asks for nothing. It may be called concurrently.
	Authorization func(r *http.Request) client.AuthorizationOptions
	// Transport carries the requests of [Auth.Client]. Default http.DefaultTransport.
	Transport http.RoundTripper
	// FrontchannelLogout adds GET BasePath + "/frontchannel-logout", to be registered as frontchannel_logout_uri (OpenID Connect
	// Front-Channel Logout 1.0) with frontchannel_logout_session_required: a request ends the session of the browser that makes it if iss and
	// sid are that session's, and does nothing otherwise. It is for providers that have nothing better. The provider
	// shows the address in a frame of its own page, and there browsers leave our cookie behind, for it is SameSite=Lax and they block cookies of
	// third parties, unless both are of one site. So it is no logout to rely on: register the back-channel logout, which always is there.
	FrontchannelLogout bool
}

// Auth serves the login routes and guards handlers. Make one with [New]; it is safe for concurrent use.
type Auth struct {
	cfg           Config
	sessions      *session.Manager
	clients       []*client.Client
	origin        *url.URL // scheme and host of every redirect URI
	loopback      bool     // the origin is a development machine's own
	base          string   // the origin as text, without a slash
	routes        map[string]route
	variants      map[string]bool // the paths of routes as a lenient router would read them
	csrf          *http.CrossOriginProtection
	trusted       map[string]bool
	loginRequired rendered                         // the 401 of require: anybody can ask for it as often as they like
	api           map[string]bool                  // origins of Config.Resources
	logouts       map[*client.Client]chan struct{} // room for the logout tokens that are being verified
	framed        map[*client.Client]string        // the policy of what its issuer may frame
}

// New returns what serves the login routes and guards handlers, with the default Config. It fails as Config.New does.
func New(s *session.Manager, clients ...*client.Client) (*Auth, error) {
	return Config{}.New(s, clients...)
}

// New checks the configuration and returns what serves it. All clients share one origin, the application's; each has a redirect URI, an issuer and (if there are several) a name of its own.
// It touches no network. The error is a *client.Error with code client.ErrConfig whose text says how to mend it.
func (cfg Config) New(s *session.Manager, clients ...*client.Client) (*Auth, error) {
	if s == nil {
		return nil, misconfigured("session", "pass the *session.Manager that session.New returned")
	}
	if len(clients) == 0 {
		return nil, misconfigured("clients", "pass at least one *client.Client")
	}
	if err := cfg.setDefaults(); err != nil {
		return nil, err
	}
	a := &Auth{cfg: cfg, clients: clients, csrf: http.NewCrossOriginProtection(), trusted: map[string]bool{}}
	if err := a.checkClients(); err != nil {
		return nil, err
	}
	a.logouts, a.framed = map[*client.Client]chan struct{}{}, map[*client.Client]string{}
	for _, c := range clients {
		a.logouts[c], a.framed[c] = make(chan struct{}, maxLogoutsAtOnce), framedBy(c.Issuer())
	}
	if err := a.addRoutes(); err != nil {
		return nil, err
	}
	a.loginRequired = problem{Status: http.StatusUnauthorized, Code: string(errLoginRequired), Detail: "Log in to use this.", LoginURL: cfg.BasePath + "/login"}.render()
	var err error
	if a.sessions, err = s.ForOrigin(a.base); err != nil {
		return nil, err
	}
	a.sessions.Know(clients...)
	for _, o := range append([]string{a.base}, cfg.TrustedOrigins...) {
		if !isOrigin(o) {
			return nil, misconfigured("trusted_origins", "write each of TrustedOrigins as scheme://host[:port], in lower case and without a path")
		}
		if err := a.csrf.AddTrustedOrigin(o); err != nil {
			return nil, misconfigured("trusted_origins", "write each of TrustedOrigins as scheme://host[:port]")
		}
		a.trusted[o] = true
	}
	for _, o := range cfg.Resources {
		if !isOrigin(o) {
			return nil, misconfigured("resources", "write each of Resources as scheme://host[:port], in lower case and without a path; http is for loopback hosts only")
		}
		if a.api == nil {
			a.api = map[string]bool{}
		}
		a.api[o] = true
	}
	return a, nil
}

func (cfg *Config) setDefaults() error {
	if cfg.BasePath == "" {
		cfg.BasePath = "/auth"
	}
	if !isPlainPath(cfg.BasePath) || strings.HasSuffix(cfg.BasePath, "/") {
		return misconfigured("base_path", `write BasePath as an absolute path of letters, digits, "-", "_" and "." without a slash at its end, such as "/auth"`)
	}
	if cfg.DefaultReturnTo == "" {
		cfg.DefaultReturnTo = "/"
	}
	if returnto.Clean(cfg.DefaultReturnTo, func(string) bool { return false }, "") != cfg.DefaultReturnTo {
		return misconfigured("default_return_to", `write DefaultReturnTo as a path of this application, such as "/home"`)
	}
	if cfg.Transport == nil {
		cfg.Transport = http.DefaultTransport
	}
	return nil
}

// checkClients refuses what would let one login be taken for another.
func (a *Auth) checkClients() error {
	uris, issuers, names := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for _, c := range a.clients {
		if c == nil {
			return misconfigured("clients", "a client is nil: check the error of client.New")
		}
		u, err := url.Parse(c.RedirectURI())
		if err != nil {
			return misconfigured("redirect_uri", "a redirect URI is no URL")
		}
		origin := u.Scheme + "://" + u.Host
		switch {
		case a.base != "" && a.base != origin:
			return misconfigured("origin", "the redirect URIs of all clients must have one scheme, host and port: sessions belong to one origin. Use one Auth for each origin")
		case uris[u.Path]: // the query does not tell them apart: it is a stranger's until the state is checked
			return misconfigured("redirect_uri", "two clients have the same redirect URI path: register another for one of them, for example by ending it with the client's name (RFC 9700 §4.4.2.2)")
		case issuers[c.Issuer()]: // RFC 9207 §4, ATK-D14
			return misconfigured("issuer", "two clients have the same issuer, so a response could not be told from the other's (RFC 9207 §4): configure it once")
		case !c.IdentifiesUser():
			return misconfigured("scopes", "a client asks for scopes without openid and has no client.Config.Profile, so nobody would say who the user is: add openid to its Scopes, or set Profile")
		case len(a.clients) > 1 && c.Name() == "":
			return misconfigured("name", "with several clients each needs a client.Config.Name, which users see and which ends its login path")
		case names[c.Name()]:
			return misconfigured("name", "two clients have the same name: give each client.Config.Name a value of its own")
		}
		a.base, a.origin = origin, u
		uris[u.Path], issuers[c.Issuer()], names[c.Name()] = true, true, true
	}
	a.loopback = isLoopback(a.origin.Hostname())
	return nil
}

func misconfigured(reason, mend string) error {
	return client.NewError(client.ErrConfig, reason, nil).WithHint(mend)
}

// isPlainPath reports whether browsers, proxies and routers all read p the same way.
func isPlainPath(p string) bool {
	for segment := range strings.SplitSeq(strings.TrimPrefix(p, "/"), "/") {
		if segment == "" || segment == "." || segment == ".." {
			return false
		}
		if strings.Trim(segment, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.~") != "" {
			return false
		}
	}
	return strings.HasPrefix(p, "/")
}

// isOrigin reports whether s is an origin as browsers write it, and https (or http on a loopback host).
func isOrigin(s string) bool {
	u, err := url.Parse(s)
	return err == nil && u.Hostname() != "" && originOf(u) == s && (u.Scheme == "https" || u.Scheme == "http" && isLoopback(u.Hostname()))
}

// originOf writes the origin of u as browsers do.
func originOf(u *url.URL) string {
	host, port := strings.ToLower(u.Hostname()), u.Port()
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if port != "" && port != defaultPorts[u.Scheme] {
		host += ":" + port
	}
	return u.Scheme + "://" + host
}

var defaultPorts = map[string]string{"http": "80", "https": "443"}

func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}
