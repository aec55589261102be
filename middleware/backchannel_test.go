package middleware

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport/sallyport/client"
	"github.com/sallyport/sallyport/client/authtest"
	"github.com/sallyport/sallyport/session"
)

// sid is the server's id of the browser's session.
func (br *browser) sid() string {
	br.t.Helper()
	r := with("GET", rp+"/")
	for name, v := range br.jar {
		r.AddCookie(&http.Cookie{Name: name, Value: v})
	}
	s, err := br.auth.Session(r)
	if err != nil || s.SID() == "" {
		br.t.Fatalf("no session with a sid: %v", err)
	}
	return s.SID()
}

// logoutToken is one of server i, bent by edit.
func (b *bench) logoutToken(i int, subject, sid string, edit func(*authtest.JWT)) string {
	b.t.Helper()
	if edit != nil {
		defer b.as[i].Misbehave(authtest.Fault{Endpoint: authtest.BackchannelLogout, JWT: edit})()
	}
	token, err := b.as[i].LogoutToken("app", subject, sid)
	if err != nil {
		b.t.Fatal(err)
	}
	return token
}

func claim(name string, value any) func(*authtest.JWT) {
	return func(t *authtest.JWT) {
		if t.Claims[name] = value; value == nil {
			delete(t.Claims, name)
		}
	}
}

func logoutForm(form string) *http.Request {
	r := httptest.NewRequest("POST", rp+"/auth/backchannel-logout", strings.NewReader(form))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return r
}

// tell sends a logout token and checks what every answer must be.
func (b *bench) tell(token string, status int) *httptest.ResponseRecorder {
	b.t.Helper()
	return b.deliver(logoutForm("logout_token="+url.QueryEscape(token)), status)
}

func (b *bench) deliver(r *http.Request, status int) *httptest.ResponseRecorder {
	b.t.Helper()
	rec := answer(b.handler, r)
	if rec.Code != status {
		b.t.Errorf("status %d, want %d: %s; %s", rec.Code, status, rec.Body, b.last(EventLogoutRefused).Reason)
	}
	if status != http.StatusMethodNotAllowed {
		checkHeaders(b.t, rec, r)
		want := map[int]string{http.StatusOK: "", http.StatusServiceUnavailable: `{"error":"temporarily_unavailable"}`}
		if text, ok := want[status]; !ok && rec.Body.String() != `{"error":"invalid_request"}` || ok && rec.Body.String() != text {
			b.t.Errorf("%d with %q", status, rec.Body)
		}
		if status != http.StatusOK && rec.Header().Get("Content-Type") != "application/json" {
			b.t.Errorf("%d of type %q", status, rec.Header().Get("Content-Type"))
		}
	}
	if (rec.Header().Get("Retry-After") != "") != (status == http.StatusServiceUnavailable) || len(rec.Header()["Set-Cookie"]) > 0 {
		b.t.Errorf("%d with %v", status, rec.Header())
	}
	return rec
}

