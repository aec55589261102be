package session

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// memoryClock is a clock that a test sets.
type memoryClock struct{ ns atomic.Int64 }

func (c *memoryClock) now() time.Time          { return time.Unix(1_800_000_000, c.ns.Load()) }
func (c *memoryClock) advance(d time.Duration) { c.ns.Add(int64(d)) }

// memoryKey is a key of the form and length that the session uses.
func memoryKey(i int) string { return fmt.Sprintf("s%043d", i) }

func memorySwap(t testing.TB, m *Memory, key string, old int64, value string, ttl time.Duration) int64 {
	t.Helper()
	version, err := m.Swap(context.Background(), key, old, []byte(value), ttl)
	if err != nil {
		t.Fatalf("Swap of %s: %v", key, err)
	}
	return version
}

// memoryState is every living record, by key.
func memoryState(m *Memory) map[string]string {
	state := map[string]string{}
	for i := range m.shards {
		for key := range m.shards[i].records {
			if value, version, ok := m.get([]byte(key)); ok {
				state[key] = fmt.Sprint(version, " ", string(value))
			}
		}
	}
	return state
}

// checkMemory recounts what the store says of itself.
func checkMemory(t *testing.T, m *Memory) {
	t.Helper()
	var used int64
	for i := range m.shards {
		s := &m.shards[i]
		if len(s.order) != len(s.records) {
			t.Fatalf("shard %d has %d records, and %d in order", i, len(s.records), len(s.order))
		}
		soonest := memoryNever
		for at, r := range s.order {
			if r.at != at || s.records[r.key] != r || m.shard(memoryHash(m, r.key)) != s {
				t.Fatalf("record %s is not in its place", r.key)
			}
			soonest = min(soonest, r.deadline)
			used += recordSize(r.key, r.value)
		}
		if s.soonest.Load() != int64(soonest) {
			t.Fatalf("shard %d says that its first deadline is %d, not %d", i, s.soonest.Load(), soonest)
		}
	}
	if got := m.used.Load(); got != used || got > m.limit {
		t.Fatalf("%d bytes counted, %d there, limit %d", got, used, m.limit)
	}
}

func TestMemoryExpiry(t *testing.T) {
	var clock memoryClock
	m := NewMemory(MemoryOptions{Now: clock.now})
	version := memorySwap(t, m, "s1", 0, "one", time.Minute)
	clock.advance(time.Minute - 1)
	if value, got, err := m.Get(t.Context(), "s1"); err != nil || got != version || string(value) != "one" {
		t.Fatalf("one nanosecond before the end: %q, %d, %v", value, got, err)
	}
	clock.advance(1)
	if _, _, err := m.Get(t.Context(), "s1"); err != ErrNotFound {
		t.Fatalf("at the end: %v", err)
	}
	if _, err := m.Swap(t.Context(), "s1", version, nil, time.Minute); err != ErrConflict {
		t.Fatalf("a swap of what has expired: %v", err)
	}
	memorySwap(t, m, "s1", 0, "two", time.Minute)
	checkMemory(t, m)
}

func TestMemoryRemovesWithoutTTL(t *testing.T) {
	m := NewMemory(MemoryOptions{})
	for _, ttl := range []time.Duration{0, -time.Hour} {
		version := memorySwap(t, m, "s1", 0, "one", time.Hour)
		if next := memorySwap(t, m, "s1", version, "", ttl); next == version {
			t.Fatal("the version is not new")
		}
		if _, _, err := m.Get(t.Context(), "s1"); err != ErrNotFound {
			t.Fatalf("ttl %v: %v", ttl, err)
		}
		if used := m.used.Load(); used != 0 {
			t.Fatalf("ttl %v: %d bytes are left", ttl, used)
		}
	}
	memorySwap(t, m, "s2", 0, "", 1<<63-1)
	if _, _, err := m.Get(t.Context(), "s2"); err != nil {
		t.Fatalf("the longest ttl: %v", err)
	}
	if n := len(memoryState(m)); n != 1 {
		t.Fatalf("%d records", n)
	}
	checkMemory(t, m)
}

// What expires is gone soon if anything at all is written, wherever it was.
func TestMemorySweeps(t *testing.T) {
	var clock memoryClock
	m := NewMemory(MemoryOptions{Now: clock.now})
	const n = 5000
	for i := range n {
		memorySwap(t, m, memoryKey(i), 0, "value", time.Minute)
	}
	clock.advance(time.Minute)
	version := memorySwap(t, m, "s", 0, "", time.Hour)
	before := 0
	for i := range m.shards {
		before += len(m.shards[i].records)
	}
	if before < n+1-memorySweep {
		t.Fatalf("one write took away %d records", n+1-before)
	}
	for range n {
		version = memorySwap(t, m, "s", version, "", time.Hour)
	}
	if got := m.used.Load(); got != recordSize("s", nil) {
		t.Fatalf("%d bytes are left", got)
	}
	checkMemory(t, m)
}

