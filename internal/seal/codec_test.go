package seal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/securecookie"
)

func testKey(n byte) []byte {
	k := make([]byte, MinKey)
	for i := range k {
		k[i] = n ^ byte(i*7)
	}
	return k
}

func testCodec(t testing.TB, p Purpose, keys ...[]byte) *Codec {
	t.Helper()
	r, err := NewRing(keys)
	if err != nil {
		t.Fatal(err)
	}
	c, err := r.Codec(p)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func wantReason(t *testing.T, err error, want Reason) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) || e.Reason != want {
		t.Fatalf("error %v, want reason %s", err, want)
	}
	if !e.IsDecode() || e.IsUsage() || e.IsInternal() || e.Cause() != e.Unwrap() {
		t.Fatal("not a decode error in securecookie's terms")
	}
}

func TestNewRingRefuses(t *testing.T) {
	for name, keys := range map[string][][]byte{
		"none":  nil,
		"short": {testKey(1), testKey(2)[:31]},
		"empty": {nil},
		"zeros": {make([]byte, 64)},
		"twice": {testKey(1), testKey(2), testKey(1)},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := NewRing(keys); err == nil {
				t.Fatal("accepted")
			}
		})
	}
}

func TestCodecRoundTrip(t *testing.T) {
	var c securecookie.Codec = testCodec(t, Session, testKey(1))
	for _, n := range []int{0, 1, 100, 4000, 12200} {
		plain := bytes.Repeat([]byte{'x'}, n)
		text, err := c.Encode("name", plain)
		if err != nil {
			t.Fatal(err)
		}
		if len(text) != EncodedLen(n+overhead) {
			t.Fatalf("%d bytes became %d characters", n, len(text))
		}
		got := []byte("left from before")
		if err := c.Decode("name", text, &got); err != nil || !bytes.Equal(got, plain) {
			t.Fatalf("%d bytes: %v", n, err)
		}
		again, _ := c.Encode("name", plain)
		if again == text {
			t.Fatal("the same text twice")
		}
	}
}

func TestCodecThroughSecurecookie(t *testing.T) {
	// Any code that takes securecookie's codecs takes this one, in lists with others too.
	aead := testCodec(t, Session, testKey(1))
	gorilla := securecookie.New(testKey(8), testKey(9)).SetSerializer(securecookie.NopEncoder{})
	text, err := securecookie.EncodeMulti("n", []byte("v"), aead, gorilla)
	if err != nil {
		t.Fatal(err)
	}
	for _, list := range [][]securecookie.Codec{{aead}, {gorilla, aead}} {
		var got []byte
		if err := securecookie.DecodeMulti("n", text, &got, list...); err != nil || string(got) != "v" {
			t.Fatalf("%q, %v", got, err)
		}
	}
	var got []byte
	err = securecookie.DecodeMulti("other", text, &got, aead)
	if multi, ok := err.(securecookie.MultiError); !ok || !multi.IsDecode() {
		t.Fatalf("not a decode error to securecookie: %v", err)
	}
}

