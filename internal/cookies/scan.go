// Package cookies finds our cookies in a request and writes them to a response: one pass over the Cookie
// header that sees duplicates and chunks, values split so that torn ones are
// noticed, and the attributes of RFC 6265bis.
package cookies

import "strings"

// Reason is why the cookies of a request, or of a response, were refused. It is an error.
type Reason string

// The reasons.
const (
	// Duplicate: two cookies have one name, so somebody else may have set one (RFC 6265bis §4.2.2).
	Duplicate Reason = "duplicate"
	// Chunk: the newest split value is not there as a whole, or not as it was written.
	Chunk Reason = "chunk"
	// Size: more than browsers keep.
	Size Reason = "size"
)

func (r Reason) Error() string { return "cookies: refused: " + string(r) }

// Scanner walks the cookies of the Cookie header's lines as net/http does, without
// allocating and without looking at each byte of a value: what reads the value checks it anyway.
type Scanner struct {
	Name  string
	Value string // without the one pair of quotes that net/http takes off

	lines []string
	rest  string
}

// Scan starts at the first cookie of the lines.
func Scan(lines []string) Scanner { return Scanner{lines: lines} }

// Next goes to the next cookie and reports whether there was one. A part without '=' is a
// name with an empty value.
func (s *Scanner) Next() bool {
	for {
		for s.rest == "" {
			if len(s.lines) == 0 {
				return false
			}
			s.rest, s.lines = s.lines[0], s.lines[1:]
		}
		part := s.rest
		if i := strings.IndexByte(part, ';'); i >= 0 {
			part, s.rest = part[:i], part[i+1:]
		} else {
			s.rest = ""
		}
		if part = trim(part); part == "" {
			continue
		}
		name, value, _ := strings.Cut(part, "=")
		if len(value) > 1 && value[0] == '"' && value[len(value)-1] == '"' {
			value = value[1 : len(value)-1]
		}
		s.Name, s.Value = trim(name), value
		return true
	}
}

// trim takes off what textproto.TrimString does.
func trim(s string) string {
	for s != "" && space(s[0]) {
		s = s[1:]
	}
	for s != "" && space(s[len(s)-1]) {
		s = s[:len(s)-1]
	}
	return s
}

func space(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }

// Get returns the value of the one cookie with exactly this name: names are case-sensitive here, whatever
// browsers do (RFC 6265bis §5.4). It returns Duplicate if there are two, in whatever order or lines.
func Get(lines []string, name string) (value string, found bool, err error) {
	for s := Scan(lines); s.Next(); {
		if s.Name != name {
			continue
		}
		if found {
			return "", true, Duplicate
		}
		value, found = s.Value, true
	}
	return value, found, nil
}

// HeaderSize is the number of bytes that the lines take in a request's header.
func HeaderSize(lines []string) (n int) {
	for _, l := range lines {
		n += len(l)
	}
	return n
}