func TestMemoryFull(t *testing.T) {
	var clock memoryClock
	const room = 100
	limit := room * recordSize(memoryKey(0), make([]byte, 1000))
	m := NewMemory(MemoryOptions{Limit: limit, Now: clock.now})
	value := strings.Repeat("v", 1000)
	versions := make([]int64, room)
	for i := range versions {
		versions[i] = memorySwap(t, m, memoryKey(i), 0, value, time.Duration(1+i%2)*time.Hour)
	}
	before := memoryState(m)
	for name, swap := range map[string]func() (int64, error){
		"new": func() (int64, error) { return m.Swap(t.Context(), "s", 0, nil, time.Hour) },
		"longer": func() (int64, error) {
			return m.Swap(t.Context(), memoryKey(7), versions[7], []byte(value+"v"), time.Hour)
		},
		"too big": func() (int64, error) { return m.Swap(t.Context(), "s", 0, make([]byte, limit), time.Hour) },
	} {
		if version, err := swap(); !errors.Is(err, ErrFull) || version != 0 {
			t.Errorf("%s: %d, %v", name, version, err)
		}
	}
	if _, err := m.Swap(t.Context(), memoryKey(7), versions[7]+1, []byte(value+"v"), time.Hour); err != ErrConflict {
		t.Errorf("a conflict in a full store: %v", err)
	}
	if !maps.Equal(before, memoryState(m)) {
		t.Fatal("a write that was refused has changed something")
	}
	// What is not longer can always be written, and gives room.
	version := memorySwap(t, m, memoryKey(7), versions[7], strings.Repeat("w", 1000), time.Hour)
	version = memorySwap(t, m, memoryKey(7), version, strings.Repeat("x", 500), time.Hour)
	memorySwap(t, m, memoryKey(8), versions[8], strings.Repeat("y", 1500), time.Hour)
	if _, err := m.Swap(t.Context(), memoryKey(7), version, []byte(value), time.Hour); err != ErrFull {
		t.Fatalf("room that was given twice: %v", err)
	}
	checkMemory(t, m)

	// Expired records give their room to whoever needs it, in whatever shard they are.
	clock.advance(time.Hour)
	memorySwap(t, m, "s", 0, strings.Repeat("z", int(limit/3)), time.Hour)
	checkMemory(t, m)
}

func TestMemoryEvicts(t *testing.T) {
	type forgotten struct{ key, value string }
	var evicted []forgotten
	var clock memoryClock
	const room = 100
	value := func(i int) string { return fmt.Sprintf("%01000d", i) }
	m := NewMemory(MemoryOptions{
		Limit:   room * recordSize(memoryKey(0), make([]byte, 1000)),
		OnEvict: func(key string, value []byte) { evicted = append(evicted, forgotten{key, string(value)}) },
		Now:     clock.now,
	})
	ends := func(i int) time.Duration { return time.Hour + time.Duration(i*37%room)*time.Minute }
	soonest := make([]int, room)
	versions := map[int]int64{}
	for i := range room {
		soonest[i] = i
		versions[i] = memorySwap(t, m, memoryKey(i), 0, value(i), ends(i))
	}
	slices.SortFunc(soonest, func(a, b int) int { return int(ends(a) - ends(b)) })

	memorySwap(t, m, memoryKey(room), 0, value(room), 24*time.Hour)
	if want := []forgotten{{memoryKey(soonest[0]), value(soonest[0])}}; !slices.Equal(evicted, want) {
		t.Fatalf("evicted %.60q, want %.60q", evicted, want)
	}
	// The one that is being written makes no room for itself, though it ends soonest.
	evicted = nil
	i := soonest[1]
	memorySwap(t, m, memoryKey(i), versions[i], value(i)+value(i), time.Hour)
	if want := []forgotten{{memoryKey(soonest[2]), value(soonest[2])}}; !slices.Equal(evicted, want) {
		t.Fatalf("evicted %.60q, want %.60q", evicted, want)
	}
	// A write that is in vain evicts nothing.
	evicted = nil
	if _, err := m.Swap(t.Context(), memoryKey(i), versions[i], []byte(value(i)), time.Hour); err != ErrConflict {
		t.Fatal(err)
	}
	if _, err := m.Swap(t.Context(), "s", 0, make([]byte, m.limit), time.Hour); err != ErrFull {
		t.Fatal(err)
	}
	if evicted != nil {
		t.Fatalf("evicted %.60q", evicted)
	}
	// What has expired is no eviction.
	clock.advance(3 * time.Hour)
	memorySwap(t, m, "s", 0, strings.Repeat("z", int(m.limit)/2), time.Hour)
	if evicted != nil {
		t.Fatalf("evicted %.60q", evicted)
	}
	checkMemory(t, m)
	// One that needs everything gets everything.
	memorySwap(t, m, "s2", 0, strings.Repeat("z", int(m.limit-recordSize("s2", nil))), time.Hour)
	if n := len(memoryState(m)); n != 1 || len(evicted) == 0 {
		t.Fatalf("%d records, %d evicted", n, len(evicted))
	}
	checkMemory(t, m)
}

