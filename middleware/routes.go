package middleware

import (
	"net/http"
	"net/url"
	"path"
	"strings"

	"github.com/sallyport/sallyport/client"
)

// route answers one of our own paths. What it does not allow is 405 before anything is read.
type route struct {
	methods string // for Allow; empty: the handler judges itself
	handle  func(w http.ResponseWriter, r *http.Request)
}

func (a *Auth) addRoutes() error {
	a.routes, a.variants = map[string]route{}, map[string]bool{}
	add := func(p string, r route) error {
		if _, taken := a.routes[p]; taken {
			return misconfigured("path", "two of our own routes have one path: a redirect URI must differ from BasePath + /login, /logout, /logout/callback, /backchannel-logout, /frontchannel-logout and /session")
		}
		a.routes[p] = r
		a.variants[lenient(p)] = true
		return nil
	}
	base := a.cfg.BasePath
	login := func(w http.ResponseWriter, r *http.Request) { a.startLogin(w, r, nil) }
	err := add(base+"/login", route{http.MethodGet, login})
	for _, c := range a.clients {
		if c.Name() != "" && err == nil {
			err = add(base+"/login/"+c.Name(), route{http.MethodGet, func(w http.ResponseWriter, r *http.Request) { a.startLogin(w, r, c) }})
		}
	}
	for _, own := range [...]struct {
		path string
		route
	}{
		{"/logout", route{http.MethodPost, a.logout}},
		{"/logout/callback", route{http.MethodGet, a.loggedOut}},
		{"/backchannel-logout", route{http.MethodPost, a.backchannelLogout}},
		{"/session", route{"GET, HEAD", a.serveSession}},
	} {
		if err == nil {
			err = add(base+own.path, own.route)
		}
	}
	if a.cfg.FrontchannelLogout && err == nil {
		err = add(base+"/frontchannel-logout", route{http.MethodGet, a.frontchannelLogout})
	}
	for _, c := range a.clients {
		u, _ := url.Parse(c.RedirectURI())
		if err == nil {
			err = add(u.EscapedPath(), route{"", func(w http.ResponseWriter, r *http.Request) { a.callback(w, r, c) }})
		}
	}
	for _, c := range a.clients {
		// Registered elsewhere it is somebody else's page, and state comes back there.
		u, parseErr := url.Parse(c.PostLogoutRedirectURI())
		if parseErr != nil || c.PostLogoutRedirectURI() == "" || originOf(u) != originOf(a.origin) {
			continue
		}
		p := u.EscapedPath()
		if r, taken := a.routes[p]; taken && err == nil && r.methods != http.MethodGet {
			err = misconfigured("post_logout_redirect_uri", "PostLogoutRedirectURI has the path of another of our routes: register BasePath + /logout/callback or a path of its own")
		} else if !taken && err == nil {
			err = add(p, route{http.MethodGet, a.loggedOut})
		}
	}
	return err
}

// ServeHTTP answers the login, callback, logout and session routes and those of the provider's logouts, and 404 for every other path.
// Mounted in a mux, it sees only what the mux lets through: [Auth.Handler] in front sees paths before they are cleaned.
func (a *Auth) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	own, ok := a.routes[r.URL.EscapedPath()]
	if !ok {
		page{status: http.StatusNotFound, title: "Page not found", text: "There is nothing at this address.", links: a.onward()}.write(w, r)
		return
	}
	a.serve(own, w, r)
}

// Handler answers our own routes and hands everything else to next, however next routes: give the whole application.
//
// Paths are compared as they came, before any cleaning; one that is not ours but that a lenient router would take for ours is 404, so that no redirect to a cleaned path carries a code with it.
// On a development machine, a page opened under another loopback name (localhost for 127.0.0.1) is sent to the origin of the redirect URI, where its cookies are.
func (a *Auth) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p := r.URL.EscapedPath()
		if own, ok := a.routes[p]; ok {
			a.serve(own, w, r)
			return
		}
		if a.isOwn(p) {
			a.ServeHTTP(w, r)
			return
		}
		if a.sendHome(w, r) {
			return
		}
		next.ServeHTTP(w, r)
	})
}

// serve runs one of our own handlers. A panic underneath (a secret source, an event hook) becomes our error page, and its value, which may be a secret, goes nowhere.
func (a *Auth) serve(own route, w http.ResponseWriter, r *http.Request) {
	defer func() {
		if v := recover(); v != nil {
			if v == http.ErrAbortHandler {
				panic(v)
			}
			a.fail(w, r, nil, client.NewError(errInternal, "panic", nil))
		}
	}()
	if own.methods != "" && !strings.Contains(", "+own.methods+",", ", "+r.Method+",") {
		p := page{status: http.StatusMethodNotAllowed, title: "This does not work that way", text: "This address does not take such a request.", links: a.onward(), allow: own.methods,
			code: "method", correlation: newCorrelation()}
		a.report(r, nil, client.Event{Kind: EventRequestRefused, Code: "method", Correlation: p.correlation})
		p.write(w, r)
		return
	}
	own.handle(w, r)
}

// lenient is how routers that decode, clean, fold case or drop parameters read a path.
func lenient(p string) string {
	for range 3 {
		decoded, err := url.PathUnescape(p)
		if err != nil || decoded == p {
			break
		}
		p = decoded
	}
	p = strings.ReplaceAll(p, `\`, "/")
	segments := strings.Split(p, "/")
	for i, s := range segments {
		segments[i], _, _ = strings.Cut(s, ";")
	}
	return strings.ToLower(path.Clean("/" + strings.Join(segments, "/")))
}

// isOwn is what return_to must not lead to, however the path is written (ATK-R16).
func (a *Auth) isOwn(p string) bool {
	p = lenient(p)
	return a.variants[p] || strings.HasPrefix(p, lenient(a.cfg.BasePath+"/login")+"/")
}

// atOrigin returns an error unless a request was sent to the configured host, byte for byte. Forwarded headers are anybody's and not read (ATK-R02).
func (a *Auth) atOrigin(r *http.Request) error {
	if r.URL.Scheme != "" && r.URL.Scheme != a.origin.Scheme { // the absolute form, as to a proxy: ATK-L42
		return client.NewError(client.ErrMalformedResponse, "scheme", nil)
	}
	if r.Host != a.origin.Host { // ATK-R05
		return client.NewError(errMisdirected, "host", nil)
	}
	return nil
}

// sendHome redirects a navigation under another loopback name to the configured origin and reports whether it did.
func (a *Auth) sendHome(w http.ResponseWriter, r *http.Request) bool {
	if !a.loopback || r.Host == a.origin.Host || !isNavigation(r) {
		return false
	}
	host := url.URL{Host: r.Host}
	if !isLoopback(strings.ToLower(host.Hostname())) || portOf(&host, a.origin.Scheme) != portOf(a.origin, a.origin.Scheme) {
		return false
	}
	secure(w)
	w.Header().Set("Location", a.base+requested(r))
	w.WriteHeader(http.StatusTemporaryRedirect)
	return true
}

func portOf(u *url.URL, scheme string) string {
	if p := u.Port(); p != "" {
		return p
	}
	return defaultPorts[scheme]
}

// onward are the ways on from a page that went wrong; none of them happens by itself.
func (a *Auth) onward() []link {
	return []link{{a.cfg.BasePath + "/login", "Log in again"}, {a.cfg.DefaultReturnTo, "Continue to the application"}}
}
