package redisstore

import (
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/backing"
	"github.com/sallyport/sallyport/session"
)

func TestGetAndSwap(t *testing.T) {
	server := backing.RedisForTest(t)
	s := open(t, server.URL())
	ctx := t.Context()
	if _, _, err := s.Get(ctx, "sa"); err != session.ErrNotFound {
		t.Errorf("nothing there: %v", err)
	}
	if _, err := s.Swap(ctx, "sa", 7, []byte("x"), time.Hour); err != session.ErrConflict {
		t.Errorf("swap of nothing: %v", err)
	}
	first := mustSwap(t, s, "sa", 0, "one")
	mustGet(t, s, "sa", "one", first)
	for _, old := range []int64{0, first - 1, first + 1, -1, math.MinInt64, math.MaxInt64} {
		if _, err := s.Swap(ctx, "sa", old, []byte("x"), time.Hour); err != session.ErrConflict {
			t.Errorf("swap from %d: %v", old, err)
		}
	}
	mustGet(t, s, "sa", "one", first)
	second := mustSwap(t, s, "sa", first, "two\r\n\x00\xff")
	if second <= first {
		t.Errorf("version %d after %d", second, first)
	}
	mustGet(t, s, "sa", "two\r\n\x00\xff", second)
	third := mustSwap(t, s, "sa", second, "")
	mustGet(t, s, "sa", "", third)
	big := strings.Repeat("x", 64<<10)
	mustGet(t, s, "sa", big, mustSwap(t, s, "sa", third, big))
	if _, _, err := s.Get(ctx, "sb"); err != session.ErrNotFound {
		t.Errorf("another key: %v", err)
	}
	if !s.Shared() {
		t.Error("not shared")
	}
}

