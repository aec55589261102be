package authtest

import (
	"crypto/hmac"
	"encoding/base64"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// session is a login at the server, in one browser. Server.mu guards it.
type session struct {
	id       identifier
	subject  string
	acr      string
	authTime time.Time
	clients  []string // that have seen it
}

// currentLogin returns the login that answers an authorization request without
// the user having to do anything, nil if the user has to log in, or an error if
// the request forbids that (OpenID Connect Core §3.1.2.1, §3.1.2.3).
func (s *Server) currentLogin(x *exchange, a *authorization) (*session, *protocolError) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ses, ok := s.sessionOf(x)
	if ok && s.suits(ses, a) {
		copied := *ses
		return &copied, nil
	}
	if slices.Contains(a.prompt, "none") {
		return nil, &protocolError{"login_required", "the user has to log in"}
	}
	return nil, nil
}

// suits reports whether a login needs no renewal. The caller holds s.mu.
func (s *Server) suits(ses *session, a *authorization) bool {
	if slices.Contains(a.prompt, "login") || slices.Contains(a.prompt, "select_account") {
		return false
	}
	if a.maxAge >= 0 && s.cfg.Now().Sub(ses.authTime) > a.maxAge || a.maxAge == 0 {
		return false
	}
	u, _ := s.user(ses.subject)
	if a.loginHint != "" && !u.answersTo(a.loginHint) || a.hinted != "" && a.hinted != ses.subject {
		return false
	}
	if subs := a.claims.IDToken["sub"].acceptable(); len(subs) > 0 && !slices.Contains(subs, ses.subject) {
		return false
	}
	wanted, essential := a.wantedACR()
	if len(wanted) == 0 || slices.Contains(wanted, ses.acr) {
		return true
	}
	// A wish that cannot be met, or not without the user, is only a wish.
	return s.reachable(wanted) == "" || slices.Contains(a.prompt, "none") && !essential
}

// wantedACR returns the acr values asked for and whether one of them must be met.
func (a *authorization) wantedACR() (values []string, essential bool) {
	if acr := a.claims.IDToken["acr"]; acr != nil && len(acr.acceptable()) > 0 {
		return acr.acceptable(), acr.Essential
	}
	return a.acrValues, false
}

// reachable returns the first of the acr values that a login can have, or "".
func (s *Server) reachable(values []string) string {
	for _, v := range values {
		if slices.Contains(s.cfg.ACRValues, v) {
			return v
		}
	}
	return ""
}

// logIn records that a user has authenticated and answers the request.
func (s *Server) logIn(x *exchange, a *authorization, u User) *Response {
	// OpenID Connect Core §5.5.1, §3.1.2.1: not for somebody else.
	if subs := a.claims.IDToken["sub"].acceptable(); a.hinted != "" && a.hinted != u.Subject || len(subs) > 0 && !slices.Contains(subs, u.Subject) {
		return s.refuse(x, a, &protocolError{"login_required", "the user asked for did not log in"})
	}
	wanted, _ := a.wantedACR()
	acr := s.reachable(wanted)
	if acr == "" {
		acr = s.cfg.ACRValues[0]
	}
	now := s.cfg.Now()
	s.mu.Lock()
	ses, ok := s.sessionOf(x)
	if !ok || ses.subject != u.Subject {
		if ok {
			s.sessions.remove(ses.id)
		}
		ses = &session{id: newIdentifier(), subject: u.Subject}
		s.sessions.add(ses.id, ses)
	}
	ses.authTime, ses.acr = now, acr
	copied := *ses
	s.mu.Unlock()
	r := s.issueCode(x, a, &copied)
	r.Header.Add("Set-Cookie", s.newCookie(s.cookie, copied.id, http.SameSiteLaxMode).String())
	return r
}

// newCookie makes a cookie whose value only we can make.
func (s *Server) newCookie(name string, id identifier, site http.SameSite) *http.Cookie {
	sealed := append(id[:], s.mac(append([]byte(name), id[:]...))...)
	return &http.Cookie{
		Name: name, Value: base64.RawURLEncoding.EncodeToString(sealed), Path: s.base + "/",
		Secure: strings.HasPrefix(s.origin, "https:"), HttpOnly: true, SameSite: site,
	}
}

// readCookie returns what newCookie put into the one cookie of that name.
func (s *Server) readCookie(x *exchange, name string) (identifier, bool) {
	cookies := x.raw.CookiesNamed(name)
	if len(cookies) != 1 {
		return identifier{}, false
	}
	var id identifier
	b, ok := decode(cookies[0].Value, len(id)+16)
	if !ok {
		return id, false
	}
	copy(id[:], b)
	return id, hmac.Equal(b[len(id):], s.mac(append([]byte(name), id[:]...)))
}

// sessionOf returns the login of the browser. The caller holds s.mu.
func (s *Server) sessionOf(x *exchange) (*session, bool) {
	id, ok := s.readCookie(x, s.cookie)
	if !ok {
		return nil, false
	}
	return s.sessions.get(id)
}

// formToken binds a form of ours to the browser it was shown in: a cookie and,
// in the form, a value that only we can make from it.
func (s *Server) formToken(x *exchange, r *Response) string {
	name := s.cookie + "_form"
	id, ok := s.readCookie(x, name)
	if !ok {
		id = newIdentifier()
		r.Header.Add("Set-Cookie", s.newCookie(name, id, http.SameSiteStrictMode).String())
	}
	return base64.RawURLEncoding.EncodeToString(s.mac(append([]byte("form"), id[:]...)))
}

// ownForm reports whether a request is a form of ours, sent by the browser in
// which it was shown.
func (s *Server) ownForm(x *exchange) bool {
	if x.formErr || repeated(x.Form) || http.NewCrossOriginProtection().Check(x.raw) != nil {
		return false
	}
	id, ok := s.readCookie(x, s.cookie+"_form")
	want := base64.RawURLEncoding.EncodeToString(s.mac(append([]byte("form"), id[:]...)))
	return ok && hmac.Equal([]byte(value(x.Form, "form_token")), []byte(want))
}

// serveLogin takes the login page's form: who logs in, or that nobody does. The
// authorization request comes along and is judged again.
func (s *Server) serveLogin(x *exchange) *Response {
	if !s.cfg.Interactive {
		return plain(http.StatusNotFound, "no such endpoint")
	}
	if !s.ownForm(x) {
		return s.errorPage(x, &protocolError{"invalid_request", "this form was not shown in this browser; go back to the application and start again"})
	}
	params, err := url.ParseQuery(value(x.Form, "request"))
	if err != nil {
		return s.errorPage(x, &protocolError{"invalid_request", "the authorization request is malformed"})
	}
	a, page, refused := s.parseAuthorization(x, params)
	if page != nil {
		return s.errorPage(x, page)
	}
	if refused != nil {
		return s.refuse(x, a, refused)
	}
	if value(x.Form, "cancel") != "" {
		return s.refuse(x, a, &protocolError{"access_denied", "the user said no"})
	}
	u, ok := s.user(value(x.Form, "user"))
	if !ok {
		return s.loginPage(x, a)
	}
	return s.logIn(x, a, u)
}
