package session

import (
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/client"
)

// bulk is userinfo of about n bytes that shrinks by nothing.
func bulk(n int) func(*client.Tokens) {
	return func(t *client.Tokens) { t.UserInfo = []byte(`{"groups":"` + strings.Repeat("g", n) + `"}`) }
}

func TestChunkedSession(t *testing.T) {
	families(t, func(t *testing.T, b *bed) {
		br := newBrowser(t)
		sizes := []int{10, 3000, 4000, 10, 2500, 3500}
		for i, n := range sizes { // it grows and shrinks: each write leaves exactly one session
			b.clock.add(time.Millisecond)
			subject := "user" + itoa(i)
			if _, err := b.loginWith(br, subject, bulk(n)); err != nil {
				t.Fatal(err)
			}
			if s := b.load(br); s.Subject() != subject {
				t.Fatalf("%d bytes: %s", n, s.Subject())
			}
			if n > 3000 && len(br.jar) < 2 || n == 10 && len(br.jar) != 1 {
				t.Fatalf("%d bytes in %d cookies", n, len(br.jar))
			}
		}
		now := br.clone()
		if len(now.names) != 2 {
			t.Fatal(now.names)
		}
		b.clock.add(time.Second)
		older := newBrowser(t)
		if _, err := b.loginWith(older, "older", bulk(3400)); err != nil {
			t.Fatal(err)
		}
		b.clock.add(time.Second)
		newer := newBrowser(t)
		if _, err := b.loginWith(newer, "newer", bulk(3400)); err != nil {
			t.Fatal(err)
		}
		both := older.clone()
		for _, n := range newer.names {
			both.put(n, newer.jar[n])
		}
		t.Run("the newest of two", func(t *testing.T) {
			if s := b.load(both); s.Subject() != "newer" {
				t.Fatal(s.Subject())
			}
		})
		t.Run("ATK-K06", func(t *testing.T) {
			for _, n := range newer.names {
				torn := both.clone()
				torn.drop(n)
				b.refuse(t, ErrCookie, "chunk", torn.header()) // never the older one
			}
			extra := newer.clone()
			extra.put(newer.names[0][:len(newer.names[0])-1]+"3", "x")
			b.refuse(t, ErrCookie, "chunk", extra.header())
		})
		t.Run("ATK-K07", func(t *testing.T) {
			mixed := newer.clone()
			mixed.jar[newer.names[1]] = older.jar[older.names[1]]
			b.refuse(t, ErrCookie, "chunk", mixed.header())
			swapped := newer.clone()
			swapped.jar[newer.names[0]], swapped.jar[newer.names[1]] = newer.jar[newer.names[1]], newer.jar[newer.names[0]]
			b.refuse(t, ErrCookie, "chunk", swapped.header())
		})
		t.Run("ATK-K01", func(t *testing.T) {
			n := newer.names[0]
			b.refuse(t, ErrCookie, "duplicate", newer.header()+"; "+n+"="+newer.jar[n])
		})
		t.Run("a whole cookie beside chunks", func(t *testing.T) {
			b.clock.add(time.Second)
			small := newBrowser(t)
			b.login(small, "small")
			mixed := newer.clone()
			mixed.put(cookieName, small.jar[cookieName])
			if s := b.load(mixed); s.Subject() != "small" { // it is the newer write
				t.Fatal(s.Subject())
			}
			torn := mixed.clone()
			torn.drop(newer.names[0])
			if s := b.load(torn); s.Subject() != "small" {
				t.Fatal(s.Subject())
			}
			b.clock.add(time.Second)
			if _, err := b.loginWith(newer, "newest", bulk(3400)); err != nil {
				t.Fatal(err)
			}
			newer.put(cookieName, small.jar[cookieName])
			br := newer.clone()
			s := b.load(br)
			if s.Subject() != "newest" {
				t.Fatal(s.Subject())
			}
			br.do(func(w http.ResponseWriter, r *http.Request) { // and the next write tidies up
				if err := b.Touch(w, r, s); err != nil {
					t.Fatal(err)
				}
			})
			if _, ok := br.jar[cookieName]; ok || b.load(br).Subject() != "newest" {
				t.Fatal("the twin is left")
			}
			newer.drop(newer.names[0])
			b.refuse(t, ErrCookie, "chunk", newer.header()) // the whole one is older than what was torn
		})
		t.Run("a new login mends it", func(t *testing.T) {
			torn := both.clone()
			torn.drop(newer.names[1])
			torn.put(cookieName+".zzzzzzzz.0", "planted far ahead")
			b.login(torn, "again")
			if s := b.load(torn); s.Subject() != "again" || len(torn.jar) != 1 {
				t.Fatalf("%s, %v", s.Subject(), torn.names)
			}
		})
	})
}

