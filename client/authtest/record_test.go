package authtest_test

import (
	"strconv"
	"testing"
	"time"

	"github.com/sallyport/sallyport/client/authtest"
)

func TestRecording(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	g := newRig(t, authtest.Config{Now: func() time.Time { return now }})
	for _, e := range []authtest.Endpoint{authtest.Token, authtest.Authorize, ""} {
		if n := g.as.Requests(e); n != 0 {
			t.Errorf("%q: %d requests before the first", e, n)
		}
	}
	tokens := g.logIn()
	now = now.Add(time.Second)
	g.userInfo(tokens["access_token"])
	g.get("https://as.example/nothing?a=1")
	for e, want := range map[authtest.Endpoint]int{authtest.Authorize: 1, "token": 1, authtest.UserInfo: 1, authtest.JWKS: 0, "": 4} {
		if n := g.as.Requests(e); n != want {
			t.Errorf("%q: %d requests, want %d", e, n, want)
		}
		if n := len(g.as.Log(e)); n != want {
			t.Errorf("%q: %d in the log, want %d", e, n, want)
		}
	}
	r := g.as.Log(authtest.Token)[0]
	if r.Method != "POST" || r.Path != "/token" || r.Form.Get("redirect_uri") != callback || r.Form.Encode() != r.Body ||
		r.Header.Get("Content-Type") != "application/x-www-form-urlencoded" || !r.Time.Equal(now.Add(-time.Second)) {
		t.Errorf("%+v", r)
	}
	all := g.as.Log("")
	if last := all[len(all)-1]; last.Path != "/nothing" || last.Endpoint != "" || last.Query.Get("a") != "1" || !last.Time.Equal(now) {
		t.Errorf("%+v", last)
	}
}

func TestMisspeltNames(t *testing.T) {
	g := newRig(t, authtest.Config{})
	for name, f := range map[string]func(){
		"count":    func() { g.as.Requests("tokens") },
		"log":      func() { g.as.Log("tokens") },
		"endpoint": func() { g.as.Misbehave(authtest.Fault{Endpoint: "tokens"}) },
		"wire":     func() { g.as.Misbehave(authtest.Fault{Wire: "drop"}) },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			f()
		})
	}
}

func TestRecordingIsBounded(t *testing.T) {
	g := newRig(t, authtest.Config{})
	const over = 4096 + 100
	for i := range over {
		g.get("https://as.example/" + strconv.Itoa(i))
	}
	log := g.as.Log("")
	if len(log) != 4096 || log[0].Path != "/100" || log[4095].Path != "/"+strconv.Itoa(over-1) || g.as.Requests("") != over {
		t.Errorf("%d in the log, from %s to %s, %d requests", len(log), log[0].Path, log[len(log)-1].Path, g.as.Requests(""))
	}
}