// The value that Get returns is the caller's, and so stays the one that Swap was given.
func TestValuesAreNotShared(t *testing.T) {
	s := open(t, backing.RedisForTest(t).URL())
	given := []byte("value")
	version, err := s.Swap(t.Context(), "k", 0, given, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	copy(given, "XXXXX")
	got, _, err := s.Get(t.Context(), "k")
	if err != nil {
		t.Fatal(err)
	}
	copy(got, "YYYYY")
	if got = append(got, "more"...); string(got) != "YYYYYmore" {
		t.Errorf("%q", got)
	}
	mustGet(t, s, "k", "value", version)
}

// What is in Redis is a promise to those who look at it with other tools, and to the next version of this package.
func TestLayout(t *testing.T) {
	server := backing.RedisForTest(t)
	raw := plain(t, server.Addr())
	ctx := t.Context()
	for _, c := range []struct{ url, name string }{
		{server.URL(), "sallyport:{s-Aa0_:z}"},
		{server.URL() + "?prefix=app1:", "app1:{s-Aa0_:z}"},
	} {
		s := open(t, c.url)
		before := time.Now()
		version := mustSwap(t, s, "s-Aa0_:z", 0, "value")
		if got := raw.Get(ctx, c.name).Val(); got != record(version, "value") {
			t.Errorf("%s: %q", c.name, got)
		}
		// The server's clock is ours here.
		if version < before.UnixMicro() || version > time.Now().UnixMicro() {
			t.Errorf("version %d is not the time", version)
		}
		if ttl := raw.PTTL(ctx, c.name).Val(); ttl <= 59*time.Minute || ttl > time.Hour {
			t.Errorf("expires after %v", ttl)
		}
	}
	if n := raw.DBSize(ctx).Val(); n != 2 {
		t.Errorf("%d keys", n)
	}
}

func TestTTL(t *testing.T) {
	server := backing.RedisForTest(t)
	s := open(t, server.URL())
	raw := plain(t, server.Addr())
	ctx := t.Context()
	for i, c := range []struct{ ttl, least, most time.Duration }{
		{time.Hour + time.Nanosecond, 59 * time.Minute, time.Hour + time.Millisecond},
		{math.MaxInt64, math.MaxInt64 - time.Hour, math.MaxInt64},
	} {
		key := fmt.Sprint("k", i)
		if _, err := s.Swap(ctx, key, 0, nil, c.ttl); err != nil {
			t.Errorf("%v: %v", c.ttl, err)
		}
		if ms := raw.Do(ctx, "pttl", s.name(key)).Val().(int64); ms < c.least.Milliseconds() || ms > c.most.Milliseconds()+1 {
			t.Errorf("%v: %d ms", c.ttl, ms)
		}
	}
	// To Redis zero is an error, and what is over already is none to us.
	for i, ttl := range []time.Duration{1, 0, -1, math.MinInt64} {
		key := fmt.Sprint("s", i)
		if v, err := s.Swap(ctx, key, 0, nil, ttl); err != nil || v <= 0 {
			t.Errorf("%v: %d, %v", ttl, v, err)
		}
		eventually(t, "expiry", func() bool { _, _, err := s.Get(ctx, key); return err == session.ErrNotFound })
	}
	for ttl, want := range map[time.Duration]int64{
		math.MinInt64: 1, -1: 1, 0: 1, 1: 1, time.Millisecond: 1, time.Millisecond + 1: 2, time.Second: 1000, math.MaxInt64: 9223372036855,
	} {
		if got := milliseconds(ttl); got != want {
			t.Errorf("%v: %d ms, want %d", ttl, got, want)
		}
	}
}

func TestVersionsAfterExpiry(t *testing.T) {
	s := open(t, backing.RedisForTest(t).URL())
	ctx := t.Context()
	seen := map[int64]bool{}
	for range 5 {
		v, err := s.Swap(ctx, "k", 0, []byte("x"), 20*time.Millisecond)
		if err != nil || seen[v] {
			t.Fatalf("version %d again, or %v", v, err)
		}
		seen[v] = true
		eventually(t, "expiry", func() bool { _, _, err := s.Get(ctx, "k"); return err == session.ErrNotFound })
		if _, err := s.Swap(ctx, "k", v, []byte("y"), time.Hour); err != session.ErrConflict {
			t.Fatalf("a version outlives its record: %v", err)
		}
	}
	// A write takes the new time to live, also a longer one.
	v, err := s.Swap(ctx, "k", 0, []byte("x"), 50*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	if v, err = s.Swap(ctx, "k", v, []byte("y"), time.Hour); err != nil {
		t.Fatal(err)
	}
	time.Sleep(100 * time.Millisecond)
	mustGet(t, s, "k", "y", v)
}

// A clock that has been set back does not bring a version back.
func TestVersionsAheadOfTheClock(t *testing.T) {
	server := backing.RedisForTest(t)
	s := open(t, server.URL())
	for _, version := range []int64{time.Now().Add(24 * time.Hour).UnixMicro(), 1<<53 - 2, 1} {
		if err := plain(t, server.Addr()).Set(t.Context(), s.name("k"), record(version, "x"), time.Hour).Err(); err != nil {
			t.Fatal(err)
		}
		next := mustSwap(t, s, "k", version, "y")
		if version > 1 && next != version+1 || version == 1 && next < time.Now().Add(-time.Minute).UnixMicro() {
			t.Errorf("%d after %d", next, version)
		}
		mustGet(t, s, "k", "y", next)
	}
}

func TestConcurrentSwaps(t *testing.T) {
	s := open(t, backing.RedisForTest(t).URL())
	const workers, each = 64, 15
	var mu sync.Mutex
	seen := map[int64]bool{}
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for done := 0; done < each; {
				b, old, err := s.Get(t.Context(), "k")
				if err != nil && err != session.ErrNotFound {
					t.Error(err)
					return
				}
				n, _ := strconv.Atoi(string(b))
				v, err := s.Swap(t.Context(), "k", old, []byte(strconv.Itoa(n+1)), time.Hour)
				if err == session.ErrConflict {
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				if seen[v] {
					t.Errorf("version %d twice", v)
				}
				seen[v] = true
				mu.Unlock()
				done++
			}
		})
	}
	wg.Wait()
	b, _, err := s.Get(t.Context(), "k")
	if err != nil || string(b) != strconv.Itoa(workers*each) || len(seen) != workers*each {
		t.Errorf("%s writes of %d arrived, with %d versions, %v", b, workers*each, len(seen), err)
	}
}

