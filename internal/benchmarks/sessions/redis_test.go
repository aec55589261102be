package sessions

import (
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/backing"
)

func TestEachKindReadsItsSessionInRedis(t *testing.T) {
	addr := backing.RedisForTest(t).Addr()
	for _, k := range InRedis(addr) {
		t.Run(k.Name, func(t *testing.T) {
			s := setup(t, k)
			if !s.Try(s.Cookie) {
				t.Fatal("refuses its own cookie")
			}
			if err := s.ReadConcurrently(3*workers + 1); err != nil {
				t.Fatal(err)
			}
			if k.Name == Bare {
				return
			}
			name, value, _ := strings.Cut(s.Cookie, "=")
			for what, cookie := range map[string]string{
				"half of its cookie":   name + "=" + value[:len(value)/2],
				"an empty value":       name + "=",
				"a stranger's session": name + "=" + strings.Repeat("A", len(value)),
			} {
				if s.Try(cookie) {
					t.Error("takes", what)
				}
			}
		})
	}
}

// A session is in Redis, not in a memory of ours beside it: without the server nobody is let in.
func TestNoSessionWithoutRedis(t *testing.T) {
	server := backing.RedisForTest(t)
	setups := map[string]*Setup{}
	for _, k := range InRedis(server.Addr()) {
		if k.Name != Bare {
			setups[k.Name] = setup(t, k)
		}
	}
	server.Stop()
	for name, s := range setups {
		if s.Try(s.Cookie) {
			t.Error(name, "reads no Redis")
		}
	}
}

func BenchmarkReadRedis(b *testing.B) {
	addr := backing.RedisForTest(b).Addr()
	for _, k := range InRedis(addr) {
		b.Run(k.Name, func(b *testing.B) {
			s := setup(b, k)
			b.ReportAllocs()
			b.ResetTimer()
			if err := s.ReadConcurrently(b.N); err != nil {
				b.Fatal(err)
			}
		})
	}
}
