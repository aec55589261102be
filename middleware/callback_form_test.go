package middleware

import (
	"net/http"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/client"
)

func TestCallbackFormPost(t *testing.T) {
	formPost := options{client: func(c *client.Config) { c.ResponseMode = client.FormPost }}
	t.Run("works", func(t *testing.T) {
		p := newBench(t, formPost).browser().begin("/auth/login?return_to=/me")
		if p.answer.Method != http.MethodPost {
			t.Fatalf("the server answers by %s", p.answer.Method)
		}
		// A POST from the server's site carries no Lax cookie (RFC 6265bis §5.6.7).
		for _, line := range p.start.Header()["Set-Cookie"] {
			if !strings.Contains(line, "SameSite=None") || !strings.Contains(line, "Secure") {
				t.Error("the pending login's cookie would not come back")
			}
		}
		if rec := p.finish(); rec.Header().Get("Location") != "/me" || !p.br.loggedIn() { // OAuth 2.1 §7.5.3: 303, not 307
			t.Errorf("%d %s", rec.Code, rec.Header().Get("Location"))
		}
	})
	t.Run("ATK-K10 ATK-K19 the session of before stays behind and ends", func(t *testing.T) {
		b := newBench(t, formPost)
		br := b.browser()
		br.login()
		old := b.browser()
		old.jar = merged(br.jar, nil)
		p := br.begin("/auth/login")
		br.refuse(p.request(set("iss", "https://evil.example")), outcome{code: client.ErrIssMismatch, consumes: true}, p)
		if !old.loggedIn() { // a login that fails leaves it alone
			t.Error("the session ended for nothing")
		}
		p = br.begin("/auth/login")
		r := p.request()
		rec := br.send(r)
		if rec.Code != http.StatusSeeOther || len(r.Cookies()) != 1 {
			t.Fatalf("%d with %d cookies", rec.Code, len(r.Cookies()))
		}
		if !br.loggedIn() || old.loggedIn() {
			t.Error("not the new session, or the old one too")
		}
	})
	t.Run("ATK-L19 GET", func(t *testing.T) {
		p := newBench(t, formPost).browser().begin("/auth/login")
		r := with("GET", rp+"/auth/callback?"+p.answer.Params.Encode())
		rec := p.br.refuse(r, outcome{status: http.StatusMethodNotAllowed, code: client.ErrResponseMode}, p)
		if rec.Header().Get("Allow") != "POST" {
			t.Errorf("Allow %q", rec.Header().Get("Allow"))
		}
	})
	for _, contentType := range []string{"multipart/form-data; boundary=x", "application/json", "text/plain", ""} {
		t.Run("ATK-L19 as "+contentType, func(t *testing.T) {
			p := newBench(t, formPost).browser().begin("/auth/login")
			r := p.request()
			r.Header.Del("Content-Type")
			if contentType != "" {
				r.Header.Set("Content-Type", contentType)
			}
			p.br.refuse(r, outcome{code: client.ErrResponseMode}, p)
		})
	}
	t.Run("ATK-L15 code in query and form", func(t *testing.T) {
		p := newBench(t, formPost).browser().begin("/auth/login")
		r := p.request()
		r.URL.RawQuery = "code=canary-other-code"
		p.br.refuse(r, outcome{code: client.ErrAmbiguousResponse}, p)
	})
	t.Run("ATK-L34 giant form", func(t *testing.T) {
		p := newBench(t, formPost).browser().begin("/auth/login")
		p.br.refuse(p.request(set("x", strings.Repeat("x", 1<<20))), outcome{code: client.ErrMalformedResponse}, p)
	})
	t.Run("ATK-L39 the browser withholds the cookie", func(t *testing.T) {
		b := newBench(t, formPost)
		p := b.browser().begin("/auth/login")
		b.browser().refuse(p.request(), stateFailure(client.ErrStateMismatch), p)
	})
}
