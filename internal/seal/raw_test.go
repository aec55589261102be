package seal

import (
	"bytes"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"
)

const rawName = "s:some-key"

// rawSealers are [k1], [k2, k1] and [k2] of each family.
func rawSealers(t *testing.T, c *clock, f func(t *testing.T, old, both, next *Sealer)) {
	for family, l := range lists(t) {
		t.Run(family, func(t *testing.T) {
			f(t, testSealer(t, c.now, l[0]...), testSealer(t, c.now, l[1]...), testSealer(t, c.now, l[2]...))
		})
	}
}

func TestRaw(t *testing.T) {
	c := &clock{time.Unix(1_900_000_000, 0)}
	expires := c.t.Add(time.Hour)
	rawSealers(t, c, func(t *testing.T, old, both, next *Sealer) {
		open := func(s *Sealer, now time.Time, name string, value []byte) (text, Opened, error) {
			t.Helper()
			before := bytes.Clone(value)
			var v text
			o, err := s.OpenRaw(now, name, value, &v)
			if !bytes.Equal(before, value) {
				t.Fatal("the value was changed")
			}
			if refused, ok := err.(*Error); err != nil && v != "" && !(ok && refused.Reason == Expired) {
				t.Fatal("content came with an error")
			}
			return v, o, err
		}
		for _, n := range []int{0, 1, 100, 4000, 9000} {
			content := text(strings.Repeat("c", n))
			value, err := old.SealRaw(rawName, content, expires)
			if err != nil {
				t.Fatal(err)
			}
			v, o, err := open(old, c.t, rawName, value)
			if err != nil || v != content || !o.Issued.Equal(c.t) || !o.Expires.Equal(expires) || o.Stale {
				t.Fatalf("%d bytes: %d, %+v, %v", n, len(v), o, err)
			}
			if n > 8 && bytes.Contains(value, []byte("cccccccc")) {
				t.Fatal("in the open")
			}
			if again, _ := old.SealRaw(rawName, content, expires); bytes.Equal(again, value) {
				t.Fatal("the same twice")
			}
		}
		value, err := old.SealRaw(rawName, text("content"), expires)
		if err != nil {
			t.Fatal(err)
		}
		// ATK-K11, ATK-K12: the ring.
		if v, o, err := open(both, c.t, rawName, value); err != nil || v != "content" || !o.Stale {
			t.Fatalf("%q, %+v, %v", v, o, err)
		}
		_, _, err = open(next, c.t, rawName, value)
		wantReason(t, err, Auth)
		fresh, _ := both.SealRaw(rawName, text("content"), expires)
		if _, o, err := open(next, c.t, rawName, fresh); err != nil || o.Stale {
			t.Fatalf("not sealed with the newest: %v", err)
		}
		// ATK-K09: what stands under one key does not open under another.
		for _, name := range []string{"", "s:some-kez", "s:some-key ", "o:some-key"} {
			_, _, err := open(old, c.t, name, value)
			wantReason(t, err, Auth)
		}
		// ATK-K13, ATK-K04: every bit, every length.
		for i := range value {
			for bit := range 8 {
				flipped := bytes.Clone(value)
				flipped[i] ^= 1 << bit
				// gorilla's base64 has a second spelling of some ends: the same content.
				if v, _, err := open(old, c.t, rawName, flipped); err == nil && (old.aead != nil || v != "content") {
					t.Fatalf("bit %d of byte %d: opened as %q", bit, i, v)
				}
			}
			_, _, err := open(old, c.t, rawName, value[:i])
			wantReason(t, err, Auth)
		}
		// ATK-K18: the deadline is inside.
		if _, _, err := open(old, expires.Add(-time.Second), rawName, value); err != nil {
			t.Fatal(err)
		}
		_, o, err := open(old, expires, rawName, value)
		wantReason(t, err, Expired)
		if !o.Expires.Equal(expires) {
			t.Fatal("it does not say when")
		}
		_, _, err = open(old, c.t.Add(-futureLeeway-time.Second), rawName, value)
		wantReason(t, err, Expired)
	})
}

