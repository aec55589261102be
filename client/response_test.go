package client_test

import (
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/client"
)

// offline makes a client that no network belongs to.
func offline(t *testing.T, change ...func(*client.Config)) *client.Client {
	t.Helper()
	cfg := client.Config{
		Issuer: issuer, ClientID: "app", Authentication: client.SecretBasic(client.Secret(secret)), RedirectURI: callback,
		Transport: transportFunc(func(*http.Request) (*http.Response, error) {
			t.Error("something was sent")
			return nil, errors.New("offline")
		}),
	}
	for _, f := range change {
		f(&cfg)
	}
	c, err := client.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

type transportFunc func(*http.Request) (*http.Response, error)

func (f transportFunc) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func formPost(cfg *client.Config) { cfg.ResponseMode = client.FormPost }

func TestAuthorizationResponse(t *testing.T) {
	method := func(m string) *http.Request {
		r := get(t, "code=C1&state=SV")
		r.Method = m
		return r
	}
	form := func(body string) *http.Request {
		return post("application/x-www-form-urlencoded", strings.NewReader(body))
	}
	const good = "code=C1&state=SV&iss=https%3A%2F%2Fas.example"
	for _, tc := range []struct {
		name   string
		r      *http.Request
		code   client.Code
		reason string
		form   bool
	}{
		{name: "good", r: get(t, good)},
		{name: "good form", r: form(good), form: true},
		{name: "nothing at all", r: get(t, "")}, // whether it belongs to a login is for CheckResponse
		{name: "content type with charset and in capitals", r: post("Application/X-WWW-Form-Urlencoded; charset=UTF-8", strings.NewReader(good)), form: true},
		{name: "empty parts between ampersands", r: get(t, "&&code=C1&&state=SV&")},

		{name: "ATK-L13 state twice", r: get(t, "code=C1&state=SV&state=SV"), code: client.ErrDuplicateParam},
		{name: "ATK-L13 another state behind", r: get(t, "code=C1&state=SV&state=SW"), code: client.ErrDuplicateParam},
		{name: "ATK-L13 another state before", r: get(t, "code=C1&state=SW&state=SV"), code: client.ErrDuplicateParam},
		{name: "ATK-L13 an empty state beside", r: get(t, "code=C1&state=&state=SV"), code: client.ErrDuplicateParam},
		{name: "ATK-L13 encoded name", r: get(t, "code=C1&st%61te=SW&state=SV"), code: client.ErrDuplicateParam},
		{name: "ATK-L14 code twice", r: get(t, "code=C1&code=CW&state=SV"), code: client.ErrDuplicateParam},
		{name: "ATK-L15 iss twice", r: get(t, "code=C1&state=SV&iss=A&iss=B"), code: client.ErrDuplicateParam},
		{name: "ATK-L15 error twice", r: get(t, "error=a&error=b&state=SV"), code: client.ErrDuplicateParam},
		{name: "ATK-L15 error_description twice", r: get(t, "error=a&error_description=a&error_description=b&state=SV"), code: client.ErrDuplicateParam},
		{name: "ATK-L15 response twice", r: get(t, "response=a&response=b"), code: client.ErrDuplicateParam},
		{name: "ATK-L15 twice in the form", r: form("code=C1&state=SV&state=SV"), form: true, code: client.ErrDuplicateParam},
		{name: "ATK-L15 query and form", r: func() *http.Request { r := form(good); r.URL.RawQuery = "code=C1"; return r }(), form: true, code: client.ErrAmbiguousResponse, reason: "query_and_form"},
		{name: "ATK-L15 only other names may repeat", r: get(t, good+"&State=a&State=b&x=1&x=2")},

		{name: "ATK-L18 POST to a query callback", r: form(good), code: client.ErrCallbackMethod},
		{name: "ATK-L19 GET to a form_post callback", r: get(t, good), form: true, code: client.ErrResponseMode, reason: "method"},
		{name: "ATK-L19 multipart", r: post("multipart/form-data; boundary=x", strings.NewReader(good)), form: true, code: client.ErrResponseMode, reason: "content_type"},
		{name: "ATK-L19 JSON", r: post("application/json", strings.NewReader(`{"code":"C1"}`)), form: true, code: client.ErrResponseMode, reason: "content_type"},
		{name: "ATK-L19 no content type", r: post("", strings.NewReader(good)), form: true, code: client.ErrResponseMode, reason: "content_type"},
		{name: "ATK-L19 two content types", r: func() *http.Request { r := form(good); r.Header.Add("Content-Type", "text/plain"); return r }(), form: true, code: client.ErrResponseMode, reason: "content_type"},
		{name: "ATK-L36 HEAD", r: method(http.MethodHead), code: client.ErrCallbackMethod},
		{name: "ATK-L36 OPTIONS", r: method(http.MethodOptions), code: client.ErrCallbackMethod},
		{name: "ATK-L36 PUT", r: method(http.MethodPut), code: client.ErrCallbackMethod},
		{name: "ATK-L36 HEAD to a form_post callback", r: method(http.MethodHead), form: true, code: client.ErrCallbackMethod},

		{name: "ATK-L20 access token", r: get(t, good+"&access_token=EVIL&id_token=EVILJWT&token_type=Bearer&expires_in=9"), code: client.ErrResponseMode, reason: "parameter"},
		{name: "ATK-L20 in the form", r: form(good + "&id_token=EVILJWT"), form: true, code: client.ErrResponseMode, reason: "parameter"},
		{name: "ATK-L21 JWT response that nobody asked for", r: get(t, "response=eyJ.e30.AA"), code: client.ErrResponseMode, reason: "parameter"},
		{name: "ATK-L21 JWT response beside a code", r: get(t, "response=eyJ.e30.AA&code=C1"), code: client.ErrAmbiguousResponse, reason: "response"},
		{name: "ATK-L21 JWT response beside an error", r: get(t, "response=eyJ.e30.AA&error=x"), code: client.ErrAmbiguousResponse, reason: "response"},

		{name: "ATK-L34 giant code", r: get(t, "state=SV&code="+strings.Repeat("c", 64<<10)), code: client.ErrMalformedResponse, reason: "size"},
		{name: "ATK-L34 code over its limit", r: get(t, "state=SV&code="+strings.Repeat("c", 4<<10+1)), code: client.ErrMalformedResponse, reason: "size"},
		{name: "ATK-L34 code at its limit", r: get(t, "state=SV&code="+strings.Repeat("c", 4<<10))},
		{name: "ATK-L34 state over its limit", r: get(t, "code=C1&state="+strings.Repeat("s", 513)), code: client.ErrMalformedResponse, reason: "size"},
		{name: "ATK-L34 iss over its limit", r: get(t, "code=C1&state=SV&iss="+strings.Repeat("s", 513)), code: client.ErrMalformedResponse, reason: "size"},
		{name: "ATK-L34 error over its limit", r: get(t, "state=SV&error="+strings.Repeat("s", 513)), code: client.ErrMalformedResponse, reason: "size"},
		{name: "ATK-L34 5000 parameters", r: get(t, strings.Repeat("a&", 3000)), code: client.ErrMalformedResponse, reason: "encoding"},
		{name: "ATK-L34 form of a megabyte", r: form(strings.Repeat("a", 1<<20)), form: true, code: client.ErrMalformedResponse, reason: "size"},
		{name: "ATK-L34 form of a megabyte that says nothing of its size", r: func() *http.Request { r := form(strings.Repeat("a", 1<<20)); r.ContentLength = -1; return r }(), form: true, code: client.ErrMalformedResponse, reason: "size"},
		{name: "form that breaks off", r: post("application/x-www-form-urlencoded", io.MultiReader(strings.NewReader("code="), broken{})), form: true, code: client.ErrMalformedResponse, reason: "body"},
		{name: "request without a body", r: func() *http.Request { r := form(""); r.Body = nil; return r }(), form: true},

		{name: "ATK-L35 broken escape", r: get(t, "code=%zz&state=SV"), code: client.ErrMalformedResponse, reason: "encoding"},
		{name: "ATK-L35 broken escape in a name", r: get(t, "%zz=1&code=C1&state=SV"), code: client.ErrMalformedResponse, reason: "encoding"},
		{name: "ATK-L35 escape cut short", r: get(t, "code=C1&state=%5"), code: client.ErrMalformedResponse, reason: "encoding"},
		{name: "ATK-L35 NUL", r: get(t, "code=%00abc&state=SV"), code: client.ErrMalformedResponse, reason: "character"},
		{name: "ATK-L35 overlong UTF-8", r: get(t, "code=C1&state=%c0%ae"), code: client.ErrMalformedResponse, reason: "encoding"},
		{name: "ATK-L35 invalid UTF-8 in a name", r: get(t, "%ff=1&code=C1"), code: client.ErrMalformedResponse, reason: "encoding"},
		{name: "ATK-L35 invalid UTF-8 in an unknown parameter", r: get(t, "x=%ff&code=C1"), code: client.ErrMalformedResponse, reason: "encoding"},
		{name: "ATK-L35 semicolons", r: get(t, "code=C1;state=SV"), code: client.ErrMalformedResponse, reason: "encoding"},
		{name: "ATK-L35 header split", r: get(t, "code=C1%0d%0aX:1&state=SV"), code: client.ErrMalformedResponse, reason: "character"},
		{name: "ATK-L35 DEL", r: get(t, "code=C1%7f&state=SV"), code: client.ErrMalformedResponse, reason: "character"},
		{name: "ATK-L35 NUL in an error", r: get(t, "error=x%00&state=SV"), code: client.ErrMalformedResponse, reason: "character"},
		{name: "state and iss of any character are only compared", r: get(t, "code=C1&state=%e2%80%a8&iss=%00")},
		{name: "ATK-L35 in the form", r: form("code=%zz"), form: true, code: client.ErrMalformedResponse, reason: "encoding"},
		{name: "ATK-L35 array name is another name", r: get(t, "code[]=C1&state=SV")},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := offline(t)
			if tc.form {
				c = offline(t, formPost)
			}
			resp, err := c.AuthorizationResponse(tc.r)
			if tc.code == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			var e *client.Error
			if resp != nil || !errors.As(err, &e) || e.Code != tc.code || e.Reason != tc.reason || e.Outcome != client.Rejected {
				t.Errorf("got %v, %v, want %s (%s)", resp, err, tc.code, tc.reason)
			}
		})
	}
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errors.New("connection reset") }

