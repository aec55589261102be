// Package strictjson reads a JSON object that a stranger sent: a token
// response, a metadata document, the header or the claims of a JWT.
//
// [Parse] is the door. It accepts exactly what RFC 8259 and the stricter
// I-JSON (RFC 7493) allow for one object, and refuses what lets two readers of
// the same bytes see two different things: a member that occurs twice at any
// depth, a byte order mark, text that is not UTF-8, half a surrogate pair,
// anything after the object, nesting without end. Names are compared byte for
// byte after unescaping, so "Iss" and "ISS" are not "iss".
//
// encoding/json accepts everything this package accepts, with the same values;
// a fuzz test holds the two together. What encoding/json does beyond that (last
// duplicate wins, names matched without regard to case, replacement characters
// for broken text) is what this package exists to leave out.
//
// Nothing is decoded until it is asked for, and values are slices of the input.
package strictjson

import (
	"encoding/json"
	"errors"
	"iter"
	"slices"
)

// MaxDepth is how deep objects and arrays may nest. The outermost object counts
// as 1.
const MaxDepth = 32

// What [Parse] and the accessors of [Object] return. The texts hold nothing of
// the input.
var (
	// ErrSyntax: not one JSON object and nothing else.
	ErrSyntax = errors.New("strictjson: not a single well-formed JSON object")
	// ErrDuplicate: an object, the outermost or one inside it, names a member twice.
	ErrDuplicate = errors.New("strictjson: member occurs more than once")
	// ErrDepth: nesting deeper than MaxDepth.
	ErrDepth = errors.New("strictjson: nested too deeply")
	// ErrEncoding: a byte order mark, invalid UTF-8, or half a surrogate pair.
	ErrEncoding = errors.New("strictjson: text is not plain UTF-8")
	// ErrType: the member is there, with a value of another type than asked for.
	ErrType = errors.New("strictjson: member has another type")
)

// Object is a parsed object. The zero Object has no members. It refers to the
// bytes given to [Parse], which must not be modified while it is in use, and may
// be read from several goroutines.
type Object struct {
	members []member
}

type member struct {
	name  []byte // unescaped
	value json.RawMessage
}

// Parse reads exactly one object, surrounded by nothing but white space.
//
// It fails with [ErrSyntax], [ErrDuplicate], [ErrDepth] or [ErrEncoding], and
// then returns an Object without members. Its work and memory are linear in
// len(b); limiting len(b) is up to the caller.
func Parse(b []byte) (Object, error) {
	s := scanner{in: b}
	if err := s.document(); err != nil {
		return Object{}, err
	}
	return Object{members: s.members}, nil
}

// WithoutNull returns o without the members that are null, for protocols in
// which a member without a value counts as left out.
func (o Object) WithoutNull() Object {
	null := func(m member) bool { return m.value[0] == 'n' }
	if !slices.ContainsFunc(o.members, null) {
		return o
	}
	return Object{members: slices.DeleteFunc(slices.Clone(o.members), null)}
}

// Get returns the value of the member with exactly this name, as it stands in
// the input: a string with its quotes and escapes, null as null.
func (o Object) Get(name string) (json.RawMessage, bool) {
	for i := range o.members {
		if string(o.members[i].name) == name {
			return o.members[i].value, true
		}
	}
	return nil, false
}

// String returns the value of a string member. A member that is there but is
// not a string, null included, is present with [ErrType].
func (o Object) String(name string) (value string, present bool, err error) {
	raw, present := o.Get(name)
	if !present {
		return "", false, nil
	}
	if raw[0] != '"' {
		return "", true, ErrType
	}
	return unquote(raw), true, nil
}

// Strings returns the value of a member that is an array of strings. A member
// that is there but is anything else (a bare string, null, an array holding one
// number) is present with [ErrType]. An empty array is present and not nil.
func (o Object) Strings(name string) (values []string, present bool, err error) {
	raw, present := o.Get(name)
	if !present {
		return nil, false, nil
	}
	values, err = stringArray(raw)
	return values, true, err
}

// Bool returns the value of a boolean member. A member that is there but is
// neither true nor false is present with [ErrType].
func (o Object) Bool(name string) (value, present bool, err error) {
	raw, present := o.Get(name)
	if !present {
		return false, false, nil
	}
	switch raw[0] {
	case 't':
		return true, true, nil
	case 'f':
		return false, true, nil
	}
	return false, true, ErrType
}

// Number returns the digits of a numeric member. A member that is there but is
// not a number is present with [ErrType]. The number may be too large or too
// precise for any Go type: the conversions of [json.Number] tell.
func (o Object) Number(name string) (value json.Number, present bool, err error) {
	raw, present := o.Get(name)
	if !present {
		return "", false, nil
	}
	if raw[0] != '-' && (raw[0] < '0' || raw[0] > '9') {
		return "", true, ErrType
	}
	return json.Number(raw), true, nil
}

// All yields the members in the order of the input.
func (o Object) All() iter.Seq2[string, json.RawMessage] {
	return func(yield func(string, json.RawMessage) bool) {
		for i := range o.members {
			if !yield(string(o.members[i].name), o.members[i].value) {
				return
			}
		}
	}
}
