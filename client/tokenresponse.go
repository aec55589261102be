package client

import (
	"encoding/json"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/backchannel"
	"github.com/sallyport/sallyport/internal/strictjson"
)

const (
	maxTokenLength = 64 << 10
	maxScope       = 8 << 10
	maxExpiresIn   = 24 * time.Hour // longer is clamped: better refreshed early
	maxRefreshIn   = 10 * 365 * 24 * time.Hour
	unsaidExpiry   = 5 * time.Minute // assumed where the server does not say and there is a refresh token
)

// tokenResponse is a successful answer of the token endpoint that keeps to RFC
// 6749 §5.1, before anything was compared with what had been asked.
type tokenResponse struct {
	accessToken, refreshToken, idToken Secret
	tokenType                          string
	expiresIn                          time.Duration
	expiresSaid                        bool
	refreshExpiresIn                   time.Duration // 0: not said
	scope                              string
	scopeSaid                          bool
}

// judgeTokenResponse takes the answer of the token endpoint apart: status, content type, syntax, members.
func judgeTokenResponse(resp *backchannel.Response, q Quirks, renews bool) (*tokenResponse, error) {
	if resp.Status != http.StatusOK {
		return nil, tokenEndpointError(resp)
	}
	ct := backchannel.MediaType(resp.Header)
	if ct == "application/x-www-form-urlencoded" && q.FormTokenResponse {
		return formTokenResponse(resp, q, renews)
	}
	if ct != "application/json" {
		e := NewError(ErrContentType, "", nil)
		e.Status = resp.Status
		return nil, e
	}
	doc, err := strictjson.Parse(resp.Body)
	if err != nil {
		return nil, badToken("json")
	}
	doc = doc.WithoutNull() // without a value is left out (OAuth 2.1 §3.2)
	// GitHub and Slack answer an error with 200 (ATK-T01).
	if _, failed := doc.Get("error"); failed {
		return nil, errorBody(NewError(ErrTokenEndpoint, "", nil), resp.Status, doc)
	}
	return readTokenResponse(doc, q, renews)
}

func readTokenResponse(doc strictjson.Object, q Quirks, renews bool) (*tokenResponse, error) {
	var r tokenResponse
	at, present, err := doc.String("access_token")
	if err != nil || !present || !isVSCHAR(at) || len(at) > maxTokenLength {
		return nil, badToken("access_token")
	}
	r.accessToken = Secret(at)
	if r.tokenType, err = readTokenType(doc, q); err != nil {
		return nil, err
	}
	for _, f := range [...]struct {
		name string
		to   *Secret
		most int
	}{{"refresh_token", &r.refreshToken, maxTokenLength}, {"id_token", &r.idToken, maxTokenBytes}} { // the ID token has a limit and a reason of its own
		v, present, err := optionalString(doc, f.name)
		// Unlike an access token these go into no header, and a blank is VSCHAR (RFC 6749 appendix A.17).
		if err != nil || present && (!isVSCHAR(strings.ReplaceAll(v, " ", "-")) || len(v) > f.most) {
			return nil, badToken(f.name)
		}
		*f.to = Secret(v)
	}
	if err := r.readExpiry(doc, q); err != nil && !renews { // a lifetime that is none is not worth a rotated token
		return nil, err
	}
	return &r, r.readScope(doc, q)
}

// readTokenType compares without case (OAuth 2.1 §3.2.3); a type that is not understood makes the token unusable.
func readTokenType(doc strictjson.Object, q Quirks) (string, error) {
	tt, present, err := doc.String("token_type")
	if !present && q.MissingTokenType {
		return "Bearer", nil
	}
	if err != nil || !strings.EqualFold(tt, "bearer") {
		return "", NewError(ErrTokenType, "", nil)
	}
	return "Bearer", nil
}

// optionalString treats null and "" as left out (OAuth 2.1 §3.2).
func optionalString(doc strictjson.Object, name string) (string, bool, error) {
	raw, present := doc.Get(name)
	if !present || string(raw) == "null" {
		return "", false, nil
	}
	v, _, err := doc.String(name)
	return v, v != "", err
}

// readExpiry refuses an expires_in that is no lifetime.
func (r *tokenResponse) readExpiry(doc strictjson.Object, q Quirks) error {
	// No standard has this member, and some servers write 0 or -1 for "never": a
	// value that is no lifetime is as good as none, and not worth a rotated token.
	r.refreshExpiresIn, _ = seconds(doc, "refresh_token_expires_in", q, maxRefreshIn)
	raw, present := doc.Get("expires_in")
	if !present || string(raw) == "null" {
		return nil
	}
	var ok bool
	r.expiresIn, ok = seconds(doc, "expires_in", q, maxExpiresIn)
	r.expiresSaid = ok
	if !ok {
		r.expiresIn = 0
		return badToken("expires_in")
	}
	return nil
}

