package cookies

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
)

func all(lines ...string) (out [][2]string) {
	for s := Scan(lines); s.Next(); {
		out = append(out, [2]string{s.Name, s.Value})
	}
	return out
}

func TestScan(t *testing.T) {
	for _, c := range []struct {
		name  string
		lines []string
		want  string // name=value joined by |
	}{
		{"nothing", nil, ""},
		{"empty lines", []string{"", " ", ";", " ; ;"}, ""},
		{"two", []string{"a=1; b=2"}, "a=1|b=2"},
		{"two lines", []string{"a=1", "b=2; a=3"}, "a=1|b=2|a=3"},
		{"spaces and tabs", []string{"\t a = 1 ;\tb=2 "}, "a= 1|b=2"},
		{"quotes", []string{`a="1"; b="; c="2`}, `a=1|b="|c="2`},
		{"one quote", []string{`a="`}, `a="`},
		{"no equals sign", []string{"a; b=2"}, "a=|b=2"},
		{"equals signs in the value", []string{"a=b=c=="}, "a=b=c=="},
		{"no name", []string{"=1"}, "=1"},
		{"no spaces", []string{"a=1;b=2;;c="}, "a=1|b=2|c="},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []string
			for _, p := range all(c.lines...) {
				got = append(got, p[0]+"="+p[1])
			}
			if s := strings.Join(got, "|"); s != c.want {
				t.Fatalf("got %s, want %s", s, c.want)
			}
		})
	}
}

func TestGet(t *testing.T) {
	const name = "__Host-session"
	t.Run("ATK-K02", func(t *testing.T) {
		for _, lines := range [][]string{
			{name + "=W; " + name + "=V"}, {name + "=V; " + name + "=W"}, {name + "=V", name + "=W"},
			{name + "=V; a=b; " + name + "=V"}, {name + "; " + name + "=V"}, {name + "=V", "a=b", "\t" + name + ` ="W"`},
		} {
			if v, found, err := Get(lines, name); !errors.Is(err, Duplicate) || !found || v != "" {
				t.Errorf("%q: %q, %v, %v", lines, v, found, err)
			}
		}
	})
	t.Run("ATK-K03", func(t *testing.T) {
		for _, other := range []string{
			"__host-session", "__HOST-session", "__Host-Session", "__Host-session%20", "session", "x__Host-session",
			"__Host-session2", "__Host-sessio", "\u00a0__Host-session", "__Host-session\x00", `"__Host-session"`,
		} {
			if _, found, err := Get([]string{other + "=W"}, name); found || err != nil {
				t.Errorf("%q passed for %s", other, name)
			}
			if v, found, err := Get([]string{other + "=W; " + name + "=V; " + other + "=W"}, name); !found || err != nil || v != "V" {
				t.Errorf("%q got in the way: %q, %v, %v", other, v, found, err)
			}
		}
	})
}

func TestScanManyCookies(t *testing.T) {
	// ATK-Q04: 5,000 cookies take one pass and no memory.
	line := strings.Repeat("a=b; ", 5000) + "__Host-session=V"
	lines := []string{line}
	allocs := testing.AllocsPerRun(10, func() {
		if v, found, err := Get(lines, "__Host-session"); v != "V" || !found || err != nil {
			t.Fatal(v, found, err)
		}
		if f := Find(lines, "__Host-session"); f.Value != "V" || f.Err() != nil {
			t.Fatal("Find")
		}
	})
	if allocs != 0 {
		t.Fatalf("%v allocations", allocs)
	}
	if n := HeaderSize([]string{"ab", "c"}); n != 3 {
		t.Fatal(n)
	}
}

// FuzzScan holds the scanner against net/http: what net/http sees we see, in that order, and what we see
// besides is what it leaves out for a byte of the name or value that our readers refuse later.
func FuzzScan(f *testing.F) {
	for _, s := range []string{"a=1; b=2", `a="1"; b=" x "`, "a", "=", " a = b ", "a=\x01;b=2", ";;", "a=1\nb=2", "é=1; a=é", `a="\"`, "a==;b=\t1"} {
		f.Add(s, "c=3")
	}
	f.Fuzz(func(t *testing.T, line1, line2 string) {
		lines := []string{line1, line2}
		if strings.Count(line1, ";")+strings.Count(line2, ";") > 1000 {
			return // net/http gives up at a number of cookies
		}
		var want [][2]string
		for _, c := range (&http.Request{Header: http.Header{"Cookie": lines}}).Cookies() {
			want = append(want, [2]string{c.Name, c.Value})
		}
		got := slices.DeleteFunc(all(lines...), func(p [2]string) bool {
			return !token(p[0]) || strings.ContainsFunc(p[1], func(r rune) bool {
				return r < 0x20 || r >= 0x7f || r == '"' || r == ';' || r == '\\'
			})
		})
		if !slices.Equal(got, want) {
			t.Fatalf("%q: got %q, net/http %q", lines, got, want)
		}
	})
}

func token(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return r <= ' ' || r >= 0x7f || strings.ContainsRune(`()<>@,;:\"/[]?={}`, r)
	})
}

func BenchmarkFind(b *testing.B) {
	lines := []string{"theme=dark; __Host-sallyport=" + strings.Repeat("A", 2300) + "; lang=en"}
	b.ReportAllocs()
	for b.Loop() {
		Find(lines, "__Host-sallyport")
	}
}
