package seal

import (
	"bytes"
	"encoding/base64"
	"math/rand/v2"
	"strings"
	"testing"
)

func TestDecodeStrict(t *testing.T) {
	// A text that decodes here must be the only one for its bytes: else a cookie could be
	// changed without its seal noticing.
	for _, s := range []string{
		"A", "AAAAA", "AAAAAAAAA", // impossible lengths
		"AB", "AAB", "AAAAAB", "AAAAAAB", "AP", "AA8=", // trailing bits, padding
		"AA\n", "AA\r\nAA", "AAAA\n", "\nAAAA", "AAAAAAA\n", "AAAAAAAAAAAAAAA\r", // what encoding/base64 skips
		"AA+A", "AA/A", "AA A", "AA=A", "AA\x00A", "AA\xffA", "AAAAAAA+", "AAAAAAAAAA.A", "ÄÄ",
	} {
		if n, ok := Decode(make([]byte, 64), s); ok {
			t.Errorf("Decode(%q) took %d bytes", s, n)
		}
	}
	if _, ok := Decode(make([]byte, 2), "AAAA"); ok {
		t.Error("Decode wrote past its room")
	}
}

func TestDecodeRoundTrip(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for n := range 200 {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		text := string(AppendEncode(nil, b))
		if want := base64.RawURLEncoding.EncodeToString(b); text != want || string(AppendEncode([]byte("x"), b)) != "x"+want {
			t.Fatalf("%d bytes: %q, want %q", n, text, want)
		}
		if len(text) != EncodedLen(n) || DecodedLen(len(text)) != n {
			t.Fatalf("lengths of %d bytes: %d, %d", n, EncodedLen(n), DecodedLen(len(text)))
		}
		got := make([]byte, n)
		if m, ok := Decode(got, text); !ok || m != n || !bytes.Equal(got, b) {
			t.Fatalf("%d bytes: Decode = %d, %v", n, m, ok)
		}
		for i := range text { // every place is checked
			if _, ok := Decode(make([]byte, n), text[:i]+"*"+text[i+1:]); ok {
				t.Fatalf("%d bytes: a '*' at %d passed", n, i)
			}
		}
	}
}

// FuzzDecode holds the decoder against encoding/base64 in Strict mode, without its line breaks.
func FuzzDecode(f *testing.F) {
	for _, s := range []string{"", "AA", "AAA", "AAAA", "AB", "AAAAAAAA", "A\nA", "__--", strings.Repeat("Zz09-_", 9), "AAAAAAAA\r"} {
		f.Add(s)
	}
	strict := base64.RawURLEncoding.Strict()
	f.Fuzz(func(t *testing.T, s string) {
		want, err := strict.DecodeString(s)
		valid := err == nil && !strings.ContainsAny(s, "\r\n")
		got := make([]byte, DecodedLen(len(s)))
		n, ok := Decode(got, s)
		if ok != valid {
			t.Fatalf("Decode(%q) ok = %v, encoding/base64: %v", s, ok, err)
		}
		if ok && !bytes.Equal(got[:n], want) {
			t.Fatalf("Decode(%q) = %x, want %x", s, got[:n], want)
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	text := string(AppendEncode(nil, bytes.Repeat([]byte("sallyport"), 196))) // 2352 characters
	dst := make([]byte, DecodedLen(len(text)))
	b.Run("ours", func(b *testing.B) {
		b.SetBytes(int64(len(text)))
		for b.Loop() {
			Decode(dst, text)
		}
	})
	b.Run("encode-ours", func(b *testing.B) {
		var out []byte
		b.SetBytes(int64(len(text)))
		for b.Loop() {
			out = AppendEncode(out[:0], dst)
		}
	})
	b.Run("encode-encoding-base64", func(b *testing.B) {
		var out []byte
		b.SetBytes(int64(len(text)))
		for b.Loop() {
			out = base64.RawURLEncoding.AppendEncode(out[:0], dst)
		}
	})
	b.Run("encoding-base64", func(b *testing.B) {
		b.SetBytes(int64(len(text)))
		src := []byte(text)
		for b.Loop() {
			base64.RawURLEncoding.Decode(dst, src)
		}
	})
}
