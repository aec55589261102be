package middleware

import (
	"net/http"
	"net/url"
	"strings"
	"unicode"

	"github.com/sallyport/sallyport/client"
	"github.com/sallyport/sallyport/internal/returnto"
	"github.com/sallyport/sallyport/session"
)

// maxLoginQuery bounds what is parsed of a login link. A longer one starts a login without its wishes.
const maxLoginQuery = 8 << 10

// startLogin sends the browser to the authorization server of c, or, when c is nil and there are several, lets the user choose.
// An existing session is not touched: it is replaced when the login completes.
func (a *Auth) startLogin(w http.ResponseWriter, r *http.Request, c *client.Client) {
	switch {
	case isSpeculative(r): // ATK-L36: nobody asked for it yet
		a.fail(w, r, c, client.NewError(errSpeculative, "", nil))
		return
	case isEmbedded(r): // ATK-L31: an image or a frame starts no login
		a.fail(w, r, c, client.NewError(ErrCSRF, "embedded", nil))
		return
	case a.sendHome(w, r):
		return
	}
	returnTo := a.cfg.DefaultReturnTo
	var query url.Values
	if len(r.URL.RawQuery) <= maxLoginQuery {
		query, _ = url.ParseQuery(r.URL.RawQuery)
	}
	if v := query["return_to"]; len(v) == 1 {
		returnTo = returnto.Clean(v[0], a.isOwn, returnTo)
	}
	hint := ""
	if iss, asked := query["iss"]; asked && c == nil { // OpenID Connect Core §4: a login that somebody else initiates
		if c = a.byIssuer(iss); c == nil {
			a.fail(w, r, nil, client.NewError(errUnknownIssuer, "", nil))
			return
		}
		hint = query.Get("login_hint")
		if target, ours := strings.CutPrefix(query.Get("target_link_uri"), a.base+"/"); ours {
			returnTo = returnto.Clean("/"+target, a.isOwn, returnTo)
		}
	}
	if c == nil && len(a.clients) > 1 {
		a.choose(w, r, returnTo)
		return
	}
	if c == nil {
		c = a.clients[0]
	}
	req, err := a.authorizationRequest(r, c, hint)
	if err != nil {
		a.fail(w, r, c, err)
		return
	}
	opts := session.LoginOptions{ReturnTo: returnTo, CrossSite: c.ResponseMode() == client.FormPost}
	if err := a.sessions.SaveLogin(w, r, req, opts); err != nil {
		a.fail(w, r, c, ownFault{err})
		return
	}
	a.report(r, c, client.Event{Kind: client.EventLoginStarted})
	redirect(w, req.URL())
}

func (a *Auth) authorizationRequest(r *http.Request, c *client.Client, hint string) (req *client.AuthorizationRequest, err error) {
	defer contain(&err)
	var opts client.AuthorizationOptions
	if a.cfg.Authorization != nil {
		opts = a.cfg.Authorization(r)
	}
	if opts.LoginHint == "" {
		opts.LoginHint = hint
	}
	return c.AuthorizationRequest(r.Context(), opts)
}

// byIssuer returns the one client of the one issuer named, compared byte for byte.
func (a *Auth) byIssuer(iss []string) *client.Client {
	for _, c := range a.clients {
		if len(iss) == 1 && c.Issuer() == iss[0] {
			return c
		}
	}
	return nil
}

// choose shows which providers there are. The link of each carries the return address, which is a plain path of ours by now.
func (a *Auth) choose(w http.ResponseWriter, r *http.Request, returnTo string) {
	p := page{status: http.StatusOK, title: "Log in", text: "Choose how you want to log in."}
	for _, c := range a.clients {
		href := a.cfg.BasePath + "/login/" + c.Name()
		if returnTo != a.cfg.DefaultReturnTo {
			href += "?return_to=" + url.QueryEscape(returnTo)
		}
		p.links = append(p.links, link{href, "Log in with " + title(c.Name())})
	}
	p.write(w, r)
}

func title(name string) string {
	runes := []rune(name)
	runes[0] = unicode.ToUpper(runes[0])
	return string(runes)
}

// LoginURL is the address that starts a login and comes back to returnTo, a path of this application; for links and buttons.
func (a *Auth) LoginURL(returnTo string) string {
	u := a.cfg.BasePath + "/login"
	if returnTo = returnto.Clean(returnTo, a.isOwn, ""); returnTo != "" {
		u += "?return_to=" + url.QueryEscape(returnTo)
	}
	return u
}