// ATK-L35: a code of every printable character reaches the token endpoint as it was.
func TestCodeUnchanged(t *testing.T) {
	var printable strings.Builder
	for c := ' '; c <= '~'; c++ {
		printable.WriteRune(c)
	}
	scenario(t, "through query and form", func(b *bench) {
		_, err := b.login(client.AuthorizationOptions{}, set("code", printable.String()))
		b.failed(err, failure{code: client.ErrTokenEndpoint, status: 400, serverCode: "invalid_grant"})
		if got := b.as.Log("token")[0].Form.Get("code"); got != printable.String() {
			b.Errorf("sent %q", got)
		}
	})
}

// ATK-L09: a state that decodes to the right one is the right one.
func TestStateEncoded(t *testing.T) {
	scenario(t, "percent-encoded", func(b *bench) {
		req := b.begin(client.AuthorizationOptions{})
		r := b.request(b.visit(req))
		escaped := ""
		for _, c := range []byte(req.State()) {
			escaped += "%" + strings.ToUpper(string("0123456789abcdef"[c>>4])+string("0123456789abcdef"[c&15]))
		}
		r.URL.RawQuery = strings.Replace(r.URL.RawQuery, "state="+req.State(), "state="+escaped, 1)
		if _, err := b.finish(req, r); err != nil {
			b.Error(err)
		}
	})
}

