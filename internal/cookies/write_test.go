package cookies

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

var kind = Kind{Name: "__Host-s", Secure: true, SameSite: http.SameSiteLaxMode}

// browser keeps what it is told to, in order.
type browser struct {
	t    *testing.T
	jar  map[string]string
	keys []string
}

func newBrowser(t *testing.T) *browser { return &browser{t: t, jar: map[string]string{}} }

func (b *browser) take(h http.Header) {
	b.t.Helper()
	seen := map[string]bool{}
	for _, l := range h["Set-Cookie"] {
		c, err := http.ParseSetCookie(l)
		if err != nil {
			b.t.Fatalf("net/http does not understand %q: %v", l, err)
		}
		if len(l) > MaxCookie {
			b.t.Fatalf("a line of %d bytes", len(l))
		}
		if seen[c.Name] {
			b.t.Fatalf("%s set twice in one response", c.Name)
		}
		seen[c.Name] = true
		if !c.HttpOnly || c.Path != "/" || c.Domain != "" || c.Secure != strings.HasPrefix(c.Name, HostPrefix) || c.SameSite == 0 {
			b.t.Fatalf("attributes of %q", l)
		}
		if c.MaxAge < 0 { // net/http's way to say Max-Age=0
			delete(b.jar, c.Name)
		} else {
			if !slices.Contains(b.keys, c.Name) {
				b.keys = append(b.keys, c.Name)
			}
			b.jar[c.Name] = c.Value
		}
	}
	if len(seen) > 0 && h.Get("Cache-Control") != "no-store" {
		b.t.Fatal("a cookie without Cache-Control: no-store")
	}
}

func (b *browser) lines() []string {
	var parts []string
	for _, k := range b.keys {
		if v, ok := b.jar[k]; ok {
			parts = append(parts, k+"="+v)
		}
	}
	return []string{strings.Join(parts, "; ")}
}

func (b *browser) find() Found { return Find(b.lines(), kind.Name) }

func (b *browser) set(value string, generation uint64) {
	b.t.Helper()
	h := http.Header{}
	if err := kind.Set(h, b.find(), value, generation, time.Hour); err != nil {
		b.t.Fatal(err)
	}
	b.take(h)
}

// value is n characters that differ from place to place and from seed to seed.
func value(n, seed int) string {
	var b strings.Builder
	for i := 0; b.Len() < n; i++ {
		fmt.Fprintf(&b, "%x", i*7919+seed*104729)
	}
	return b.String()[:n]
}

func TestSetGrowsAndShrinks(t *testing.T) {
	// oauth2-proxy loads an old session after each of these changes; here each write leaves exactly its own.
	b := newBrowser(t)
	for i, n := range []int{100, 3900, 5000, 8000, 7900, 4100, 200, 6000, 1, 0} {
		g := uint64(1000 + i)
		v := value(n, i)
		b.set(v, g)
		f := b.find()
		if err := f.Err(); err != nil {
			t.Fatal(err)
		}
		generation, split := f.Split()
		if split == (n < 3900) && n != 3900 {
			t.Fatalf("%d bytes: split %v", n, split)
		}
		got := f.Value
		if split {
			var err error
			if got, err = f.Join(); err != nil || generation != g || f.Present {
				t.Fatalf("%d bytes: %v, generation %d, twin %v", n, err, generation, f.Present)
			}
		}
		if got != v {
			t.Fatalf("%d bytes came back as %d others", n, len(got))
		}
		if HeaderSize(b.lines()) > MaxTotal {
			t.Fatal("header too long")
		}
	}
	h := http.Header{}
	b.set(value(8000, 1), 2000)
	kind.Expire(h, b.find())
	b.take(h)
	if len(b.jar) != 0 {
		t.Fatalf("%d cookies left", len(b.jar))
	}
}

func TestSetSize(t *testing.T) {
	// ATK-K05: the limits hold to the byte, and nothing is written when they do not.
	fits, long := 0, value(9000, 1)
	for n := 3800; n < len(long); n++ {
		h := http.Header{"Set-Cookie": {"other=1"}, "Cache-Control": {"public"}}
		err := kind.Set(h, Found{}, long[:n], 1_900_000_000_000, time.Hour)
		total := 0
		for _, l := range h["Set-Cookie"][1:] {
			if len(l) > MaxCookie {
				t.Fatalf("%d: a line of %d bytes", n, len(l))
			}
			total += len(l)
		}
		if total > MaxTotal {
			t.Fatalf("%d: %d bytes in all", n, total)
		}
		if err != nil {
			if !errors.Is(err, Size) || total != 0 || len(h["Set-Cookie"]) != 1 || h.Get("Cache-Control") != "public" {
				t.Fatalf("%d: %v, %v", n, err, h)
			}
			continue
		}
		if fits != n-1 && fits != 0 {
			t.Fatalf("%d fits and less does not", n)
		}
		fits = n
	}
	if fits < 7900 {
		t.Fatalf("only %d characters fit", fits)
	}
	h := http.Header{}
	if err := kind.SetWhole(h, value(4096, 1), time.Hour); !errors.Is(err, Size) || len(h) != 0 {
		t.Fatalf("%v, %v", err, h)
	}
	for _, g := range []uint64{0, maxGeneration + 1} { // chunks could not be read back
		if err := kind.Set(h, Found{}, value(5000, 1), g, time.Hour); !errors.Is(err, Size) || len(h) != 0 {
			t.Fatalf("%v, %v", err, h)
		}
	}
}

