package strictjson

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestParseRefuses(t *testing.T) {
	deep := func(n int, open, close string) string {
		return `{"a":` + strings.Repeat(open, n) + "1" + strings.Repeat(close, n) + `}`
	}
	many := func(last string) string {
		var b strings.Builder
		b.WriteString("{")
		for i := range 100 {
			fmt.Fprintf(&b, `"n%d":%d,`, i, i)
		}
		return b.String() + `"` + last + `":0}`
	}
	for _, tt := range []struct {
		name, in string
		want     error
	}{
		// ATK-T02: what is not an object.
		{"nothing", "", ErrSyntax},
		{"white space", " \t\r\n", ErrSyntax},
		{"null", "null", ErrSyntax},
		{"array", "[]", ErrSyntax},
		{"array of objects", "[{}]", ErrSyntax},
		{"string", `"str"`, ErrSyntax},
		{"true", "true", ErrSyntax},
		{"number", "1", ErrSyntax},
		{"html", "<html><body>{}</body></html>", ErrSyntax},
		{"form", "access_token=a&token_type=bearer", ErrSyntax},

		// ATK-T15: two readers, two values.
		{"duplicate", `{"access_token":"A","access_token":"B"}`, ErrDuplicate},
		{"duplicate of equal value", `{"a":1,"a":1}`, ErrDuplicate},
		{"duplicate in an escape", `{"iss":"a","\u0069ss":"b"}`, ErrDuplicate},
		{"duplicate, both escaped", `{"\u00e9":1,"\u00E9":2}`, ErrDuplicate},
		{"duplicate of an escaped slash", `{"a/b":1,"a\/b":2}`, ErrDuplicate},
		{"duplicate surrogate pair", `{"😀":1,"\ud83d\ude00":2}`, ErrDuplicate},
		{"duplicate empty name", `{"":1,"":2}`, ErrDuplicate},
		{"duplicate with others between", `{"a":1,"b":{"c":1},"d":[],"a":2}`, ErrDuplicate},
		{"duplicate inside an object", `{"a":{"b":1,"b":2}}`, ErrDuplicate},
		{"duplicate inside an array", `{"keys":[{"kid":"1"},{"kid":"1","kid":"2"}]}`, ErrDuplicate},
		{"duplicate behind a nested object", `{"a":{"b":{"c":1},"b":2}}`, ErrDuplicate},
		{"duplicate among many, the first", many("n0"), ErrDuplicate},
		{"duplicate among many, the last", many("n99"), ErrDuplicate},
		{"duplicate among many, inside", `{"a":[` + many("n50") + `]}`, ErrDuplicate},

		// ATK-T30: encodings and what follows the object.
		{"byte order mark", "\xef\xbb\xbf{}", ErrEncoding},
		{"utf-16le", "\xff\xfe{\x00}\x00", ErrEncoding},
		{"utf-16be without a mark", "\x00{\x00}", ErrSyntax},
		{"utf-16le without a mark", "{\x00}\x00", ErrSyntax},
		{"latin-1", "{\"a\":\"caf\xe9\"}", ErrEncoding},
		{"invalid utf-8 in a name", "{\"a\xff\":1}", ErrEncoding},
		{"overlong utf-8", "{\"a\":\"\xc0\xaf\"}", ErrEncoding},
		{"surrogate as utf-8", "{\"a\":\"\xed\xa0\x80\"}", ErrEncoding},
		{"lone high surrogate", `{"a":"\ud800"}`, ErrEncoding},
		{"lone low surrogate", `{"a":"\udc00x"}`, ErrEncoding},
		{"two high surrogates", `{"a":"\ud800\ud800"}`, ErrEncoding},
		{"high surrogate, another escape", `{"a":"\ud800\n12345"}`, ErrEncoding},
		{"high surrogate, no hex", `{"a":"\ud800\uzzzz"}`, ErrSyntax},
		{"high surrogate, no backslash", `{"a":"\ud83dxude00"}`, ErrEncoding},
		{"lone surrogate in a name", `{"\udfff":1}`, ErrEncoding},
		{"second object", "{}{}", ErrSyntax},
		{"trailing garbage", "{} x", ErrSyntax},
		{"trailing NUL", "{}\x00", ErrSyntax},
		{"trailing comma after the object", "{},", ErrSyntax},
		{"mark inside", "{}\xef\xbb\xbf", ErrSyntax},

		// ATK-D07: depth. The outermost object is 1.
		{"objects too deep", deep(MaxDepth, `{"a":`, "}"), ErrDepth},
		{"arrays too deep", deep(MaxDepth, "[", "]"), ErrDepth},
		{"empty array too deep", `{"a":` + strings.Repeat("[", MaxDepth) + strings.Repeat("]", MaxDepth) + `}`, ErrDepth},
		{"a hundred thousand", strings.Repeat(`{"a":`, 100_000), ErrDepth},
		{"a hundred thousand arrays", `{"a":` + strings.Repeat("[", 100_000), ErrDepth},

		{"end after brace", "{", ErrSyntax},
		{"end after name", `{"a"`, ErrSyntax},
		{"end after colon", `{"a":`, ErrSyntax},
		{"end after value", `{"a":1`, ErrSyntax},
		{"end after comma", `{"a":1,`, ErrSyntax},
		{"end in string", `{"a":"x`, ErrSyntax},
		{"end after backslash", `{"a":"\`, ErrSyntax},
		{"end in escape", `{"a":"\u00`, ErrSyntax},
		{"end in array", `{"a":[1`, ErrSyntax},
		{"end after comma in array", `{"a":[1,`, ErrSyntax},
		{"end in literal", `{"a":tru`, ErrSyntax},
		{"end in number", `{"a":-`, ErrSyntax},
		{"end in nested object", `{"a":{"b":1}`, ErrSyntax},
		{"trailing comma", `{"a":1,}`, ErrSyntax},
		{"trailing comma in array", `{"a":[1,]}`, ErrSyntax},
		{"only a comma", `{,}`, ErrSyntax},
		{"only a comma in array", `{"a":[,]}`, ErrSyntax},
		{"no comma", `{"a":1 "b":2}`, ErrSyntax},
		{"no comma in array", `{"a":[1 2]}`, ErrSyntax},
		{"no colon", `{"a" 1}`, ErrSyntax},
		{"bare name", `{a:1}`, ErrSyntax},
		{"single quotes", `{'a':1}`, ErrSyntax},
		{"number as name", `{1:1}`, ErrSyntax},
		{"comment", `{"a":1/**/}`, ErrSyntax},
		{"wrong bracket", `{"a":[1}}`, ErrSyntax},
		{"literal in capitals", `{"a":True}`, ErrSyntax},
		{"literal with a tail", `{"a":nullx}`, ErrSyntax},
		{"NaN", `{"a":NaN}`, ErrSyntax},
		{"leading zero", `{"a":01}`, ErrSyntax},
		{"leading plus", `{"a":+1}`, ErrSyntax},
		{"leading point", `{"a":.5}`, ErrSyntax},
		{"trailing point", `{"a":1.}`, ErrSyntax},
		{"no exponent", `{"a":1e}`, ErrSyntax},
		{"no exponent after sign", `{"a":1e+}`, ErrSyntax},
		{"hexadecimal", `{"a":0x10}`, ErrSyntax},
		{"newline in string", "{\"a\":\"\n\"}", ErrSyntax},
		{"NUL in string", "{\"a\":\"\x00\"}", ErrSyntax},
		{"control character in name", "{\"a\x1f\":1}", ErrSyntax},
		{"unknown escape", `{"a":"\x41"}`, ErrSyntax},
		{"escaped quote in single style", `{"a":"\'"}`, ErrSyntax},
		{"bad hex", `{"a":"\u00g0"}`, ErrSyntax},
		{"form feed as white space", "{\f}", ErrSyntax},
		{"no-break space as white space", "{\u00a0}", ErrSyntax},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o, err := Parse([]byte(tt.in))
			if !errors.Is(err, tt.want) {
				t.Errorf("error = %v, want %v", err, tt.want)
			}
			if len(o.members) != 0 {
				t.Errorf("members came with the error: %v", o.members)
			}
		})
	}
}

