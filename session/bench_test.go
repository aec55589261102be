package session

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"errors"
	mrand "math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/gorilla/securecookie"

	"github.com/sallyport/sallyport/client"
)

// The session that the floor and we read: a 1.1 kB access token, a 200 B refresh token, 400 B of claims.
type benchSession struct {
	access, refresh, claims string
	expiry                  int64
}

func benchFixture() *benchSession {
	r := mrand.New(mrand.NewPCG(1, 2))
	text := func(n int) string {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		return base64.RawURLEncoding.EncodeToString(b)
	}
	return &benchSession{
		access: text(60) + "." + text(507) + "." + text(256), refresh: text(150),
		claims: `{"sub":"9f1c2f0e-6f0a-4a53-9d0b-2a7c6f1d3e55","pad":"` + strings.Repeat("x", 350) + `"}`,
		expiry: time.Now().Add(time.Hour).Unix(),
	}
}

// floor is the least that an encrypted cookie can cost: the header by hand, one base64, one AES-GCM, fields
// that point into one buffer.
type floor struct{ aead cipher.AEAD }

func newFloor(b testing.TB) *floor {
	block, err := aes.NewCipher(make([]byte, 32))
	if err != nil {
		b.Fatal(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		b.Fatal(err)
	}
	return &floor{aead}
}

func (f *floor) encode(name string, s *benchSession) string {
	buf := make([]byte, 12, 4096)
	rand.Read(buf)
	buf = append(buf, 1)
	buf = binary.BigEndian.AppendUint64(buf, uint64(s.expiry))
	for _, v := range [...]string{s.access, s.refresh, s.claims} {
		buf = appendString(buf, v)
	}
	sealed := f.aead.Seal(buf[:12], buf[:12], buf[12:], []byte(name))
	return base64.RawURLEncoding.EncodeToString(sealed)
}

func (f *floor) decode(name, v string, s *benchSession) error {
	b := make([]byte, base64.RawURLEncoding.DecodedLen(len(v)))
	n, err := base64.RawURLEncoding.Decode(b, unsafe.Slice(unsafe.StringData(v), len(v)))
	if err != nil || n < 28 {
		return errors.New("bad")
	}
	b, err = f.aead.Open(b[12:12], b[:12], b[12:n], unsafe.Slice(unsafe.StringData(name), len(name)))
	if err != nil || len(b) < 9 || b[0] != 1 {
		return errors.New("bad")
	}
	s.expiry = int64(binary.BigEndian.Uint64(b[1:]))
	b = b[9:]
	for _, p := range [...]*string{&s.access, &s.refresh, &s.claims} {
		n, k := binary.Uvarint(b)
		if k <= 0 || uint64(len(b)-k) < n {
			return errors.New("bad")
		}
		*p = unsafe.String(unsafe.SliceData(b[k:]), int(n))
		b = b[k+int(n):]
	}
	return nil
}

func floorFind(h, name string) (string, bool) {
	for len(h) > 0 {
		part := h
		if i := strings.IndexByte(h, ';'); i >= 0 {
			part, h = h[:i], h[i+1:]
		} else {
			h = ""
		}
		part = strings.TrimLeft(part, " ")
		if len(part) > len(name) && part[len(name)] == '=' && part[:len(name)] == name {
			return part[len(name)+1:], true
		}
	}
	return "", false
}

func benchManager(b testing.TB, cfg Config) (*Manager, *http.Request, int) {
	b.Helper()
	m, err := New(cfg)
	if err != nil {
		b.Fatal(err)
	}
	f := benchFixture()
	h := header{}
	_, err = m.createFor(h, get(nil), "https://login.example.com/realms/main", "web-frontend", nil, &client.Tokens{
		AccessToken: client.Secret(f.access), RefreshToken: client.Secret(f.refresh), TokenType: "Bearer", Expiry: time.Now().Add(time.Hour),
		Scopes: []string{"openid", "profile", "email"}, UserInfo: []byte(f.claims), Subject: "9f1c2f0e-6f0a-4a53-9d0b-2a7c6f1d3e55",
	})
	if err != nil {
		b.Fatal(err)
	}
	line, _, _ := strings.Cut(h["Set-Cookie"][0], ";")
	return m, get([]string{line}), len(line) - len("__Host-sallyport=")
}

// BenchmarkRead is to be read as ratios within one run: default to floor at most 1.5, forged to default 1.1.
func BenchmarkRead(b *testing.B) {
	b.Run("floor", func(b *testing.B) {
		f := newFloor(b)
		lines := []string{"session=" + f.encode("session", benchFixture())}
		b.ReportAllocs()
		for b.Loop() {
			v, ok := floorFind(lines[0], "session")
			var s benchSession
			if !ok || f.decode("session", v, &s) != nil || len(s.access) != 1100 {
				b.Fatal("floor")
			}
		}
	})
	k1, k2, k3 := GenerateKey(), GenerateKey(), GenerateKey()
	load := func(b *testing.B, m *Manager, r *http.Request) {
		b.ReportAllocs()
		for b.Loop() {
			s, err := m.Load(r)
			if err != nil || len(s.AccessToken()) != 1100 {
				b.Fatal(err)
			}
		}
	}
	b.Run("default", func(b *testing.B) {
		m, r, n := benchManager(b, Config{Keys: [][]byte{k1}})
		load(b, m, r)
		b.ReportMetric(float64(n), "cookie-B")
	})
	b.Run("third-key", func(b *testing.B) {
		_, r, _ := benchManager(b, Config{Keys: [][]byte{k1}})
		m, _, _ := benchManager(b, Config{Keys: [][]byte{k3, k2, k1}})
		load(b, m, r)
	})
	b.Run("forged", func(b *testing.B) {
		m, r, _ := benchManager(b, Config{Keys: [][]byte{k1}})
		line := []byte(r.Header["Cookie"][0])
		line[len("__Host-sallyport=")+6] ^= 1
		r = get([]string{string(line)})
		b.ReportAllocs()
		for b.Loop() {
			if _, err := m.Load(r); err == nil {
				b.Fatal("opened")
			}
		}
	})
	b.Run("gorilla-floor", func(b *testing.B) {
		c := securecookie.New(k1, k2).MaxLength(0).SetSerializer(floorSerializer{})
		v, err := c.Encode("session", benchFixture())
		if err != nil {
			b.Fatal(err)
		}
		b.ReportAllocs()
		r := get([]string{"session=" + v})
		for b.Loop() {
			k, err := r.Cookie("session")
			var s benchSession
			if err != nil || c.Decode("session", k.Value, &s) != nil || len(s.access) != 1100 {
				b.Fatal("floor")
			}
		}
	})
	b.Run("gorilla", func(b *testing.B) {
		m, r, n := benchManager(b, Config{Codecs: []securecookie.Codec{SecureCookie(k1, k2)}})
		load(b, m, r)
		b.ReportMetric(float64(n), "cookie-B")
	})
}

type floorSerializer struct{}

func (floorSerializer) Serialize(v any) ([]byte, error) {
	s := v.(*benchSession)
	buf := binary.BigEndian.AppendUint64(make([]byte, 0, 2048), uint64(s.expiry))
	for _, v := range [...]string{s.access, s.refresh, s.claims} {
		buf = appendString(buf, v)
	}
	return buf, nil
}

func (floorSerializer) Deserialize(b []byte, v any) error {
	s := v.(*benchSession)
	b = b[8:]
	for _, p := range [...]*string{&s.access, &s.refresh, &s.claims} {
		n, k := binary.Uvarint(b)
		*p = unsafe.String(unsafe.SliceData(b[k:]), int(n))
		b = b[k+int(n):]
	}
	return nil
}

// BenchmarkWrite: default to floor at most 1.5.
func BenchmarkWrite(b *testing.B) {
	b.Run("floor", func(b *testing.B) {
		f, s := newFloor(b), benchFixture()
		b.ReportAllocs()
		for b.Loop() {
			f.encode("session", s)
		}
	})
	b.Run("default", func(b *testing.B) {
		m, r, _ := benchManager(b, Config{Keys: [][]byte{GenerateKey()}})
		s, err := m.Load(r)
		if err != nil {
			b.Fatal(err)
		}
		h := header{}
		b.ReportAllocs()
		for b.Loop() {
			if _, err := m.Save(h, r, s); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("seal-only", func(b *testing.B) {
		m, r, _ := benchManager(b, Config{Keys: [][]byte{GenerateKey()}})
		s, err := m.Load(r)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportAllocs()
		for b.Loop() {
			if _, err := m.shared.sessions.Seal(m.sessionSeal, &s.rec, time.Unix(s.rec.absolute, 0)); err != nil {
				b.Fatal(err)
			}
		}
	})
}
