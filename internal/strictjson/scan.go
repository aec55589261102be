package strictjson

import (
	"bytes"
	"unicode/utf8"
)

// linearNames is up to how many members an object's names are compared one by
// one. Beyond it they go into a set, or a megabyte of short names would cost
// their square.
const linearNames = 24

var byteOrderMark = []byte("\xef\xbb\xbf")

// firstMembers is room for how many members is made at once. The estimate it
// bounds counts commas, and a sender has many of those for little.
const firstMembers = 32

// scanner walks the input once, depth first.
type scanner struct {
	in []byte
	at int
	// members of all objects that are open, outermost first: an inner object
	// leaves when it closes, so the members of the outermost are what remains.
	// One list for both, so that an ordinary document costs one allocation.
	members []member
}

func (s *scanner) document() error {
	// RFC 8259 §8.1: UTF-8 without a byte order mark; RFC 7493 §2.1.
	if bytes.HasPrefix(s.in, byteOrderMark) || !utf8.Valid(s.in) {
		return ErrEncoding
	}
	s.space()
	if s.peek() != '{' {
		return ErrSyntax
	}
	s.members = make([]member, 0, min(bytes.Count(s.in, []byte(","))+1, firstMembers))
	if err := s.object(1); err != nil {
		return err
	}
	s.space()
	if s.at != len(s.in) {
		return ErrSyntax
	}
	return nil
}

// peek returns the next byte, or 0 at the end: no JSON text continues with a
// NUL, so every caller refuses both in the same breath.
func (s *scanner) peek() byte {
	if s.at < len(s.in) {
		return s.in[s.at]
	}
	return 0
}

func (s *scanner) space() {
	for s.at < len(s.in) {
		switch s.in[s.at] {
		case ' ', '\t', '\n', '\r':
			s.at++
		default:
			return
		}
	}
}

func (s *scanner) object(depth int) error {
	if depth > MaxDepth {
		return ErrDepth
	}
	s.at++ // {
	s.space()
	if s.peek() == '}' {
		s.at++
		return nil
	}
	base := len(s.members)
	var seen nameSet
	for {
		name, err := s.name()
		if err != nil {
			return err
		}
		if seen.has(s.members[base:], name) {
			return ErrDuplicate // RFC 7493 §2.3
		}
		own := len(s.members)
		s.members = append(s.members, member{name: name})

		s.space()
		if s.peek() != ':' {
			return ErrSyntax
		}
		s.at++
		s.space()
		start := s.at
		if err := s.value(depth); err != nil {
			return err
		}
		// The capacity ends with the value: an append to it must not reach the
		// rest of the input.
		s.members[own].value = s.in[start:s.at:s.at]

		s.space()
		switch s.peek() {
		case ',':
			s.at++
			s.space()
		case '}':
			s.at++
			if depth > 1 {
				s.members = s.members[:base]
			}
			return nil
		default:
			return ErrSyntax
		}
	}
}

func (s *scanner) array(depth int) error {
	if depth > MaxDepth {
		return ErrDepth
	}
	s.at++ // [
	s.space()
	if s.peek() == ']' {
		s.at++
		return nil
	}
	for {
		if err := s.value(depth); err != nil {
			return err
		}
		s.space()
		switch s.peek() {
		case ',':
			s.at++
			s.space()
		case ']':
			s.at++
			return nil
		default:
			return ErrSyntax
		}
	}
}

// value reads any value that is inside a container of the given depth.
func (s *scanner) value(depth int) error {
	switch c := s.peek(); {
	case c == '"':
		_, err := s.text()
		return err
	case c == '{':
		return s.object(depth + 1)
	case c == '[':
		return s.array(depth + 1)
	case c == 't':
		return s.literal("true")
	case c == 'f':
		return s.literal("false")
	case c == 'n':
		return s.literal("null")
	case c == '-' || isDigit(c):
		return s.number()
	}
	return ErrSyntax
}

func (s *scanner) literal(word string) error {
	if len(s.in)-s.at < len(word) || string(s.in[s.at:s.at+len(word)]) != word {
		return ErrSyntax
	}
	s.at += len(word)
	return nil
}

// number reads what RFC 8259 §6 calls a number: no leading zero, no leading
// plus, digits on both sides of the point.
func (s *scanner) number() error {
	if s.peek() == '-' {
		s.at++
	}
	if s.peek() == '0' {
		s.at++
	} else if !s.digits() {
		return ErrSyntax
	}
	if s.peek() == '.' {
		s.at++
		if !s.digits() {
			return ErrSyntax
		}
	}
	if c := s.peek(); c == 'e' || c == 'E' {
		s.at++
		if c := s.peek(); c == '+' || c == '-' {
			s.at++
		}
		if !s.digits() {
			return ErrSyntax
		}
	}
	return nil
}

// digits reads one digit or more.
func (s *scanner) digits() bool {
	start := s.at
	for isDigit(s.peek()) {
		s.at++
	}
	return s.at > start
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// nameSet finds a name among the members of one object: one by one while they
// are few, in a set once they are many.
type nameSet map[string]struct{}

func (n *nameSet) has(members []member, name []byte) bool {
	if len(members) < linearNames {
		for i := range members {
			if string(members[i].name) == string(name) {
				return true
			}
		}
		return false
	}
	if *n == nil {
		*n = make(nameSet, 2*len(members))
		for i := range members {
			(*n)[string(members[i].name)] = struct{}{}
		}
	}
	if _, dup := (*n)[string(name)]; dup {
		return true
	}
	(*n)[string(name)] = struct{}{}
	return false
}