func TestParseAccepts(t *testing.T) {
	for _, tt := range []struct{ name, in string }{
		{"empty", "{}"},
		{"white space everywhere", " \t\r\n{ \t\r\n\"a\" : [ 1 , 2 ] , \"b\" : { } } \n"},
		{"numbers", `{"a":0,"b":-0,"c":10,"d":1.5,"e":0e0,"f":1E+9,"g":-1.25e-3}`},
		{"escapes", `{"a":"\"\\\/\b\f\n\r\t\u0000\uFFFF\ud83d\uDE00"}`},
		{"noncharacter and DEL", "{\"a\":\"\x7f\"}"},
		{"same name in two objects", `{"a":{"a":{"a":1}},"b":[{"a":1},{"a":2}]}`},
		{"name of the parent used inside", `{"a":1,"b":{"a":1},"c":{"b":1}}`},
		{"as deep as allowed", strings.Repeat(`{"a":`, MaxDepth) + "1" + strings.Repeat("}", MaxDepth)},
		{"arrays as deep as allowed", `{"a":` + strings.Repeat("[", MaxDepth-1) + strings.Repeat("]", MaxDepth-1) + "}"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := Parse([]byte(tt.in)); err != nil {
				t.Errorf("error = %v", err)
			}
			if !json.Valid([]byte(tt.in)) {
				t.Error("encoding/json does not accept this: the test is wrong")
			}
		})
	}
}

// A megabyte of short names: were each compared with all before it, that would
// be 10¹⁰ comparisons, and this test would not end.
func TestManyMembers(t *testing.T) {
	var b strings.Builder
	b.WriteString(`{"a":1`)
	for i := range 100_000 {
		fmt.Fprintf(&b, `,"%x":0`, i+1<<24)
	}
	b.WriteString("}")
	o := mustParse(t, b.String())
	if n := len(o.members); n != 100_001 {
		t.Errorf("%d members", n)
	}
	if _, ok := o.Get("100c34f"); !ok {
		t.Error("a member is missing")
	}
}
