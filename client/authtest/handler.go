package authtest

import (
	"encoding/json"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// Endpoint names an endpoint in faults and counters.
type Endpoint string

// The endpoints. Metadata is both documents, OpenID Connect Discovery and
// RFC 8414; their paths tell them apart. Login is where the page of an
// interactive server posts to. BackchannelLogout is none: it stands for the
// requests that the server itself sends to clients, for faults (JWT, RawJWT,
// Params) and [Server.Log].
const (
	Metadata      Endpoint = "metadata"
	JWKS          Endpoint = "jwks"
	Authorize     Endpoint = "authorize"
	Login         Endpoint = "login"
	Token         Endpoint = "token"
	UserInfo      Endpoint = "userinfo"
	Revocation    Endpoint = "revoke"
	Introspection Endpoint = "introspect"
	EndSession    Endpoint = "end_session"

	BackchannelLogout Endpoint = "backchannel_logout"
)

// known panics for a name that is no endpoint: a misspelt one would never match,
// and a count of zero would prove nothing.
func known(e Endpoint) {
	switch e {
	case "", Metadata, JWKS, Authorize, Login, Token, UserInfo, Revocation, Introspection, EndSession, BackchannelLogout:
	default:
		panic("authtest: there is no endpoint " + strconv.Quote(string(e)))
	}
}

// Response is an answer before it goes on the wire.
type Response struct {
	// Informational statuses (1xx) precede it; not through Transport.
	Informational []int
	Status        int // 0: 200
	Header        http.Header
	Body          []byte
}

type route struct {
	endpoint Endpoint
	methods  []string
	serve    func(*exchange) *Response
}

func (s *Server) url(e Endpoint) string { return s.origin + s.base + "/" + string(e) }

func (s *Server) makeRoutes() map[string]route {
	get, post, both := []string{"GET"}, []string{"POST"}, []string{"GET", "POST"}
	metadata := route{Metadata, get, s.serveMetadata}
	return map[string]route{
		// OpenID Connect Discovery 1.0 §4 appends, RFC 8414 §3.1 inserts.
		s.base + "/.well-known/openid-configuration":       metadata,
		"/.well-known/oauth-authorization-server" + s.base: metadata,
		s.base + "/" + string(JWKS):                        {JWKS, get, s.serveJWKS},
		s.base + "/" + string(Authorize):                   {Authorize, both, s.serveAuthorize},
		s.base + "/" + string(Login):                       {Login, post, s.serveLogin},
		s.base + "/" + string(Token):                       {Token, post, s.serveToken},
		s.base + "/" + string(UserInfo):                    {UserInfo, both, s.serveUserInfo},
		s.base + "/" + string(Revocation):                  {Revocation, post, s.serveRevocation},
		s.base + "/" + string(Introspection):               {Introspection, post, s.serveIntrospection},
		s.base + "/" + string(EndSession):                  {EndSession, both, s.serveEndSession},
	}
}

// exchange is one request on its way through the server.
type exchange struct {
	*Request
	faults  []Fault
	formErr bool          // the body is no form
	raw     *http.Request // for its cookies, and where it came from
}

// automatic reports whether a program asks and not a person: a [Browser] says
// so in a header that no page of another origin can set unasked.
func (x *exchange) automatic() bool { return x.Header.Get(automaticHeader) != "" }

const automaticHeader = "Authtest-Browser"

const maxRequestBody = 1 << 20

// handle records the request, finds the faults that concern it, and acts on it.
func (s *Server) handle(r *http.Request, closed <-chan struct{}) *outcome {
	path := r.URL.EscapedPath()
	rt, found := s.routes[path]
	x := &exchange{raw: r, Request: &Request{
		Endpoint: rt.endpoint, Time: s.cfg.Now(), Method: r.Method, Path: path,
		Header: r.Header.Clone(), Query: url.Values{}, Form: url.Values{},
	}}
	var malformed bool
	if q, err := url.ParseQuery(r.URL.RawQuery); err == nil {
		x.Query = q
	} else {
		malformed = true
	}
	if r.Body != nil {
		body, err := io.ReadAll(io.LimitReader(r.Body, maxRequestBody+1))
		if err != nil {
			// The client went away in the middle of its request.
			return &outcome{wire: DropBefore}
		}
		if malformed = malformed || len(body) > maxRequestBody; !malformed {
			x.Body = string(body)
			x.readForm()
		}
	}
	s.log.add(x.Request)

	x.faults = s.faults.match(x.Request)
	out := &outcome{}
	for _, f := range slices.Backward(x.faults) { // the first counts
		if f.Wire != "" {
			out.wire, out.gate, out.delay = f.Wire, f.Gate, f.Delay
		}
	}
	if !hold(x.faults, closed) {
		out.wire = DropBefore
	}
	switch out.wire {
	case DropBefore:
		return out
	case StallBefore:
		if !out.pass(r.Context(), closed) {
			out.wire = DropBefore
			return out
		}
	}
	for _, f := range x.faults {
		if f.Answer != nil {
			out.response = f.Answer.clone()
			break
		}
	}
	if out.response == nil {
		switch {
		case !found:
			out.response = plain(http.StatusNotFound, "no such endpoint")
		case !slices.Contains(rt.methods, r.Method):
			out.response = plain(http.StatusMethodNotAllowed, "method not allowed")
			out.response.Header.Set("Allow", strings.Join(rt.methods, ", "))
		case malformed:
			out.response = plain(http.StatusBadRequest, "malformed request")
		default:
			out.response = rt.serve(x)
		}
	}
	for _, f := range x.faults {
		if f.Response != nil {
			f.Response(x.Request, out.response)
		}
	}
	if out.response.Status == 0 {
		out.response.Status = http.StatusOK
	}
	if out.response.Header == nil {
		out.response.Header = http.Header{}
	}
	return out
}

// readForm takes the parameters out of the body (RFC 6749 appendix B).
func (x *exchange) readForm() {
	if x.Body == "" {
		return
	}
	media, _, err := mime.ParseMediaType(x.Header.Get("Content-Type"))
	if err != nil || media != "application/x-www-form-urlencoded" {
		x.formErr = true
		return
	}
	form, err := url.ParseQuery(x.Body)
	if err != nil {
		x.formErr = true
		return
	}
	x.Form = form
}

// value returns a parameter; one without a value counts as omitted (OAuth 2.1
// §3.1, §3.2).
func value(v url.Values, name string) string { return v.Get(name) }

// repeated reports whether a parameter is there twice (OAuth 2.1 §3.1, §3.2);
// resource may be (RFC 8707 §2).
func repeated(v url.Values) bool {
	for name, values := range v {
		if len(values) > 1 && name != "resource" {
			return true
		}
	}
	return false
}

// object answers with a JSON object, edited by the faults.
func (x *exchange) object(status int, members map[string]any) *Response {
	for _, f := range x.faults {
		if f.JSON != nil {
			f.JSON(members)
		}
	}
	body, err := json.Marshal(members)
	if err != nil {
		return plain(http.StatusInternalServerError, "a fault made a value that JSON cannot hold: edit the response instead")
	}
	return JSON(status, body)
}

// protocolError is an error response of RFC 6749 §5.2. The texts are the
// server's own.
type protocolError struct{ code, description string }

func (x *exchange) fail(status int, e *protocolError) *Response {
	return noStore(x.object(status, map[string]any{"error": e.code, "error_description": e.description}))
}

// noStore keeps tokens and errors out of caches (RFC 6749 §5.1).
func noStore(r *Response) *Response {
	r.Header.Set("Cache-Control", "no-store")
	r.Header.Set("Pragma", "no-cache")
	return r
}

// JSON is an answer with a JSON body, for [Fault.Answer]. A string or []byte is
// taken as the body as it stands; anything else is encoded, and panics if it
// cannot be.
func JSON(status int, body any) *Response {
	r := &Response{Status: status, Header: http.Header{"Content-Type": {"application/json"}}}
	switch b := body.(type) {
	case string:
		r.Body = []byte(b)
	case []byte:
		r.Body = b
	default:
		text, err := json.Marshal(b)
		if err != nil {
			panic("authtest: " + err.Error())
		}
		r.Body = text
	}
	return r
}

// HTML is an answer with a page instead of what was asked for, as proxies and
// captive portals give it, for [Fault.Answer].
func HTML(status int) *Response {
	return &Response{
		Status: status,
		Header: http.Header{"Content-Type": {"text/html; charset=utf-8"}},
		Body:   []byte("<!DOCTYPE html><title>Welcome</title><p>Please accept the terms of use.</p>\n"),
	}
}

// Redirect is an answer that sends the client elsewhere, for [Fault.Answer].
func Redirect(status int, location string) *Response {
	return &Response{Status: status, Header: http.Header{"Location": {location}}}
}

func plain(status int, text string) *Response {
	return &Response{
		Status: status,
		Header: http.Header{"Content-Type": {"text/plain; charset=utf-8"}, "X-Content-Type-Options": {"nosniff"}},
		Body:   []byte(text + "\n"),
	}
}

func (r *Response) clone() *Response {
	c := *r
	if c.Header = r.Header.Clone(); c.Header == nil {
		c.Header = http.Header{}
	}
	c.Body = append([]byte(nil), r.Body...)
	return &c
}
