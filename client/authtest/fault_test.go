package authtest_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/sallyport/sallyport/client/authtest"
)

func (g *rig) status(name string) int {
	g.t.Helper()
	resp, _ := g.get(g.endpoint(name))
	return resp.StatusCode
}

func TestFaultsComeAndGo(t *testing.T) {
	g := newRig(t, authtest.Config{})
	broken := func(status, times int) authtest.Fault {
		return authtest.Fault{Endpoint: authtest.JWKS, Times: times, Answer: &authtest.Response{Status: status}}
	}
	g.as.Misbehave(broken(500, 2))
	for i, want := range []int{500, 500, 200, 200} {
		if got := g.status("jwks"); got != want {
			t.Errorf("request %d: %d, want %d", i, got, want)
		}
	}
	// Of two answers the first given counts; both are used up.
	g.as.Misbehave(broken(501, 1), broken(502, 2))
	for i, want := range []int{501, 502, 200} {
		if got := g.status("jwks"); got != want {
			t.Errorf("request %d: %d, want %d", i, got, want)
		}
	}
	stop := g.as.Misbehave(broken(503, 0))
	other := g.as.Misbehave(broken(504, 0))
	if got := g.status("jwks"); got != 503 {
		t.Errorf("%d", got)
	}
	stop()
	stop()
	if got := g.status("jwks"); got != 504 {
		t.Errorf("%d", got)
	}
	g.as.Behave()
	other()
	if got := g.status("jwks"); got != 200 {
		t.Errorf("%d", got)
	}
}

func TestFaultsAreForSomeRequests(t *testing.T) {
	g := newRig(t, authtest.Config{})
	g.as.Misbehave(authtest.Fault{Endpoint: authtest.Metadata, Answer: authtest.HTML(200)})
	if keys := g.keys().Keys; len(keys) != 1 {
		t.Errorf("another endpoint: %v", keys)
	}
	resp, body := g.get("https://as.example/.well-known/openid-configuration")
	if resp.Header.Get("Content-Type") != "text/html; charset=utf-8" || !bytes.Contains(body, []byte("<!DOCTYPE html>")) {
		t.Errorf("%v %s", resp.Header, body)
	}
	g.as.Behave()

	refreshes := func(r *authtest.Request) bool { return r.Form.Get("grant_type") == "refresh_token" }
	g.as.Misbehave(authtest.Fault{Endpoint: authtest.Token, Times: 1, When: refreshes, Answer: &authtest.Response{
		Status: 503, Header: http.Header{"Retry-After": {"7"}},
	}})
	tokens := g.logIn() // does not use it up
	resp, _ = g.do(g.postRequest("token", refreshForm(tokens["refresh_token"])))
	if resp.StatusCode != 503 || resp.Header.Get("Retry-After") != "7" {
		t.Errorf("%d %v", resp.StatusCode, resp.Header)
	}
	// The request had no effect, and the fault is over.
	if status, _ := g.post("token", refreshForm(tokens["refresh_token"])); status != 200 {
		t.Errorf("%d", status)
	}

	g.as.Misbehave(authtest.Fault{Answer: &authtest.Response{Status: 502}})
	for _, path := range []string{"jwks", "userinfo", "nothing"} {
		if got := g.status(path); got != 502 {
			t.Errorf("%s: %d", path, got)
		}
	}
}

// Two requests judge a fault that is good for one, before either takes it.
func TestFaultTakenOnce(t *testing.T) {
	g := newRig(t, authtest.Config{})
	var both sync.WaitGroup
	both.Add(2)
	g.as.Misbehave(authtest.Fault{Endpoint: authtest.JWKS, Times: 1, Answer: &authtest.Response{Status: 500}, When: func(*authtest.Request) bool {
		both.Done()
		both.Wait()
		return true
	}})
	statuses := make(chan int, 2)
	for range 2 {
		go func() {
			resp, err := g.http.Get(g.endpoint("jwks"))
			if err != nil {
				t.Error(err)
				statuses <- 0
				return
			}
			_ = resp.Body.Close()
			statuses <- resp.StatusCode
		}()
	}
	if a, b := <-statuses, <-statuses; a+b != 700 {
		t.Errorf("%d and %d", a, b)
	}
}