func TestBackchannelLogout(t *testing.T) {
	b := newBench(t, options{})
	br, other := b.browser(), b.browser()
	br.login()
	other.login()
	copied, sid := merged(br.jar, nil), br.sid()
	if sid == other.sid() {
		t.Fatal("two browsers share a session at the server")
	}
	t.Run("ATK-O13 sid and sub of no session", func(t *testing.T) {
		b.tell(b.logoutToken(0, "", "0123456789abcdef", nil), http.StatusOK) // C-BCL-11
		b.tell(b.logoutToken(0, "user-bob", "", nil), http.StatusOK)
		if !br.loggedIn() || !other.loggedIn() {
			t.Error("somebody else's logout ends a session")
		}
	})
	b.tell(b.logoutToken(0, "user-alice", sid, nil), http.StatusOK)
	if e := b.last(EventLogoutReceived); e.Issuer != b.as[0].Issuer() || e.ClientID != "app" {
		t.Errorf("the event is %+v", e)
	}
	if br.loggedIn() || !other.loggedIn() {
		t.Errorf("the session of the sid: %v, another of the same user: %v", br.loggedIn(), other.loggedIn())
	}
	if e := b.last(client.EventSessionEnded); e.Reason != "backchannel_logout" || e.Session == "" {
		t.Errorf("the event is %+v", e)
	}
	// ATK-K15: nor is a copy of the cookie a session, wherever it is shown.
	br.jar = copied
	if rec := br.send(with("GET", rp+"/api/me")); rec.Code != http.StatusUnauthorized {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
	b.tell(b.logoutToken(0, "", sid, nil), http.StatusOK) // gone already: success
}

func TestBackchannelLogoutAtEndSession(t *testing.T) {
	b := newBench(t, options{})
	br := b.browser()
	br.login()
	location := br.send(logoutRequest("", "", "Sec-Fetch-Site: same-origin")).Header().Get("Location")
	if _, err := b.as[0].NewBrowser().Open(context.Background(), location); err != nil {
		t.Fatal(err)
	}
	// The server told us while the browser was there; nobody was left to log out.
	if n := b.as[0].Requests(authtest.BackchannelLogout); n != 1 || b.last(EventLogoutReceived).Kind == "" {
		t.Errorf("%d logout tokens, refused with %q", n, b.last(EventLogoutRefused).Reason)
	}
	b.advance(time.Second)
	if br.login(); !br.loggedIn() {
		t.Error("the next login is dead")
	}
}

func TestBackchannelLogoutRefused(t *testing.T) {
	const event = "http://schemas.openid.net/event/backchannel-logout"
	ago := func(b *bench, d time.Duration) int64 { return b.now().Add(-d).Unix() }
	plain := func(edit func(*authtest.JWT)) func(*bench) func(*authtest.JWT) {
		return func(*bench) func(*authtest.JWT) { return edit }
	}
	header := func(name string, value any) func(*bench) func(*authtest.JWT) {
		return plain(func(t *authtest.JWT) { t.Header[name] = value })
	}
	for _, tt := range []struct {
		name   string
		edit   func(*bench) func(*authtest.JWT)
		reason string
		asked  int // 0: nothing of the server
	}{
		{"ATK-O05 no events", plain(claim("events", nil)), "events", 0},
		{"ATK-O05 empty events", plain(claim("events", map[string]any{})), "events", 0},
		{"ATK-O05 another event", plain(claim("events", map[string]any{"http://schemas.openid.net/event/other": map[string]any{}})), "events", 0},
		{"ATK-O05 true", plain(claim("events", map[string]any{event: true})), "events", 0},
		{"ATK-O05 null", plain(claim("events", map[string]any{event: nil})), "events", 0},
		{"ATK-O05 string", plain(claim("events", map[string]any{event: "{}"})), "events", 0},
		{"ATK-O05 array", plain(claim("events", map[string]any{event: []any{}})), "events", 0},
		{"ATK-O05 events a string", plain(claim("events", event)), "events", 0},
		{"ATK-O05 events a list", plain(claim("events", []any{event})), "events", 0},
		{"ATK-O06 nonce", plain(claim("nonce", "n")), "nonce", 0},
		{"ATK-O06 nonce null", plain(func(t *authtest.JWT) { t.Claims["nonce"] = nil }), "nonce", 0},
		{"ATK-O07 alg none", plain(func(t *authtest.JWT) { t.Header["alg"], t.Key = "none", nil }), "alg", 0},
		{"ATK-O07 alg none with a signature", header("alg", "none"), "alg", 0},
		{"ATK-O07 HMAC with the public key", func(b *bench) func(*authtest.JWT) {
			signing := b.as[0].SigningKey("ES256")
			public, err := json.Marshal(signing.Public())
			if err != nil {
				b.t.Fatal(err)
			}
			return func(t *authtest.JWT) { t.Header["alg"], t.Key = "HS256", public }
		}, "alg", 0},
		{"ATK-O07 HMAC with the client secret", plain(func(t *authtest.JWT) { t.Header["alg"], t.Key = "HS256", []byte(secret) }), "alg", 0},
		{"ATK-O07 not the agreed algorithm", func(b *bench) func(*authtest.JWT) {
			key := b.as[0].SigningKey("EdDSA")
			return func(t *authtest.JWT) { t.Header["alg"], t.Key = "EdDSA", key }
		}, "alg", 1},
		{"ATK-O07 no signature", plain(func(t *authtest.JWT) { t.Key = nil }), "sig", 1},
		{"ATK-O07 another server's key under our kid", func(b *bench) func(*authtest.JWT) {
			key := newBench(b.t, options{}).as[0].SigningKey("ES256")
			return func(t *authtest.JWT) { t.Key = key }
		}, "sig", 1},
		{"ATK-O08 iss of nobody", plain(claim("iss", "https://evil.example")), "iss", 0},
		{"ATK-O08 iss nearly ours", plain(claim("iss", "https://as-a.example/")), "iss", 0},
		{"ATK-O08 no iss", plain(claim("iss", nil)), "iss", 0},
		{"ATK-O08 aud of another", plain(claim("aud", "other")), "aud", 0},
		{"ATK-O08 aud of another too", plain(claim("aud", []string{"app", "other"})), "aud", 0},
		{"ATK-O08 no aud", plain(claim("aud", nil)), "aud", 0},
		{"ATK-O09 neither sub nor sid", plain(func(t *authtest.JWT) { delete(t.Claims, "sub"); delete(t.Claims, "sid") }), "sub", 0},
		{"ATK-O09 sub empty", plain(claim("sub", "")), "sub", 0},
		{"ATK-O09 sub a number", plain(claim("sub", 7)), "sub", 0},
		{"ATK-O09 sid a list", plain(claim("sid", []string{"x"})), "sid", 0},
		{"ATK-O09 sid empty", plain(claim("sid", "")), "sid", 0},
		{"ATK-O10 at+jwt", header("typ", "at+jwt"), "typ", 0},
		{"ATK-O10 secevent+jwt", header("typ", "secevent+jwt"), "typ", 0},
		{"ATK-O10 dpop+jwt", header("typ", "dpop+jwt"), "typ", 0},
		{"ATK-O10 JARM", plain(func(t *authtest.JWT) {
			t.Header["typ"], t.Claims = "JWT", map[string]any{"iss": t.Claims["iss"], "aud": "app", "exp": t.Claims["exp"], "code": "c", "state": "s"}
		}), "events", 0},
		{"ATK-O10 another security event", plain(claim("events", map[string]any{"https://schemas.openid.net/secevent/risc/event-type/account-disabled": map[string]any{}})), "events", 0},
		{"ATK-O11 exp past", func(b *bench) func(*authtest.JWT) { return claim("exp", ago(b, 31*time.Second)) }, "exp", 0},
		{"ATK-O11 no exp", plain(claim("exp", nil)), "exp", 0},
		{"ATK-O11 exp a string", plain(claim("exp", "soon")), "exp", 0},
		{"ATK-O11 iat ahead", func(b *bench) func(*authtest.JWT) { return claim("iat", ago(b, -62*time.Second)) }, "iat", 0},
		{"ATK-O11 iat too old", func(b *bench) func(*authtest.JWT) { return claim("iat", ago(b, 152*time.Second)) }, "iat", 0},
		{"ATK-O11 no iat", plain(claim("iat", nil)), "iat", 0},
		{"ATK-O11 no jti", plain(claim("jti", nil)), "jti", 0},
		{"ATK-O11 jti empty", plain(claim("jti", "")), "jti", 0},
		{"ATK-O11 jti a number", plain(claim("jti", 7)), "jti", 0},
		{"ATK-O11 nbf ahead", func(b *bench) func(*authtest.JWT) { return claim("nbf", ago(b, -time.Minute)) }, "nbf", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t, options{})
			br := b.browser()
			br.login()
			token := b.logoutToken(0, "user-alice", br.sid(), tt.edit(b))
			// A process that has verified nothing yet: what it asks for shows how far the token gets.
			fresh := sameBench(t, b, nil)
			fresh.tell(b.logoutToken(0, "user-alice", br.sid(), tt.edit(b)), http.StatusBadRequest)
			if tt.asked == 0 && fresh.as[0].Requests("") != 0 {
				t.Errorf("%d requests before the token was refused", fresh.as[0].Requests(""))
			}
			b.tell(token, http.StatusBadRequest)
			if e := b.last(EventLogoutRefused); e.Code != client.ErrLogoutToken || e.Reason != tt.reason || e.Correlation == "" {
				t.Errorf("the event is %q (%s)", e.Code, e.Reason)
			}
			if !br.loggedIn() {
				t.Error("the session is gone")
			}
		})
	}
	t.Run("ATK-O10 the ID token of the login", func(t *testing.T) {
		b := newBench(t, options{})
		br := b.browser()
		var raw string
		b.as[0].Misbehave(authtest.Fault{Endpoint: authtest.Token, RawJWT: func(s string) string { raw = s; return s }})
		br.login()
		b.tell(raw, http.StatusBadRequest)
		if e := b.last(EventLogoutRefused); e.Reason != "events" || !br.loggedIn() {
			t.Errorf("refused with %q", e.Reason)
		}
	})
	for name, edit := range map[string]func(*authtest.JWT){
		"no typ":                         func(t *authtest.JWT) { delete(t.Header, "typ") },
		"typ JWT":                        func(t *authtest.JWT) { t.Header["typ"] = "JWT" },
		"event with content":             claim("events", map[string]any{event: map[string]any{"x": 1}, "https://other.example/": nil}),
		"a list of one audience":         claim("aud", []string{"app"}),
		"iat just old enough, other sub": claim("iat", time.Now().Add(-2*time.Minute).Unix()),
	} {
		t.Run("accepted: "+name, func(t *testing.T) {
			b := newBench(t, options{})
			br := b.browser()
			br.login()
			b.tell(b.logoutToken(0, "user-alice", br.sid(), edit), http.StatusOK)
			if br.loggedIn() {
				t.Error("still logged in")
			}
		})
	}
}

