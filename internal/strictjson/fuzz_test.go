package strictjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"testing"
)

// FuzzParse holds Parse against encoding/json: what we accept it accepts, with
// the same members and values, and what it accepts and we do not is refused for
// one of the reasons this package exists for.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		`{}`, typed, `{"a":1,"\u0061":2}`, `{"a":"\ud83d\ude00","b":[{"c":null}]}`, `{"a":"\ud800"}`,
		"\xef\xbb\xbf{}", `{"a":[1,]}`, `{}{}`, `{"aud":["a","b"],"exp":1.5e9,"email_verified":true}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		before := bytes.Clone(in)
		o, err := Parse(in)
		if !bytes.Equal(before, in) {
			t.Fatalf("Parse changed its input %q", before)
		}
		if err != nil {
			isObject := json.Valid(in) && bytes.TrimLeft(in, " \t\r\n")[0] == '{'
			if errors.Is(err, ErrSyntax) && isObject {
				t.Fatalf("%q is an object, and was refused: %v", in, err)
			}
			return
		}
		var want map[string]json.RawMessage
		if err := json.Unmarshal(in, &want); err != nil {
			t.Fatalf("encoding/json refuses %q: %v", in, err)
		}
		count := 0
		for name, value := range o.All() {
			count++
			if theirs, ok := want[name]; !ok || !bytes.Equal(theirs, value) {
				t.Fatalf("%q: member %q is %q, encoding/json has %q", in, name, value, theirs)
			}
			if got, ok := o.Get(name); !ok || !bytes.Equal(got, value) {
				t.Fatalf("%q: Get(%q) = %q, %v", in, name, got, ok)
			}
			compareTyped(t, o, name, value)
		}
		if count != len(want) {
			t.Fatalf("%q: %d members, encoding/json has %d", in, count, len(want))
		}
	})
}

// compareTyped checks that each accessor takes the member exactly if it has that
// type, and then has encoding/json's value.
func compareTyped(t *testing.T, o Object, name string, raw json.RawMessage) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		t.Fatalf("value %q: %v", raw, err)
	}
	check := func(accessor string, same, isType bool, present bool, err error) {
		t.Helper()
		if !present || isType != (err == nil) || (err != nil && !errors.Is(err, ErrType)) || (isType && !same) {
			t.Fatalf("%s(%q) of %q: present %v, error %v, same %v", accessor, name, raw, present, err, same)
		}
	}

	wantString, isString := v.(string)
	s, present, err := o.String(name)
	check("String", s == wantString, isString, present, err)

	wantBool, isBool := v.(bool)
	b, present, err := o.Bool(name)
	check("Bool", b == wantBool, isBool, present, err)

	wantNumber, isNumber := v.(json.Number)
	n, present, err := o.Number(name)
	check("Number", n == wantNumber, isNumber, present, err)

	elements, isStrings := v.([]any)
	list, present, err := o.Strings(name)
	same := err == nil && len(list) == len(elements)
	for i, e := range elements {
		text, ok := e.(string)
		isStrings = isStrings && ok
		same = same && ok && list[i] == text
	}
	check("Strings", same, isStrings, present, err)
}