func TestAuthorizationResponseIsSilent(t *testing.T) {
	c := offline(t)
	resp, err := c.AuthorizationResponse(get(t, "code=canary-code&state=canary-state&error=canary-error&iss=canary-iss"))
	if err != nil {
		t.Fatal(err)
	}
	if resp.State() != "canary-state" {
		t.Errorf("State is %q", resp.State())
	}
	for _, text := range renderings(resp) {
		if strings.Contains(text, "canary") {
			t.Errorf("it prints as %q", text)
		}
	}
}

// ATK-R07: a redirect URI with a query comes back with it, once and unchanged.
func TestRedirectURIWithQuery(t *testing.T) {
	const registered = callback + "?t=7&u=%41"
	withQuery := func(s *setup) {
		s.client.RedirectURI, s.registration.RedirectURIs = registered, []string{registered}
	}
	for _, tc := range []struct {
		name   string
		edit   func(q string) string
		code   client.Code
		reason string
	}{
		{"as registered", func(q string) string { return q }, "", ""},
		{"encoded otherwise", func(q string) string { return strings.Replace(q, "t=7&u=%41", "%74=%37&u=A", 1) }, "", ""},
		{"another value", func(q string) string { return strings.Replace(q, "t=7", "t=8", 1) }, client.ErrStateMismatch, "redirect_uri"},
		{"gone", func(q string) string { return strings.Replace(q, "t=7&", "", 1) }, client.ErrStateMismatch, "redirect_uri"},
		{"twice", func(q string) string { return "t=7&" + q }, client.ErrDuplicateParam, "redirect_uri"},
		{"twice with another value", func(q string) string { return q + "&t=8" }, client.ErrDuplicateParam, "redirect_uri"},
		{"code twice", func(q string) string { return "code=x&" + q }, client.ErrDuplicateParam, ""},
	} {
		scenario(t, tc.name, func(b *bench) {
			req := b.begin(client.AuthorizationOptions{})
			if got := query(b.T, req.URL()).Get("redirect_uri"); got != registered {
				b.Errorf("redirect_uri is %q", got)
			}
			cb := b.visit(req)
			u, err := url.Parse(cb.URL)
			if err != nil {
				b.Fatal(err)
			}
			tokens, err := b.finish(req, get(b.T, tc.edit(u.RawQuery)))
			if tc.code == "" {
				if err != nil {
					b.Fatal(err)
				}
				if got := b.as.Log("token")[0].Form.Get("redirect_uri"); got != registered {
					b.Errorf("the token request has redirect_uri %q", got)
				}
				return
			}
			b.refused(tokens, err, failure{code: tc.code, reason: tc.reason})
		}, withQuery)
	}
	scenario(t, "with form_post the query stays in the URL", func(b *bench) {
		req := b.begin(client.AuthorizationOptions{})
		cb := b.visit(req)
		if cb.URL != registered {
			b.Fatalf("posted to %s", cb.URL)
		}
		if _, err := b.finish(req, b.request(cb)); err != nil {
			b.Error(err)
		}
	}, withQuery, func(s *setup) { s.client.ResponseMode = client.FormPost })
	scenario(t, "posted without it", func(b *bench) {
		req := b.begin(client.AuthorizationOptions{})
		r := b.request(b.visit(req))
		r.URL.RawQuery = ""
		tokens, err := b.finish(req, r)
		b.refused(tokens, err, failure{code: client.ErrStateMismatch, reason: "redirect_uri"})
	}, withQuery, func(s *setup) { s.client.ResponseMode = client.FormPost })
}

