package middleware

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/client/authtest"
	"github.com/sallyport/sallyport/session/storetest"
)

// copyOf is the browser's next request with the cookies of now, to be answered later.
func (br *browser) copyOf(r *http.Request) *http.Request {
	for name, v := range br.jar {
		r.AddCookie(&http.Cookie{Name: name, Value: v})
	}
	return r
}

// A page that loads forty things at once has one session afterwards, in as many cookies as before.
func TestParallelRequestsWithASplitSession(t *testing.T) {
	b := newBench(t, options{})
	b.as[0].Misbehave(authtest.Fault{Endpoint: authtest.Token, JWT: func(j *authtest.JWT) {
		groups := make([]string, 150)
		for i := range groups {
			groups[i] = fmt.Sprintf("group-%04d-0123456789", i)
		}
		j.Claims["groups"] = groups
	}})
	br := b.browser()
	br.login()
	before := len(br.jar)
	if before < 2 {
		t.Fatal("not split")
	}
	b.advance(10 * time.Minute)
	var wg sync.WaitGroup
	var mu sync.Mutex
	answers := map[*http.Request]*httptest.ResponseRecorder{}
	for range 40 {
		r := br.copyOf(with("GET", rp+"/me", navigation...))
		b.advance(time.Millisecond)
		wg.Go(func() {
			rec := answer(b.handler, r)
			mu.Lock()
			defer mu.Unlock()
			answers[r] = rec
		})
	}
	wg.Wait()
	for r, rec := range answers {
		if len(rec.Header()["Set-Cookie"]) == 0 {
			t.Fatal("a request that wrote nothing shows nothing")
		}
		br.keep(r, rec)
	}
	if len(br.jar) != before || !br.loggedIn() {
		t.Errorf("%d cookies, were %d", len(br.jar), before)
	}
}

// A poll that was sent before the login is answered after it.
func TestLatePollLeavesTheNewLogin(t *testing.T) {
	b := newBench(t, options{})
	br := b.browser()
	br.login()
	poll, page := br.copyOf(with("GET", rp+"/auth/session")), br.copyOf(with("GET", rp+"/me", navigation...))
	br.login()
	for _, r := range []*http.Request{poll, page} {
		rec := answer(b.handler, r)
		if rec.Code == http.StatusOK && strings.Contains(rec.Body.String(), `"authenticated":true`) {
			t.Error("the session that was replaced lives")
		}
		br.keep(r, rec)
		if !br.loggedIn() {
			t.Fatal("the login that has just been completed is gone")
		}
	}
}

// writes is how often the store was written to.
func (b *bench) writes() (n int) {
	for _, c := range b.faulty.Calls() {
		if c.Op == storetest.Swap {
			n++
		}
	}
	return n
}

// ATK-Q02: a callback that sends no code takes no room from those that do.
func TestFailedLoginsTakeNoRoom(t *testing.T) {
	b := newBench(t, options{place: sharedStore})
	br := b.browser()
	for _, change := range []func(url.Values){
		func(v url.Values) { v.Del("code"); v.Set("error", "access_denied") },
		set("iss", "https://evil.example"),
	} {
		if rec := br.send(br.begin("/auth/login").request(change)); rec.Code < 400 || b.writes() != 0 {
			t.Errorf("%d, %d writes", rec.Code, b.writes())
		}
	}
	br.login()
	if b.writes() == 0 {
		t.Error("a login that sends its code is not remembered")
	}
}
