package session

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/client"
)

// start begins a login in the browser and returns its state.
func (b *bed) start(br *browser, c *client.Client, opts LoginOptions) string {
	b.t.Helper()
	req := begin(b.t, c)
	br.do(func(w http.ResponseWriter, r *http.Request) {
		if err := b.SaveLogin(w, r, req, opts); err != nil {
			b.t.Fatal(err)
		}
	})
	return req.State()
}

// take finishes the login, which must succeed.
func (b *bed) take(t *testing.T, br *browser, state string) *Login {
	t.Helper()
	l, err := b.FindLogin(br.request(), state)
	if err != nil {
		t.Fatal(err)
	}
	br.do(func(w http.ResponseWriter, r *http.Request) {
		if err := b.TakeLogin(w, r, l, true); err != nil {
			t.Fatal(err)
		}
	})
	return l
}

func TestLogin(t *testing.T) {
	families(t, func(t *testing.T, b *bed) {
		c, _ := testClientFor(t, b.clock.now)
		br := newBrowser(t)
		state := b.start(br, c, LoginOptions{ReturnTo: "/deep?a=b"})
		if len(br.jar) != 1 || strings.Contains(br.header(), state) || strings.Contains(br.header(), "deep") {
			t.Fatal("the pending login can be read")
		}
		l, err := b.FindLogin(br.request(), state)
		if err != nil || l.ReturnTo != "/deep?a=b" || l.Request.State() != state || l.Request.Issuer() != testIssuer || l.Request.ClientID() != testClient {
			t.Fatalf("%+v, %v", l, err)
		}
		if again, err := b.FindLogin(br.request(), state); err != nil || again.claim != l.claim {
			t.Fatal("finding used it up")
		}
		used := br.clone()
		b.take(t, br, state)
		if len(br.jar) != 0 {
			t.Fatal("the cookie is left")
		}
		t.Run("ATK-L05", func(t *testing.T) {
			// The same answer again, with the cookie put back by hand: a session made meanwhile is not touched.
			b.login(used, "alice")
			_, err := b.FindLogin(used.request(), state)
			wantError(t, err, client.ErrStateReplayed, "")
			h := header{}
			wantError(t, b.TakeLogin(h, used.request(), l, true), client.ErrStateReplayed, "")
			if h.wrote() || b.load(used).Subject() != "alice" {
				t.Fatal("something changed")
			}
		})
		t.Run("ATK-L12", func(t *testing.T) {
			_, err := b.FindLogin(br.request(), state)
			wantError(t, err, client.ErrStateReplayed, "")
		})
	})
}

func TestFindLoginRefuses(t *testing.T) {
	families(t, func(t *testing.T, b *bed) {
		c, _ := testClientFor(t, b.clock.now)
		v, w := newBrowser(t), newBrowser(t)
		stateV, stateW := b.start(v, c, LoginOptions{}), b.start(w, c, LoginOptions{})
		cookieV := v.names[0]
		refuse := func(t *testing.T, br *browser, state string, code client.Code, reason string) {
			t.Helper()
			l, err := b.FindLogin(br.request(), state)
			wantError(t, err, code, reason)
			if l != nil {
				t.Fatal("a login came with the error")
			}
		}
		t.Run("no state", func(t *testing.T) { refuse(t, v, "", client.ErrStateMissing, "") })
		t.Run("ATK-L01", func(t *testing.T) { refuse(t, newBrowser(t), stateW, client.ErrStateMismatch, "") })
		t.Run("ATK-L02", func(t *testing.T) { refuse(t, v, stateW, client.ErrStateMismatch, "") })
		t.Run("ATK-L07", func(t *testing.T) { refuse(t, w, stateV, client.ErrStateMismatch, "") })
		t.Run("ATK-L06", func(t *testing.T) {
			// Minted by another deployment, and for another purpose.
			other := newBed(t, Config{Keys: [][]byte{key(9)}})
			foreign := newBrowser(t)
			state := other.start(foreign, c, LoginOptions{})
			refuse(t, v, state, client.ErrStateMismatch, "")
			refuse(t, foreign, state, ErrCookie, "auth")
			br := v.clone()
			br.do(func(w http.ResponseWriter, r *http.Request) {
				var err error
				if state, err = b.SaveLogout(w, r); err != nil {
					t.Fatal(err)
				}
			})
			refuse(t, br, state, client.ErrStateMismatch, "")
		})
		t.Run("ATK-L09", func(t *testing.T) {
			for _, state := range []string{
				stateV + "A", stateV[:len(stateV)-1], strings.ToUpper(stateV), strings.ToLower(stateV), stateV + "\x00", stateV + " ",
				stateV + "=", " " + stateV, "%" + stateV, strings.Repeat(stateV, 20),
			} {
				refuse(t, v, state, client.ErrStateMismatch, "")
			}
		})
		t.Run("ATK-K01", func(t *testing.T) {
			// ATK-L13 at the cookie: two of one name, and neither is believed.
			value := v.jar[cookieV]
			for _, lines := range [][]string{{cookieV + "=" + value + "; " + cookieV + "=x"}, {cookieV + "=x", cookieV + "=" + value}} {
				_, err := b.FindLogin(get(lines), stateV)
				wantError(t, err, ErrCookie, "duplicate")
			}
		})
		t.Run("ATK-K09", func(t *testing.T) {
			// Another login under this login's name, and a session.
			br := newBrowser(t)
			br.put(cookieV, w.jar[w.names[0]])
			refuse(t, br, stateV, ErrCookie, "auth")
			b.login(br, "alice")
			br.jar[cookieV] = br.jar[cookieName]
			reason := "purpose"
			if len(b.cfg.Keys) == 0 {
				reason = "auth"
			}
			refuse(t, br, stateV, ErrCookie, reason)
		})
		t.Run("ATK-K04", func(t *testing.T) {
			br := v.clone()
			br.jar[cookieV] = br.jar[cookieV][:20]
			refuse(t, br, stateV, ErrCookie, "auth")
		})
		t.Run("the name of one, the state of another", func(t *testing.T) {
			// Sealed by us for this name, but with another state inside: only a thief of keys could, and still no.
			kind := b.loginKind("forged")
			text, err := b.shared.logins.Seal(b.loginSeal(kind.Name), &pending{request: begin(t, c)}, b.clock.now().Add(time.Minute))
			if err != nil {
				t.Fatal(err)
			}
			br := newBrowser(t)
			br.put(kind.Name, text)
			refuse(t, br, "forged", client.ErrStateMismatch, "")
		})
		if _, err := b.FindLogin(v.request(), stateV); err != nil { // kept through all of this
			t.Fatal(err)
		}
		t.Run("ATK-L08", func(t *testing.T) {
			b.clock.add(10*time.Minute - time.Second)
			if _, err := b.FindLogin(v.request(), stateV); err != nil {
				t.Fatal(err)
			}
			b.clock.add(time.Second)
			refuse(t, v, stateV, client.ErrStateExpired, "")
		})
	})
}

