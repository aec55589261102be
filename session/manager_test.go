package session

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/securecookie"

	"github.com/sallyport/sallyport/client"
)

const cookieName = "__Host-sallyport"

// refuse loads with that Cookie header and expects to be told no.
func (b *bed) refuse(t *testing.T, code client.Code, reason string, lines ...string) {
	t.Helper()
	s, err := b.Load(get(lines))
	if s != nil {
		t.Fatal("a session came with the error")
	}
	wantError(t, err, code, reason)
}

func (br *browser) header() string { return br.request().Header["Cookie"][0] }

func (b *bed) loginWith(br *browser, subject string, change func(*client.Tokens)) (s *Session, err error) {
	br.do(func(w http.ResponseWriter, r *http.Request) {
		tok := testTokens(subject, 1, b.clock.now().Add(time.Hour))
		change(tok)
		s, err = b.create(w, r, testIssuer, testClient, tok)
	})
	return s, err
}

// A user without a name would be every such user.
func TestCreateForNobody(t *testing.T) {
	b := newBed(t, Config{})
	br := newBrowser(t)
	if _, err := b.loginWith(br, "", func(t *client.Tokens) { t.IDToken = nil }); !errors.Is(err, client.ErrConfig) {
		t.Errorf("got %v", err)
	}
	if _, err := b.Load(br.request()); !errors.Is(err, ErrNoSession) {
		t.Errorf("something was written: %v", err)
	}
}

func TestCreateAndLoad(t *testing.T) {
	families(t, func(t *testing.T, b *bed) {
		br := newBrowser(t)
		if _, err := b.Load(br.request()); !errors.Is(err, ErrNoSession) {
			t.Fatal(err)
		}
		made := b.login(br, "alice")
		s := b.load(br)
		if s.Subject() != "alice" || s.ID() != made.ID() || string(s.AccessToken()) != "access-1" || s.rec.id != made.rec.id {
			t.Fatal("another session")
		}
		if s.ExpiresAt() != b.clock.now().Add(time.Hour) {
			t.Fatalf("expires %v", s.ExpiresAt())
		}
		if got := b.events.kinds(); !slices.Equal(got, []string{client.EventSessionCreated}) {
			t.Fatal(got)
		}
		if e := b.events.all[0]; e.Session != s.ID() || e.Issuer != testIssuer || e.Generation != 1 {
			t.Fatalf("%+v", e)
		}
		if strings.Contains(br.header(), "access-1") {
			t.Fatal("a token in clear")
		}
	})
}