// Readers, writers, expiry and evictions at once: the books still balance, and what get returned is never written to.
func TestMemoryParallel(t *testing.T) {
	for _, evict := range []bool{false, true} {
		t.Run(fmt.Sprintf("evict=%v", evict), func(t *testing.T) {
			var clock memoryClock
			var evicted atomic.Int64
			opts := MemoryOptions{Limit: 1 << 20, Now: clock.now}
			if evict {
				opts.OnEvict = func(string, []byte) { evicted.Add(1) }
			}
			m := NewMemory(opts)
			var full atomic.Int64
			var wg sync.WaitGroup
			for g := range 16 {
				wg.Go(func() {
					value := make([]byte, 4000)
					for n := range 2000 {
						clock.advance(time.Millisecond)
						i := (n*31 + g*17) % 600
						held, version, _ := m.get([]byte(memoryKey(i)))
						copied := slices.Clone(held)
						binary.BigEndian.PutUint64(value, uint64(g*2000+n))
						_, err := m.Swap(t.Context(), memoryKey(i), version, value[:8+(n*g)%3900], time.Duration(n%20)*time.Second)
						if err == ErrFull {
							full.Add(1)
						} else if err != nil && err != ErrConflict {
							t.Error(err)
						}
						if !slices.Equal(held, copied) {
							t.Error("a value was written to")
						}
					}
				})
			}
			wg.Wait()
			checkMemory(t, m)
			if evict && (evicted.Load() == 0 || full.Load() > 0) || !evict && full.Load() == 0 {
				t.Fatalf("%d evicted, %d refused", evicted.Load(), full.Load())
			}
		})
	}
}

func TestMemoryContext(t *testing.T) {
	m := NewMemory(MemoryOptions{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := m.Swap(ctx, "s1", 0, []byte("one"), time.Hour); err != context.Canceled {
		t.Fatal(err)
	}
	if _, _, err := m.Get(ctx, "s1"); err != context.Canceled {
		t.Fatal(err)
	}
	if len(memoryState(m)) != 0 {
		t.Fatal("it was written")
	}
}

func TestMemoryGetAllocatesNothing(t *testing.T) {
	m := NewMemory(MemoryOptions{})
	key, missing := []byte(memoryKey(1)), []byte(memoryKey(2))
	memorySwap(t, m, string(key), 0, "value", time.Hour)
	if n := testing.AllocsPerRun(100, func() { m.get(key); m.get(missing) }); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

// The limit is about memory, not about a sum: what is counted must cover what is taken, and not by far.
func TestMemoryOverhead(t *testing.T) {
	for _, size := range []int{0, 100, 500, 1000, 2000, 3000} {
		for _, n := range []int{30_000, 50_000} { // maps grow in steps
			var before, after runtime.MemStats
			m := NewMemory(MemoryOptions{})
			runtime.GC()
			runtime.ReadMemStats(&before)
			value := make([]byte, size)
			for i := range n {
				if _, err := m.Swap(t.Context(), memoryKey(i), 0, value, time.Hour); err != nil {
					t.Fatal(err)
				}
			}
			runtime.GC()
			runtime.ReadMemStats(&after)
			counted, taken := m.used.Load(), int64(after.HeapAlloc)-int64(before.HeapAlloc)
			t.Logf("%d values of %d bytes: %d bytes each are counted, %d taken", n, size, counted/int64(n), taken/int64(n))
			if taken > counted+counted/20 || taken < counted/2 {
				t.Errorf("%d values of %d bytes: counted %d, taken %d", n, size, counted, taken)
			}
			runtime.KeepAlive(m)
		}
	}
}

func memoryHash(m *Memory, key string) uint64 { return maphash.String(m.seed, key) }