// A stranger's bytes under our key are no record, and stay what they are.
func TestForeignValues(t *testing.T) {
	server := backing.RedisForTest(t)
	s := open(t, server.URL())
	raw := plain(t, server.Addr())
	ctx := t.Context()
	for name, plant := range map[string][]any{
		"empty":         {"set", ""},
		"short":         {"set", "secret!"},
		"text":          {"set", "secret of somebody else"},
		"version 0":     {"set", record(0, "secret")},
		"negative":      {"set", record(-1, "secret")},
		"version 2^53+": {"set", record(1<<53+1, "secret")},
		"hash":          {"hset", "field", "secret"},
		"list":          {"rpush", "secret"},
		"set":           {"sadd", "secret"},
	} {
		key := "k" + hex.EncodeToString([]byte(name))
		if err := raw.Do(ctx, append([]any{plant[0], s.name(key)}, plant[1:]...)...).Err(); err != nil {
			t.Fatal(err)
		}
		before := raw.Dump(ctx, s.name(key)).Val()
		_, _, err := s.Get(ctx, key)
		unavailable(t, name+": get", err)
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", name, err)
		}
		for _, old := range []int64{0, 1, time.Now().UnixMicro()} {
			_, err := s.Swap(ctx, key, old, []byte("ours"), time.Hour)
			if name == "version 0" || name == "version 2^53+" {
				// To the script these are versions like others; what counts is that it writes nothing.
				if err == nil {
					t.Errorf("%s: swap from %d", name, old)
				}
				continue
			}
			unavailable(t, fmt.Sprint(name, ": swap from ", old), err)
		}
		if after := raw.Dump(ctx, s.name(key)).Val(); after != before || before == "" {
			t.Errorf("%s: overwritten", name)
		}
	}
}

func TestFull(t *testing.T) {
	server := backing.RedisForTest(t, "maxmemory 3mb", "maxmemory-policy noeviction")
	s := open(t, server.URL())
	ctx := t.Context()
	kept := mustSwap(t, s, "kept", 0, "kept")
	value := []byte(strings.Repeat("x", 32<<10))
	full := false
	for i := 0; i < 1000 && !full; i++ {
		_, err := s.Swap(ctx, fmt.Sprint("k", i), 0, value, time.Hour)
		if full = errors.Is(err, session.ErrFull); !full && err != nil {
			t.Fatal(err)
		}
	}
	if !full {
		t.Fatal("a thousand times 32 kB fit in 3 MB")
	}
	if _, err := s.Swap(ctx, "kept", kept, value, time.Hour); !errors.Is(err, session.ErrFull) {
		t.Errorf("swap of a record: %v", err)
	}
	if _, err := s.Swap(ctx, "kept", kept+1, value, time.Hour); err != session.ErrConflict {
		t.Errorf("conflict in a full Redis: %v", err)
	}
	mustGet(t, s, "kept", "kept", kept)
	if err := plain(t, server.Addr()).ConfigSet(ctx, "maxmemory", "64mb").Err(); err != nil {
		t.Fatal(err)
	}
	mustSwap(t, s, "kept", kept, "more")
}

// A read is one command and a write one script, whatever happens; so is a conflict.
func TestCommands(t *testing.T) {
	server := backing.RedisForTest(t)
	s := open(t, server.URL())
	raw := plain(t, server.Addr())
	v := mustSwap(t, s, "k", 0, "warm")
	count := func(what string, want map[string]int, f func()) {
		t.Helper()
		raw.ConfigResetStat(t.Context())
		f()
		for _, command := range []string{"get", "getrange", "exists", "time", "set", "setrange", "evalsha", "eval", "script|load", "del"} {
			if n := executed(t, raw, command); n != want[command] {
				t.Errorf("%s: %d × %s, want %d", what, n, command, want[command])
			}
		}
	}
	count("get", map[string]int{"get": 1}, func() { mustGet(t, s, "k", "warm", v) })
	count("no record", map[string]int{"get": 1}, func() { _, _, _ = s.Get(t.Context(), "none") })
	count("swap", map[string]int{"evalsha": 1, "getrange": 1, "time": 1, "set": 1, "setrange": 1}, func() { mustSwap(t, s, "k", v, "more") })
	count("create", map[string]int{"evalsha": 1, "getrange": 1, "time": 1, "set": 1, "setrange": 1}, func() { mustSwap(t, s, "l", 0, "new") })
	count("conflict", map[string]int{"evalsha": 1, "getrange": 1}, func() { _, _ = s.Swap(t.Context(), "k", v, nil, time.Hour) })
	raw.ScriptFlush(t.Context())
	count("script lost", map[string]int{"evalsha": 1, "eval": 1, "getrange": 1, "time": 1, "set": 1, "setrange": 1}, func() { mustSwap(t, s, "m", 0, "new") })
	count("script back", map[string]int{"evalsha": 1, "getrange": 1, "time": 1, "set": 1, "setrange": 1}, func() { mustSwap(t, s, "n", 0, "new") })
}

func TestDigest(t *testing.T) {
	if sum := sha1.Sum([]byte(swapScript)); hex.EncodeToString(sum[:]) != swapDigest {
		t.Errorf("the digest of the script is %x", sum)
	}
}
