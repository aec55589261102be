// Package returnto judges where a browser may be sent after a login.
//
// A return address comes from a stranger: it stands in the query of the login link.
// What a Go program reads as a path, a browser may read as another host: it drops tabs and line ends, takes a backslash for a slash, and skips any number of slashes before an authority (WHATWG URL §4.4).
// So an address is not parsed and repaired here; it is either a plain path of this origin under every reading, or it is dropped.
package returnto

import (
	"path"
	"strings"
	"unicode/utf8"
)

// maxLength is the longest return address that is kept, in bytes.
const maxLength = 2048

// maxDecodings bounds how many layers of percent-encoding are looked under.
// A fifth layer has no honest use.
const maxDecodings = 4

// disguises are characters that software on the way folds into a separator, a dot or a line end:
// IDNA and NFKC map the wide and small forms, and some terminals and templates end a line at U+2028.
const disguises = "\u0085\u2024\u2025\u2028\u2029\u2044\u2215\u2216\u29f5\u29f8\u3002\ufe52\ufe55\ufe68\ufe6b\uff0e\uff0f\uff1a\uff20\uff3c\uff61\ufeff"

// Clean returns raw if it is a path (with an optional query and fragment) of this origin however a browser reads it, and fallback otherwise.
//
// raw is the value after the one decoding that the query parser does.
// excluded is asked about the path, cleaned and at every layer of decoding; an address it claims falls back too, so that a login does not lead into another login or a logout.
// It may be nil. Clean does not judge fallback, which is the application's own. It is safe for concurrent use if excluded is.
func Clean(raw string, excluded func(path string) bool, fallback string) string {
	if !plain(raw) {
		return fallback
	}
	place, rest := split(raw)
	if !wellEncoded(place) || !settles(place, func(p string) bool { return harmless(p) && (excluded == nil || !claims(excluded, p)) }) {
		return fallback
	}
	if !settles(rest, func(s string) bool { return !hasControl(s) }) {
		return fallback
	}
	return raw
}

// claims asks excluded about p as it stands and as a router that cleans paths would see it.
func claims(excluded func(string) bool, p string) bool {
	if end := strings.IndexAny(p, "?#"); end >= 0 {
		p = p[:end]
	}
	return excluded(p) || excluded(path.Clean(p))
}

// plain accepts ASCII without spaces and controls that starts with exactly one slash.
func plain(raw string) bool {
	if raw == "" || len(raw) > maxLength || raw[0] != '/' {
		return false
	}
	for i := range len(raw) {
		if raw[i] <= ' ' || raw[i] >= 0x7f || raw[i] == '\\' {
			return false
		}
	}
	return true
}

// split parts the path from the query and fragment.
func split(raw string) (place, rest string) {
	if i := strings.IndexAny(raw, "?#"); i >= 0 {
		return raw[:i], raw[i:]
	}
	return raw, ""
}

// settles reports whether ok holds for s and for everything that repeated percent-decoding makes of it, and whether that comes to an end.
func settles(s string, ok func(string) bool) bool {
	for range maxDecodings {
		if !ok(s) {
			return false
		}
		decoded := decode(s)
		if decoded == s {
			return true
		}
		s = decoded
	}
	return false
}

// harmless judges a path at one layer of decoding.
func harmless(p string) bool {
	switch {
	case len(p) > 1 && strings.IndexByte("/. ", p[1]) >= 0: // another host, one that starts with a dot, or one behind a blank that somebody trims
		return false
	case strings.ContainsRune(p, '\\'): // a slash to a browser (WHATWG URL §4.4, relative slash state)
		return false
	case hasControl(p), !utf8.ValidString(p), strings.ContainsAny(p, disguises):
		return false
	}
	// Parameters and a query that a decoding reveals end a segment too.
	for segment := range strings.FieldsFuncSeq(p, func(r rune) bool { return r == '/' || r == ';' || r == '?' || r == '#' }) {
		if segment == "." || segment == ".." {
			return false
		}
	}
	return true
}

func hasControl(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] == 0x7f {
			return true
		}
	}
	return false
}

// wellEncoded reports whether every percent sign starts an escape. A server would answer 400 to the others.
func wellEncoded(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] == '%' {
			if i+2 >= len(s) || unhex(s[i+1]) < 0 || unhex(s[i+2]) < 0 {
				return false
			}
			i += 2
		}
	}
	return true
}

// decode takes one layer of percent-encoding off; what is no escape stays.
func decode(s string) string {
	if !strings.Contains(s, "%") {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			if hi, lo := unhex(s[i+1]), unhex(s[i+2]); hi >= 0 && lo >= 0 {
				b = append(b, byte(hi<<4|lo))
				i += 2
				continue
			}
		}
		b = append(b, s[i])
	}
	return string(b)
}

func unhex(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}