func TestLoadRefusesForeignCookies(t *testing.T) {
	families(t, func(t *testing.T, b *bed) {
		v, w := newBrowser(t), newBrowser(t)
		b.login(v, "victim")
		b.login(w, "attacker")
		valueV, valueW := v.jar[cookieName], w.jar[cookieName]
		t.Run("ATK-K01", func(t *testing.T) {
			b.refuse(t, ErrCookie, "duplicate", cookieName+"="+valueV+"; "+cookieName+"="+valueW)
		})
		t.Run("ATK-K02", func(t *testing.T) {
			b.refuse(t, ErrCookie, "duplicate", cookieName+"="+valueW+"; "+cookieName+"="+valueV)
			b.refuse(t, ErrCookie, "duplicate", cookieName+"="+valueV, cookieName+"="+valueW)
			b.refuse(t, ErrCookie, "duplicate", cookieName+"="+valueV, "a=b", cookieName+"="+valueV)
		})
		t.Run("ATK-K03", func(t *testing.T) {
			for _, name := range []string{"__host-sallyport", "__HOST-sallyport", "__Host-sallyport%20", "sallyport", "__Host-Sallyport"} {
				b.refuse(t, ErrNoSession, "", name+"="+valueW)
			}
		})
		t.Run("ATK-K04", func(t *testing.T) {
			for _, cut := range []int{1, 16, len(valueV) / 2, len(valueV) - 1, len(valueV)} {
				b.refuse(t, ErrCookie, "auth", cookieName+"="+valueV[:len(valueV)-cut])
			}
		})
		t.Run("ATK-K09", func(t *testing.T) {
			// A pending login and a logout's state as a session; another application with the same keys; another name.
			c, _ := testClientFor(t, b.clock.now)
			login := newBrowser(t)
			login.do(func(w http.ResponseWriter, r *http.Request) {
				if err := b.SaveLogin(w, r, begin(t, c), LoginOptions{}); err != nil {
					t.Fatal(err)
				}
			})
			reason := "purpose"
			if len(b.cfg.Keys) == 0 {
				reason = "auth" // securecookie knows no purposes; the name it seals under differs
			}
			b.refuse(t, ErrCookie, reason, cookieName+"="+login.jar[login.names[0]])
			other := *b
			cfg := b.cfg
			cfg.Origin, cfg.OnEvent = "https://other.example", nil
			var err error
			if other.Manager, err = New(cfg); err != nil {
				t.Fatal(err)
			}
			other.refuse(t, ErrCookie, "auth", cookieName+"="+valueV)
			cfg.Origin, cfg.CookieName = testOrigin, "other"
			if other.Manager, err = New(cfg); err != nil {
				t.Fatal(err)
			}
			other.refuse(t, ErrCookie, "auth", "__Host-other="+valueV)
		})
		t.Run("ATK-K13", func(t *testing.T) {
			for i := range valueV {
				for _, bit := range []byte{1, 2, 4, 8, 16, 32, 64, 128} {
					flipped := []byte(valueV)
					flipped[i] ^= bit
					s, err := b.Load(get([]string{cookieName + "=" + string(flipped)}))
					if err == nil {
						t.Fatalf("bit %d of character %d: session of %s", bit, i, s.Subject())
					}
					if !errors.Is(err, ErrCookie) {
						if flipped[i] == ';' || flipped[i] == '"' {
							continue
						}
						t.Fatalf("bit %d of character %d: %v", bit, i, err)
					}
				}
			}
		})
	})
}

func TestKeyRotation(t *testing.T) {
	type ring struct{ old, both, next Config }
	for name, r := range map[string]ring{
		"aead": {Config{Keys: [][]byte{key(1)}}, Config{Keys: [][]byte{key(2), key(1)}}, Config{Keys: [][]byte{key(2)}}},
		"securecookie": {
			Config{Codecs: []securecookie.Codec{SecureCookie(key(1), key(2))}},
			Config{Codecs: []securecookie.Codec{SecureCookie(key(3), key(4)), SecureCookie(key(1), key(2))}},
			Config{Codecs: []securecookie.Codec{SecureCookie(key(3), key(4))}},
		},
		"from securecookie to aead": {
			Config{Codecs: []securecookie.Codec{SecureCookie(key(1), key(2))}},
			Config{Keys: [][]byte{key(3)}, Codecs: []securecookie.Codec{SecureCookie(key(1), key(2))}},
			Config{Keys: [][]byte{key(3)}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			old, both, next := newBed(t, r.old), newBed(t, r.both), newBed(t, r.next)
			br := newBrowser(t)
			old.login(br, "alice")
			before := br.clone()
			t.Run("ATK-K12", func(t *testing.T) { next.refuse(t, ErrCookie, "auth", br.header()) })
			t.Run("ATK-K11", func(t *testing.T) {
				br.do(func(w http.ResponseWriter, r *http.Request) {
					s := both.load(br)
					if err := both.Touch(w, r, s); err != nil || !w.(header).wrote() {
						t.Fatalf("not sealed again: %v", err)
					}
				})
				if s := next.load(br); s.Subject() != "alice" {
					t.Fatal("another session")
				}
				if br.header() == before.header() {
					t.Fatal("the same cookie")
				}
				br.do(func(w http.ResponseWriter, r *http.Request) {
					if err := both.Touch(w, r, both.load(br)); err != nil || w.(header).wrote() {
						t.Fatalf("sealed twice: %v", err)
					}
				})
			})
		})
	}
}