func TestBackchannelLogoutReplay(t *testing.T) { // ATK-O04
	for _, tt := range []struct{ name, subject, sid string }{{"by sid", "", "s1"}, {"by sub", "user-alice", ""}, {"both", "user-alice", "s1"}} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t, options{})
			b.as[0].Misbehave(authtest.Fault{Endpoint: authtest.Token, JWT: claim("sid", "s1")})
			br := b.browser()
			br.login()
			token := b.logoutToken(0, tt.subject, tt.sid, nil)
			b.tell(token, http.StatusOK)
			if br.loggedIn() {
				t.Fatal("still logged in")
			}
			b.advance(time.Second)
			br.login() // with the same sid
			for range 3 {
				b.tell(token, http.StatusBadRequest)
				if e := b.last(EventLogoutRefused); e.Code != client.ErrLogoutToken || e.Reason != "jti" {
					t.Errorf("refused as %q (%s)", e.Code, e.Reason)
				}
				if !br.loggedIn() {
					t.Fatal("a replay ends the new session")
				}
				b.advance(20 * time.Second)
			}
			b.advance(30 * time.Second) // past exp, within the leeway
			b.tell(token, http.StatusBadRequest)
			if e := b.last(EventLogoutRefused); e.Reason != "jti" {
				t.Errorf("refused with %q", e.Reason)
			}
			b.advance(time.Hour - 2*time.Minute)
			b.tell(token, http.StatusBadRequest)
			if !br.loggedIn() {
				t.Error("a replay much later ends the new session")
			}
		})
	}
}

