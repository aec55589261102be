package client

import (
	"net/url"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestParseParams(t *testing.T) {
	for in, want := range map[string][]param{
		"":                     nil,
		"a=1&b=2":              {{"a", "1"}, {"b", "2"}},
		"a=1&a=2":              {{"a", "1"}, {"a", "2"}},
		"a":                    {{"a", ""}},
		"a=":                   {{"a", ""}},
		"=1":                   {{"", "1"}},
		"a=b=c":                {{"a", "b=c"}},
		"a=1&&b=2&":            {{"a", "1"}, {"b", "2"}},
		"a+b=c+d":              {{"a b", "c d"}},
		"%61=%2B%2b":           {{"a", "++"}},
		"a=%C3%A9&b=%e2%82%ac": {{"a", "é"}, {"b", "€"}},
		"a=%00":                {{"a", "\x00"}},
		"[]=x":                 {{"[]", "x"}},
	} {
		if got, err := parseParams(in); err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: %q, %v, want %q", in, got, err, want)
		}
	}
	// ATK-L35, ATK-Q04
	for _, in := range []string{"%", "a=%", "a=%4", "a=%zz", "%zz=1", "a=1;b=2", ";", "a=%ff", "%ff=1", "a=\xff", "a=%c0%ae", "a=%ed%a0%80", strings.Repeat("a&", maxParams)} {
		if got, err := parseParams(in); err == nil || got != nil {
			t.Errorf("%q: %q", in, got)
		}
	}
	if _, err := parseParams(strings.Repeat("a&", maxParams-1)); err != nil {
		t.Error("the limit is lower than it says")
	}
}

// ATK-S03, ATK-L35: whatever it accepts, net/url reads the same, and it accepts nothing that net/url does not.
func FuzzParseParams(f *testing.F) {
	for _, s := range []string{"code=C1&state=SV", "a=%41+b&a=%2B", "a;b", "%zz", "a=%c0%ae", "&&=&", "a=%e2%82%ac"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := parseParams(s)
		if err != nil {
			return
		}
		want, err := url.ParseQuery(s)
		if err != nil {
			t.Fatalf("net/url refuses %q: %v", s, err)
		}
		have := url.Values{}
		for _, p := range got {
			if !utf8.ValidString(p.name) || !utf8.ValidString(p.value) {
				t.Errorf("%q is not UTF-8", p)
			}
			have.Add(p.name, p.value)
		}
		if have.Encode() != want.Encode() {
			t.Errorf("%q is %v, net/url says %v", s, have, want)
		}
		// What is sent can be read back.
		back, err := parseParams(encodeParams(got))
		if err != nil || !slices.Equal(back, got) {
			t.Errorf("%q came back as %q, %v", got, back, err)
		}
	})
}

func TestEncodeParams(t *testing.T) {
	if got := encodeParams([]param{{"a b", "c+d e&f"}, {"é", "%"}}); got != "a%20b=c%2Bd%20e%26f&%C3%A9=%25" {
		t.Errorf("got %s", got)
	}
}
