package session

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/client"
	"github.com/sallyport/sallyport/internal/cookies"
)

func TestManyLogins(t *testing.T) {
	families(t, func(t *testing.T, b *bed) {
		c, _ := testClientFor(t, b.clock.now)
		t.Run("ATK-K14", func(t *testing.T) {
			br := newBrowser(t)
			b.login(br, "alice")
			var states []string
			for range 500 {
				b.clock.add(time.Millisecond)
				states = append(states, b.start(br, c, LoginOptions{ReturnTo: "/x"}))
				if n := len(br.jar); n > 6 || len(br.header()) >= 8<<10 {
					t.Fatalf("%d cookies, %d bytes", n, len(br.header()))
				}
			}
			for i, s := range states[:495] {
				if i%50 == 0 {
					_, err := b.FindLogin(br.request(), s)
					wantError(t, err, client.ErrStateMismatch, "")
				}
			}
			for _, s := range states[495:] {
				b.take(t, br, s)
			}
			if b.load(br).Subject() != "alice" {
				t.Fatal("the session went with them")
			}
		})
		t.Run("ATK-K14 in one moment", func(t *testing.T) {
			br := newBrowser(t)
			var states []string
			for range 7 {
				states = append(states, b.start(br, c, LoginOptions{}))
			}
			for i, s := range states {
				if _, err := b.FindLogin(br.request(), s); (err == nil) != (i >= 2) {
					t.Errorf("login %d of 7: %v", i+1, err)
				}
			}
		})
		t.Run("long ones", func(t *testing.T) {
			br := newBrowser(t)
			last := ""
			for range 8 {
				b.clock.add(time.Millisecond)
				last = b.start(br, c, LoginOptions{ReturnTo: "/" + strings.Repeat("x", 1500)})
				if len(br.header()) >= 8<<10 {
					t.Fatalf("%d bytes in %d cookies", len(br.header()), len(br.jar))
				}
			}
			if len(br.jar) < 2 {
				t.Fatal("more were dropped than had to be")
			}
			b.take(t, br, last)
		})
		t.Run("garbage and what is used up goes", func(t *testing.T) {
			br := newBrowser(t)
			kept := b.start(br, c, LoginOptions{CrossSite: true})
			used := b.start(br, c, LoginOptions{})
			again := br.clone()
			b.take(t, br, used)
			again.put(b.loginKind("x").Name, "garbage")
			again.put(b.loginName("tooshort"), "not ours")
			state := b.start(again, c, LoginOptions{})
			if len(again.jar) != 3 {
				t.Fatalf("%v", again.names)
			}
			b.take(t, again, kept)
			b.take(t, again, state)
		})
		t.Run("ATK-Q04", func(t *testing.T) {
			// Far more than we ever leave: most are expired without being opened.
			br := newBrowser(t)
			for i := range 300 {
				br.put(b.loginKind(itoa(i)).Name, "garbage")
			}
			b.start(br, c, LoginOptions{})
			if len(br.jar) != 1 {
				t.Fatalf("%d cookies left", len(br.jar))
			}
			// Which are opened goes by their place: these newest stand where a browser has its oldest.
			var newest []string
			all := newBrowser(t)
			for i := range maxOpened + 4 {
				b.clock.add(time.Millisecond)
				one := newBrowser(t)
				b.start(one, c, LoginOptions{})
				all.names = append([]string{one.names[0]}, all.names...)
				all.jar[one.names[0]] = one.jar[one.names[0]]
				if i >= maxOpened {
					newest = append(newest, one.names[0])
				}
			}
			gone := b.surplus(all.request(), "x", 100)
			for _, n := range newest {
				if !slices.ContainsFunc(gone, func(k cookies.Kind) bool { return k.Name == n }) {
					t.Fatal("opened beyond the limit")
				}
			}
		})
	})
}

func (b *bed) loginName(tag string) string { return b.Manager.login.Name + tag }