func TestBackchannelLogoutBySubject(t *testing.T) { // ATK-O14, in one process
	b := newBench(t, options{two: true})
	var alice []*browser
	for range 3 {
		br := b.browser()
		br.begin("/auth/login/a").finish()
		alice = append(alice, br)
	}
	atB, bob := b.browser(), b.browser()
	atB.begin("/auth/login/b").finish()
	b.as[0].SetUser("user-bob")
	bob.begin("/auth/login/a").finish()
	if status, err := b.as[0].Logout(context.Background(), "user-alice"); err != nil || status != http.StatusOK {
		t.Fatalf("%d, %v", status, err)
	}
	for i, br := range alice {
		if br.loggedIn() {
			t.Errorf("session %d lives", i)
		}
	}
	if !atB.loggedIn() || !bob.loggedIn() {
		t.Errorf("the same sub at another issuer: %v, another sub: %v", atB.loggedIn(), bob.loggedIn())
	}
	// ATK-O08: B speaks for B alone.
	b.tell(b.logoutToken(1, "user-bob", "", claim("iss", b.as[0].Issuer())), http.StatusBadRequest)
	if e := b.last(EventLogoutRefused); e.Issuer != b.as[0].Issuer() || !bob.loggedIn() {
		t.Errorf("the event is %+v", e)
	}
}

func TestBackchannelLogoutDuringLogin(t *testing.T) { // ATK-O19
	for _, tt := range []struct{ name, subject, sid string }{{"by sid", "", "s1"}, {"by sub", "user-alice", ""}} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t, options{})
			stop := b.as[0].Misbehave(authtest.Fault{Endpoint: authtest.Token, JWT: claim("sid", "s1"), Response: func(*authtest.Request, *authtest.Response) {
				b.tell(b.logoutToken(0, tt.subject, tt.sid, nil), http.StatusOK)
			}})
			p := b.browser().begin("/auth/login")
			rec := p.br.send(p.request())
			if rec.Code != http.StatusBadRequest || p.br.loggedIn() || len(p.br.jar) != 0 {
				t.Errorf("%d %s, cookies %d", rec.Code, rec.Body, len(p.br.jar))
			}
			checkPage(t, rec, p.request())
			if e := b.last(client.EventLoginRejected); e.Code != session.ErrSessionEnded || e.Reason != "backchannel_logout" {
				t.Errorf("the event is %q (%s)", e.Code, e.Reason)
			}
			if n := b.as[0].Requests(authtest.Revocation); n != 2 {
				t.Errorf("%d revocations", n)
			}
			stop()
			b.advance(time.Second)
			if p.br.login(); !p.br.loggedIn() {
				t.Error("the next login is dead")
			}
		})
	}
}

func TestBackchannelLogoutRevokes(t *testing.T) {
	for name, tt := range map[string]struct {
		scopes []string
		want   int
	}{
		"without offline_access": {[]string{"openid", "profile"}, 1}, // there is no refresh token
		"with it":                {[]string{"openid", "profile", "offline_access"}, 0},
	} {
		bubble(t, name, func(t *testing.T) {
			b := newBench(t, options{client: func(c *client.Config) { c.Scopes = tt.scopes }})
			br := b.browser()
			br.login()
			b.tell(b.logoutToken(0, "", br.sid(), nil), http.StatusOK)
			for range 3 {
				if br.loggedIn() {
					t.Error("still logged in")
				}
			}
			synctest.Wait()
			if n := b.as[0].Requests(authtest.Revocation); n != tt.want {
				t.Errorf("%d revocations, want %d", n, tt.want)
			}
		})
	}
}
