package authtest

import (
	"crypto/sha256"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// authorization is a validated authorization request.
type authorization struct {
	client       Client
	redirectURI  string
	responseMode string
	state        string
	nonce        string
	challenge    string
	scopes       []string
	resources    []string
	prompt       []string
	maxAge       time.Duration // negative: not asked
	acrValues    []string
	claims       claimsRequest
	loginHint    string
	hinted       string // subject of id_token_hint
	raw          string // the parameters as they came, for the login page
}

var prompts = []string{"none", "login", "consent", "select_account"}

// serveAuthorize is the authorization endpoint (OAuth 2.1 §4.1.1, OpenID
// Connect Core §3.1.2).
func (s *Server) serveAuthorize(x *exchange) *Response {
	params := x.Query
	if x.Method == http.MethodPost {
		params = x.Form
		if x.formErr || len(x.Query) > 0 {
			return s.errorPage(x, &protocolError{"invalid_request", "the request is not form-urlencoded, or has parameters in two places"})
		}
	}
	a, page, err := s.parseAuthorization(x, params)
	if page != nil {
		return s.errorPage(x, page)
	}
	if err != nil {
		return s.refuse(x, a, err)
	}
	ses, err := s.currentLogin(x, a)
	if err != nil {
		return s.refuse(x, a, err)
	}
	if ses != nil {
		return s.issueCode(x, a, ses)
	}
	if s.cfg.Interactive && !x.automatic() {
		return s.loginPage(x, a)
	}
	u, ok := s.pick(firstOf(a.claims.IDToken["sub"].acceptable(), a.hinted, a.loginHint))
	if !ok {
		return s.refuse(x, a, &protocolError{"access_denied", "nobody is there to log in"})
	}
	return s.logIn(x, a, u)
}

func firstOf(list []string, others ...string) string {
	for _, v := range append(list, others...) {
		if v != "" {
			return v
		}
	}
	return ""
}

// parseAuthorization checks an authorization request. A page error must not
// redirect: nobody knows yet that the redirect URI is the client's.
func (s *Server) parseAuthorization(x *exchange, params url.Values) (a *authorization, page, err *protocolError) {
	a = &authorization{responseMode: "query", maxAge: -1, raw: params.Encode()}
	if len(params["client_id"]) > 1 || len(params["redirect_uri"]) > 1 {
		return a, &protocolError{"invalid_request", "client_id or redirect_uri is there twice"}, nil
	}
	var known bool
	if a.client, known = s.client(value(params, "client_id")); !known {
		return a, &protocolError{"invalid_request", "client_id is not registered"}, nil
	}
	a.redirectURI = value(params, "redirect_uri")
	// OAuth 2.1 §2.3.1
	if !a.client.redirects(a.redirectURI) {
		return a, &protocolError{"invalid_request", "redirect_uri is missing or not registered for this client"}, nil
	}
	if len(params["state"]) == 1 {
		a.state = value(params, "state")
	}
	if mode := params["response_mode"]; len(mode) == 1 && mode[0] == "form_post" {
		a.responseMode = mode[0]
	}
	return a, nil, s.checkAuthorization(x, a, params)
}

func (s *Server) checkAuthorization(x *exchange, a *authorization, params url.Values) *protocolError {
	if repeated(params) {
		return &protocolError{"invalid_request", "a parameter is there twice"}
	}
	for name, code := range map[string]string{
		"request": "request_not_supported", "request_uri": "request_uri_not_supported", "registration": "registration_not_supported",
	} {
		// OpenID Connect Core §3.1.2.6
		if value(params, name) != "" {
			return &protocolError{code, "the parameter is not supported"}
		}
	}
	switch value(params, "response_type") {
	case "code":
	case "":
		return &protocolError{"invalid_request", "response_type is missing"}
	default:
		return &protocolError{"unsupported_response_type", "only response_type=code is supported"}
	}
	switch value(params, "response_mode") {
	case "", "query", "form_post":
	default:
		return &protocolError{"invalid_request", "response_mode is neither query nor form_post"}
	}
	a.challenge = value(params, "code_challenge")
	if !x.lenient() {
		// OAuth 2.1 §4.1.1, RFC 7636 §4.3: absent means plain.
		if a.challenge == "" || value(params, "code_challenge_method") != "S256" {
			return &protocolError{"invalid_request", "PKCE with code_challenge_method=S256 is required"}
		}
		if _, ok := decode(a.challenge, sha256.Size); !ok {
			return &protocolError{"invalid_request", "code_challenge is no SHA-256 value"}
		}
	}
	a.scopes = grantable(a.client, strings.Fields(value(params, "scope")))
	if value(params, "scope") != "" && len(a.scopes) == 0 {
		return &protocolError{"invalid_scope", "the client may have none of these scopes"}
	}
	for _, resource := range params["resource"] {
		// RFC 8707 §2
		u, err := url.Parse(resource)
		if err != nil || !u.IsAbs() || strings.Contains(resource, "#") {
			return &protocolError{"invalid_target", "resource is no absolute URI without fragment"}
		}
	}
	a.resources = params["resource"]
	return s.checkAuthentication(a, params)
}

// checkAuthentication reads what the request says about how the user is to be
// authenticated (OpenID Connect Core §3.1.2.1).
func (s *Server) checkAuthentication(a *authorization, params url.Values) *protocolError {
	a.nonce = value(params, "nonce")
	a.loginHint = value(params, "login_hint")
	a.acrValues = strings.Fields(value(params, "acr_values"))
	a.prompt = strings.Fields(value(params, "prompt"))
	for _, p := range a.prompt {
		if !slices.Contains(prompts, p) || p == "none" && len(a.prompt) > 1 {
			return &protocolError{"invalid_request", "prompt is unknown, or none with others"}
		}
	}
	if text := value(params, "max_age"); text != "" {
		seconds, err := strconv.ParseUint(text, 10, 31)
		if err != nil {
			return &protocolError{"invalid_request", "max_age is no number of seconds"}
		}
		a.maxAge = time.Duration(seconds) * time.Second
	}
	var err *protocolError
	if a.claims, err = parseClaims(value(params, "claims")); err != nil {
		return err
	}
	if hint := value(params, "id_token_hint"); hint != "" {
		token, ok := s.parseHint(hint)
		if !ok {
			return &protocolError{"invalid_request", "id_token_hint is no ID token of this server"}
		}
		a.hinted = token.Subject
	}
	// OpenID Connect Core §5.5.1.1
	if acr := a.claims.IDToken["acr"]; acr != nil && acr.Essential && len(acr.acceptable()) > 0 && s.reachable(acr.acceptable()) == "" {
		return &protocolError{"unmet_authentication_requirements", "no login reaches the acr asked for"}
	}
	return nil
}

// grantable leaves out what a client may not have (RFC 6749 §3.3).
func grantable(c Client, asked []string) []string {
	out := []string{}
	for _, scope := range asked {
		if (c.Scopes == nil || slices.Contains(c.Scopes, scope)) && !slices.Contains(out, scope) {
			out = append(out, scope)
		}
	}
	return out
}

// issueCode ends a successful authorization request.
func (s *Server) issueCode(x *exchange, a *authorization, ses *session) *Response {
	g := &grant{
		id: newIdentifier(), clientID: a.client.ID, redirectURI: a.redirectURI, challenge: a.challenge, nonce: a.nonce,
		scopes: a.scopes, resources: a.resources, claims: a.claims,
		codeExpires: s.cfg.Now().Add(s.cfg.CodeLifetime),
	}
	s.mu.Lock()
	g.subject, g.acr, g.sid, g.authTime = ses.subject, ses.acr, ses.id, ses.authTime
	s.grants.add(g.id, g)
	if live, ok := s.sessions.get(ses.id); ok && !slices.Contains(live.clients, g.clientID) {
		live.clients = append(live.clients, g.clientID)
	}
	s.mu.Unlock()
	return s.respond(x, a, url.Values{"code": {s.token(codeKind, g.id, 0)}})
}

// refuse ends an authorization request with an error response.
func (s *Server) refuse(x *exchange, a *authorization, err *protocolError) *Response {
	return s.respond(x, a, url.Values{"error": {err.code}, "error_description": {err.description}})
}

// respond sends the authorization response to the client (OAuth 2.1 §4.1.2,
// RFC 9207 §2, OAuth 2.0 Form Post Response Mode §2).
func (s *Server) respond(x *exchange, a *authorization, params url.Values) *Response {
	if a.state != "" {
		params.Set("state", a.state)
	}
	params.Set("iss", s.cfg.Issuer)
	for _, f := range x.faults {
		if f.Params != nil {
			f.Params(params)
		}
	}
	if a.responseMode == "form_post" {
		if x.automatic() {
			return noStore(JSON(http.StatusOK, formPost{a.redirectURI, params}))
		}
		return formPostPage(a.redirectURI, params)
	}
	separator := "?"
	if strings.Contains(a.redirectURI, "?") {
		separator = "&"
	}
	r := noStore(Redirect(http.StatusSeeOther, a.redirectURI+separator+params.Encode()))
	r.Header.Set("Referrer-Policy", "no-referrer")
	return r
}

// formPost is what a [Browser] gets instead of a page that posts itself.
type formPost struct {
	URL    string     `json:"url"`
	Params url.Values `json:"params"`
}
