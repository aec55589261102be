package strictjson

import (
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func mustParse(t *testing.T, in string) Object {
	t.Helper()
	o, err := Parse([]byte(in))
	if err != nil {
		t.Fatalf("Parse(%q): %v", in, err)
	}
	return o
}

func TestGetIsExact(t *testing.T) {
	// ATK-T15: case variants are other members.
	o := mustParse(t, ` {"Access_Token":"B", "access_token" : "A","ACCESS_TOKEN":"C"} `)
	if v, ok := o.Get("access_token"); !ok || string(v) != `"A"` {
		t.Errorf("access_token = %s, %v", v, ok)
	}
	for _, name := range []string{"access_Token", "access_token ", "", "access_toke", "access_token\x00"} {
		if v, ok := o.Get(name); ok {
			t.Errorf("Get(%q) = %s, want nothing", name, v)
		}
	}
}

func TestGetReturnsTheInputsBytes(t *testing.T) {
	in := []byte(`{"a":  [1, {"b":"\u0041"}]  ,"c":-1.50E+2}`)
	o, err := Parse(in)
	if err != nil {
		t.Fatal(err)
	}
	a, _ := o.Get("a")
	if string(a) != `[1, {"b":"\u0041"}]` {
		t.Errorf("a = %s", a)
	}
	// An append to a value must not run into the bytes behind it.
	_ = append(a, "XXXX"...)
	if c, _ := o.Get("c"); string(c) != "-1.50E+2" {
		t.Errorf("after an append to a, c = %s", c)
	}
	if string(in) != `{"a":  [1, {"b":"\u0041"}]  ,"c":-1.50E+2}` {
		t.Errorf("the input was changed: %s", in)
	}
}

func TestEscapedNamesAreUnescaped(t *testing.T) {
	o := mustParse(t, `{"\u0069ss":"x","a\/b":1,"\ud83d\ude00":true}`)
	for _, name := range []string{"iss", "a/b", "😀"} {
		if _, ok := o.Get(name); !ok {
			t.Errorf("member %q not found", name)
		}
	}
	if _, ok := o.Get(`\u0069ss`); ok {
		t.Error("found under its escaped form")
	}
}

func TestZeroObject(t *testing.T) {
	var zero Object
	if _, ok := zero.Get("a"); ok {
		t.Error("the zero Object has a member")
	}
	for range zero.All() {
		t.Error("the zero Object yields a member")
	}
	if _, present, err := zero.String("a"); present || err != nil {
		t.Errorf("String: %v, %v", present, err)
	}
}

const typed = `{
	"string": "v", "escaped": "a\"\\\/\b\f\n\r\t\u00e9\uD83D\uDE00z", "empty": "",
	"true": true, "false": false, "null": null,
	"number": 12, "negative": -0.5e-3, "huge": 1e309, "long": 123456789012345678901234567890,
	"strings": ["a", "b\u0063" ,""], "none": [ ], "mixed": ["a", 1], "nested": [["a"]], "nulls": [null],
	"object": {"a": 1}
}`

func TestString(t *testing.T) {
	o := mustParse(t, typed)
	for name, want := range map[string]string{
		"string": "v", "empty": "", "escaped": "a\"\\/\b\f\n\r\té😀z",
	} {
		if v, present, err := o.String(name); v != want || !present || err != nil {
			t.Errorf("String(%q) = %q, %v, %v", name, v, present, err)
		}
	}
	for _, name := range []string{"true", "null", "number", "strings", "object"} {
		if v, present, err := o.String(name); v != "" || !present || !errors.Is(err, ErrType) {
			t.Errorf("String(%q) = %q, %v, %v, want ErrType", name, v, present, err)
		}
	}
	if v, present, err := o.String("absent"); v != "" || present || err != nil {
		t.Errorf("String of an absent member = %q, %v, %v", v, present, err)
	}
}

func TestStrings(t *testing.T) {
	o := mustParse(t, typed)
	for name, want := range map[string][]string{"strings": {"a", "bc", ""}, "none": {}} {
		v, present, err := o.Strings(name)
		if v == nil || !slices.Equal(v, want) || !present || err != nil {
			t.Errorf("Strings(%q) = %q, %v, %v", name, v, present, err)
		}
	}
	for _, name := range []string{"string", "null", "mixed", "nested", "nulls", "object", "number"} {
		if v, present, err := o.Strings(name); v != nil || !present || !errors.Is(err, ErrType) {
			t.Errorf("Strings(%q) = %q, %v, %v, want ErrType", name, v, present, err)
		}
	}
	if v, present, err := o.Strings("absent"); v != nil || present || err != nil {
		t.Errorf("Strings of an absent member = %q, %v, %v", v, present, err)
	}
}

func TestBool(t *testing.T) {
	o := mustParse(t, typed)
	for name, want := range map[string]bool{"true": true, "false": false} {
		if v, present, err := o.Bool(name); v != want || !present || err != nil {
			t.Errorf("Bool(%q) = %v, %v, %v", name, v, present, err)
		}
	}
	// "true" as text is what some servers send for email_verified: it is a
	// string, and the caller hears so.
	for _, name := range []string{"string", "null", "number", "strings", "object"} {
		if v, present, err := o.Bool(name); v || !present || !errors.Is(err, ErrType) {
			t.Errorf("Bool(%q) = %v, %v, %v, want ErrType", name, v, present, err)
		}
	}
	if v, present, err := o.Bool("absent"); v || present || err != nil {
		t.Errorf("Bool of an absent member = %v, %v, %v", v, present, err)
	}
}

func TestNumber(t *testing.T) {
	o := mustParse(t, typed)
	for name, want := range map[string]json.Number{
		"number": "12", "negative": "-0.5e-3", "huge": "1e309", "long": "123456789012345678901234567890",
	} {
		if v, present, err := o.Number(name); v != want || !present || err != nil {
			t.Errorf("Number(%q) = %q, %v, %v", name, v, present, err)
		}
	}
	huge, _, _ := o.Number("huge")
	if _, err := huge.Float64(); err == nil {
		t.Error("1e309 became a float64 without an error")
	}
	for _, name := range []string{"string", "null", "true", "strings", "object"} {
		if v, present, err := o.Number(name); v != "" || !present || !errors.Is(err, ErrType) {
			t.Errorf("Number(%q) = %q, %v, %v, want ErrType", name, v, present, err)
		}
	}
	if v, present, err := o.Number("absent"); v != "" || present || err != nil {
		t.Errorf("Number of an absent member = %q, %v, %v", v, present, err)
	}
}

func TestAllKeepsTheOrder(t *testing.T) {
	o := mustParse(t, `{"b":1,"\u0061":2,"c":3}`)
	var got []string
	for name, value := range o.All() {
		got = append(got, name+"="+string(value))
	}
	if want := []string{"b=1", "a=2", "c=3"}; !reflect.DeepEqual(got, want) {
		t.Errorf("All = %q, want %q", got, want)
	}
	for name := range o.All() {
		if name != "b" {
			t.Error("went on after break")
		}
		break
	}
}

// Login answers are small and many: their cost is one allocation for the list
// of members, whatever is nested in them.
func TestAllocations(t *testing.T) {
	in := []byte(`{"access_token":"a","token_type":"Bearer","expires_in":300,"scope":"openid",` +
		`"refresh_token":"r","nested":{"a":[1,2,{"b":"c"}],"d":{}}}`)
	if n := testing.AllocsPerRun(100, func() {
		o, err := Parse(in)
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := o.Get("scope"); !ok {
			t.Fatal("no scope")
		}
	}); n > 1 {
		t.Errorf("%v allocations, want 1", n)
	}
}

func TestErrorsHoldNothingOfTheInput(t *testing.T) {
	for _, in := range []string{`{"CANARY":1,"CANARY":2}`, `{"CANARY":`, "{\"CANARY\":\"\xff\"}", `{"CANARY":"\ud800"}`} {
		_, err := Parse([]byte(in))
		if err == nil {
			t.Fatalf("accepted %q", in)
		}
		if strings.Contains(err.Error(), "CANARY") {
			t.Errorf("the input is in the error: %v", err)
		}
	}
}

func BenchmarkParse(b *testing.B) {
	in := []byte(`{"access_token":"2YotnFZFEjr1zCsicMWpAA2YotnFZFEjr1zCsicMWpAA","token_type":"Bearer",` +
		`"expires_in":3600,"refresh_token":"tGzv3JOkF0XG5Qx2TlKWIA","scope":"openid email profile",` +
		`"id_token":"` + strings.Repeat("eyJhbGciOiJSUzI1NiJ9", 40) + `"}`)
	b.Run("strictjson", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(in)))
		for b.Loop() {
			if _, err := Parse(in); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("encoding-json-map", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(in)))
		for b.Loop() {
			var m map[string]any
			if err := json.Unmarshal(in, &m); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func TestWithoutNull(t *testing.T) {
	o, err := Parse([]byte(`{"a":null,"b":1,"c":"null","d":null,"e":{"f":null}}`))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for name := range o.WithoutNull().All() {
		names = append(names, name)
	}
	if !slices.Equal(names, []string{"b", "c", "e"}) {
		t.Errorf("left are %q", names)
	}
	if _, present := o.Get("a"); !present {
		t.Error("the original has changed")
	}
}
