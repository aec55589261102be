package redisstore

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sallyport/sallyport/session"
)

// logged is what go-redis has printed.
var logged struct {
	sync.Mutex
	lines []string
}

type recorder struct{}

func (recorder) Printf(_ context.Context, format string, v ...any) {
	logged.Lock()
	defer logged.Unlock()
	logged.lines = append(logged.lines, fmt.Sprintf(format, v...))
}

func TestMain(m *testing.M) {
	redis.SetLogger(recorder{})
	os.Exit(m.Run())
}

func open(t testing.TB, url string) *Store {
	t.Helper()
	s, err := Open(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// plain returns a client that does what it is told, once.
func plain(t testing.TB, addr string) *redis.Client {
	t.Helper()
	c := redis.NewClient(&redis.Options{Addr: addr, MaxRetries: -1, DialerRetries: 1})
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func mustSwap(t testing.TB, s *Store, key string, old int64, value string) int64 {
	t.Helper()
	v, err := s.Swap(t.Context(), key, old, []byte(value), time.Hour)
	if err != nil || v <= 0 {
		t.Fatalf("swap of %s from %d: version %d, %v", key, old, v, err)
	}
	return v
}

func mustGet(t testing.TB, s *Store, key, value string, version int64) {
	t.Helper()
	b, v, err := s.Get(t.Context(), key)
	if err != nil || !bytes.Equal(b, []byte(value)) || v != version {
		t.Fatalf("get of %s: %q, version %d, %v; want %q, version %d", key, b, v, err, value, version)
	}
}

// unavailable fails the test unless the error is one that says that nothing is known, in our own words.
func unavailable(t testing.TB, what string, err error) {
	t.Helper()
	switch {
	case err == nil:
		t.Errorf("%s: no error", what)
	case errors.Is(err, session.ErrNotFound), errors.Is(err, session.ErrConflict), errors.Is(err, session.ErrFull):
		t.Errorf("%s: %v says too much", what, err)
	case !strings.HasPrefix(err.Error(), "sallyport: "), strings.Contains(err.Error(), "127.0.0.1"):
		t.Errorf("%s: %q is not in our own words", what, err)
	}
}

// eventually waits until f says yes, half a minute at most.
func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !f(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within half a minute", what)
		}
	}
}

// record is what Redis has for a version and a value.
func record(version int64, value string) string {
	return string(binary.BigEndian.AppendUint64(nil, uint64(version))) + value
}

// calls returns how often the server has executed the command since CONFIG RESETSTAT.
func executed(t testing.TB, c *redis.Client, command string) int {
	t.Helper()
	info, err := c.Info(t.Context(), "commandstats").Result()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(info) {
		if counts, ok := strings.CutPrefix(line, "cmdstat_"+command+":calls="); ok {
			var n int
			_, _ = fmt.Sscanf(counts, "%d", &n)
			return n
		}
	}
	return 0
}