func TestSaveLoginTooLong(t *testing.T) {
	b := newBed(t, Config{})
	c, _ := testClientFor(t, b.clock.now)
	h := header{}
	for _, n := range []int{3000, 20_000} {
		err := b.SaveLogin(h, get(nil), begin(t, c), LoginOptions{ReturnTo: strings.Repeat("x", n)})
		wantError(t, err, ErrCookie, "size")
	}
	if h.wrote() {
		t.Fatal("something was written")
	}
	if err := b.SaveLogin(h, get(nil), begin(t, c), LoginOptions{ReturnTo: "/" + strings.Repeat("x", 2047)}); err != nil {
		t.Fatalf("a return_to of 2 kB does not fit: %v", err)
	}
}

func TestSurplusExpiresAsItWasSet(t *testing.T) {
	b := newBed(t, Config{MaxLogins: 1})
	c, _ := testClientFor(t, b.clock.now)
	for _, cross := range []bool{true, false} {
		br := newBrowser(t)
		b.start(br, c, LoginOptions{CrossSite: cross})
		h := header{}
		if err := b.SaveLogin(h, br.request(), begin(t, c), LoginOptions{}); err != nil {
			t.Fatal(err)
		}
		want := map[bool]string{true: "SameSite=None", false: "SameSite=Lax"}[cross]
		if lines := h["Set-Cookie"]; len(lines) != 2 || !strings.HasPrefix(lines[1], br.names[0]+"=; ") || !strings.HasSuffix(lines[1], want) {
			t.Fatal(lines)
		}
	}
}

func TestLoginFloods(t *testing.T) {
	b := newBed(t, Config{})
	c, _ := testClientFor(t, b.clock.now)
	t.Run("ATK-Q01", func(t *testing.T) {
		// Logins that many browsers begin hold no memory here.
		for range 1000 {
			if err := b.SaveLogin(header{}, get(nil), begin(t, c), LoginOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		if n := b.kept(); n != 0 {
			t.Fatalf("%d entries", n)
		}
	})
	t.Run("ATK-Q02", func(t *testing.T) {
		// Nor do callbacks with states that nobody has; a full memory refuses and is no logout.
		for i := range 1000 {
			if _, err := b.FindLogin(get([]string{b.loginKind(itoa(i)).Name + "=x"}), itoa(i)); !errors.Is(err, ErrCookie) {
				t.Fatal(err)
			}
		}
		if n := b.kept(); n != 0 {
			t.Fatalf("%d entries", n)
		}
		full := NewMemory(MemoryOptions{Limit: 600, Now: b.clock.now}) // room for one
		b.shared.once = newVault(full, b.shared.stored, b.clock.now)
		br := newBrowser(t)
		first, second := b.start(br, c, LoginOptions{}), b.start(br, c, LoginOptions{})
		b.take(t, br, first)
		l, err := b.FindLogin(br.request(), second)
		if err != nil {
			t.Fatal(err)
		}
		h := header{}
		err = b.TakeLogin(h, br.request(), l, true)
		wantError(t, err, ErrStore, "full")
		var e *client.Error
		if errors.As(err, &e); e.Outcome != client.Transient || h.wrote() {
			t.Fatal("not transient, or something was written")
		}
		b.clock.add(10 * time.Minute) // the first login's own deadline
		fresh := b.start(br, c, LoginOptions{})
		b.take(t, br, fresh)
	})
}

func TestManyPlantedLogins(t *testing.T) {
	// ATK-K14, ATK-Q04: one response takes a bounded number of them away, and costs no more than it is long.
	b := newBed(t, Config{})
	c, _ := testClientFor(t, b.clock.now)
	var parts []string
	for i := range 20_000 {
		parts = append(parts, fmt.Sprintf("%s%022d=", b.Manager.login.Name, i))
	}
	h := header{}
	if err := b.SaveLogin(h, get([]string{strings.Join(parts, ";")}), begin(t, c), LoginOptions{}); err != nil {
		t.Fatal(err)
	}
	lines := h["Set-Cookie"]
	if len(lines) != maxExpired+1 || !strings.HasPrefix(lines[1], b.Manager.login.Name+"0000000000000000000000=; ") {
		t.Fatalf("%d lines", len(lines))
	}
}
