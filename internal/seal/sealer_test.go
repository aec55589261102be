package seal

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/securecookie"
)

func gorilla(n byte) *securecookie.SecureCookie {
	return securecookie.New(testKey(n), testKey(n+1)).MaxLength(0).MaxAge(0).SetSerializer(securecookie.NopEncoder{})
}

// lists are the two families of codecs: everything a Sealer promises holds for both.
func lists(t *testing.T) map[string][3][]securecookie.Codec { // [k1], [k2, k1], [k2]
	t.Helper()
	k1, k2 := testKey(1), testKey(2)
	aead := func(keys ...[]byte) []securecookie.Codec {
		return []securecookie.Codec{testCodec(t, Session, keys...)}
	}
	g1, g2 := gorilla(11), gorilla(22)
	return map[string][3][]securecookie.Codec{
		"aead":         {aead(k1), aead(k2, k1), aead(k2)},
		"securecookie": {{g1}, {g2, g1}, {g2}},
		"moving":       {{g1}, append(aead(k1), g1), aead(k1)},
	}
}

type clock struct{ t time.Time }

func (c *clock) now() time.Time { return c.t }

func testSealer(t testing.TB, now func() time.Time, codecs ...securecookie.Codec) *Sealer {
	t.Helper()
	s, err := NewSealer(now, codecs...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSealer(t *testing.T) {
	for family, l := range lists(t) {
		t.Run(family, func(t *testing.T) {
			c := &clock{time.Unix(1_900_000_000, 0)}
			old, both, next := testSealer(t, c.now, l[0]...), testSealer(t, c.now, l[1]...), testSealer(t, c.now, l[2]...)
			name := Name(Session, "s", "https://a.example")
			expires := c.t.Add(time.Hour)
			sealed, err := old.Seal(name, text("content"), expires)
			if err != nil {
				t.Fatal(err)
			}
			open := func(s *Sealer, name, value string) (text, Opened, error) {
				var v text
				o, err := s.Open(name, value, &v)
				if refused, ok := err.(*Error); err != nil && v != "" && !(ok && refused.Reason == Expired) {
					t.Fatal("content came with an error")
				}
				return v, o, err
			}
			v, o, err := open(old, name, sealed)
			if err != nil || v != "content" || !o.Issued.Equal(c.t) || !o.Expires.Equal(expires) || o.Stale {
				t.Fatalf("%q, %+v, %v", v, o, err)
			}
			t.Run("ATK-K11", func(t *testing.T) {
				v, o, err := open(both, name, sealed)
				if err != nil || v != "content" || !o.Stale {
					t.Fatalf("%q, %+v, %v", v, o, err)
				}
				fresh, _ := both.Seal(name, text("content"), expires)
				if _, o, err := open(both, name, fresh); err != nil || o.Stale {
					t.Fatalf("%+v, %v", o, err)
				}
				if _, _, err := open(next, name, fresh); err != nil {
					t.Fatal("not sealed with the newest")
				}
			})
			t.Run("ATK-K12", func(t *testing.T) {
				_, _, err := open(next, name, sealed)
				wantReason(t, err, Auth)
			})
			t.Run("ATK-K09", func(t *testing.T) {
				for _, other := range []string{
					Name(Login, "s", "https://a.example"), Name(Session, "t", "https://a.example"), Name(Session, "s", "https://b.example"),
				} {
					_, _, err := open(both, other, sealed)
					wantReason(t, err, Auth)
				}
			})
			t.Run("ATK-K13", func(t *testing.T) {
				_, _, err := open(both, name, flipFirst(sealed))
				if err == nil {
					t.Fatal("opened")
				}
			})
			t.Run("ATK-K18", func(t *testing.T) {
				defer func(t time.Time) { c.t = t }(c.t)
				c.t = expires.Add(-time.Second)
				if _, _, err := open(old, name, sealed); err != nil {
					t.Fatal(err)
				}
				c.t = expires
				_, _, err := open(old, name, sealed)
				wantReason(t, err, Expired)
			})
			t.Run("from the future", func(t *testing.T) {
				defer func(t time.Time) { c.t = t }(c.t)
				c.t = c.t.Add(-futureLeeway)
				if _, _, err := open(old, name, sealed); err != nil {
					t.Fatal(err)
				}
				c.t = c.t.Add(-time.Second)
				_, _, err := open(old, name, sealed)
				wantReason(t, err, Expired)
			})
			_, _, err = open(both, name, strings.Repeat("A", MaxText+1))
			wantReason(t, err, Size)
			_, err = old.Seal(name, text(strings.Repeat("x", MaxText)), expires)
			wantReason(t, err, Size)
			if _, err := old.Seal(name, failing{}, expires); !errors.Is(err, errFailing) {
				t.Fatal(err)
			}
			if _, err := old.Open(name, sealed, failingDst{}); !errors.Is(err, errFailing) {
				t.Fatal(err)
			}
		})
	}
}

func flipFirst(s string) string {
	b := []byte(s)
	b[0] ^= 2
	return string(b)
}

type failingDst struct{}

func (failingDst) UnmarshalBinary([]byte) error { return errFailing }

func TestNewSealerRefuses(t *testing.T) {
	for _, l := range [][]securecookie.Codec{nil, {nil}, {gorilla(1), nil}} {
		if _, err := NewSealer(time.Now, l...); err == nil {
			t.Errorf("%d codecs accepted", len(l))
		}
	}
}

// incomparable is a codec type that cannot be compared, and one that lets nothing through.
type incomparable []string

func (incomparable) Encode(string, any) (string, error) { return "", errors.New("CANARY") }
func (incomparable) Decode(string, string, any) error   { return errors.New("CANARY") }

func TestSealerFallsThrough(t *testing.T) {
	now := time.Now
	expires := now().Add(time.Hour)
	// securecookie.EncodeMulti would let the second codec seal what the first had already
	// encrypted in the caller's slice.
	short := securecookie.New(testKey(1), testKey(2)).MaxLength(10).SetSerializer(securecookie.NopEncoder{})
	s := testSealer(t, now, short, gorilla(3))
	sealed, err := s.Seal("n", text("content"), expires)
	if err != nil {
		t.Fatal(err)
	}
	var v text
	if o, err := s.Open("n", sealed, &v); err != nil || v != "content" || !o.Stale {
		t.Fatalf("%q, %v", v, err)
	}

	none := testSealer(t, now, incomparable{"x"}, incomparable{"y"})
	_, err = none.Seal("n", text("content"), expires)
	wantReason(t, err, Unsealed)
	_, err2 := none.Open("n", sealed, &v)
	wantReason(t, err2, Auth)
	if strings.Contains(err.Error()+err2.Error(), "CANARY") {
		t.Fatal("a codec's own text is in the error")
	}
}

func TestSealerShortContent(t *testing.T) {
	// A codec may return anything: content without its times is refused.
	g := gorilla(5)
	s := testSealer(t, time.Now, g)
	for _, content := range [][]byte{{1}, {5}, {0xff, 0xff}, bytes.Repeat([]byte{0xff}, 20)} {
		sealed, err := g.Encode("n", bytes.Clone(content))
		if err != nil {
			t.Fatal(err)
		}
		var v text
		_, err = s.Open("n", sealed, &v)
		wantReason(t, err, Version)
	}
}
