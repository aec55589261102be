package authtest_test

import (
	"encoding/base64"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/client/authtest"
)

// clients is the network of the clients: it keeps what arrives and answers with status.
type clients struct {
	mu     sync.Mutex
	forms  []url.Values
	status int
	err    error
}

func (c *clients) RoundTrip(r *http.Request) (*http.Response, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if r.Method != "POST" || r.Header.Get("Content-Type") != "application/x-www-form-urlencoded" {
		return nil, errors.New("not a logout request")
	}
	if err := r.ParseForm(); err != nil {
		return nil, err
	}
	c.forms = append(c.forms, r.PostForm)
	rec := httptest.NewRecorder()
	rec.WriteHeader(c.status)
	return rec.Result(), c.err
}

func (c *clients) last() string { return c.forms[len(c.forms)-1].Get("logout_token") }

// newLogoutRig is a server with a client that wants to be told, and one that does not.
func newLogoutRig(t *testing.T) (*rig, *clients) {
	t.Helper()
	c := &clients{status: 200}
	told, silent := app(), app()
	told.BackchannelLogoutURI, silent.ID = "https://app.example/auth/backchannel-logout", "silent"
	return newRig(t, authtest.Config{LogoutTransport: c, Clients: []authtest.Client{told, silent}}), c
}

// decodePart is a segment of a token as text.
func decodePart(t *testing.T, segment string) string {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(segment)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

const logoutEvent = "http://schemas.openid.net/event/backchannel-logout"

func TestBackchannelLogoutAtEndSession(t *testing.T) {
	g, c := newLogoutRig(t)
	b, other := g.as.NewBrowser(), g.as.NewBrowser()
	hint := g.browserLogIn(b)["id_token"].(string)
	g.browserLogIn(b) // the same login, once more: told once
	g.browserLogIn(other)
	c.status = 400 // is nobody's business here
	if _, err := b.Open(t.Context(), g.endSession("id_token_hint", hint)); err != nil {
		t.Fatal(err)
	}
	if len(c.forms) != 1 || g.as.Requests(authtest.BackchannelLogout) != 1 || g.loggedIn(b) || !g.loggedIn(other) {
		t.Fatalf("%d logout tokens", len(c.forms))
	}
	claims, id := g.verify(c.last(), "ES256"), g.verify(hint, "ES256")
	events, _ := claims["events"].(map[string]any)
	if event, ok := events[logoutEvent].(map[string]any); !ok || len(event) > 0 {
		t.Errorf("events %v", claims["events"])
	}
	_, nonce := claims["nonce"]
	if claims["iss"] != g.as.Issuer() || claims["aud"] != "app" || claims["sub"] != id["sub"] || claims["sid"] != id["sid"] || claims["jti"] == "" || nonce ||
		claims["exp"].(float64)-claims["iat"].(float64) != 120 {
		t.Errorf("%v", claims)
	}
	if header, _, _ := strings.Cut(c.last(), "."); !strings.Contains(decodePart(t, header), `"typ":"logout+jwt"`) {
		t.Error("the token has another typ")
	}
	// Metadata says so.
	if m := g.metadata(); m["backchannel_logout_supported"] != true || m["backchannel_logout_session_supported"] != true {
		t.Errorf("%v", m)
	}
}

func TestLogoutOnDemand(t *testing.T) {
	g, c := newLogoutRig(t)
	one, two := g.as.NewBrowser(), g.as.NewBrowser()
	g.browserLogIn(one)
	g.browserLogIn(two)
	before := g.as.Requests("")
	status, err := g.as.Logout(t.Context(), "user-alice")
	if after := g.as.Requests(""); after != before {
		t.Errorf("%d requests arrived", after-before)
	}
	if err != nil || status != 200 || g.loggedIn(one) || g.loggedIn(two) {
		t.Fatalf("%d, %v", status, err)
	}
	claims := g.verify(c.last(), "ES256")
	if _, sid := claims["sid"]; sid || claims["sub"] != "user-alice" || len(c.forms) != 1 {
		t.Errorf("%v", claims)
	}
	if log := g.as.Log(authtest.BackchannelLogout); len(log) != 1 || log[0].Form.Get("logout_token") != c.last() || log[0].Path != "/auth/backchannel-logout" {
		t.Errorf("%d requests are logged", len(log))
	}
	for _, want := range []int{400, 503} {
		c.status = want
		if status, err := g.as.Logout(t.Context(), "user-bob"); err != nil || status != want {
			t.Errorf("%d, %v", status, err)
		}
	}
	c.err = errors.New("away")
	if _, err := g.as.Logout(t.Context(), "user-bob"); err == nil || !strings.Contains(err.Error(), "app") {
		t.Errorf("%v", err)
	}
	if status, err := newRig(t, authtest.Config{}).as.Logout(t.Context(), "user-alice"); err != nil || status != 0 {
		t.Errorf("nobody to tell: %d, %v", status, err)
	}
}

func TestLogoutTokenFaults(t *testing.T) {
	g, c := newLogoutRig(t)
	if _, err := g.as.LogoutToken("nobody", "user-alice", ""); err == nil {
		t.Error("a token for a client that does not exist")
	}
	token, err := g.as.LogoutToken("silent", "", "s1") // made, not sent: the URI does not matter
	if err != nil || g.verify(token, "ES256")["sid"] != "s1" || len(c.forms) != 0 {
		t.Fatal(err)
	}
	g.as.Misbehave(authtest.Fault{Endpoint: authtest.BackchannelLogout, Times: 1,
		JWT:    func(j *authtest.JWT) { j.Claims["nonce"] = "n"; j.Claims["exp"] = time.Now().Unix() },
		RawJWT: func(s string) string { return s + "x" },
		Params: func(v url.Values) { v.Add("logout_token", "second") }})
	if _, err := g.as.Logout(t.Context(), "user-alice"); err != nil {
		t.Fatal(err)
	}
	sent := c.forms[0]["logout_token"]
	if len(sent) != 2 || sent[1] != "second" || !strings.HasSuffix(sent[0], "x") {
		t.Fatalf("%q", sent)
	}
	if parts := strings.Split(sent[0], "."); !strings.Contains(decodePart(t, parts[1]), `"nonce":"n"`) {
		t.Error("the claims are as they were")
	}
	g.as.Misbehave(authtest.Fault{Endpoint: authtest.BackchannelLogout, JWT: func(j *authtest.JWT) { j.Claims["x"] = func() {} }})
	if _, err := g.as.Logout(t.Context(), "user-alice"); err == nil {
		t.Error("a token that cannot be made is sent")
	}
	bad := app()
	for _, uri := range []string{"/relative", "https://app.example/#f", "://"} {
		if bad.BackchannelLogoutURI = uri; g.as.Register(bad) == nil {
			t.Errorf("%q is registered", uri)
		}
	}
}
