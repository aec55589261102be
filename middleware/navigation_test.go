package middleware

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// with returns a request with headers given as "Name: value".
func with(method, target string, headers ...string) *http.Request {
	target, query, _ := strings.Cut(target, "?")
	r := httptest.NewRequest(method, target, nil)
	r.URL.RawQuery = query // as it is: a browser's URL parser is not in the way
	r.Header = http.Header{}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Add(name, value)
	}
	return r
}

func TestIsNavigation(t *testing.T) {
	const page = "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
	for _, tt := range []struct {
		name    string
		method  string
		headers []string
		want    bool
	}{
		{"browser opens a page", "GET", []string{"Sec-Fetch-Site: none", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document", page}, true},
		{"link from elsewhere", "GET", []string{"Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document"}, true},
		{"mode alone", "GET", []string{"Sec-Fetch-Mode: navigate"}, true},
		{"HEAD", "HEAD", []string{"Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document"}, true},
		{"form post", "POST", []string{"Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document", page}, false},
		{"old browser", "GET", []string{page}, true},
		{"old browser, second line", "GET", []string{"Accept: application/json", "Accept: Text/HTML"}, true},
		{"html with a weight", "GET", []string{"Accept: text/html ; q=0.1"}, true},
		{"html unwanted", "GET", []string{"Accept: text/html; q=0, application/json"}, false},
		{"curl", "GET", []string{"Accept: */*"}, false},
		{"no header at all", "GET", nil, false},
		{"fetch that accepts html", "GET", []string{"Sec-Fetch-Site: same-origin", "Sec-Fetch-Mode: cors", "Sec-Fetch-Dest: empty", page}, false},
		{"site alone with html", "GET", []string{"Sec-Fetch-Site: same-origin", page}, false},
		{"iframe", "GET", []string{"Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: iframe", page}, false},
		{"image", "GET", []string{"Sec-Fetch-Mode: no-cors", "Sec-Fetch-Dest: image", page}, false},
		{"dest without mode", "GET", []string{"Sec-Fetch-Dest: document", page}, false},
		{"htmlx is not html", "GET", []string{"Accept: text/htmlx, application/text/html"}, false},
	} {
		if got := isNavigation(with(tt.method, "/", tt.headers...)); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestIsSpeculative(t *testing.T) { // ATK-L36
	for header, want := range map[string]bool{
		"Sec-Purpose: prefetch": true, "Sec-Purpose: prefetch;prerender": true, "Sec-Purpose: Prefetch;anonymous-client-ip": true, "Purpose: prefetch": true,
		"X-Moz: prefetch": true, "X-Purpose: preview": true, "Purpose: preview": true, "Sec-Purpose: ": false, "Accept: prefetch": false,
	} {
		if got := isSpeculative(with("GET", "/", header)); got != want {
			t.Errorf("%s: %v, want %v", header, got, want)
		}
	}
}

func TestIsEmbedded(t *testing.T) { // ATK-L31
	for _, tt := range []struct {
		site, mode, dest string
		want             bool
	}{
		{"", "", "", false}, {"none", "navigate", "document", false}, {"same-origin", "navigate", "document", false}, {"cross-site", "navigate", "document", false},
		{"cross-site", "no-cors", "image", true}, {"cross-site", "navigate", "iframe", true}, {"cross-site", "cors", "empty", true}, {"same-site", "no-cors", "script", true},
		{"same-origin", "cors", "empty", true}, {"cross-site", "", "image", true}, {"cross-site", "no-cors", "", true}, {"cross-site", "", "", false},
	} {
		r := with("GET", "/")
		for name, v := range map[string]string{"Sec-Fetch-Site": tt.site, "Sec-Fetch-Mode": tt.mode, "Sec-Fetch-Dest": tt.dest} {
			if v != "" {
				r.Header.Set(name, v)
			}
		}
		if got := isEmbedded(r); got != tt.want {
			t.Errorf("%+v: %v", tt, got)
		}
	}
}

func TestCrossOrigin(t *testing.T) { // ATK-K20
	a := testAuth(t, Config{TrustedOrigins: []string{"https://www.example"}})
	for _, tt := range []struct {
		name    string
		method  string
		headers []string
		refused bool
	}{
		{"command line", "POST", nil, false},
		{"same origin", "POST", []string{"Sec-Fetch-Site: same-origin"}, false},
		{"the user himself", "POST", []string{"Sec-Fetch-Site: none"}, false},
		{"sibling subdomain", "POST", []string{"Sec-Fetch-Site: same-site", "Origin: https://evil.rp.example"}, true},
		{"other site", "POST", []string{"Sec-Fetch-Site: cross-site"}, true},
		{"our origin by name only", "DELETE", []string{"Sec-Fetch-Site: cross-site", "Origin: https://rp.example"}, false},
		{"a trusted origin", "PUT", []string{"Sec-Fetch-Site: cross-site", "Origin: https://www.example"}, false},
		{"old browser, us", "POST", []string{"Origin: https://rp.example"}, false},
		{"old browser, trusted", "POST", []string{"Origin: https://www.example"}, false},
		{"old browser, another", "POST", []string{"Origin: https://evil.example"}, true},
		{"old browser, our host over http", "POST", []string{"Origin: http://rp.example"}, true},
		{"old browser, null", "POST", []string{"Origin: null"}, true},
		{"a read", "GET", []string{"Sec-Fetch-Site: cross-site", "Origin: https://evil.example"}, false},
		{"preflight", "OPTIONS", []string{"Sec-Fetch-Site: cross-site", "Origin: https://evil.example"}, false},
		{"a method of their own", "PURGE", []string{"Sec-Fetch-Site: same-site"}, true},
	} {
		err := a.crossOrigin(with(tt.method, "https://rp.example/api/pay", tt.headers...))
		if (err != nil) != tt.refused {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	if err := a.crossOrigin(with("POST", "https://rp.example/", "Origin: http://rp.example")); !errors.Is(err, ErrCSRF) {
		t.Errorf("the error is %v, want ErrCSRF", err)
	}
}

func TestForeignRead(t *testing.T) { // ATK-K20
	a := testAuth(t, Config{TrustedOrigins: []string{"https://www.example"}})
	for _, tt := range []struct {
		headers []string
		want    bool
	}{
		{nil, false}, {[]string{"Sec-Fetch-Site: none"}, false}, {[]string{"Sec-Fetch-Site: same-origin", "Sec-Fetch-Mode: cors"}, false},
		{[]string{"Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate"}, false}, {[]string{"Sec-Fetch-Site: same-site", "Sec-Fetch-Mode: no-cors"}, true},
		{[]string{"Sec-Fetch-Site: same-site", "Sec-Fetch-Mode: cors", "Origin: https://evil.rp.example"}, true},
		{[]string{"Sec-Fetch-Site: same-site", "Sec-Fetch-Mode: cors", "Origin: https://www.example"}, false}, {[]string{"Sec-Fetch-Site: cross-site"}, true},
	} {
		if got := a.foreignRead(with("GET", "/api", tt.headers...)); got != tt.want {
			t.Errorf("%v: %v", tt.headers, got)
		}
	}
}
