package middleware

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport/sallyport/client"
	"github.com/sallyport/sallyport/client/authtest"
	"github.com/sallyport/sallyport/session"
)

func TestBackchannelLogoutShape(t *testing.T) {
	const form = "application/x-www-form-urlencoded"
	b := newBench(t, options{})
	br := b.browser()
	br.login()
	token := b.logoutToken(0, "", br.sid(), nil)
	pair := "logout_token=" + url.QueryEscape(token)
	request := func(method, query, contentType, body string) *http.Request {
		r := httptest.NewRequest(method, rp+"/auth/backchannel-logout"+query, strings.NewReader(body))
		if contentType != "" {
			r.Header.Set("Content-Type", contentType)
		}
		return r
	}
	chunked := request("POST", "", form, pair+strings.Repeat("&x=y", 16<<10))
	chunked.ContentLength = -1
	twoTypes := request("POST", "", form, pair)
	twoTypes.Header.Add("Content-Type", "text/plain")
	for _, tt := range []struct {
		name   string
		r      *http.Request
		status int
		reason string
	}{
		{"ATK-O12 GET", request("GET", "?"+pair, "", ""), 405, ""},
		{"ATK-O12 PUT", request("PUT", "", form, pair), 405, ""},
		{"ATK-O12 HEAD", request("HEAD", "?"+pair, "", ""), 405, ""},
		{"ATK-O12 JSON", request("POST", "", "application/json", `{"logout_token":"`+token+`"}`), 415, "content_type"},
		{"ATK-O12 multipart", request("POST", "", "multipart/form-data; boundary=x", "--x\r\nContent-Disposition: form-data; name=\"logout_token\"\r\n\r\n"+token+"\r\n--x--"), 415, "content_type"},
		{"ATK-O12 logout+jwt", request("POST", "", "application/logout+jwt", token), 415, "content_type"},
		{"ATK-O12 no type", request("POST", "", "", pair), 415, "content_type"},
		{"ATK-O12 two types", twoTypes, 415, "content_type"},
		{"ATK-O12 two tokens", request("POST", "", form, pair+"&"+pair), 400, "duplicate"},
		{"ATK-O12 an empty token beside it", request("POST", "", form, "logout_token=&"+pair), 400, "duplicate"},
		{"ATK-O12 none", request("POST", "", form, "id_token="+token), 400, "missing"},
		{"ATK-O12 empty", request("POST", "", form, "logout_token="), 400, "missing"},
		{"ATK-O12 no body", request("POST", "", form, ""), 400, "missing"},
		{"ATK-O12 in the query", request("POST", "?"+pair, form, ""), 400, "query"},
		{"ATK-O12 in the query too", request("POST", "?"+pair, form, pair), 400, "query"},
		{"ATK-O12 broken percent sign", request("POST", "", form, pair+"&x=%zz"), 400, "encoding"},
		{"ATK-O12 semicolon", request("POST", "", form, pair+";x=y"), 400, "encoding"},
		{"ATK-O12 1 MB", request("POST", "", form, pair+"&x="+strings.Repeat("x", 1<<20)), 413, "size"},
		{"ATK-O12 one byte too much", request("POST", "", form, pair+"&x="+strings.Repeat("x", 16<<10+1-len(pair)-3)), 413, "size"},
		{"ATK-O12 chunked, without end", chunked, 413, "size"},
		{"ATK-O12 long header", request("POST", "", form, "logout_token="+strings.Repeat("A", 9<<10)+".e30.e30"), 413, "size"},
		{"ATK-O12 no token at all", request("POST", "", form, "logout_token=x"), 400, "format"},
		{"ATK-O12 encrypted", request("POST", "", form, "logout_token=e30.e30.e30.e30.e30"), 400, "encrypted"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b.t = t
			rec := b.deliver(tt.r, tt.status)
			if tt.status == 405 && rec.Header().Get("Allow") != "POST" {
				t.Errorf("Allow %q", rec.Header().Get("Allow"))
			}
			if e := b.last(EventLogoutRefused); tt.reason != "" && (e.Code != client.ErrLogoutToken || e.Reason != tt.reason) {
				t.Errorf("refused as %q (%s), want %s", e.Code, e.Reason, tt.reason)
			}
			if !br.loggedIn() {
				t.Error("the session is gone")
			}
		})
	}
	b.t = t
	// From anywhere, whatever a browser would be refused for, and with parameters that nobody knows.
	r := request("POST", "?tenant=7", form+"; charset=utf-8", "x=y&"+pair)
	r.Host = "internal:8080"
	r.Header.Set("Origin", "https://as-a.example")
	r.Header.Set("Sec-Fetch-Site", "cross-site")
	if b.deliver(r, http.StatusOK); br.loggedIn() {
		t.Error("still logged in")
	}
}

