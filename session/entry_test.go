package session

import (
	"bytes"
	"encoding"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/sallyport/sallyport/client"
)

// form is a value that a store or a browser keeps.
type form interface {
	encoding.BinaryAppender
	encoding.BinaryUnmarshaler
}

// forms are made anew by each function.
var forms = map[string]func() form{
	"entry":  func() form { return new(entry) },
	"roster": func() form { return new(roster) },
	"use":    func() form { return new(use) },
	"ticket": func() form { return new(ticket) },
}

func testEntries() (all []*entry) {
	r := testRecord()
	l := lease{tokenGeneration: 7, beat: 300}
	for i := range l.holder {
		l.holder[i] = byte(200 + i)
	}
	f := failure{tokenGeneration: 7, spent: 1, count: 1000, sentAt: 1_900_000_000_123, until: 1_900_000_001_456, code: "token_response", reason: "size", outcome: client.InDoubt}
	return []*entry{
		{}, {rec: *r}, {rec: *r, lease: l}, {rec: *r, lease: l, failed: f}, {lease: l, failed: f}, {failed: f},
		{ended: "logout", keep: 1_900_043_200}, {ended: endedByServer, keep: 1_900_043_200, due: true},
	}
}

func testRosters() []*roster {
	l := &roster{all: 1_900_000_000_123, alone: 1_900_000_000_124, keep: 1_900_043_200, reason: endedByServer, members: []member{}}
	many := &roster{members: make([]member, maxMembers)}
	for i := range many.members {
		many.members[i] = member{hash: [32]byte{byte(i), byte(i >> 8)}, obtained: int64(i) << 30, absolute: 1_900_000_000, sid: i%3 == 0}
	}
	return []*roster{{members: []member{}}, l, many}
}

func samples() map[string][]form {
	all := map[string][]form{
		"use":    {&use{}, &use{nonce: [16]byte{1, 2, 3}, arrived: 1_900_000_000_123, done: true}},
		"ticket": {&ticket{}, &ticket{id: testRecord().id, generation: 1_900_000_000_123, created: 1_900_000_000, absolute: 1_900_043_200, tokens: tokens{tokenGeneration: 7}}},
	}
	for _, e := range testEntries() {
		all["entry"] = append(all["entry"], e)
	}
	for _, l := range testRosters() {
		all["roster"] = append(all["roster"], l)
	}
	return all
}

func append2(t testing.TB, f form) []byte {
	t.Helper()
	b, err := f.AppendBinary(nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestFormsRoundTrip(t *testing.T) {
	for name, all := range samples() {
		for i, in := range all {
			b := append2(t, in)
			out := forms[name]()
			if err := out.UnmarshalBinary(b); err != nil {
				t.Fatalf("%s %d: %v", name, i, err)
			}
			clear(b) // nothing of the input is kept
			if !reflect.DeepEqual(in, out) {
				t.Errorf("%s %d: %+v became %+v", name, i, in, out)
			}
		}
	}
}

// What is cut, longer, of another version or changed is refused or something else that is whole, and never a panic.
func TestFormsRefuse(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for name, all := range samples() {
		for i, in := range all {
			good := append2(t, in)
			step, tries := 1+len(good)/200, 300
			if len(good) > 1<<12 {
				step, tries = 1+len(good)/20, 10
			}
			for n := 0; n < len(good); n += step {
				if err := forms[name]().UnmarshalBinary(good[:n]); err == nil {
					t.Errorf("%s %d: accepted the first %d of %d bytes", name, i, n, len(good))
				}
			}
			if err := forms[name]().UnmarshalBinary(append(bytes.Clone(good), 0)); err == nil {
				t.Errorf("%s %d: accepted more", name, i)
			}
			for _, v := range []byte{0, good[0] + 1, 255} {
				other := bytes.Clone(good)
				other[0] = v
				if err := forms[name]().UnmarshalBinary(other); err == nil {
					t.Errorf("%s %d: accepted version %d", name, i, v)
				}
			}
			for range tries {
				changed := bytes.Clone(good)
				changed[r.IntN(len(changed))] ^= 1 << r.IntN(8)
				reencodes(t, name, changed)
			}
		}
	}
	for flags := range 256 { // a flag without what it stands for
		reencodes(t, "entry", append([]byte{entryVersion, byte(flags)}, make([]byte, 40)...))
		if err := new(entry).UnmarshalBinary([]byte{entryVersion, byte(flags)}); (err == nil) != (flags&^entryDue == 0) {
			t.Errorf("flags %08b: %v", flags, err)
		}
	}
	for name, b := range map[string][]byte{
		"an end without a reason":        {entryVersion, entryEnded, 0, 5},
		"a lease of no generation":       append([]byte{entryVersion, entryLease, 0}, bytes.Repeat([]byte{1}, 17)...),
		"a failure of no generation":     {entryVersion, entryFailed, 0, 1, 1, 0, 0, 0, 0, 0},
		"a session without a generation": append([]byte{entryVersion, entryRecord}, encode(t, &record{})...),
	} {
		if new(entry).UnmarshalBinary(b) == nil {
			t.Errorf("accepted %s", name)
		}
	}
	if err := new(roster).UnmarshalBinary(append2(t, &roster{members: make([]member, maxMembers+1)})); err == nil {
		t.Error("accepted too many members")
	}
}

// reencodes checks that what is accepted is what we would have written.
func reencodes(t *testing.T, name string, b []byte) {
	t.Helper()
	out := forms[name]()
	if out.UnmarshalBinary(b) != nil {
		return
	}
	again := forms[name]()
	if err := again.UnmarshalBinary(append2(t, out)); err != nil || !reflect.DeepEqual(out, again) {
		t.Fatalf("%s: %v: %+v became %+v", name, err, out, again)
	}
}

func fuzzForm(f *testing.F, name string) {
	for _, in := range samples()[name] {
		f.Add(append2(f, in))
	}
	f.Add([]byte{1})
	f.Fuzz(func(t *testing.T, b []byte) { reencodes(t, name, b) })
}

// ATK-S03: whatever bytes come, no panic.
func FuzzEntry(f *testing.F)  { fuzzForm(f, "entry") }
func FuzzRoster(f *testing.F) { fuzzForm(f, "roster") }
func FuzzUse(f *testing.F)    { fuzzForm(f, "use") }
func FuzzTicket(f *testing.F) { fuzzForm(f, "ticket") }

func TestEntryAllocates(t *testing.T) {
	// The record's strings, its attributes and the lease beside it: a read costs what it costs without it, and one for the texts of a failure.
	e := &entry{rec: *testRecord()}
	plain := append2(t, e)
	e.lease, e.failed = lease{tokenGeneration: 7, beat: 1}, failure{tokenGeneration: 7, spent: 1, code: "transport"}
	leased := append2(t, e)
	for _, c := range []struct {
		b    []byte
		most float64
	}{{plain, 3}, {leased, 4}} {
		if n := testing.AllocsPerRun(100, func() {
			var out entry
			if out.UnmarshalBinary(c.b) != nil {
				t.Fatal("refused")
			}
		}); n > c.most {
			t.Errorf("%v allocations, want %v", n, c.most)
		}
	}
}