// seconds reads a positive whole number of seconds in any JSON notation, at most as much as most.
func seconds(doc strictjson.Object, name string, q Quirks, most time.Duration) (time.Duration, bool) {
	raw, _ := doc.Get(name)
	text := string(raw)
	if q.StringExpiresIn && strings.HasPrefix(text, `"`) {
		if err := json.Unmarshal(raw, &text); err != nil || strings.Trim(text, "0123456789") != "" {
			return 0, false
		}
	}
	if text == "" || text[0] < '0' || text[0] > '9' {
		return 0, false
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || f <= 0 || f != math.Trunc(f) || f > math.MaxInt64/2 {
		return 0, false
	}
	if f < most.Seconds() {
		return time.Duration(f) * time.Second, true
	}
	return most, true
}

func (r *tokenResponse) readScope(doc strictjson.Object, q Quirks) error {
	raw, present := doc.Get("scope")
	if !present || string(raw) == "null" {
		return nil
	}
	if q.ScopeArray && strings.HasPrefix(string(raw), "[") {
		list, _, err := doc.Strings("scope")
		if err != nil {
			return badToken("scope")
		}
		r.scope = strings.Join(list, " ")
	} else {
		s, _, err := doc.String("scope")
		if err != nil {
			return badToken("scope")
		}
		r.scope = s
	}
	if q.ScopeComma {
		r.scope = strings.ReplaceAll(r.scope, ",", " ")
	}
	r.scopeSaid = strings.Trim(r.scope, " ") != "" // without a value it counts as omitted (OAuth 2.1 §3.2)
	if len(r.scope) > maxScope {
		return badToken("scope")
	}
	for s := range strings.SplitSeq(r.scope, " ") {
		if s != "" && !isScopeToken(s) {
			return badToken("scope")
		}
	}
	return nil
}

// formTokenResponse is the FormTokenResponse quirk: the same judgement of a form-encoded body.
func formTokenResponse(resp *backchannel.Response, q Quirks, renews bool) (*tokenResponse, error) {
	params, err := parseParams(strings.TrimSpace(string(resp.Body)))
	if err != nil {
		return nil, badToken("form")
	}
	m := map[string]any{}
	for _, p := range params {
		if _, twice := m[p.name]; twice {
			return nil, badToken("duplicate")
		}
		m[p.name] = p.value
		if n, err := strconv.ParseUint(p.value, 10, 32); err == nil && (p.name == "expires_in" || p.name == "refresh_token_expires_in") {
			m[p.name] = n
		}
	}
	b, err := json.Marshal(m)
	if err != nil {
		return nil, badToken("form")
	}
	q.FormTokenResponse = false
	return judgeTokenResponse(&backchannel.Response{Status: resp.Status, Header: http.Header{"Content-Type": {"application/json"}}, Body: b}, q, renews)
}

// tokenEndpointError is the answer to a request that failed (RFC 6749 §5.2).
func tokenEndpointError(resp *backchannel.Response) *Error {
	if resp.Status < 400 { // 2xx that are not 200, 1xx, 3xx: no answer that the specification knows
		e := badToken("status")
		e.Status = resp.Status
		return e
	}
	e := NewError(ErrTokenEndpoint, "", nil)
	e.Status = resp.Status
	e.RetryAfter = resp.RetryAfter
	e.refusedEmpty = len(resp.Body) == 0 && (resp.Status == http.StatusBadRequest || resp.Status == http.StatusForbidden)
	if failedForNow(resp.Status) {
		e.Outcome, e.Action = Transient, ActionRetry
	}
	if doc, err := strictjson.Parse(resp.Body); err == nil {
		return errorBody(e, resp.Status, doc)
	}
	return e
}

// errorBody fills in what an error body says. Members of other types than
// strings (Twitch, Facebook) are an error without a code.
func errorBody(e *Error, status int, doc strictjson.Object) *Error {
	code, _, err := doc.String("error")
	if err != nil {
		code = ""
	}
	description, _, _ := doc.String("error_description")
	uri, _, _ := doc.String("error_uri")
	e.Status = status
	e.serverError(code, description, uri)
	switch e.ServerCode {
	case "invalid_client", "incorrect_client_credentials":
		e.Action = ActionFixConfiguration
		e.hint = "check ClientID, the secret, and which of SecretBasic and SecretPost is registered"
	case "unauthorized_client", "unsupported_grant_type", "invalid_scope", "invalid_target",
		"unsupported_response_type":
		e.Action = ActionFixConfiguration
	case "temporarily_unavailable", "server_error":
		e.Outcome, e.Action = Transient, ActionRetry
	}
	return e
}

func badToken(reason string) *Error { return NewError(ErrTokenResponse, reason, nil) }