func TestCreateEndsWhatWasThere(t *testing.T) {
	families(t, func(t *testing.T, b *bed) {
		br := newBrowser(t)
		first := b.login(br, "user1")
		old := br.clone()
		b.clock.add(time.Second)
		second := b.login(br, "user2")
		t.Run("ATK-K10", func(t *testing.T) {
			if first.rec.id == second.rec.id || first.ID() == second.ID() {
				t.Fatal("one id for two logins")
			}
			b.refuse(t, ErrSessionEnded, replaced, old.header())
		})
		t.Run("ATK-K19", func(t *testing.T) {
			if s := b.load(br); s.Subject() != "user2" || len(br.jar) != 1 {
				t.Fatalf("%s, %d cookies", s.Subject(), len(br.jar))
			}
			if got := b.events.kinds(); !slices.Equal(got, []string{client.EventSessionCreated, client.EventSessionEnded, client.EventSessionCreated}) {
				t.Fatal(got)
			}
		})
		// Nothing comes back for the ended one by touching or saving it either.
		h := header{}
		wantError(t, b.Touch(h, old.request(), &Session{rec: first.rec, m: b.Manager, stale: true}), ErrSessionEnded, replaced)
		if _, err := b.Save(h, old.request(), first); !errors.Is(err, ErrSessionEnded) || h.wrote() {
			t.Fatal(err)
		}
	})
}

func TestEnd(t *testing.T) {
	families(t, func(t *testing.T, b *bed) {
		br := newBrowser(t)
		b.login(br, "alice")
		stolen := br.clone()
		br.do(func(w http.ResponseWriter, r *http.Request) {
			tok := b.mustEnd(w, r, b.load(br))
			if tok == nil || tok.RefreshToken != "refresh-1" {
				t.Fatal("no tokens to revoke")
			}
		})
		if len(br.jar) != 0 {
			t.Fatal("a cookie is left")
		}
		t.Run("ATK-K15", func(t *testing.T) {
			b.refuse(t, ErrSessionEnded, "logout", stolen.header())
			b.clock.add(b.shared.cfg.IdleTimeout - time.Second)
			b.refuse(t, ErrSessionEnded, "logout", stolen.header())
			b.clock.add(b.shared.cfg.AbsoluteTimeout) // the memory may go: the seal has expired
			b.refuse(t, ErrSessionExpired, "absolute", stolen.header())
		})
		if got := b.events.kinds(); !slices.Equal(got, []string{client.EventSessionCreated, client.EventSessionEnded, client.EventSessionEnded}) {
			t.Fatal(got) // the last one says "absolute"
		}
		t.Run("ATK-K01", func(t *testing.T) {
			// Whatever somebody has planted beside it, a logout ends the user's own session, and a login too.
			for _, planted := range []bool{true, false} {
				v, w := newBrowser(t), newBrowser(t)
				b.login(v, "victim")
				b.login(w, "attacker")
				reason := replaced
				r := get([]string{v.header() + "; " + w.header()})
				if planted {
					reason = "logout"
					b.mustEnd(header{}, r, nil)
				} else if _, err := b.create(header{}, r, testIssuer, testClient, testTokens("victim", 1, b.clock.now())); err != nil {
					t.Fatal(err)
				}
				b.refuse(t, ErrSessionEnded, reason, v.header())
				b.refuse(t, ErrSessionEnded, reason, w.header())
			}
		})
		// A request without a readable session is cleaned up all the same, and a readable one ended.
		again := newBrowser(t)
		b.login(again, "bob")
		copied := again.clone()
		again.do(func(w http.ResponseWriter, r *http.Request) {
			if b.mustEnd(w, r, nil) != nil {
				t.Fatal("tokens of nobody")
			}
		})
		b.refuse(t, ErrSessionEnded, "logout", copied.header())
		if len(again.jar) != 0 {
			t.Fatal("a cookie is left")
		}
	})
}

