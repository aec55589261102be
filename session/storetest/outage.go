package storetest

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sallyport/sallyport/session"
)

// returns runs call, whose context is done after d, or never if d is negative, and fails if it does not
// return in time. It reports whether it did.
func returns(t *testing.T, what string, d time.Duration, call func(context.Context)) bool {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	bound := few
	if d >= 0 {
		bound = d + atOnce
		if d == 0 {
			cancel()
		} else {
			defer time.AfterFunc(d, cancel).Stop()
		}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		call(ctx)
	}()
	select {
	case <-done:
		return true
	case <-time.After(bound):
		if d >= 0 {
			t.Errorf("%s did not return within %v after its context was done", what, atOnce)
		} else {
			t.Errorf("%s did not return within %v", what, few)
		}
		return false
	}
}

// doneContext: a call whose context is done returns at once. It may have done its work, or have failed; it knows of no
// absence and no conflict that there is not.
func doneContext(t *testing.T, c Config) {
	p, key := open(t, c), newKey()
	version := p.write(key, 0, []byte("old"), longTTL)
	var value []byte
	var got, next int64
	var err error
	if !returns(t, "Get", 0, func(ctx context.Context) { value, got, err = p.s.Get(ctx, key) }) {
		return
	}
	if err == nil && (got != version || string(value) != "old") || err != nil && !unavailable(err) {
		t.Fatalf("Get of a record, with a context that is done: %s, version %d, error %v", brief(value), got, err)
	}
	if !returns(t, "Swap", 0, func(ctx context.Context) { next, err = p.s.Swap(ctx, key, version, []byte("new"), longTTL) }) {
		return
	}
	if err != nil && !unavailable(err) {
		t.Fatalf("Swap with the version that the record has, and a context that is done: %v", err)
	}
	if err == nil {
		p.holds(key, []byte("new"), next)
	} else if value, got, err := p.get(key); err != nil || string(value) != "new" && (got != version || string(value) != "old") {
		t.Fatalf("after a Swap with a context that is done: %s, version %d, error %v", brief(value), got, err)
	}
}

// attempts is what may have become of one record: calls that failed may have taken effect, or may yet.
type attempts struct {
	key     string
	version int64 // of the last state that is known
	value   []byte
	tried   [][]byte // to replace it
	n       uint64
}

// try swaps and notes what is known then.
func (a *attempts) try(ctx context.Context, s session.Store, ttl time.Duration) error {
	a.n++
	value := stamped(a.key, a.n, 48+int(a.n*977)%16000)
	version, err := s.Swap(ctx, a.key, a.version, value, ttl)
	if err == nil {
		a.version, a.value, a.tried = version, value, nil
	} else {
		a.tried = append(a.tried, value)
	}
	return err
}

// settle reads the record, which must be as it was or as one of the calls would have it, never anything between.
func (a *attempts) settle(p probe, swapped error) error {
	value, version, err := p.get(a.key)
	if err != nil {
		return err
	}
	if version == a.version {
		if !bytes.Equal(value, a.value) {
			return errors.New("the record has changed and its version has not")
		}
		if errors.Is(swapped, session.ErrConflict) {
			return errors.New("Swap said ErrConflict, and the record has the version that was asked for")
		}
		return nil
	}
	for _, tried := range a.tried {
		if bytes.Equal(value, tried) {
			a.version, a.value, a.tried = version, value, nil
			return nil
		}
	}
	if _, ok := readStamp(a.key, value); !ok {
		return errors.New("the record is torn, or another's")
	}
	return errors.New("the record is not what was there nor what was to replace it")
}