// CheckResponse alone, for callers that mark a pending login as used between it and Exchange. The order is part of the contract:
// state, age, client, iss, shape.
func TestCheckResponseOrder(t *testing.T) {
	scenario(t, "each failure hides those behind it", func(b *bench) {
		req := b.begin(client.AuthorizationOptions{})
		check := func(q string) client.Code {
			resp, err := b.c.AuthorizationResponse(get(b.T, q))
			if err != nil {
				b.Fatal(err)
			}
			if err = b.c.CheckResponse(req, resp); err == nil {
				return ""
			}
			return code(b.T, err)
		}
		state := "state=" + req.State()
		iss := "iss=" + url.QueryEscape(issuer)
		for _, tc := range []struct {
			query string
			want  client.Code
		}{
			{"iss=evil&error=x&code=y", client.ErrStateMissing},
			{"state=other&iss=evil&error=x&code=y", client.ErrStateMismatch},
			{state + "&iss=evil&error=x&code=y", client.ErrIssMismatch},
			{state + "&error=x&code=y", client.ErrIssMissing},
			{state + "&" + iss + "&error=x&code=y", client.ErrAmbiguousResponse},
			{state + "&" + iss, client.ErrMalformedResponse},
			{state + "&" + iss + "&error=x", ""},
			{state + "&" + iss + "&code=y", ""},
		} {
			if got := check(tc.query); got != tc.want {
				b.Errorf("%s: %q, want %q", tc.query, got, tc.want)
			}
		}
		b.saw(requests{})
	})
}

// ATK-Q02, ATK-Q04, ATK-L34: what is refused for its size is refused before it costs anything.
func TestResponseCost(t *testing.T) {
	c := offline(t)
	giant := get(t, "state="+strings.Repeat("%41", 64<<10))
	many := get(t, strings.Repeat("a=b&", 2000))
	for name, r := range map[string]*http.Request{"giant": giant, "many": many} {
		if n := testing.AllocsPerRun(100, func() { _, _ = c.AuthorizationResponse(r) }); n > 10 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func TestHasCode(t *testing.T) {
	c := offline(t)
	for query, want := range map[string]bool{
		"code=c&state=s": true, "error=access_denied&state=s": false, "code=c&error=x&state=s": false, "state=s": false,
	} {
		resp, err := c.AuthorizationResponse(get(t, query))
		if err != nil {
			t.Fatal(err)
		}
		if resp.HasCode() != want {
			t.Errorf("%s: %v", query, !want)
		}
	}
}