func TestTwoTabs(t *testing.T) {
	// ATK-L10
	families(t, func(t *testing.T, b *bed) {
		c, _ := testClientFor(t, b.clock.now)
		br := newBrowser(t)
		s1 := b.start(br, c, LoginOptions{ReturnTo: "/one"})
		s2 := b.start(br, c, LoginOptions{ReturnTo: "/two"})
		if l := b.take(t, br, s2); l.ReturnTo != "/two" {
			t.Fatal("mixed")
		}
		if l := b.take(t, br, s1); l.ReturnTo != "/one" || len(br.jar) != 0 {
			t.Fatal("mixed")
		}
	})
}

func TestTakeLoginOnce(t *testing.T) {
	// ATK-L11
	b := newBed(t, Config{})
	c, _ := testClientFor(t, b.clock.now)
	br := newBrowser(t)
	state := b.start(br, c, LoginOptions{})
	r := br.request()
	var won, lost int
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			l, err := b.FindLogin(r, state)
			if err == nil {
				err = b.TakeLogin(header{}, r, l, true)
			}
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				won++
			case errors.Is(err, client.ErrStateReplayed):
				lost++
			}
		})
	}
	wg.Wait()
	if won != 1 || lost != 49 {
		t.Fatalf("%d won, %d lost", won, lost)
	}
}

func TestLoginCookieAttributes(t *testing.T) {
	for _, c := range []struct {
		origin     string
		cross      bool
		name, want string
	}{
		{testOrigin, false, "__Host-sallyport-login.", "; Path=/; Max-Age=600; HttpOnly; Secure; SameSite=Lax"},
		{testOrigin, true, "__Host-sallyport-login.", "; Path=/; Max-Age=600; HttpOnly; Secure; SameSite=None"},
		{"http://127.0.0.1:8080", true, "sallyport-login.", "; Path=/; Max-Age=600; HttpOnly; Secure; SameSite=None"},
		{"http://127.0.0.1:8080", false, "sallyport-login.", "; Path=/; Max-Age=600; HttpOnly; SameSite=Lax"},
	} {
		b := newBed(t, Config{Origin: c.origin})
		cl, _ := testClientFor(t, b.clock.now)
		req := begin(t, cl)
		h := header{}
		if err := b.SaveLogin(h, get(nil), req, LoginOptions{CrossSite: c.cross}); err != nil {
			t.Fatal(err)
		}
		line := h["Set-Cookie"][0]
		if !strings.HasPrefix(line, c.name) || !strings.HasSuffix(line, c.want) || h.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("%s", line)
		}
		// The expiry has the same attributes, whatever the login was opened from.
		pair, _, _ := strings.Cut(line, ";")
		l, err := b.FindLogin(get([]string{pair}), req.State())
		if err != nil {
			t.Fatal(err)
		}
		h = header{}
		if err := b.TakeLogin(h, get([]string{pair}), l, true); err != nil {
			t.Fatal(err)
		}
		name, _, _ := strings.Cut(pair, "=")
		if got := h["Set-Cookie"][0]; got != name+"="+strings.Replace(c.want, "600", "0", 1) {
			t.Errorf("%s", got)
		}
	}
}

func FuzzPending(f *testing.F) {
	// ATK-S03
	m, err := New(Config{Keys: [][]byte{key(1)}})
	if err != nil {
		f.Fatal(err)
	}
	p := new(provider)
	c, err := client.New(client.Config{Issuer: testIssuer, ClientID: "a", Authentication: client.SecretBasic(client.Secret("s")), RedirectURI: testOrigin + "/cb", Transport: p})
	if err != nil {
		f.Fatal(err)
	}
	req, err := c.AuthorizationRequest(context.Background(), client.AuthorizationOptions{})
	if err != nil {
		f.Fatal(err)
	}
	good, _ := (&pending{request: req, returnTo: "/x", crossSite: true}).AppendBinary(nil)
	f.Add(good)
	f.Add([]byte{pendingVersion, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		var p pending
		if p.UnmarshalBinary(b) == nil && p.request == nil {
			t.Fatal("a login without a request")
		}
		_, _ = m.FindLogin(get([]string{m.loginKind(string(b)).Name + "=" + string(b)}), string(b))
	})
}