func TestDeadlines(t *testing.T) {
	families(t, func(t *testing.T, b *bed) {
		t.Run("idle", func(t *testing.T) {
			br := newBrowser(t)
			b.login(br, "alice")
			b.clock.add(time.Hour - time.Second)
			b.load(br)
			b.clock.add(time.Second)
			_, err := b.Load(br.request())
			wantError(t, err, ErrSessionExpired, "idle")
			if !errors.Is(err, ErrCookie) {
				t.Fatal("not an expired cookie")
			}
			if e := b.events.all[len(b.events.all)-1]; e.Kind != client.EventSessionEnded || e.Reason != "idle" || e.Session == "" {
				t.Fatalf("the log does not say why: %+v", e)
			}
			br.do(func(w http.ResponseWriter, r *http.Request) { b.Forget(w, r) })
			if len(br.jar) != 0 {
				t.Fatal("the browser keeps the cookie")
			}
		})
		t.Run("ATK-K18", func(t *testing.T) {
			// ATK-F16: however often it is used, and saved, the absolute deadline stays.
			br := newBrowser(t)
			b.login(br, "alice")
			start := b.clock.now()
			for b.clock.now().Before(start.Add(12*time.Hour - 10*time.Minute)) {
				b.clock.add(10 * time.Minute)
				br.do(func(w http.ResponseWriter, r *http.Request) {
					s, err := b.Load(r)
					if err != nil {
						t.Fatal(b.clock.now().Sub(start), err)
					}
					if err := b.Touch(w, r, s); err != nil || !w.(header).wrote() {
						t.Fatal(err)
					}
				})
			}
			b.clock.add(10*time.Minute - time.Second)
			b.load(br)
			b.clock.add(time.Second)
			b.refuse(t, ErrSessionExpired, "absolute", br.header())
		})
	})
	t.Run("an operator shortens them", func(t *testing.T) {
		long := newBed(t, Config{IdleTimeout: 5 * time.Hour, AbsoluteTimeout: 100 * time.Hour})
		br := newBrowser(t)
		long.login(br, "alice")
		short := newBed(t, Config{IdleTimeout: time.Hour, AbsoluteTimeout: 2 * time.Hour})
		short.clock.add(time.Hour)
		short.refuse(t, ErrSessionExpired, "idle", br.header())
		short.clock.add(time.Hour)
		short.refuse(t, ErrSessionExpired, "absolute", br.header())
	})
}

func TestTouchIsCoarse(t *testing.T) {
	families(t, func(t *testing.T, b *bed) {
		br := newBrowser(t)
		b.login(br, "alice")
		writes := 0
		for range 120 { // an hour of requests, one in 30 s
			b.clock.add(30 * time.Second)
			br.do(func(w http.ResponseWriter, r *http.Request) {
				if err := b.Touch(w, r, b.load(br)); err != nil {
					t.Fatal(err)
				}
				if w.(header).wrote() {
					writes++
				}
			})
		}
		if writes != 10 {
			t.Fatalf("%d writes", writes)
		}
		if s := b.load(br); s.ExpiresAt() != b.clock.now().Add(time.Hour) {
			t.Fatal(s.ExpiresAt())
		}
	})
}

func TestSaveKeepsAttributes(t *testing.T) {
	b := newBed(t, Config{})
	br := newBrowser(t)
	b.login(br, "alice")
	br.do(func(w http.ResponseWriter, r *http.Request) {
		s, err := b.load(br).With("theme", "dark")
		if err != nil {
			t.Fatal(err)
		}
		if s, err = b.Save(w, r, s); err != nil || s.Get("theme") != "dark" {
			t.Fatal(err)
		}
	})
	if b.load(br).Get("theme") != "dark" {
		t.Fatal("lost")
	}
}
