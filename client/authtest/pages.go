package authtest

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"html/template"
	"net/http"
	"net/url"
	"strings"
)

//go:embed pages.html
var pagesText string

//go:embed pages.css
var pagesStyle string

// The one script: a form_post response sends itself.
const submitScript = `document.forms[0].submit()`

var pages = template.Must(template.New("").Funcs(template.FuncMap{
	"head": func(title string, style template.CSS) map[string]any {
		return map[string]any{"Title": title, "Style": style}
	},
}).Parse(pagesText))

func cspHash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

var (
	styleHash  = cspHash(pagesStyle)
	scriptHash = cspHash(submitScript)
)

// page renders one of our pages. Nothing is loaded from anywhere; style and
// script are allowed by their hashes; forms go to the targets and, because
// browsers apply form-action to the redirects that follow, so do those.
func page(status int, name string, data any, targets ...string) *Response {
	var b bytes.Buffer
	err := pages.ExecuteTemplate(&b, name, map[string]any{
		"Style": template.CSS(pagesStyle), "Script": template.JS(submitScript), "Data": data,
	})
	if err != nil {
		return plain(http.StatusInternalServerError, "cannot render the page")
	}
	action := "'none'"
	if len(targets) > 0 {
		action = strings.Join(targets, " ")
	}
	return noStore(&Response{Status: status, Body: b.Bytes(), Header: http.Header{
		"Content-Type": {"text/html; charset=utf-8"},
		"Content-Security-Policy": {"default-src 'none'; style-src " + styleHash + "; script-src " + scriptHash +
			"; form-action " + action + "; base-uri 'none'; frame-ancestors 'none'"},
		"X-Frame-Options":        {"DENY"},
		"X-Content-Type-Options": {"nosniff"},
		// With no-referrer a browser would send "Origin: null" with our own form.
		"Referrer-Policy": {"same-origin"},
	}})
}

// originOf is the source expression of a URL for form-action; a URL without
// host (a private-use scheme) is allowed by its scheme.
func originOf(raw string) string {
	u, err := url.Parse(raw)
	if err != nil || u.Scheme == "" {
		return ""
	}
	if u.Host == "" {
		return u.Scheme + ":"
	}
	return u.Scheme + "://" + u.Host
}

// errorPage tells a person, or a [Browser], what is wrong with a request whose
// sender cannot be told.
func (s *Server) errorPage(x *exchange, err *protocolError) *Response {
	if x.automatic() {
		return x.fail(http.StatusBadRequest, err)
	}
	return page(http.StatusBadRequest, "error", err.description)
}

type loginUser struct {
	Subject, Name, Detail, Initials string
	Checked                         bool
}

// loginPage lets a person pick a user.
func (s *Server) loginPage(x *exchange, a *authorization) *Response {
	var current string
	s.mu.Lock()
	if ses, ok := s.sessionOf(x); ok {
		current = ses.subject
	}
	s.mu.Unlock()
	preferred, _ := s.pick(firstOf(nil, a.hinted, a.loginHint, current))
	users := make([]loginUser, len(s.cfg.Users))
	for i, u := range s.cfg.Users {
		name := firstOf(nil, u.text("name"), u.text("preferred_username"), u.Subject)
		users[i] = loginUser{
			Subject: u.Subject, Name: name, Detail: firstOf(nil, u.text("email"), u.Subject),
			Initials: initials(name), Checked: u.Subject == preferred.Subject,
		}
	}
	if preferred.Subject == "" {
		users[0].Checked = true
	}
	extra := http.Header{}
	token := s.formToken(x, &Response{Header: extra})
	r := page(http.StatusOK, "login", map[string]any{
		"Client": firstOf(nil, a.client.Name, a.client.ID), "Issuer": s.cfg.Issuer, "Users": users, "Scopes": a.scopes,
		"Action": s.base + "/" + string(Login), "Request": a.raw, "Token": token,
	}, "'self'", originOf(a.redirectURI))
	for name, values := range extra {
		r.Header[name] = values
	}
	return r
}

func initials(name string) string {
	var out string
	for _, word := range strings.Fields(name) {
		if len([]rune(out)) < 2 {
			out += string([]rune(word)[:1])
		}
	}
	return strings.ToUpper(out)
}

type formValue struct{ Name, Value string }

// formPostPage is a page that posts the authorization response to the client
// (OAuth 2.0 Form Post Response Mode §2).
func formPostPage(target string, params url.Values) *Response {
	var values []formValue
	for _, name := range sortedNames(params) {
		for _, v := range params[name] {
			values = append(values, formValue{name, v})
		}
	}
	return page(http.StatusOK, "form_post", map[string]any{"Target": template.URL(target), "Values": values}, originOf(target))
}
