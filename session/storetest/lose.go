package storetest

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/sallyport/sallyport/session"
)

// memory is what a Faulty knows of the records, to show old ones.
type memory struct {
	records map[string]history
	writes  []written       // the newest last
	lost    map[string]past // records that were set back
	losses  int             // calls of LoseLast
	busy    map[string]chan struct{}
}

const maxWrites = 1 << 10

// state is a record at a time; version 0 means that there was none.
type state struct {
	value   []byte
	version int64
	until   time.Time // zero: unknown
}

// history is a record as the last write left it, and as it was before that.
type history struct {
	now, before state
	hasBefore   bool
}

type written struct {
	key    string
	before state
	after  int64 // version
}

// past is what a record is said to be as long as its version in Store is still inner.
type past struct {
	state
	inner int64
}

func (s state) gone() bool {
	return s.version == 0 || !s.until.IsZero() && !time.Now().Before(s.until)
}

func (s state) answer() ([]byte, int64, error) {
	if s.gone() {
		return nil, 0, session.ErrNotFound
	}
	return bytes.Clone(s.value), s.version, nil
}

// LoseLast undoes the last n writes that went through f, at most 1,024, as a restart does of a store that had not yet made
// them durable: the records and versions from before are there again, until they expire or the lost ones would have. A
// write under way to a record that is set back fails and is lost as well. One that replaced what f could not read stays.
func (f *Faulty) LoseLast(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	m := &f.memory
	m.losses++
	for ; n > 0 && len(m.writes) > 0; n-- {
		last := m.writes[len(m.writes)-1]
		m.writes = m.writes[:len(m.writes)-1]
		p, again := m.lost[last.key]
		if !again {
			p.inner = last.after
		}
		p.state = last.before
		m.lost[last.key] = p
		m.records[last.key] = history{now: last.before}
	}
}

// before returns the record as it was before the last write.
func (f *Faulty) before(key string) (state, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	h := f.memory.records[key]
	return h.before, h.hasBefore
}

func (f *Faulty) losses() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.memory.losses
}

func (f *Faulty) past(key string) (past, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	p, ok := f.memory.lost[key]
	return p, ok
}

// get is Store.Get, or what LoseLast has brought back.
func (f *Faulty) get(ctx context.Context, key string) ([]byte, int64, error) {
	p, back := f.past(key) // before Store is asked: a Swap that takes it away comes later, then
	value, version, err := f.Store.Get(ctx, key)
	if err == nil && back && p.inner == version {
		return p.answer()
	}
	return value, version, err
}

// swap is Store.Swap, also on what LoseLast has brought back. Swaps of one key come one after the other, so that
// their order is known.
func (f *Faulty) swap(ctx context.Context, c *Call, value []byte, ttl time.Duration) (int64, error) {
	if err := f.lock(ctx, c.Key); err != nil {
		return 0, err
	}
	defer f.unlock(c.Key)
	losses := f.losses()
	before, known := f.known(ctx, c.Key, c.Old)
	until := time.Now().Add(ttl)
	version, err := f.swapPast(ctx, c, value, ttl)
	if err != nil {
		return 0, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	m := &f.memory
	if p, back := m.lost[c.Key]; back && m.losses != losses {
		m.lost[c.Key] = past{p.state, version}
		return 0, ErrInjected
	}
	c.Effect = true
	delete(m.lost, c.Key)
	m.records[c.Key] = history{now: state{bytes.Clone(value), version, until}, before: before, hasBefore: known}
	if !known {
		return version, nil
	}
	if len(m.writes) == maxWrites {
		m.writes = slices.Delete(m.writes, 0, 1)
	}
	m.writes = append(m.writes, written{c.Key, before, version})
	return version, nil
}

// swapPast finds out which version in Store stands for the one that the caller names.
func (f *Faulty) swapPast(ctx context.Context, c *Call, value []byte, ttl time.Duration) (int64, error) {
	p, back := f.past(c.Key)
	switch {
	case back && c.Old == p.inner, back && c.Old != 0 && c.Old == p.version && p.gone():
		return 0, session.ErrConflict
	case back && c.Old == 0 && p.gone():
		version, err := f.Store.Swap(ctx, c.Key, p.inner, value, ttl)
		if !errors.Is(err, session.ErrConflict) {
			return version, err
		} // else it may have expired
	case back && c.Old != 0 && c.Old == p.version:
		return f.Store.Swap(ctx, c.Key, p.inner, value, ttl)
	}
	return f.Store.Swap(ctx, c.Key, c.Old, value, ttl)
}

// known returns the record with that version, if f has seen it written or can read it.
func (f *Faulty) known(ctx context.Context, key string, version int64) (state, bool) {
	if version == 0 {
		return state{}, true
	}
	f.mu.Lock()
	now := f.memory.records[key].now
	f.mu.Unlock()
	if now.version == version {
		return now, true
	}
	value, got, err := f.get(ctx, key)
	return state{value: value, version: version}, err == nil && got == version
}

// lock waits until no other Swap of the key is under way.
func (f *Faulty) lock(ctx context.Context, key string) error {
	for {
		f.mu.Lock()
		m := &f.memory
		if m.busy == nil {
			m.busy, m.records, m.lost = map[string]chan struct{}{}, map[string]history{}, map[string]past{}
		}
		other := m.busy[key]
		if other == nil {
			m.busy[key] = make(chan struct{})
			f.mu.Unlock()
			return nil
		}
		f.mu.Unlock()
		select {
		case <-other:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (f *Faulty) unlock(key string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	close(f.memory.busy[key])
	delete(f.memory.busy, key)
}