func TestCodecRefuses(t *testing.T) {
	c := testCodec(t, Session, testKey(1))
	text, err := c.Encode("name", []byte("some content"))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Decode("name", text, &struct{}{}); err == nil {
		t.Fatal("decoded into a struct")
	}
	if _, err := c.Encode("name", 5); err == nil {
		t.Fatal("encoded a number")
	}
	if _, err := c.Encode("name", failing{}); !errors.Is(err, errFailing) {
		t.Fatalf("the value's own error is lost: %v", err)
	}
	_, err = c.Encode("name", make([]byte, MaxText))
	wantReason(t, err, Size)
	_, err = c.Encode("name", make([]byte, DecodedLen(MaxText)-headerSize))
	wantReason(t, err, Size)

	var dst []byte
	decode := func(c *Codec, name, text string) error { return c.Decode(name, text, &dst) }
	wantReason(t, decode(c, "name", text+strings.Repeat("A", MaxText)), Size)
	for _, s := range []string{"", "A", text[:len(text)-1], text[:len(text)-16], text[:len(text)/2], text[:10], text + "A", text + "\n", text + text, " " + text} {
		t.Run("ATK-K04", func(t *testing.T) { wantReason(t, decode(c, "name", s), Auth) })
	}
	var e *Error // which reason depends on what the shifted first byte says
	if err := decode(c, "name", text[1:]); !errors.As(err, &e) {
		t.Fatalf("without its first character: %v", err)
	}
	t.Run("ATK-K09", func(t *testing.T) {
		wantReason(t, decode(c, "name2", text), Auth)
		wantReason(t, decode(testCodec(t, Login, testKey(1)), "name", text), WrongPurpose)
		wantReason(t, decode(testCodec(t, Session, testKey(2)), "name", text), Auth)
	})
	t.Run("a purpose forged to fit", func(t *testing.T) {
		// The first byte is only a label: the subkey decides. ATK-K09
		b := make([]byte, DecodedLen(len(text)))
		Decode(b, text)
		b[0] = version<<4 | byte(Login)
		wantReason(t, decode(testCodec(t, Login, testKey(1)), "name", string(AppendEncode(nil, b))), Auth)
	})
	if dst != nil {
		t.Fatal("something reached the destination")
	}
}

func TestCodecBitFlips(t *testing.T) {
	// ATK-K13: every bit of the value, and the retired and foreign key on the way.
	c := testCodec(t, Session, testKey(1), testKey(2))
	text, err := c.Encode("name", []byte("the content of a session, long enough to have a middle"))
	if err != nil {
		t.Fatal(err)
	}
	raw := make([]byte, DecodedLen(len(text)))
	Decode(raw, text)
	for i := range len(raw) * 8 {
		b := bytes.Clone(raw)
		b[i/8] ^= 1 << (i % 8)
		want := Auth
		switch {
		case i < 4:
			want = WrongPurpose
		case i < 8:
			want = Version
		}
		var dst []byte
		wantReason(t, c.Decode("name", string(AppendEncode(nil, b)), &dst), want)
	}
	// And every character to every other of the alphabet: no second text for one value.
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_="
	for i := range text {
		for _, r := range alphabet {
			if byte(r) == text[i] {
				continue
			}
			var dst []byte
			if err := c.Decode("name", text[:i]+string(r)+text[i+1:], &dst); err == nil {
				t.Fatalf("character %d changed to %c: still opens", i, r)
			}
		}
	}
}

func TestCodecKeyRotation(t *testing.T) {
	old := testCodec(t, Session, testKey(1))
	text, _ := old.Encode("name", []byte("v"))
	var dst []byte
	t.Run("ATK-K11", func(t *testing.T) {
		both := testCodec(t, Session, testKey(2), testKey(1))
		if err := both.Decode("name", text, &dst); err != nil {
			t.Fatal(err)
		}
		fresh, _ := both.Encode("name", []byte("v"))
		wantReason(t, old.Decode("name", fresh, &dst), Auth)
	})
	t.Run("ATK-K12", func(t *testing.T) {
		wantReason(t, testCodec(t, Session, testKey(2)).Decode("name", text, &dst), Auth)
	})
}

func TestCodecKeyIDCollision(t *testing.T) {
	// Among 300 keys two share the id byte; a ring of them must open what either sealed.
	byID := map[byte][]byte{}
	for i := range 300 {
		k := bytes.Clone(testKey(1))
		binary.BigEndian.PutUint16(k, uint16(i))
		c := testCodec(t, Session, k)
		other, ok := byID[c.newest.id]
		if !ok {
			byID[c.newest.id] = k
			continue
		}
		ring := testCodec(t, Session, k, other)
		for _, key := range [][]byte{k, other} {
			text, _ := testCodec(t, Session, key).Encode("n", []byte("value"))
			var dst []byte
			if err := ring.Decode("n", text, &dst); err != nil || string(dst) != "value" {
				t.Fatalf("%q, %v", dst, err)
			}
		}
		return
	}
	t.Fatal("no two ids collided")
}

