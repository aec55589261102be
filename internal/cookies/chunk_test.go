package cookies

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"testing"
)

// chunks returns the cookies of one write.
func chunks(t *testing.T, n, seed int, generation uint64) map[string]string {
	t.Helper()
	b := newBrowser(t)
	b.set(value(n, seed), generation)
	return maps.Clone(b.jar)
}

func findIn(jars ...map[string]string) Found {
	var parts []string
	for _, j := range jars {
		for k, v := range j {
			parts = append(parts, k+"="+v)
		}
	}
	return Find(parts, kind.Name)
}

func TestJoinRefuses(t *testing.T) {
	const g1, g2 = 1000, 1001
	old, now := chunks(t, 6000, 1, g1), chunks(t, 7000, 2, g2)
	name := func(g uint64, i int) string { return chunkName(kind.Name, g, i) }
	change := func(f func(m map[string]string)) map[string]string {
		m := maps.Clone(now)
		f(m)
		return m
	}
	drop := func(i int) map[string]string {
		return change(func(m map[string]string) { delete(m, name(g2, i)) })
	}
	for _, c := range []struct {
		name string
		jar  []map[string]string
	}{
		{"nothing", nil},
		{"ATK-K06 first removed", []map[string]string{drop(0)}},
		{"ATK-K06 last removed", []map[string]string{drop(1)}},
		{"ATK-K06 an old whole one behind a torn one", []map[string]string{old, drop(1)}},
		{"ATK-K06 an old whole one behind a headless one", []map[string]string{old, drop(0)}},
		{"ATK-K06 one too many", []map[string]string{change(func(m map[string]string) { m[name(g2, 2)] = "x" })}},
		{"ATK-K06 one far out", []map[string]string{change(func(m map[string]string) { m[name(g2, 200)] = "x" })}},
		{"ATK-K07 mixed", []map[string]string{change(func(m map[string]string) { m[name(g2, 1)] = old[name(g1, 1)] })}},
		{"ATK-K07 swapped", []map[string]string{change(func(m map[string]string) {
			m[name(g2, 0)], m[name(g2, 1)] = m[name(g2, 1)], m[name(g2, 0)]
		})}},
		{"ATK-K07 an old value under a new generation", []map[string]string{{name(g2, 0): old[name(g1, 0)], name(g2, 1): old[name(g1, 1)]}}},
		{"ATK-K04 cut", []map[string]string{change(func(m map[string]string) { m[name(g2, 1)] = m[name(g2, 1)][1:] })}},
		{"another count", []map[string]string{change(func(m map[string]string) { m[name(g2, 0)] = "3" + m[name(g2, 0)][1:] })}},
		{"a count spelt otherwise", []map[string]string{change(func(m map[string]string) { m[name(g2, 0)] = "0" + m[name(g2, 0)] })}},
		{"no manifest", []map[string]string{{name(g2, 0): "value"}}},
		{"empty", []map[string]string{{name(g2, 0): ""}}},
		{"a gap", []map[string]string{{name(g2, 0): now[name(g2, 0)], name(g2, 2): now[name(g2, 1)]}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := findIn(c.jar...)
			if v, err := f.Join(); !errors.Is(err, Chunk) || v != "" {
				t.Fatalf("%d characters, %v", len(v), err)
			}
		})
	}
	t.Run("whole behind an older torn one", func(t *testing.T) {
		delete(old, name(g1, 0))
		f := findIn(old, now)
		if v, err := f.Join(); err != nil || v != value(7000, 2) {
			t.Fatal(err)
		}
		// ATK-K06: the next write takes the leftovers away.
		b := newBrowser(t)
		for _, m := range []map[string]string{old, now} {
			for k, v := range m {
				b.jar[k] = v
				b.keys = append(b.keys, k)
			}
		}
		b.set("short", g2+1)
		if len(b.jar) != 1 || b.jar[kind.Name] != "short" {
			t.Fatalf("%d cookies left", len(b.jar))
		}
	})
}

func TestFindDuplicates(t *testing.T) {
	m := chunks(t, 6000, 1, 1000)
	one := map[string]string{chunkName(kind.Name, 1000, 0): m[chunkName(kind.Name, 1000, 0)]}
	for name, f := range map[string]Found{
		"ATK-K01 single": Find([]string{kind.Name + "=V; " + kind.Name + "=W"}, kind.Name),
		"ATK-K02 lines":  Find([]string{kind.Name + "=V", kind.Name + "=V"}, kind.Name),
		"ATK-K01 chunk":  findIn(m, one),
	} {
		t.Run(name, func(t *testing.T) {
			if err := f.Err(); !errors.Is(err, Duplicate) {
				t.Fatal(err)
			}
		})
	}
}

func TestFindBoundsChunks(t *testing.T) {
	// ATK-Q04: thousands of planted chunks cost no more than their number, and let nobody in.
	var b strings.Builder
	for i := range 5000 {
		fmt.Fprintf(&b, "%s=x; ", chunkName(kind.Name, uint64(i), 0))
	}
	f := Find([]string{b.String()}, kind.Name)
	if len(f.chunks) != 5000-1 || !errors.Is(f.Err(), Chunk) || !f.Overflow() {
		t.Fatalf("%d kept, %v", len(f.chunks), f.Err())
	}
	h := http.Header{}
	kind.Expire(h, f) // and a logout takes all of them away
	if n := len(h["Set-Cookie"]); n != 5000 {
		t.Fatalf("%d lines", n)
	}
}

func TestChunkNameOneSpelling(t *testing.T) {
	// ATK-K03: what we did not write is not ours.
	for _, s := range []string{
		".", "..", ".1", ".1.", "..1", ".1.01", ".01.1", ".1.-1", ".1.+1", ".A.1", ".1.a", ".1.1.1", "-login.x", ".1. 1",
		".-1.0", "._.0", ".1_0.0", ".zzzzzzzzzzz.0", ".zzzzzzzzzzzz.0", ".1.1000", "x1.1", ".0.0",
	} {
		if g, i, ok := cutChunkName(s); ok {
			t.Errorf("%q is read as generation %d index %d", s, g, i)
		}
	}
	for _, g := range []uint64{1, 35, 36, 1_900_000_000_000, maxGeneration} {
		for _, i := range []int{0, 1, 9, 10, 999} {
			got, j, ok := cutChunkName(chunkName("", g, i))
			if !ok || got != g || j != i {
				t.Errorf("%d, %d: %d, %d, %v", g, i, got, j, ok)
			}
		}
	}
}

func FuzzFind(f *testing.F) {
	f.Add("__Host-s=1; __Host-s.a.0=1.x.y", "__Host-s.a.1=")
	f.Add("__Host-s.=1", "__Host-s..=2")
	f.Fuzz(func(t *testing.T, line1, line2 string) {
		found := Find([]string{line1, line2}, kind.Name)
		if v, err := found.Join(); err != nil && v != "" {
			t.Fatal("a value and an error")
		}
		value, present, err := Get([]string{line1, line2}, kind.Name)
		if present != found.Present || err != nil && found.Err() == nil || err == nil && value != found.Value {
			t.Fatal("Get and Find differ")
		}
	})
}
