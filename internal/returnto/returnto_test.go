package returnto

import (
	"bufio"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const origin = "https://rp.example"

// own stands for the routes of the middleware.
func own(p string) bool {
	p = strings.ToLower(strings.TrimSuffix(p, "/"))
	switch p {
	case "/auth/login", "/auth/logout", "/auth/logout/callback", "/auth/session", "/auth/callback":
		return true
	}
	return strings.HasPrefix(p, "/auth/login/")
}

func TestCleanKeepsOwnPaths(t *testing.T) {
	for _, raw := range []string{
		"/", "/a", "/a/", "/a/b?c=d", "/a//b", "/a?next=//evil.example", "/a?u=https://evil.example/#x", "/#/route", "/a#//x",
		"/caf%C3%A9", "/a%20b", "/100%25", "/a%2Fb", "/a.b/c..d/...", "/a/.well-known", "/search?q=caf%E9", "/search?q=a%", "/search?q=%2e%2e%2f", "/~u/(x)/:y/@z;p=1",
		"/auth", "/auth/", "/auth/profile", "/auth/loginx", "/a?b=\\", "/javascript:alert(1)", "/%F0%9F%91%A9%E2%80%8D%F0%9F%92%BB",
		"/" + strings.Repeat("a", maxLength-1),
	} {
		if strings.Contains(raw, `\`) { // kept out of the whole address: a proxy may rewrite it before the query is split off
			if got := Clean(raw, own, "/home"); got != "/home" {
				t.Errorf("Clean(%q) = %q", raw, got)
			}
			continue
		}
		if got := Clean(raw, own, "/home"); got != raw {
			t.Errorf("Clean(%q) = %q, want it unchanged", raw, got)
		}
		if u := resolve(t, raw); u != origin {
			t.Errorf("%q is kept and resolves to %q", raw, u)
		}
	}
}

// The rows of the catalogue, word for word.
func TestCleanRefuses(t *testing.T) {
	for id, raws := range map[string][]string{
		"ATK-R09 scheme-relative": {"//evil.example", "///evil.example", "////evil.example/%2f.."},
		"ATK-R10 backslash":       {`/\evil.example`, `\\evil.example`, `/\/evil.example`, "/%5cevil.example", "//%5cevil.example"},
		"ATK-R11 encoded":         {"%2f%2fevil.example", "/%2f%2fevil.example", "%252f%252fevil", "/%2fevil.example", "/%252fevil.example", "/%25252fevil.example"},
		"ATK-R12 control characters": {
			"/%09/evil.example", "/%0a/evil", "/%0d%0aLocation:%20https://evil", "%01https://evil", "/%00//evil",
			"/\t/evil.example", "/\r\n/evil", "/\n/evil", "\t//evil", " //evil", "/a b", "/a\x7f", "/?a=\r\nX: y", "/?a=%0d%0aX:y", "/#%0a",
		},
		"ATK-R13 absolute, userinfo, dots": {
			"https://evil.example", "http:evil.example", "http:/evil.example", "https://rp.example@evil.example", "https://rp.example.evil.example", "//good@evil", "/.evil.example", "@evil.example",
			"https://rp.example/", "/%2eevil.example", "/a/../b", "/a/%2e%2e/b", "/a/%252e./b", "/a/..;/b", "/./a", "/a/.", "/a/..%3fx",
		},
		"ATK-R15 Unicode": {"//evil%E3%80%82example", "／／evil", "/／evil", "/ⓔvil", "/a\u2028b", "/%E2%80%A8", "/%EF%BC%8Fevil", "/%25EF%25BC%258Fevil", "/a%E3%80%82b"},
		"ATK-R16 loops": {
			"/auth/login", "/auth/logout", "/auth/callback?code=x", "/auth/login?return_to=/a", "/auth//login", "/auth%2flogin", "/auth/log%69n", "/auth/log%2569n", "/auth/login/x", "/auth/login/", "/auth/login#x", "/auth/login%3fx", "/auth/callback%23", "/AUTH/login",
		},
		"ATK-R17 size":     {"/" + strings.Repeat("a", 100<<10), "/" + strings.Repeat("a", maxLength)},
		"other characters": {"", "a", "?a", "#a", "/%", "/%2", "/%zz", "/%ff", "/%c0%af", "/%25%32%35%32%35%32%35%32%35%32%35"},
	} {
		t.Run(id, func(t *testing.T) {
			for _, raw := range raws {
				if got := Clean(raw, own, "/home"); got != "/home" {
					t.Errorf("Clean(%.80q) = %.80q, want the fallback", raw, got)
				}
			}
		})
	}
}

func TestCleanBoundsDecoding(t *testing.T) {
	for layers := range 40 {
		raw := "/" + strings.Repeat("%25", min(layers, 1)) + strings.Repeat("25", max(layers-1, 0)) + "2f/evil.example"
		if layers == 0 {
			raw = "/%2f/evil.example"
		}
		if got := Clean(raw, nil, "/home"); got != "/home" {
			t.Errorf("%d layers: %q", layers, got)
		}
	}
	// Layers without end do not pass because nothing was found underneath.
	if got := Clean("/a%2525252525", nil, "/home"); got != "/home" {
		t.Errorf("endless encoding is kept: %q", got)
	}
}

// corpus returns the payloads as they stand in a query, percent-encoded once.
func corpus(t testing.TB) []string {
	f, err := os.Open(filepath.Join("testdata", "refused.txt"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var lines []string
	for s := bufio.NewScanner(f); s.Scan(); {
		if !strings.HasPrefix(s.Text(), "# ") {
			lines = append(lines, s.Text())
		}
	}
	if len(lines) < 485 {
		t.Fatalf("the corpus has %d lines only", len(lines))
	}
	return lines
}

func TestCleanCorpus(t *testing.T) { // ATK-R20
	for _, line := range corpus(t) {
		raw, err := url.QueryUnescape(line)
		if err != nil {
			t.Fatalf("line %q is no query: %v", line, err)
		}
		// A framework in front may have decoded a layer, or none.
		for _, form := range []string{raw, line} {
			got := Clean(form, own, "/home")
			if u := resolve(t, got); u != origin {
				t.Errorf("%q is kept as %q, which leads to %q", line, got, u)
			}
		}
		if got := Clean(raw, own, "/home"); got != "/home" {
			t.Errorf("%.80q is kept: %.80q", line, got)
		}
	}
}

// The resolver must be able to fail: it has to see through what the corpus tries.
func TestResolverSeesOtherOrigins(t *testing.T) {
	for raw, want := range map[string]string{
		"//evil.example": "https://evil.example", `/\evil.example`: "https://evil.example", "/\t/evil.example": "https://evil.example", "http:evil.example": "http://evil.example",
		"https:evil.example": origin, "https:/x": origin, "https:///evil.example": "https://evil.example", "///a@evil.example:8443/x": "https://evil.example:8443", "javascript:alert(1)": "javascript:",
		"\x01 //EVIL.example": "https://evil.example", "a:b": "a:", "/a:b": origin, "?//evil": origin, "#//evil": origin, "..//evil": origin, "//evil.example:443": "https://evil.example", `https:\\evil.example`: "https://evil.example",
	} {
		if got := resolve(t, raw); got != want {
			t.Errorf("resolve(%q) = %q, want %q", raw, got, want)
		}
	}
}

// resolve says to which origin a browser on https://rp.example/auth/callback goes when told to go to ref.
// It is the part of WHATWG URL §4.4 that decides about the authority: scheme, slashes, userinfo, host and port.
func resolve(t testing.TB, ref string) string {
	t.Helper()
	ref = strings.TrimFunc(ref, func(r rune) bool { return r <= ' ' })
	ref = strings.NewReplacer("\t", "", "\n", "", "\r", "").Replace(ref)
	special := map[string]string{"http": "80", "https": "443", "ws": "80", "wss": "443", "ftp": "21", "file": ""}
	scheme, rest := "https", ref
	if i := strings.IndexByte(ref, ':'); i > 0 && isScheme(ref[:i]) {
		scheme, rest = strings.ToLower(ref[:i]), ref[i+1:]
		if _, ok := special[scheme]; !ok {
			return scheme + ":"
		}
		slashes := 0
		for slashes < len(rest) && (rest[slashes] == '/' || rest[slashes] == '\\') {
			slashes++
		}
		if scheme == "https" && !strings.HasPrefix(rest, "//") { // special relative or authority state
			if slashes >= 2 && rest[0] != '/' || slashes >= 2 && rest[1] != '/' {
				return authority(scheme, rest[slashes:], special)
			}
			return origin
		}
		return authority(scheme, rest[slashes:], special)
	}
	slashes := 0
	for slashes < len(rest) && (rest[slashes] == '/' || rest[slashes] == '\\') {
		slashes++
	}
	if slashes < 2 { // relative state
		return origin
	}
	return authority(scheme, rest[slashes:], special)
}

func authority(scheme, s string, ports map[string]string) string {
	if end := strings.IndexAny(s, `/\?#`); end >= 0 {
		s = s[:end]
	}
	s = s[strings.LastIndexByte(s, '@')+1:]
	host, port, _ := strings.Cut(s, ":")
	if port != "" && port != ports[scheme] {
		host += ":" + port
	}
	return scheme + "://" + strings.ToLower(host)
}

func isScheme(s string) bool {
	for i, r := range s {
		letter := 'a' <= r|0x20 && r|0x20 <= 'z'
		if !letter && (i == 0 || !strings.ContainsRune("0123456789+-.", r)) {
			return false
		}
	}
	return true
}

// Where Node is installed its WHATWG parser has a word, too: both about what is kept and about the resolver above.
func TestCleanAgainstNode(t *testing.T) {
	node, err := exec.LookPath("node")
	if err != nil {
		t.Log("Node is not installed: only the resolver of this file judged")
		return
	}
	var kept strings.Builder
	for _, line := range corpus(t) {
		raw, _ := url.QueryUnescape(line)
		for _, form := range []string{raw, line} {
			kept.WriteString(url.QueryEscape(Clean(form, own, "/home")) + "\n")
		}
	}
	cmd := exec.Command(node, "-e", `
		const lines = require("fs").readFileSync(0, "utf8").split("\n").filter(Boolean);
		for (const l of lines) {
			const ref = decodeURIComponent(l.replace(/\+/g, " "));
			const u = new URL(ref, "https://rp.example/auth/callback");
			if (u.origin !== "https://rp.example") console.log(l + " -> " + u.href);
		}
		console.log("judged " + lines.length);`)
	cmd.Stdin = strings.NewReader(kept.String())
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("node: %v\n%s", err, out)
	}
	if !strings.HasPrefix(string(out), "judged ") {
		t.Errorf("leaves the origin:\n%s", out)
	}
}

func FuzzClean(f *testing.F) {
	for _, line := range corpus(f) {
		raw, _ := url.QueryUnescape(line)
		f.Add(raw)
	}
	f.Add("/a/b?c=d#e")
	f.Fuzz(func(t *testing.T, raw string) {
		got := Clean(raw, own, "/home")
		if got != raw && got != "/home" {
			t.Fatalf("Clean(%q) = %q: neither kept nor dropped", raw, got)
		}
		// However often somebody decodes it: the same origin, no way up, no line end.
		for s, i := got, 0; i < 2*maxDecodings; i++ {
			if u := resolve(t, s); u != origin {
				t.Fatalf("%q leads to %q after %d decodings", raw, u, i)
			}
			if strings.ContainsAny(s, "\r\n\x00") {
				t.Fatalf("%q shows a control character after %d decodings", raw, i)
			}
			s = decode(s)
		}
		if Clean(got, own, "/home") != got {
			t.Fatalf("Clean is not stable for %q", raw)
		}
	})
}