func TestFaultsUsedConcurrently(t *testing.T) {
	g := newRig(t, authtest.Config{})
	g.as.Misbehave(authtest.Fault{Endpoint: authtest.JWKS, Times: 7, Answer: &authtest.Response{Status: 500}})
	var wg sync.WaitGroup
	var broken atomic.Int32
	for range 30 {
		wg.Go(func() {
			resp, err := g.http.Get(g.endpoint("jwks"))
			if err != nil {
				t.Error(err)
				return
			}
			_ = resp.Body.Close()
			if resp.StatusCode == 500 {
				broken.Add(1)
			}
		})
	}
	wg.Wait()
	if n := broken.Load(); n != 7 {
		t.Errorf("%d broken answers", n)
	}
}

func TestEditJSON(t *testing.T) {
	g := newRig(t, authtest.Config{})
	edit := func(e authtest.Endpoint, f func(map[string]any)) func() {
		return g.as.Misbehave(authtest.Fault{Endpoint: e, JSON: f})
	}
	stop := edit(authtest.Metadata, func(m map[string]any) { m["issuer"] = "https://evil.example" })
	if m := g.metadata(); m["issuer"] != "https://evil.example" {
		t.Errorf("%v", m["issuer"])
	}
	stop()
	stop = edit(authtest.JWKS, func(m map[string]any) {
		m["keys"].([]any)[0].(map[string]any)["use"] = "enc"
	})
	if keys := g.keys().Keys; keys[0].Use != "enc" {
		t.Errorf("%+v", keys)
	}
	stop()
	if keys := g.keys().Keys; keys[0].Use != "sig" {
		t.Error("the edit outlives the fault")
	}
	stop = edit(authtest.Token, func(m map[string]any) {
		delete(m, "token_type")
		m["expires_in"] = json.Number("1e309")
		m["scope"] = json.RawMessage(`["openid"]`)
	})
	verifier := newVerifier()
	code := g.authorize(g.request(verifier)).Get("code")
	_, body := g.do(g.postRequest("token", codeForm(code, verifier)))
	if !bytes.Contains(body, []byte(`"expires_in":1e309`)) || !bytes.Contains(body, []byte(`"scope":["openid"]`)) || bytes.Contains(body, []byte("token_type")) {
		t.Errorf("%s", body)
	}
	stop()
	tokens := g.logIn()
	stop = edit(authtest.UserInfo, func(m map[string]any) { m["sub"] = "mallory" })
	if _, body := g.userInfo(tokens["access_token"]); object(t, body)["sub"] != "mallory" {
		t.Errorf("%s", body)
	}
	stop()
	stop = edit(authtest.Token, func(m map[string]any) { m["error"] = "x\u001b" })
	if _, m := g.post("token", refreshForm("unknown")); m["error"] != "x\u001b" {
		t.Errorf("%v", m)
	}
	stop()
	edit(authtest.JWKS, func(m map[string]any) { m["keys"] = func() {} })
	if got := g.status("jwks"); got != 500 {
		t.Errorf("an impossible value: %d", got)
	}
}

func TestEditAuthorizationResponse(t *testing.T) {
	g := newRig(t, authtest.Config{})
	for _, mode := range []string{"query", "form_post"} {
		for name, test := range map[string]struct {
			edit  func(url.Values)
			check func(url.Values) bool
		}{
			"no iss":       {func(v url.Values) { v.Del("iss") }, func(v url.Values) bool { return !v.Has("iss") && v.Has("code") }},
			"wrong iss":    {func(v url.Values) { v.Set("iss", "https://evil.example") }, func(v url.Values) bool { return v.Get("iss") == "https://evil.example" }},
			"two codes":    {func(v url.Values) { v.Add("code", "x") }, func(v url.Values) bool { return len(v["code"]) == 2 }},
			"denied":       {authtest.Deny("access_denied"), func(v url.Values) bool { return v.Get("error") == "access_denied" && !v.Has("code") }},
			"state is not": {func(v url.Values) { v.Set("state", v.Get("state")+"A") }, func(v url.Values) bool { return v.Get("state") == "the stateA" }},
		} {
			stop := g.as.Misbehave(authtest.Fault{Endpoint: authtest.Authorize, Params: test.edit})
			if params := g.authorize(g.request(newVerifier(), "response_mode", mode)); !test.check(params) {
				t.Errorf("%s, %s: %v", mode, name, params)
			}
			stop()
		}
	}
}