// cancelled: a Swap that is given up half-way leaves the old record or the new one. Each of several
// callers has a record of its own, so that an answer that comes to the wrong one shows.
func cancelled(t *testing.T, c Config) {
	p := open(t, c)
	var wg sync.WaitGroup
	for range 8 {
		a := &attempts{key: newKey()}
		a.value = stamped(a.key, 0, 48)
		a.version = p.write(a.key, 0, a.value, longTTL)
		wg.Go(func() {
			for range 40 {
				var err error
				d := 1 + time.Duration(rand.Int64N(int64(time.Millisecond)))
				if !returns(t, "Swap", d, func(ctx context.Context) { err = a.try(ctx, p.s, longTTL) }) {
					return
				}
				if err := a.settle(p, err); err != nil {
					t.Errorf("after a Swap that was cancelled: %v", err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// outage: while nothing answers, calls fail within a few seconds, or when their context is done, and nothing is said
// to be absent. Afterwards the same handle works again.
func outage(t *testing.T, c Config) {
	if c.Pause == nil {
		t.Skip("Config.Pause is not set")
	}
	p := open(t, c)
	records := make([]*attempts, 12)
	for i := range records {
		a := &attempts{key: newKey()}
		a.value = stamped(a.key, 0, 48)
		a.version = p.write(a.key, 0, a.value, longTTL)
		records[i] = a
	}
	resume := sync.OnceFunc(c.Pause(t))
	defer resume()
	var wg sync.WaitGroup
	for i, a := range records {
		wg.Go(func() {
			d := []time.Duration{-1, 300 * time.Millisecond, 0}[i%3]
			var err error
			var what string
			if i%2 == 0 {
				what = "Get"
				returns(t, what, d, func(ctx context.Context) { _, _, err = p.s.Get(ctx, a.key) })
			} else {
				what = "Swap"
				returns(t, what, d, func(ctx context.Context) { err = a.try(ctx, p.s, longTTL) })
			}
			if !t.Failed() && !unavailable(err) {
				t.Errorf("%s during an outage: error %v, want one that says that nothing is known", what, err)
			}
		})
	}
	wg.Wait()
	resume()
	if t.Failed() {
		return
	}
	awaitRecovery(p)
	for _, a := range records {
		until := time.Now().Add(recovery)
		for {
			err := a.settle(p, nil)
			if err == nil {
				if err = a.try(t.Context(), p.s, longTTL); err == nil {
					break
				}
			}
			if errors.Is(err, session.ErrNotFound) || time.Now().After(until) {
				t.Fatalf("after an outage: %v", err)
			}
			time.Sleep(20 * time.Millisecond)
		}
		p.holds(a.key, a.value, a.version)
	}
}

// awaitRecovery waits until many calls at once succeed, which uses up the broken connections of a pool.
func awaitRecovery(p probe) {
	p.t.Helper()
	key := newKey()
	for until := time.Now().Add(recovery); ; time.Sleep(20 * time.Millisecond) {
		var broken atomic.Pointer[error]
		var wg sync.WaitGroup
		for range writers {
			wg.Go(func() {
				if _, _, err := p.get(key); unavailable(err) {
					broken.Store(&err)
				}
			})
		}
		wg.Wait()
		if broken.Load() == nil {
			return
		}
		if time.Now().After(until) {
			p.t.Fatalf("%v later Get still fails: %v", recovery, *broken.Load())
		}
	}
}

// restart: a record is lost, or as one of its writes left it, and no version comes back.
func restart(t *testing.T, c Config) {
	if c.Restart == nil {
		t.Skip("Config.Restart is not set")
	}
	p := open(t, c)
	records := make([]map[int64][]byte, 32) // version → value
	names := make([]string, len(records))
	for i := range records {
		names[i], records[i] = newKey(), map[int64][]byte{}
		var version int64
		for n := range uint64(3) {
			value := stamped(names[i], n, 48+i*100)
			version = p.write(names[i], version, value, longTTL)
			records[i][version] = value
		}
	}
	c.Restart(t)
	awaitRecovery(p)
	for i, key := range names {
		value, version, err := p.get(key)
		switch {
		case errors.Is(err, session.ErrNotFound):
			version = 0
		case err != nil:
			t.Fatalf("Get after a restart: %v", err)
		default:
			if want, known := records[i][version]; !known || !bytes.Equal(value, want) {
				t.Fatalf("after a restart the record is %s with a version that belongs to another value", brief(value))
			}
		}
		for old := range records[i] {
			if old != version {
				p.refuse(key, old, []byte("older"), longTTL)
			}
		}
		next := p.write(key, version, []byte("after"), longTTL)
		if _, again := records[i][next]; again {
			t.Fatal("a write after a restart has a version that a write of this key before it had")
		}
		p.holds(key, []byte("after"), next)
	}
}