func TestSealingMovesToANewPrefix(t *testing.T) {
	c := testCodec(t, Session, testKey(1))
	first, err := c.newest.current()
	if err != nil {
		t.Fatal(err)
	}
	if again, _ := c.newest.current(); again != first {
		t.Fatal("a prefix for each value")
	}
	c.newest.seal.Load().left.Store(0)
	next, err := c.newest.current()
	if err != nil || next == first || next.prefix == first.prefix {
		t.Fatal("stayed with the spent prefix")
	}
	text, _ := c.Encode("n", []byte("v"))
	var dst []byte
	if err := c.Decode("n", text, &dst); err != nil {
		t.Fatal(err)
	}
}

func TestSubkeysDiffer(t *testing.T) {
	r, err := NewRing([][]byte{testKey(1), testKey(2)})
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, p := range []Purpose{Session, Login, Logout, Fingerprint, 9} {
		k, err := r.Subkey(p)
		if err != nil || len(k) != 32 || seen[string(k)] {
			t.Fatalf("subkey of %v: %x, %v", p, k, err)
		}
		seen[string(k)] = true
	}
}

func TestScratchIsWiped(t *testing.T) {
	// What stays in the pool must not be the content of somebody's session.
	c := testCodec(t, Session, testKey(1))
	s := borrow()
	b := append(s.begin(), "CANARY"...)
	text, err := c.seal(s, b, "n", "", "")
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.open(s, "n", text); err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(s.buf, []byte("CANARY")) {
		t.Fatal("this test looks at the wrong place")
	}
	buf := s.buf
	s.giveBack()
	if bytes.Contains(buf, []byte("CANARY")) {
		t.Fatal("plain text is left in the scratch")
	}
}

var errFailing = errors.New("failing")

type failing struct{}

func (failing) AppendBinary(b []byte) ([]byte, error) { return append(b, "CANARY"...), errFailing }

type text string

func (s text) AppendBinary(b []byte) ([]byte, error) { return append(b, s...), nil }
func (s *text) UnmarshalBinary(b []byte) error       { *s = text(b); return nil }

func FuzzCodec(f *testing.F) {
	c := testCodec(f, Session, testKey(1), testKey(2))
	good, _ := c.Encode("n", []byte("content"))
	f.Add(good)
	f.Add(good[:len(good)-1])
	f.Add("")
	f.Fuzz(func(t *testing.T, s string) {
		var dst []byte
		if err := c.Decode("n", s, &dst); err == nil && string(dst) != "content" { // all that this key has sealed
			t.Fatalf("%q opened as %q", s, dst)
		}
	})
}

func BenchmarkCodec(b *testing.B) {
	plain := text(strings.Repeat("x", 1700))
	s, err := NewSealer(time.Now, testCodec(b, Session, testKey(1), testKey(2)))
	if err != nil {
		b.Fatal(err)
	}
	sealed, err := s.Seal("n", plain, time.Now().Add(time.Hour))
	if err != nil {
		b.Fatal(err)
	}
	b.Run("seal", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			s.Seal("n", plain, time.Now().Add(time.Hour))
		}
	})
	b.Run("open", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			s.Open("n", sealed, discard{})
		}
	})
	raw := make([]byte, DecodedLen(len(sealed)))
	Decode(raw, sealed)
	raw[4] ^= 1 // another prefix: the dearest forgery
	forged := string(AppendEncode(nil, raw))
	b.Run("forged", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			s.Open("n", forged, discard{})
		}
	})
}

type discard struct{}

func (discard) UnmarshalBinary([]byte) error { return nil }
