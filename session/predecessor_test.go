package session

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/client"
)

// lax takes the cookies away that do not come with a POST from another site.
func (b *browser) lax() *browser {
	c := newBrowser(b.t)
	for _, n := range b.names {
		if strings.Contains(n, "-login.") {
			c.put(n, b.jar[n])
		}
	}
	return c
}

// The answer of form_post comes without the session that was there: it ends all the same. ATK-K10, ATK-K19
func TestCreateEndsWhatStayedBehind(t *testing.T) {
	families(t, func(t *testing.T, b *bed) {
		c, _ := testClientFor(t, b.clock.now)
		for _, size := range [][2]int{{10, 10}, {3600, 10}, {10, 3600}, {3600, 3600}} {
			br := newBrowser(t)
			old, err := b.loginWith(br, "alice", bulk(size[0]))
			if err != nil {
				t.Fatal(err)
			}
			stolen := br.clone()
			state := b.start(br, c, LoginOptions{CrossSite: true})
			create := func(h header, change func(*client.Tokens)) error {
				r := br.lax().request()
				l, err := b.FindLogin(r, state)
				if err != nil {
					return err
				}
				tok := testTokens("bob", 9, b.clock.now().Add(time.Hour))
				change(tok)
				_, err = b.createFor(h, r, testIssuer, testClient, l, tok)
				return err
			}
			// A login that fails leaves it as it was.
			h := header{}
			if err := create(h, bulk(20_000)); !errors.Is(err, ErrCookie) || h.wrote() {
				t.Fatal(err)
			}
			if s := b.load(stolen); s.Subject() != "alice" {
				t.Fatal(s.Subject())
			}
			b.clock.add(-time.Second) // another process's clock, say
			if err := create(h, bulk(size[1])); err != nil {
				t.Fatal(err)
			}
			br.take(h)
			if s := b.load(br); s.Subject() != "bob" || s.rec.generation <= old.rec.generation {
				t.Fatalf("bob's browser says %s", s.Subject())
			}
			for _, n := range stolen.names {
				if v, left := br.jar[n]; left && v == stolen.jar[n] {
					t.Fatalf("%s is left", n)
				}
			}
			b.refuse(t, ErrSessionEnded, replaced, stolen.header())
		}
	})
}

func TestPredecessorIsALivingSession(t *testing.T) {
	b := newBed(t, Config{})
	c, _ := testClientFor(t, b.clock.now)
	seal := func(br *browser, opts LoginOptions) *predecessor {
		state := b.start(br, c, opts)
		l, err := b.FindLogin(br.request(), state)
		if err != nil {
			t.Fatal(err)
		}
		return l.replaces
	}
	cross := LoginOptions{CrossSite: true, ReturnTo: "/x"}
	br := newBrowser(t)
	if seal(br, cross) != nil {
		t.Fatal("of nobody")
	}
	s := b.login(br, "alice")
	if p := seal(br, cross); p == nil || p.id != s.rec.id || p.generation != s.rec.generation || p.absolute != s.rec.absolute {
		t.Fatalf("%+v", p)
	}
	if seal(br, LoginOptions{}) != nil {
		t.Fatal("sealed though it comes along")
	}
	b.clock.add(time.Hour)
	if seal(br, cross) != nil {
		t.Fatal("an idle one")
	}
	s = b.login(br, "alice")
	ended := br.clone()
	br.do(func(w http.ResponseWriter, r *http.Request) { b.mustEnd(w, r, s) })
	if seal(ended, cross) != nil {
		t.Fatal("an ended one")
	}
	for _, raw := range []string{"\x01\x02", "\x01\x04", "\x01\x03" + strings.Repeat("x", 31)} {
		var p pending
		if err := p.UnmarshalBinary([]byte(raw)); !errors.Is(err, errRecord) {
			t.Fatal(err)
		}
	}
}
