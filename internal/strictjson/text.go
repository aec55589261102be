package strictjson

import (
	"bytes"
	"unicode/utf16"
	"unicode/utf8"
)

// name reads a member's name and undoes its escapes. Only a name that has any
// costs an allocation.
func (s *scanner) name() ([]byte, error) {
	if s.peek() != '"' {
		return nil, ErrSyntax
	}
	start := s.at
	escaped, err := s.text()
	if err != nil {
		return nil, err
	}
	body := s.in[start+1 : s.at-1]
	if escaped {
		return unescape(body), nil
	}
	return body, nil
}

// text reads a string with its quotes and reports whether it has escapes.
func (s *scanner) text() (escaped bool, err error) {
	s.at++ // "
	for s.at < len(s.in) {
		switch c := s.in[s.at]; {
		case c == '"':
			s.at++
			return escaped, nil
		case c == '\\':
			escaped = true
			if err := s.escape(); err != nil {
				return false, err
			}
		case c < 0x20:
			return false, ErrSyntax // RFC 8259 §7
		default:
			s.at++
		}
	}
	return false, ErrSyntax
}

// escape reads one escape, or the two that make a surrogate pair.
func (s *scanner) escape() error {
	s.at++ // \
	switch s.peek() {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		s.at++
		return nil
	case 'u':
	default:
		return ErrSyntax
	}
	unit, ok := hex4(s.in[s.at+1:])
	if !ok {
		return ErrSyntax
	}
	s.at += 5
	if !utf16.IsSurrogate(unit) {
		return nil
	}
	// RFC 7493 §2.1: half a pair is no character. encoding/json would put
	// U+FFFD in its place, and two different names would become one.
	rest := s.in[s.at:]
	if len(rest) < 2 || rest[0] != '\\' || rest[1] != 'u' {
		return ErrEncoding
	}
	low, ok := hex4(rest[2:])
	if !ok {
		return ErrSyntax
	}
	if utf16.DecodeRune(unit, low) == utf8.RuneError {
		return ErrEncoding
	}
	s.at += 6
	return nil
}

// hex4 reads the four digits of a \u escape.
func hex4(b []byte) (rune, bool) {
	if len(b) < 4 {
		return 0, false
	}
	var r rune
	for _, c := range b[:4] {
		switch {
		case isDigit(c):
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}

// unquote returns the text of a string that the scanner has accepted.
func unquote(raw []byte) string {
	body := raw[1 : len(raw)-1]
	if bytes.IndexByte(body, '\\') < 0 {
		return string(body)
	}
	return string(unescape(body))
}

// unescape undoes the escapes of a string that the scanner has accepted, so
// nothing here can be malformed.
func unescape(body []byte) []byte {
	out := make([]byte, 0, len(body))
	for {
		i := bytes.IndexByte(body, '\\')
		if i < 0 {
			return append(out, body...)
		}
		out = append(out, body[:i]...)
		c := body[i+1]
		body = body[i+2:]
		switch c {
		case 'b':
			out = append(out, '\b')
		case 'f':
			out = append(out, '\f')
		case 'n':
			out = append(out, '\n')
		case 'r':
			out = append(out, '\r')
		case 't':
			out = append(out, '\t')
		case 'u':
			r, _ := hex4(body)
			body = body[4:]
			if utf16.IsSurrogate(r) {
				low, _ := hex4(body[2:])
				body = body[6:]
				r = utf16.DecodeRune(r, low)
			}
			out = utf8.AppendRune(out, r)
		default: // " \ /
			out = append(out, c)
		}
	}
}

// stringArray reads a value that the scanner has accepted.
func stringArray(raw []byte) ([]string, error) {
	if raw[0] != '[' {
		return nil, ErrType
	}
	s := scanner{in: raw, at: 1}
	values := []string{}
	for {
		s.space()
		switch s.peek() {
		case ']':
			return values, nil
		case ',':
			s.at++
			continue
		case '"':
		default:
			return nil, ErrType
		}
		start := s.at
		if _, err := s.text(); err != nil {
			return nil, err
		}
		values = append(values, unquote(raw[start:s.at]))
	}
}
