package sessions

import (
	"net/http"
	"strings"
	"testing"
)

func setup(t testing.TB, k Kind) *Setup {
	t.Helper()
	s, err := k.New()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestEachKindReadsItsSession(t *testing.T) {
	for _, k := range All() {
		t.Run(k.Name, func(t *testing.T) {
			s := setup(t, k)
			if !s.Try(s.Cookie) {
				t.Fatal("refuses its own cookie")
			}
			if err := s.Read(3); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestEachKindRefusesWhatItDidNotMake(t *testing.T) {
	for _, k := range All() {
		if strings.HasPrefix(k.Name, Bare) {
			continue // reads no session: the ruler for the harness
		}
		t.Run(k.Name, func(t *testing.T) {
			s := setup(t, k)
			name, value, _ := strings.Cut(s.Cookie, "=")
			for i := range 20 { // a changed character in twenty places
				at := i * len(value) / 20
				c := "A"
				if value[at] == 'A' {
					c = "B"
				}
				if s.Try(name + "=" + value[:at] + c + value[at+1:]) {
					t.Errorf("takes its cookie with character %d changed", at)
				}
			}
			for what, cookie := range map[string]string{
				"half of its cookie":   name + "=" + value[:len(value)/2],
				"an empty value":       name + "=",
				"another name":         "x" + name + "=" + value,
				"a stranger's session": name + "=" + strings.Repeat("A", len(value)),
			} {
				if s.Try(cookie) {
					t.Error("takes", what)
				}
			}
			for _, f := range s.Forgeries {
				if err := s.Refused(len(f.Cookies), f.Cookies); err != nil {
					t.Errorf("%s: %v", f.Name, err)
				}
			}
		})
	}
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	for _, k := range All() {
		s := setup(t, k)
		if s.Write == nil || k.Name == Floor { // the floor's write is its encoding alone
			continue
		}
		t.Run(k.Name, func(t *testing.T) {
			w := NewSink()
			if err := s.Write(w, NewRequest("")); err != nil {
				t.Fatal(err)
			}
			if cookie := CookieHeader(w.Header()); cookie == "" || !s.Try(cookie) {
				t.Fatalf("the cookie that it wrote (%d bytes) is not let in", len(cookie))
			}
		})
	}
}

func TestARequestWithoutItsRecordIsRefused(t *testing.T) {
	// The harness itself: a handler that answers without having read the whole record would make its kind look fast.
	whole := NewRecord()
	for name, change := range map[string]func(*Record){
		"access token":  func(s *Record) { s.AccessToken = s.AccessToken[1:] },
		"refresh token": func(s *Record) { s.RefreshToken = "" },
		"claims":        func(s *Record) { s.Claims = "{}" },
		"expiry":        func(s *Record) { s.Expiry = 1 },
	} {
		s := *whole
		change(&s)
		w := NewSink()
		s.answer(w)
		if w.LetIn() || w.Status != http.StatusUnauthorized {
			t.Errorf("let in without its %s", name)
		}
	}
	w := NewSink()
	if whole.answer(w); !w.LetIn() {
		t.Error("the whole record is refused")
	}
	if w.Reset(); w.LetIn() {
		t.Error("an answer is left after Reset")
	}
}

func TestNamed(t *testing.T) {
	if k, err := Named(GorillaSessions, ""); err != nil || k.Name != GorillaSessions {
		t.Fatal(k.Name, err)
	}
	if k, err := Named(RedisFloor, "127.0.0.1:1"); err != nil || k.Name != RedisFloor {
		t.Fatal(k.Name, err)
	}
	if _, err := Named("nothing", ""); err == nil {
		t.Fatal("found a kind that is not there")
	}
}

func BenchmarkRead(b *testing.B) {
	for _, k := range All() {
		b.Run(k.Name, func(b *testing.B) {
			s := setup(b, k)
			b.ReportAllocs()
			b.ReportMetric(float64(s.CookieSize()), "cookie-B")
			b.ResetTimer()
			if err := s.Read(b.N); err != nil {
				b.Fatal(err)
			}
		})
	}
}

func BenchmarkForged(b *testing.B) {
	for _, k := range All() {
		s := setup(b, k)
		for _, f := range s.Forgeries {
			b.Run(k.Name+"/"+f.Name, func(b *testing.B) {
				b.ReportAllocs()
				if err := s.Refused(b.N, f.Cookies); err != nil {
					b.Fatal(err)
				}
			})
		}
	}
}

func BenchmarkWrite(b *testing.B) {
	for _, k := range All() {
		s := setup(b, k)
		if s.Write == nil {
			continue
		}
		b.Run(k.Name, func(b *testing.B) {
			b.ReportAllocs()
			if err := s.Store(b.N); err != nil {
				b.Fatal(err)
			}
		})
	}
}