func TestSetReplacesItself(t *testing.T) {
	// Two writes in one response (a touch, then a refresh) leave one.
	h := http.Header{"Set-Cookie": {"other=1", "__Host-s-login.x=2", "__Host-s2=3", "__Host-s"}}
	b := newBrowser(t)
	for i, n := range []int{8000, 10, 5000, 5000} {
		if err := kind.Set(h, Found{}, value(n, i), uint64(i+1), time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	if h["Set-Cookie"][0] != "other=1" || h["Set-Cookie"][1] != "__Host-s-login.x=2" || h["Set-Cookie"][2] != "__Host-s2=3" {
		t.Fatal("took out a stranger's cookie")
	}
	h["Set-Cookie"] = h["Set-Cookie"][4:]
	b.take(h)
	f := b.find()
	if v, err := f.Join(); err != nil || v != value(5000, 3) || len(b.jar) != 2 {
		t.Fatalf("%v; %d cookies", err, len(b.jar))
	}
	kind.Expire(h, Found{})
	if got := h["Set-Cookie"]; len(got) != 1 || got[0] != "__Host-s=; Path=/; Max-Age=0; HttpOnly; Secure; SameSite=Lax" {
		t.Fatalf("%q", got)
	}
	kind.retract(h)
	if _, ok := h["Set-Cookie"]; ok {
		t.Fatal("an empty header is left")
	}
}

func TestAttributes(t *testing.T) {
	for _, c := range []struct {
		kind Kind
		age  time.Duration
		want string
	}{
		{Kind{"s", false, http.SameSiteLaxMode}, time.Hour, "s=v; Path=/; Max-Age=3600; HttpOnly; SameSite=Lax"},
		{Kind{"__Host-s", true, http.SameSiteNoneMode}, 1500 * time.Millisecond, "__Host-s=v; Path=/; Max-Age=1; HttpOnly; Secure; SameSite=None"},
		{Kind{"__Host-s", true, http.SameSiteStrictMode}, 9999 * time.Hour, "__Host-s=v; Path=/; Max-Age=34560000; HttpOnly; Secure; SameSite=Strict"},
		{Kind{"s", true, 0}, -time.Second, "s=v; Path=/; Max-Age=0; HttpOnly; Secure; SameSite=Lax"},
	} {
		h := http.Header{}
		if err := c.kind.SetWhole(h, "v", c.age); err != nil {
			t.Fatal(err)
		}
		whole := h.Get("Set-Cookie")
		if err := c.kind.Set(h, Found{}, "v", 1, c.age); err != nil {
			t.Fatal(err)
		}
		if got := h["Set-Cookie"]; len(got) != 1 || got[0] != c.want || whole != c.want {
			t.Errorf("got %q and %q, want %q", whole, got, c.want)
		}
		// The expiry differs in value and age only.
		c.kind.Expire(h, Found{})
		want := c.want[:strings.Index(c.want, "v;")] + c.want[strings.Index(c.want, ";"):]
		from, to := strings.Index(want, "Max-Age="), strings.Index(want, "; HttpOnly")
		if got := h.Get("Set-Cookie"); got != want[:from]+"Max-Age=0"+want[to:] {
			t.Errorf("expiry %q", got)
		}
	}
}

// Writes of one generation and length have one count, whatever time is left: else what is left over of the longer tears the shorter.
func TestCountDoesNotDependOnMaxAge(t *testing.T) {
	for n := 7950; n < 8100; n++ {
		var names [2][]string
		for i, age := range [2]time.Duration{9 * time.Second, MaxAge} {
			lines, err := kind.split(value(n, 1), 1000, seconds(age))
			if err != nil && !errors.Is(err, Size) {
				t.Fatal(err)
			}
			for _, l := range lines {
				name, _, _ := strings.Cut(l, "=")
				names[i] = append(names[i], name)
			}
		}
		if len(names[0]) != len(names[1]) {
			t.Fatalf("%d bytes: %d and %d cookies", n, len(names[0]), len(names[1]))
		}
	}
}

func TestExpireAll(t *testing.T) {
	h := http.Header{"Set-Cookie": {"a=1", "b=2; Path=/", "ab=3"}}
	b, c := Kind{Name: "b", Secure: true, SameSite: http.SameSiteNoneMode}, Kind{Name: "c"}
	ExpireAll(h, nil)
	if h.Get("Cache-Control") != "" {
		t.Fatal("nothing to keep")
	}
	ExpireAll(h, []Kind{b, c, b})
	want := []string{"a=1", "ab=3", b.line("b", "", 0), c.line("c", "", 0)}
	if !slices.Equal(h["Set-Cookie"], want) || h.Get("Cache-Control") != "no-store" {
		t.Fatal(h)
	}
}

func TestAssume(t *testing.T) {
	// What the request did not bring along goes as well, and what the write itself sets stays.
	for _, n := range []int{10, 6000} {
		b := newBrowser(t)
		b.set(value(6000, 1), 1000)
		h := http.Header{}
		f := Find(nil, kind.Name)
		f.Assume(kind.Name, 1000)
		if err := kind.Set(h, f, value(n, 2), 1001, time.Hour); err != nil {
			t.Fatal(err)
		}
		b.take(h)
		left := b.find()
		if g, split := left.Split(); split != (n > 4000) || split && g != 1001 || left.Present == split {
			t.Fatalf("%d bytes: %v", n, b.keys)
		}
		if n > 4000 {
			if v, err := left.Join(); err != nil || v != value(n, 2) {
				t.Fatal(err)
			}
		}
	}
	var f Found
	f.Assume(kind.Name, 0)
	if _, split := f.Split(); split {
		t.Fatal("generation 0")
	}
}