func TestBackchannelLogoutFlood(t *testing.T) {
	bubble(t, "ATK-Q03 garbage", func(t *testing.T) {
		b := newBench(t, options{})
		br := b.browser()
		br.login()
		before := b.as[0].Requests("")
		for _, edit := range []func(*authtest.JWT){
			claim("iss", "https://evil.example"), claim("aud", "other"), claim("events", nil), claim("exp", 1), func(t *authtest.JWT) { t.Header["alg"] = "none" },
		} {
			token := b.logoutToken(0, "user-alice", "", edit)
			for range 400 {
				if rec := answer(b.handler, logoutForm("logout_token="+token)); rec.Code != http.StatusBadRequest {
					t.Fatalf("%d", rec.Code)
				}
			}
		}
		if n := b.as[0].Requests("") - before; n != 0 {
			t.Errorf("%d requests to the server", n)
		}
		// Well made but for the key, which nobody knows: the budget of ATK-J24 holds, and whoever has a good token gets through.
		jwks := b.as[0].Requests(authtest.JWKS)
		forged := b.logoutToken(0, "user-alice", "", func(t *authtest.JWT) { t.Header["kid"] = "gone" })
		for range 1000 {
			if rec := answer(b.handler, logoutForm("logout_token="+forged)); rec.Code != http.StatusBadRequest && rec.Code != http.StatusServiceUnavailable {
				t.Fatalf("%d", rec.Code)
			}
		}
		if n := b.as[0].Requests(authtest.JWKS) - jwks; n > 1 {
			t.Errorf("%d fetches of the key set", n)
		}
		if !br.loggedIn() {
			t.Error("the session is gone")
		}
		if b.tell(b.logoutToken(0, "user-alice", "", nil), http.StatusOK); br.loggedIn() {
			t.Error("still logged in")
		}
	})
	bubble(t, "ATK-Q03 more at once than there is room for", func(t *testing.T) {
		b := newBench(t, options{two: true})
		gate := make(chan struct{})
		b.as[0].Misbehave(authtest.Fault{Endpoint: authtest.JWKS, Wire: authtest.StallAfter, Gate: gate})
		var wg sync.WaitGroup
		for range maxLogoutsAtOnce {
			token := b.logoutToken(0, "user-alice", "", nil)
			wg.Go(func() { b.tell(token, http.StatusOK) })
		}
		synctest.Wait()
		token := b.logoutToken(0, "user-alice", "", nil)
		b.tell(token, http.StatusServiceUnavailable)
		if e := b.last(EventLogoutRefused); e.Code != session.ErrStore || e.Reason != "busy" {
			t.Errorf("refused as %q (%s)", e.Code, e.Reason)
		}
		b.tell(b.logoutToken(0, "user-alice", "", claim("aud", "x")), http.StatusServiceUnavailable)
		b.tell(b.logoutToken(1, "user-alice", "", nil), http.StatusOK) // another server's are not kept waiting
		close(gate)
		wg.Wait()
		b.tell(token, http.StatusOK) // it was not used up
	})
}

func TestBackchannelLogoutUnavailable(t *testing.T) {
	for name, fault := range map[string]authtest.Fault{
		"keys":     {Endpoint: authtest.JWKS, Answer: &authtest.Response{Status: 503}},
		"metadata": {Endpoint: authtest.Metadata, Answer: &authtest.Response{Status: 503}},
	} {
		bubble(t, name, func(t *testing.T) {
			b := newBench(t, options{})
			stop := b.as[0].Misbehave(fault)
			token := b.logoutToken(0, "user-alice", "", nil)
			b.tell(token, http.StatusServiceUnavailable)
			stop()
			time.Sleep(time.Minute)
			b.tell(token, http.StatusOK) // it was not used up
		})
	}
	t.Run("our own fault", func(t *testing.T) {
		rec := httptest.NewRecorder()
		refuseLogout(rec, client.NewError(errInternal, "panic", nil))
		if rec.Code != http.StatusInternalServerError || rec.Body.String() != `{"error":"server_error"}` {
			t.Errorf("%d %s", rec.Code, rec.Body)
		}
	})
}
