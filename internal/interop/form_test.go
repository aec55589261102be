package interop

import (
	"errors"
	"net/url"
	"testing"
)

func TestFindForm(t *testing.T) {
	base, err := url.Parse("http://127.0.0.1:1/interaction/7?x=1")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, page             string
		method, action, fields string
	}{
		{"fields of every kind", `<form method="post" action="/login"><input type="hidden" name="id" value="a b"><input name="username"><input type="password" name="password"><button>Go</button></form>`,
			"POST", "http://127.0.0.1:1/login", "id=a+b&password=&username="},
		{"only the first button is pressed", `<form method="POST"><button name="b" value="1">yes</button><button name="b" value="2">no</button><input type="submit" name="s" value="3"></form>`,
			"POST", base.String(), "b=1"},
		{"a button that does not submit", `<form method="post"><button type="button" name="b" value="1">show</button><input type="submit" name="s" value="go"></form>`,
			"POST", base.String(), "s=go"},
		{"controls that stand outside", `<button form="f" name="logout" value="yes">yes</button><form id="f" method="post" action="confirm"><input type="hidden" name="xsrf" value="z"></form><button form="g" name="logout" value="other">no</button><input name="stray">`,
			"POST", "http://127.0.0.1:1/interaction/confirm", "logout=yes&xsrf=z"},
		{"no method", `<form action="?y=2"><input name="q" value="1"></form>`,
			"GET", "http://127.0.0.1:1/interaction/7?y=2", "q=1"},
		{"the first of two", `<form method="post" action="/one"></form><form method="post" action="/two"><input name="q"></form>`,
			"POST", "http://127.0.0.1:1/one", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, err := findForm(base, c.page)
			if err != nil {
				t.Fatal(err)
			}
			if f.method != c.method || f.action.String() != c.action || f.fields.Encode() != c.fields {
				t.Errorf("%s %s with %q, want %s %s with %q", f.method, f.action, f.fields.Encode(), c.method, c.action, c.fields)
			}
		})
	}
	if _, err := findForm(base, "<p>nothing to fill in</p>"); !errors.Is(err, errNoForm) {
		t.Errorf("page without a form: %v", err)
	}
}

func TestFetchSite(t *testing.T) {
	parse := func(address string) *url.URL {
		u, err := url.Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
	target := parse("https://a.example:1/x")
	for _, c := range []struct {
		chain []*url.URL
		want  string
	}{
		{nil, "none"},
		{[]*url.URL{parse("https://a.example:1/y")}, "same-origin"},
		{[]*url.URL{parse("https://a.example:2/")}, "same-site"},
		{[]*url.URL{parse("http://a.example:1/")}, "cross-site"},
		{[]*url.URL{parse("https://b.example:1/")}, "cross-site"},
		{[]*url.URL{parse("https://a.example:1/"), parse("https://b.example/"), parse("https://a.example:1/")}, "cross-site"},
	} {
		if got := fetchSite(c.chain, target); got != c.want {
			t.Errorf("%v: %s, want %s", c.chain, got, c.want)
		}
	}
}