// Raw values are shorter than the text of a cookie, and neither opens as the other's content by chance.
func TestRawAndText(t *testing.T) {
	c := &clock{time.Unix(1_900_000_000, 0)}
	s := testSealer(t, c.now, testCodec(t, Stored, testKey(1)))
	content := text(strings.Repeat("c", 2000))
	raw, err := s.SealRaw(rawName, content, c.t.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := s.Seal(rawName, content, c.t.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	if len(raw) > len(sealed)*3/4+1 {
		t.Errorf("%d bytes, the text has %d", len(raw), len(sealed))
	}
	// A value that was written as text, by a codec of before, say, is still read.
	var v text
	if _, err := s.OpenRaw(c.t, rawName, []byte(sealed), &v); err != nil || v != content {
		t.Errorf("the text: %v", err)
	}
	// Another purpose's key does not open it.
	for _, p := range []Purpose{Session, Login, Ticket} {
		other := testSealer(t, c.now, testCodec(t, p, testKey(1)))
		if _, err := other.OpenRaw(c.t, rawName, raw, &v); err == nil {
			t.Errorf("opened with the key of %v", p)
		}
	}
	if a := testing.AllocsPerRun(200, func() {
		if _, err := s.SealRaw(rawName, content, c.t.Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
	}); a > 4 { // one is the value; the race detector makes pools forget
		t.Errorf("%v allocations", a)
	}
}

func TestRawSizes(t *testing.T) {
	c := &clock{time.Unix(1_900_000_000, 0)}
	s := testSealer(t, c.now, testCodec(t, Stored, testKey(1)))
	expires := c.t.Add(time.Hour)
	longest := text(strings.Repeat("x", MaxRaw-overhead-2*5)) // two times of five bytes
	value, err := s.SealRaw(rawName, longest, expires)
	if err != nil || len(value) != MaxRaw {
		t.Fatalf("%d bytes, %v", len(value), err)
	}
	var v text
	if _, err := s.OpenRaw(c.t, rawName, value, &v); err != nil || v != longest {
		t.Fatal(err)
	}
	_, err = s.SealRaw(rawName, longest+"x", expires)
	wantReason(t, err, Size)
	_, err = s.OpenRaw(c.t, rawName, append([]byte{1}, make([]byte, MaxRaw)...), &v)
	wantReason(t, err, Size)
	_, err = s.OpenRaw(c.t, rawName, nil, &v)
	wantReason(t, err, Auth)
	if _, err := s.SealRaw(rawName, refusing{}, expires); !errors.Is(err, errRefusing) {
		t.Fatal(err)
	}
}

var errRefusing = errors.New("not this one")

type refusing struct{}

func (refusing) AppendBinary([]byte) ([]byte, error) { return nil, errRefusing }

// Scratch is shared between calls; nothing of one shows in another.
func TestRawParallel(t *testing.T) {
	c := &clock{time.Unix(1_900_000_000, 0)}
	s := testSealer(t, c.now, testCodec(t, Stored, testKey(1)))
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			content := text(strings.Repeat(string(rune('a'+i)), 10+i*3000))
			for range 100 {
				value, err := s.SealRaw(rawName, content, c.t.Add(time.Hour))
				var v text
				if err == nil {
					_, err = s.OpenRaw(c.t, rawName, value, &v)
				}
				if err != nil || v != content {
					t.Errorf("%d: %v", i, err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func TestSubkeys(t *testing.T) {
	k1, k2 := testKey(1), testKey(2)
	ring := func(keys ...[]byte) *Ring {
		r, err := NewRing(keys)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	subkeys := func(r *Ring, p Purpose) [][]byte {
		all, err := r.Subkeys(p)
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	both, old := subkeys(ring(k2, k1), Naming), subkeys(ring(k1), Naming)
	if len(both) != 2 || len(old) != 1 || !bytes.Equal(both[1], old[0]) || bytes.Equal(both[0], both[1]) {
		t.Fatal("not one for each key, newest first")
	}
	newest, err := ring(k2, k1).Subkey(Naming)
	if err != nil || !bytes.Equal(newest, both[0]) {
		t.Fatal("Subkey is not of the newest")
	}
	seen := map[string]Purpose{}
	for p := Session; p <= Naming; p++ {
		key := subkeys(ring(k1), p)[0]
		if len(key) != keySize {
			t.Fatalf("%v: %d bytes", p, len(key))
		}
		if q, ok := seen[string(key)]; ok || bytes.Equal(key, k1) {
			t.Fatalf("%v and %v have one key", p, q)
		}
		if p.String() == "unknown" {
			t.Fatalf("purpose %d has no name", p)
		}
		seen[string(key)] = p
	}
}

func FuzzOpenRaw(f *testing.F) {
	// ATK-S03: whatever bytes come, no panic, and nothing opens that was not sealed.
	c := &clock{time.Unix(1_900_000_000, 0)}
	s := testSealer(f, c.now, testCodec(f, Stored, testKey(1)))
	good, err := s.SealRaw(rawName, text("content"), c.t.Add(time.Hour))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(nil))
	f.Add([]byte("AAAA"))
	f.Add(append([]byte{good[0], good[1]}, make([]byte, 60)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		var v text
		if _, err := s.OpenRaw(c.t, rawName, b, &v); err == nil && v != "content" { // each worker has sealed it anew
			t.Fatalf("opened as %q", v)
		}
	})
}