func TestGenerationIsInsideTheSeal(t *testing.T) {
	// ATK-K07: chunks renamed to a higher generation, with a manifest made for it, do not pass for newer.
	b := newBed(t, Config{})
	br := newBrowser(t)
	if _, err := b.loginWith(br, "alice", bulk(3500)); err != nil {
		t.Fatal(err)
	}
	found := findSession(br)
	text, err := found.Join()
	if err != nil {
		t.Fatal(err)
	}
	forged := newBrowser(t)
	h := header{}
	if err := b.session.Set(h.Header(), found, text, 1_900_000_999_999, time.Hour); err != nil {
		t.Fatal(err)
	}
	forged.take(h)
	b.refuse(t, ErrCookie, "chunk", forged.header())
}

func TestCreateTooLong(t *testing.T) {
	// ATK-K05: nothing is written, and the session that was there lives on.
	families(t, func(t *testing.T, b *bed) {
		br := newBrowser(t)
		b.login(br, "alice")
		before := br.header()
		for _, n := range []int{7000, 20_000} {
			h := header{}
			tok := testTokens("bob", 1, b.clock.now().Add(time.Hour))
			bulk(n)(tok)
			_, err := b.create(h, br.request(), testIssuer, testClient, tok)
			wantError(t, err, ErrCookie, "size")
			if h.wrote() {
				t.Fatal("something was written")
			}
		}
		if s := b.load(br); s.Subject() != "alice" || br.header() != before {
			t.Fatal("the session changed")
		}
	})
}

func TestGenerationsGrow(t *testing.T) {
	b := newBed(t, Config{})
	br := newBrowser(t)
	s := b.login(br, "alice")
	last := s.rec.generation
	if last != uint64(b.clock.now().UnixMilli()) {
		t.Fatal("not the time of the write")
	}
	for i := range 5 { // several writes in one millisecond, one with the clock set back
		if i == 3 {
			b.clock.add(-time.Minute)
		}
		br.do(func(w http.ResponseWriter, r *http.Request) {
			next, err := b.Save(w, r, b.load(br))
			if err != nil || next.rec.generation <= last {
				t.Fatalf("%d after %d, %v", next.rec.generation, last, err)
			}
			last = next.rec.generation
		})
	}
	// Above what is seen in the request, but not above what was planted there.
	found := findSession(&browser{t: t, names: []string{cookieName + ".zzzzzzzz.0"}, jar: map[string]string{}})
	if g := b.nextGeneration(5, &found, b.clock.now()); g > uint64(b.clock.now().UnixMilli()) {
		t.Fatalf("a planted generation led to %d", g)
	}
	// Another process's clock may be a little ahead, though.
	ahead := b.clock.now().Add(time.Minute).UnixMilli()
	name := cookieName + "." + strconv.FormatInt(ahead, 36) + ".0"
	found = findSession(&browser{t: t, names: []string{name}, jar: map[string]string{}})
	if g := b.nextGeneration(5, &found, b.clock.now()); g != uint64(ahead)+1 {
		t.Fatalf("%d after %d", g, ahead)
	}
}
