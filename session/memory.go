package session

import (
	"bytes"
	"container/heap"
	"context"
	"hash/maphash"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// MemoryOptions are the settings of a Memory. The zero value is a good one.
type MemoryOptions struct {
	// Limit is what the records may take, in bytes, keys and bookkeeping included; 256 MiB by default. The
	// garbage collector's share comes on top.
	Limit int64
	// OnEvict makes a full Memory forget the record that would end soonest, instead of refusing to write, and is called with
	// what was forgotten, before Swap returns. It may be called concurrently, and must not change value.
	OnEvict func(key string, value []byte)
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Memory is a Store in the memory of one process. If there is no room Swap returns ErrFull, unless what it writes is no
// longer than what it replaces; see MemoryOptions.OnEvict for the other way. A record that has expired gives its room back
// when something is written; there is no goroutine to stop. Safe for concurrent use; make it with NewMemory.
type Memory struct {
	limit   int64
	onEvict func(key string, value []byte)
	now     func() time.Time

	start   time.Time // deadlines count from here, so the wall clock may jump
	seed    maphash.Seed
	used    atomic.Int64 // bytes, never above limit
	version atomic.Int64 // the newest
	cursor  atomic.Uint32
	shards  [memoryShards]memoryShard
}

const (
	memoryShards = 64
	// memoryOverhead is what a record takes beyond its key and value: the record, its places in map and heap, and what the
	// allocator rounds up. Measured for values of 100 B to 3 kB, see TestMemoryOverhead.
	memoryOverhead = 200
	// memorySweep is how many expired records a write takes away at most.
	memorySweep = 4
	// memoryNever is later than every deadline.
	memoryNever = time.Duration(math.MaxInt64)
)

type memoryShard struct {
	mu      sync.RWMutex
	records map[string]*memoryRecord
	order   memoryOrder
	soonest atomic.Int64 // the first deadline of order, to be read without the lock
	_       [64]byte     // shards that are written at once share no cache line
}

type memoryRecord struct {
	key      string
	value    []byte // replaced as a whole, never written to
	version  int64
	deadline time.Duration // since Memory.start
	at       int           // in the heap
}

// NewMemory returns an empty store.
func NewMemory(opts MemoryOptions) *Memory {
	m := &Memory{limit: opts.Limit, onEvict: opts.OnEvict, now: opts.Now, seed: maphash.MakeSeed()}
	if m.limit <= 0 {
		m.limit = 256 << 20
	}
	if m.now == nil {
		m.now = time.Now
	}
	m.start = m.now()
	// A version from before a restart of the process, should somebody have kept one, matches no record of now.
	m.version.Store(max(0, m.start.UnixMicro()))
	for i := range m.shards {
		m.shards[i].records = map[string]*memoryRecord{}
		m.shards[i].soonest.Store(int64(memoryNever))
	}
	return m
}

// Shared is false.
func (m *Memory) Shared() bool { return false }

// Get is Store.Get. It fails with ErrNotFound or the error of ctx only.
func (m *Memory) Get(ctx context.Context, key string) (value []byte, version int64, err error) {
	if err := ctx.Err(); err != nil {
		return nil, 0, err
	}
	value, version, ok := m.get([]byte(key))
	if !ok {
		return nil, 0, ErrNotFound
	}
	return bytes.Clone(value), version, nil
}

// get is Get without the copy: nobody may write to value, and nobody does. It allocates nothing.
func (m *Memory) get(key []byte) (value []byte, version int64, ok bool) {
	s := m.shard(maphash.Bytes(m.seed, key))
	var deadline time.Duration
	s.mu.RLock()
	r, ok := s.records[string(key)]
	if ok {
		value, version, deadline = r.value, r.version, r.deadline
	}
	s.mu.RUnlock()
	if !ok || m.elapsed() >= deadline {
		return nil, 0, false
	}
	return value, version, true
}

// Swap is Store.Swap. It fails with ErrConflict, ErrFull or the error of ctx only, and then has changed nothing. A record
// whose ttl is not positive has expired when it is written: that is how to remove one.
func (m *Memory) Swap(ctx context.Context, key string, old int64, value []byte, ttl time.Duration) (int64, error) {
	value = slices.Clip(bytes.Clone(value))
	s := m.shard(maphash.String(m.seed, key))
	now := m.elapsed()
	m.sweep(now)
	for {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		version, err := m.swap(s, key, old, value, now, memoryDeadline(now, ttl))
		if err != ErrFull || recordSize(key, value) > m.limit || !m.makeRoom(s, key, now) {
			return version, err
		}
		now = m.elapsed()
	}
}

// swap is Swap with the room that there is.
func (m *Memory) swap(s *memoryShard, key string, old int64, value []byte, now, deadline time.Duration) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.records[key]
	switch {
	case ok && r.deadline > now:
		if r.version != old {
			return 0, ErrConflict
		}
	case old != 0:
		return 0, ErrConflict
	}
	if deadline <= now {
		if ok {
			m.drop(s, r)
		}
		return m.version.Add(1), nil
	}
	if !ok {
		if !m.reserve(recordSize(key, value)) {
			return 0, ErrFull
		}
		key = strings.Clone(key) // it may be part of something long
		r = &memoryRecord{key: key, value: value, deadline: deadline, version: m.version.Add(1)}
		s.records[key] = r
		heap.Push(&s.order, r)
	} else {
		if !m.reserve(int64(len(value) - len(r.value))) {
			return 0, ErrFull
		}
		r.value, r.deadline, r.version = value, deadline, m.version.Add(1)
		heap.Fix(&s.order, r.at)
	}
	s.mark()
	return r.version, nil
}

// reserve takes n bytes, or gives them back if n is negative, and reports whether there is room.
func (m *Memory) reserve(n int64) bool {
	for {
		used := m.used.Load()
		if n > m.limit-used {
			return false
		}
		if m.used.CompareAndSwap(used, used+n) {
			return true
		}
	}
}

// sweep takes away some expired records of one shard, each time of another. A write adds one record at most, so they
// do not pile up.
func (m *Memory) sweep(now time.Duration) {
	s := &m.shards[m.cursor.Add(1)%memoryShards]
	if s.soonest.Load() > int64(now) || !s.mu.TryLock() {
		return
	}
	defer s.mu.Unlock()
	for range memorySweep {
		if len(s.order) == 0 || s.order[0].deadline > now {
			return
		}
		m.drop(s, s.order[0])
	}
}

// makeRoom takes away expired records wherever they are or else, with OnEvict, the one that would end soonest and is
// not key's, which is in own. It reports false if there is none.
func (m *Memory) makeRoom(own *memoryShard, key string, now time.Duration) bool {
	first, soonest := own, int64(memoryNever)
	own.mu.RLock()
	if next := own.order.soonestBut(key); next != nil {
		soonest = int64(next.deadline)
	}
	own.mu.RUnlock()
	for i := range m.shards {
		s := &m.shards[i]
		if next := s.soonest.Load(); s != own && next < soonest {
			first, soonest = s, next
		}
	}
	if soonest == int64(memoryNever) || soonest > int64(now) && m.onEvict == nil {
		return false
	}
	first.mu.Lock()
	r := first.order.soonestBut(key)
	if r == nil || r.deadline > now && m.onEvict == nil { // somebody was faster, so there may be room now
		first.mu.Unlock()
		return true
	}
	m.drop(first, r)
	first.mu.Unlock()
	if r.deadline > now {
		m.onEvict(r.key, r.value)
	}
	return true
}

func (m *Memory) drop(s *memoryShard, r *memoryRecord) {
	heap.Remove(&s.order, r.at)
	delete(s.records, r.key)
	m.used.Add(-recordSize(r.key, r.value))
	s.mark()
}

func (m *Memory) shard(hash uint64) *memoryShard { return &m.shards[hash%memoryShards] }

func (m *Memory) elapsed() time.Duration { return m.now().Sub(m.start) }

func (s *memoryShard) mark() {
	soonest := memoryNever
	if len(s.order) > 0 {
		soonest = s.order[0].deadline
	}
	s.soonest.Store(int64(soonest))
}

func recordSize(key string, value []byte) int64 {
	return int64(len(key)+len(value)) + memoryOverhead
}

// memoryDeadline is now+ttl, without overflow.
func memoryDeadline(now, ttl time.Duration) time.Duration {
	if ttl > 0 && now >= memoryNever-ttl {
		return memoryNever - 1
	}
	return now + ttl
}

// memoryOrder is a heap, what ends soonest first.
type memoryOrder []*memoryRecord

// soonestBut returns what ends soonest and is not key's, nil if there is none.
func (o memoryOrder) soonestBut(key string) *memoryRecord {
	switch {
	case len(o) == 0:
		return nil
	case o[0].key != key:
		return o[0]
	case len(o) == 1:
		return nil
	case len(o) == 2 || o.Less(1, 2):
		return o[1]
	}
	return o[2]
}

func (o memoryOrder) Len() int           { return len(o) }
func (o memoryOrder) Less(i, j int) bool { return o[i].deadline < o[j].deadline }
func (o memoryOrder) Swap(i, j int) {
	o[i], o[j] = o[j], o[i]
	o[i].at, o[j].at = i, j
}

func (o *memoryOrder) Push(x any) {
	r := x.(*memoryRecord)
	r.at = len(*o)
	*o = append(*o, r)
}

func (o *memoryOrder) Pop() any {
	last := len(*o) - 1
	r := (*o)[last]
	(*o)[last] = nil
	*o = (*o)[:last]
	return r
}
