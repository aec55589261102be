package authtest_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/client/authtest"
)

func TestCallbackRequest(t *testing.T) {
	var got []string
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := r.ParseForm(); err != nil {
			t.Error(err)
		}
		got = append(got, r.Method+" "+r.URL.Path+" "+r.Form.Get("state")+" "+r.PostForm.Get("state"))
		if r.Form.Get("code") == "" || r.Form.Get("iss") == "" {
			t.Errorf("%v", r.Form)
		}
	}))
	defer app.Close()
	g := newRig(t, authtest.Config{Clients: []authtest.Client{{ID: "app", Secret: secret, RedirectURIs: []string{app.URL + "/cb"}}}})
	for _, mode := range []string{"", "query", "form_post"} {
		answer, err := g.as.Authorize(t.Context(), g.request(newVerifier(), "redirect_uri", app.URL+"/cb", "response_mode", mode))
		if err != nil {
			t.Fatal(err)
		}
		if answer.Method == "POST" && answer.URL != app.URL+"/cb" {
			t.Errorf("%+v", answer)
		}
		r, err := answer.Request(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
	}
	if want := "GET /cb the state ,GET /cb the state ,POST /cb the state the state"; strings.Join(got, ",") != want {
		t.Errorf("%q", got)
	}
	if _, err := (&authtest.Callback{Method: "GET", URL: "https://app.example/\x7f"}).Request(t.Context()); err == nil {
		t.Error("a callback that is no URL")
	}
}

func TestBrowserLogsInAtAnInteractiveServer(t *testing.T) {
	g := newRig(t, authtest.Config{Interactive: true})
	g.as.SetUser("user-bob")
	b := g.as.NewBrowser()
	if sub := g.verify(g.browserLogIn(b)["id_token"], "ES256")["sub"]; sub != "user-bob" {
		t.Errorf("sub %v", sub)
	}
	if answer, err := b.Open(t.Context(), g.endSession("client_id", "app", "post_logout_redirect_uri", postLogout)); err != nil || answer.URL != postLogout {
		t.Errorf("%+v %v", answer, err)
	}
}

func TestBrowserFollowsTheServerOnly(t *testing.T) {
	a, b := newRig(t, authtest.Config{Issuer: "https://a.example"}), newRig(t, authtest.Config{Issuer: "https://b.example"})
	for name, target := range map[string]string{
		"another server": b.request(newVerifier()), "no URL": "https://a.example/\x7f", "relative": "/authorize",
	} {
		if answer, err := a.as.Authorize(t.Context(), target); err == nil {
			t.Errorf("%s: %+v", name, answer)
		}
	}
	// Mix-up: b sends the browser to a with the request that was meant for b.
	b.as.Misbehave(authtest.Fault{Endpoint: authtest.Authorize, Response: func(r *authtest.Request, resp *authtest.Response) {
		*resp = *authtest.Redirect(http.StatusFound, a.endpoint("authorize")+"?"+r.Query.Encode())
	}})
	answer, err := b.as.Authorize(t.Context(), b.request(newVerifier()))
	if err != nil || !strings.HasPrefix(answer.URL, a.endpoint("authorize")) {
		t.Fatalf("%+v %v", answer, err)
	}
	if answer, err = a.as.Authorize(t.Context(), answer.URL); err != nil || answer.Params.Get("iss") != a.as.Issuer() {
		t.Errorf("%+v %v", answer, err)
	}
	// A redirect inside the server is followed, relative or not.
	a.as.Misbehave(authtest.Fault{Endpoint: authtest.Authorize, Times: 1, Answer: authtest.Redirect(302, "/authorize?"+strings.SplitN(a.request(newVerifier()), "?", 2)[1])})
	if params := a.authorize(a.request(newVerifier(), "state", "other")); params.Get("state") != "the state" {
		t.Errorf("%v", params)
	}
	a.as.Misbehave(authtest.Fault{Endpoint: authtest.Authorize, Answer: authtest.Redirect(302, a.endpoint("authorize"))})
	if answer, err := a.as.Authorize(t.Context(), a.request(newVerifier())); err == nil || !strings.Contains(err.Error(), "without end") {
		t.Errorf("%+v %v", answer, err)
	}
}

func TestBrowserErrors(t *testing.T) {
	g := newRig(t, authtest.Config{})
	target := g.request(newVerifier())
	for name, fault := range map[string]authtest.Fault{
		"no answer":   {Wire: authtest.DropBefore},
		"half":        {Wire: authtest.Truncate},
		"plain error": {Answer: &authtest.Response{Status: 503}},
		"JSON error":  {Answer: authtest.JSON(400, `{"error":"x"}`)},
	} {
		stop := g.as.Misbehave(fault)
		answer, err := g.as.Authorize(t.Context(), target)
		if err == nil {
			t.Errorf("%s: %+v", name, answer)
		} else if strings.Contains(err.Error(), "state") || strings.Contains(err.Error(), "nonce") {
			t.Errorf("%s: the error holds the URL: %v", name, err)
		}
		stop()
	}
	stop := g.as.Misbehave(authtest.Fault{Answer: authtest.HTML(200)})
	if answer, err := g.as.Authorize(t.Context(), target); answer != nil || err != nil {
		t.Errorf("a page: %+v %v", answer, err)
	}
	stop()
}

func TestCallbackIsByteForByte(t *testing.T) {
	uri := "https://app.example/a%2Fb/../%7e?x=%41"
	g := newRig(t, authtest.Config{Clients: []authtest.Client{{ID: "app", Secret: secret, RedirectURIs: []string{uri}}}})
	answer, err := g.as.Authorize(t.Context(), g.request(newVerifier(), "redirect_uri", uri))
	if err != nil || !strings.HasPrefix(answer.URL, uri+"&code=") {
		t.Errorf("%+v %v", answer, err)
	}
	if u, err := url.Parse(answer.URL); err != nil || u.Query().Get("x") != "A" {
		t.Errorf("%v %v", u, err)
	}
}
