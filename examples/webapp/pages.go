package main

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"errors"
	"html/template"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport/sallyport/client"
	"github.com/sallyport/sallyport/middleware"
	"github.com/sallyport/sallyport/session"
)

//go:embed page.html
var pageHTML string

//go:embed page.css
var pageCSS string

var (
	pageTemplate = template.Must(template.New("page").Parse(pageHTML))
	pageStyle    = sha256.Sum256([]byte(pageCSS))
)

// pagePolicy lets the page's own style in and nothing else. Browsers hold the
// redirect that follows a form to form-action too, and logging out goes on to
// the authorization server, so that has to be named.
func pagePolicy(issuer string) string {
	return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(pageStyle[:]) +
		"'; form-action 'self' " + strings.TrimSuffix(issuer, pathOf(issuer)) + "; frame-ancestors 'none'; base-uri 'none'"
}

// pages are what this application shows. It never shows a token.
type pages struct {
	auth     *middleware.Auth
	client   *client.Client
	resource string
}

type claim struct{ Name, Value string }

type view struct {
	Title, User, Name, Issuer, LoginURL, LogoutURL string
	AccessEnds, SessionEnds                        string
	Public, Unknown                                bool
	Scopes                                         []string
	Claims                                         []claim
	Style                                          template.CSS
}

// home is public and says who is logged in, or that this cannot be told because the
// store of the sessions does not answer.
func (p *pages) home(w http.ResponseWriter, r *http.Request) {
	s, err := p.auth.Session(r)
	p.show(w, s, view{Public: true, Unknown: errors.Is(err, session.ErrStore)})
}

// me is for the logged-in user.
func (p *pages) me(w http.ResponseWriter, r *http.Request) {
	s, _ := middleware.FromContext(r.Context())
	p.show(w, s, view{})
}

// refresh rotates the tokens although they are not due.
func (p *pages) refresh(w http.ResponseWriter, r *http.Request) {
	if _, err := p.auth.Refresh(w, r); err != nil {
		refuse(w, err)
		return
	}
	http.Redirect(w, r, "/me", http.StatusSeeOther)
}

var loginHelps = map[client.Code]bool{
	client.ErrGrantRevoked: true, client.ErrRefreshInDoubt: true,
	session.ErrNoSession: true, session.ErrNoToken: true, session.ErrSessionEnded: true, session.ErrSessionExpired: true,
}

// refuse answers 401 if a login would help, 503 if waiting would, and 502 for a
// resource that cannot be called.
func refuse(w http.ResponseWriter, err error) {
	status, code := http.StatusBadGateway, "resource"
	var e *client.Error
	if errors.As(err, &e) {
		code = string(e.Code)
		switch {
		case e.Outcome != client.Rejected:
			status = http.StatusServiceUnavailable
			w.Header().Set("Retry-After", strconv.Itoa(max(int(e.RetryAfter.Seconds()), 1)))
		case loginHelps[e.Code]:
			status = http.StatusUnauthorized
		}
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(map[string]any{"title": http.StatusText(status), "status": status, "code": code})
}

// show writes the page of s, nil if nobody is logged in.
func (p *pages) show(w http.ResponseWriter, s *session.Session, v view) {
	v.Title, v.LoginURL, v.LogoutURL, v.Style = "Sallyport example", p.auth.LoginURL("/me"), "/auth/logout", template.CSS(pageCSS)
	if s != nil {
		claims := claimsOf(s)
		v.User, v.Issuer, v.Scopes = s.Subject(), s.Issuer(), s.Scopes()
		v.Name = v.User
		for _, c := range claims {
			if c.Name == "name" {
				v.Name = c.Value
			}
		}
		v.Claims = claims
		v.AccessEnds, v.SessionEnds = ends(s.AccessTokenExpiry()), ends(s.ExpiresAt())
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", pagePolicy(p.client.Issuer()))
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-store")
	pageTemplate.Execute(w, v)
}

// protocolClaims tie the ID token to its login: of no interest to the user, and not for a page.
var protocolClaims = map[string]bool{"nonce": true, "at_hash": true, "c_hash": true, "sid": true}

// claimsOf merges the ID token's claims with userinfo, sorted by name.
func claimsOf(s *session.Session) []claim {
	all := map[string]json.RawMessage{}
	s.UserInfo(&all)
	s.Claims(&all) // the ID token's claims, verified by signature, win
	var list []claim
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if protocolClaims[name] {
			continue
		}
		var text string
		if json.Unmarshal(all[name], &text) != nil {
			text = string(all[name])
		}
		list = append(list, claim{name, text})
	}
	return list
}

func ends(t time.Time) string {
	if t.IsZero() {
		return "unknown"
	}
	return t.UTC().Format("2006-01-02 15:04:05 UTC") + " (in " + time.Until(t).Round(time.Second).String() + ")"
}

// callAPI calls the protected resource for the user and passes its answer on.
func (p *pages) callAPI(w http.ResponseWriter, r *http.Request) {
	target := p.resource
	if target == "" {
		m, err := p.client.Discover(r.Context())
		if err != nil {
			refuse(w, err)
			return
		}
		target = m.UserInfoEndpoint
	}
	req, err := http.NewRequestWithContext(r.Context(), http.MethodGet, target, nil)
	if err != nil {
		refuse(w, err)
		return
	}
	resp, err := p.auth.Client(r.Context()).Do(req)
	if err != nil {
		refuse(w, err)
		return
	}
	defer resp.Body.Close()
	// If the call refreshed the token, the new session leaves with this answer, or
	// with a later one if the store does not answer.
	if err := p.auth.Keep(w, r); err != nil && !errors.Is(err, session.ErrStore) {
		refuse(w, err)
		return
	}
	// The resource's cookies and challenges are between it and this backend.
	if ct := resp.Header.Get("Content-Type"); ct != "" && !strings.HasPrefix(ct, "text/html") {
		w.Header().Set("Content-Type", ct)
	} else {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	}
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(resp.StatusCode)
	io.Copy(w, io.LimitReader(resp.Body, 10<<20))
}