func TestEditResponse(t *testing.T) {
	g := newRig(t, authtest.Config{})
	tokens := g.logIn()
	g.as.Misbehave(authtest.Fault{Endpoint: authtest.Token, Times: 1, Response: func(r *authtest.Request, resp *authtest.Response) {
		if r.Form.Get("grant_type") != "refresh_token" || resp.Status != 200 {
			t.Errorf("%v %d", r.Form, resp.Status)
		}
		resp.Status = 206
		resp.Header = nil
		resp.Body = append([]byte("\xef\xbb\xbf"), resp.Body...)
	}})
	resp, body := g.do(g.postRequest("token", refreshForm(tokens["refresh_token"])))
	if resp.StatusCode != 206 || !bytes.HasPrefix(body, []byte("\xef\xbb\xbf{")) || resp.Header.Get("Content-Type") != "" {
		t.Errorf("%d %v %q", resp.StatusCode, resp.Header, body)
	}
	g.active(tokens["refresh_token"], false) // it had its effect
	g.as.Misbehave(authtest.Fault{Endpoint: authtest.JWKS, Response: func(_ *authtest.Request, r *authtest.Response) { r.Status = 0 }})
	if got := g.status("jwks"); got != 200 {
		t.Errorf("%d", got)
	}
}

func TestAnswerIsNotShared(t *testing.T) {
	g := newRig(t, authtest.Config{})
	answer := authtest.JSON(200, map[string]any{"keys": []any{}})
	g.as.Misbehave(
		authtest.Fault{Endpoint: authtest.JWKS, Answer: answer},
		authtest.Fault{Endpoint: authtest.JWKS, Response: func(_ *authtest.Request, r *authtest.Response) {
			r.Body[0] = 'x'
			r.Header.Set("X", "y")
		}},
	)
	for range 2 {
		if resp, body := g.get(g.endpoint("jwks")); string(body) != `x"keys":[]}` || resp.Header.Get("X") != "y" {
			t.Errorf("%s", body)
		}
	}
	if string(answer.Body) != `{"keys":[]}` || answer.Header.Get("X") != "" {
		t.Errorf("%s %v", answer.Body, answer.Header)
	}
}

func TestLenient(t *testing.T) {
	g := newRig(t, authtest.Config{})
	g.as.Misbehave(authtest.Fault{Lenient: true})
	noPKCE := g.request("", "code_challenge", "", "code_challenge_method", "")
	code := g.authorize(noPKCE).Get("code")
	if code == "" {
		t.Fatal("PKCE is still required")
	}
	var last map[string]any
	for _, form := range []url.Values{codeForm(code, ""), codeForm(code, newVerifier()), {"grant_type": {"authorization_code"}, "code": {code}}} {
		status, m := g.post("token", form)
		if status != 200 {
			t.Errorf("%d %v", status, m)
		}
		last = m
	}
	g.active(last["access_token"], true)
	g.as.Behave()
	if params := g.authorize(noPKCE); params.Get("error") != "invalid_request" {
		t.Errorf("%v", params)
	}
}

func TestAnswers(t *testing.T) {
	for name, test := range map[string]struct {
		response *authtest.Response
		body     string
	}{
		"text":   {authtest.JSON(200, `{"a":1,"a":2}`), `{"a":1,"a":2}`},
		"bytes":  {authtest.JSON(200, []byte("null")), "null"},
		"object": {authtest.JSON(200, map[string]int{"a": 1}), `{"a":1}`},
	} {
		if string(test.response.Body) != test.body || test.response.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: %+v", name, test.response)
		}
	}
	if r := authtest.Redirect(307, "https://evil.example/"); r.Status != 307 || r.Header.Get("Location") != "https://evil.example/" {
		t.Errorf("%+v", r)
	}
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	authtest.JSON(200, func() {})
}

func TestFaultSeesTheRequest(t *testing.T) {
	g := newRig(t, authtest.Config{})
	var seen []authtest.Request
	g.as.Misbehave(authtest.Fault{When: func(r *authtest.Request) bool {
		seen = append(seen, *r)
		return false
	}})
	g.logIn()
	if len(seen) != 2 || seen[0].Endpoint != authtest.Authorize || seen[0].Query.Get("client_id") != "app" ||
		seen[1].Endpoint != authtest.Token || seen[1].Form.Get("code") == "" || seen[1].Header.Get("Authorization") == "" {
		t.Errorf("%+v", seen)
	}
}
