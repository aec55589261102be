package authtest

import (
	"encoding/hex"
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/go-jose/go-jose/v4"
)

// hint is what the server takes from an id_token_hint.
type hint struct {
	Issuer   string   `json:"iss"`
	Subject  string   `json:"sub"`
	Audience audience `json:"aud"`
	SID      string   `json:"sid"`
}

// audience is the first one: a fault may have made it a list.
type audience string

func (a *audience) UnmarshalJSON(text []byte) error {
	var list []string
	if json.Unmarshal(text, &list) == nil && len(list) > 0 {
		*a = audience(list[0])
		return nil
	}
	return json.Unmarshal(text, (*string)(a))
}

// parseHint reads an ID token that we signed. It may have expired, and its key
// may have been withdrawn (OpenID Connect RP-Initiated Logout 1.0 §2, §4).
func (s *Server) parseHint(compact string) (hint, bool) {
	var h hint
	signed, err := jose.ParseSignedCompact(compact, []jose.SignatureAlgorithm{jose.ES256, jose.RS256, jose.PS256, jose.EdDSA})
	if err != nil || len(signed.Signatures) != 1 {
		return h, false
	}
	s.keys.mu.Lock()
	key, ok := s.keys.known[signed.Signatures[0].Header.KeyID]
	s.keys.mu.Unlock()
	if !ok || signed.Signatures[0].Header.Algorithm != key.Algorithm {
		return h, false
	}
	payload, err := signed.Verify(key)
	if err != nil || json.Unmarshal(payload, &h) != nil {
		return h, false
	}
	return h, h.Issuer == s.cfg.Issuer && h.Subject != ""
}

// serveEndSession is OpenID Connect RP-Initiated Logout 1.0.
func (s *Server) serveEndSession(x *exchange) *Response {
	params := x.Query
	if x.Method == http.MethodPost {
		params = x.Form
	}
	if x.formErr || repeated(params) || x.Method == http.MethodPost && len(x.Query) > 0 {
		return s.errorPage(x, &protocolError{"invalid_request", "the request is malformed, or a parameter is there twice"})
	}
	var h hint
	clientID := value(params, "client_id")
	if text := value(params, "id_token_hint"); text != "" {
		var ok bool
		if h, ok = s.parseHint(text); !ok {
			return s.errorPage(x, &protocolError{"invalid_request", "id_token_hint is no ID token of this server"})
		}
		// §2: both must name the same client.
		if clientID != "" && clientID != string(h.Audience) {
			return s.errorPage(x, &protocolError{"invalid_request", "client_id is not the one that id_token_hint was made for"})
		}
		clientID = string(h.Audience)
	}
	target := value(params, "post_logout_redirect_uri")
	if target != "" {
		// §3: exactly one of the registered ones.
		c, known := s.client(clientID)
		if !known || !slices.Contains(c.PostLogoutRedirectURIs, target) {
			return s.errorPage(x, &protocolError{"invalid_request", "post_logout_redirect_uri is not registered, or nobody says for which client"})
		}
	}
	s.mu.Lock()
	ses, loggedIn := s.sessionOf(x)
	var subject, sid string
	if loggedIn {
		subject, sid = ses.subject, ses.id.String()
	}
	s.mu.Unlock()
	// §2: ask, unless the hint shows that it is this login that is meant.
	if loggedIn && s.cfg.Interactive && !x.automatic() && h.SID != sid && !(x.Method == http.MethodPost && s.ownForm(x)) {
		return s.logoutPage(x, params, subject, target)
	}
	s.mu.Lock()
	var ended []session
	for _, id := range []string{sid, h.SID} {
		var key identifier
		if b, err := hex.DecodeString(id); err == nil && len(b) == len(key) {
			if gone, ok := s.sessions.get(identifier(b)); ok {
				ended = append(ended, *gone)
				s.sessions.remove(gone.id)
			}
		}
	}
	s.mu.Unlock()
	for _, gone := range ended {
		for _, id := range gone.clients {
			_, _ = s.tell(x.raw.Context(), id, gone.subject, gone.id.String()) // whatever comes of it, the login has ended here
		}
	}
	if target == "" {
		if x.automatic() {
			return plain(http.StatusOK, "logged out")
		}
		return page(http.StatusOK, "logged_out", nil)
	}
	if state := value(params, "state"); state != "" {
		separator := "?"
		if strings.Contains(target, "?") {
			separator = "&"
		}
		target += separator + url.Values{"state": {state}}.Encode()
	}
	r := noStore(Redirect(http.StatusSeeOther, target))
	r.Header.Set("Referrer-Policy", "no-referrer")
	return r
}

// logoutPage asks whether to log out. Its form repeats the request.
func (s *Server) logoutPage(x *exchange, params url.Values, subject, target string) *Response {
	u, _ := s.user(subject)
	var values []formValue
	for _, name := range sortedNames(params) {
		if name != "form_token" {
			values = append(values, formValue{name, value(params, name)})
		}
	}
	targets := []string{"'self'"}
	if target != "" {
		targets = append(targets, originOf(target))
	}
	extra := http.Header{}
	token := s.formToken(x, &Response{Header: extra})
	r := page(http.StatusOK, "logout", map[string]any{
		"Issuer": s.cfg.Issuer, "Name": firstOf(nil, u.text("name"), u.Subject), "Values": values, "Token": token,
		"Action": s.base + "/" + string(EndSession),
	}, targets...)
	for name, v := range extra {
		r.Header[name] = v
	}
	return r
}

func sortedNames(v url.Values) []string {
	return slices.Sorted(maps.Keys(v))
}
