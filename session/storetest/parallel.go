package storetest

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sallyport/sallyport/session"
)

const (
	writers = 64
	each    = 4 // increments
)

// openAll returns the handles over which writers of several processes spread.
func openAll(t *testing.T, c Config) []probe {
	t.Helper()
	p := []probe{open(t, c)}
	if p[0].s.Shared() {
		p = append(p, open(t, c))
	}
	return p
}

// increments: 64 writers count one record up. That compare-and-swap is atomic and a read is never behind shows in the numbers:
// each is written once, no version comes twice, no read is older than what was acknowledged before it began, and
// no conflict is without a cause.
func increments(t *testing.T, c Config) {
	probes, key := openAll(t, c), newKey()
	first := probes[0].write(key, 0, stamped(key, 0, 48), longTTL)
	var acknowledged atomic.Uint64
	var mu sync.Mutex
	won, seen := map[uint64]int{}, map[int64]bool{first: true}

	// read returns the number of the record, which must be atLeast.
	read := func(p probe, atLeast uint64) (n uint64, version int64, err error) {
		value, version, err := p.get(key)
		if err != nil {
			return 0, 0, fmt.Errorf("Get: %w", err)
		}
		n, ok := readStamp(key, value)
		if !ok {
			return 0, 0, errors.New("Get returned a value that nobody has written")
		}
		if n < atLeast {
			return 0, 0, fmt.Errorf("Get returned write %d, though write %d was acknowledged, or had caused a conflict, before", n, atLeast)
		}
		return n, version, nil
	}
	increment := func(p probe) error {
		for attempt := 1; !t.Failed(); attempt++ {
			n, version, err := read(p, acknowledged.Load())
			if err != nil {
				return err
			}
			next, err := p.swap(key, version, stamped(key, n+1, 48+int(n)%2000), longTTL)
			if errors.Is(err, session.ErrConflict) {
				if _, _, err := read(p, n+1); err != nil {
					return err
				}
				time.Sleep(time.Duration(rand.IntN(attempt * int(time.Millisecond))))
				continue
			}
			if err != nil {
				return fmt.Errorf("Swap: %w", err)
			}
			for now := acknowledged.Load(); now <= n && !acknowledged.CompareAndSwap(now, n+1); {
				now = acknowledged.Load()
			}
			mu.Lock()
			defer mu.Unlock()
			won[n+1]++
			if seen[next] {
				return errors.New("Swap returned a version twice")
			}
			seen[next] = true
			return nil
		}
		return nil
	}
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() {
			for range each {
				if err := increment(probes[i%len(probes)]); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	for n := uint64(1); n <= writers*each; n++ {
		if won[n] != 1 {
			t.Fatalf("%d writers were told that they had made increment %d", won[n], n)
		}
	}
	value, _, err := probes[0].get(key)
	if n, ok := readStamp(key, value); err != nil || !ok || n != writers*each {
		t.Fatalf("after %d increments the record says %d (%v)", writers*each, n, err)
	}
}

// race lets 64 writers swap the same version at once, of whom one must win.
func race(t *testing.T, probes []probe, key string, old int64) (version int64) {
	t.Helper()
	type result struct {
		value   []byte
		version int64
		err     error
	}
	results := make([]result, writers)
	start := make(chan struct{})
	var wg sync.WaitGroup
	for i := range results {
		wg.Go(func() {
			r := &results[i]
			r.value = stamped(key, uint64(i), 48+i)
			<-start
			r.version, r.err = probes[i%len(probes)].swap(key, old, r.value, longTTL)
		})
	}
	close(start)
	wg.Wait()
	var winner *result
	for i := range results {
		switch r := &results[i]; {
		case r.err == nil && winner != nil:
			t.Fatal("two writers of the same version were told that they had won")
		case r.err == nil:
			winner = r
		case !errors.Is(r.err, session.ErrConflict):
			t.Fatalf("Swap: %v", r.err)
		}
	}
	if winner == nil {
		t.Fatal("of the writers of the same version none has won")
	}
	value, version, err := probes[len(probes)-1].get(key)
	if err != nil || version != winner.version || !bytes.Equal(value, winner.value) {
		t.Fatalf("the record is not the winner's (error %v)", err)
	}
	return version
}

func oneWinner(t *testing.T, c Config) {
	probes := openAll(t, c)
	for range 8 {
		key := newKey()
		race(t, probes, key, race(t, probes, key, 0))
	}
}

// oneSuccessor: what has expired is replaced by one writer only.
func oneSuccessor(t *testing.T, c Config) {
	probes := openAll(t, c)
	var began time.Time
	expired := make([]string, 8)
	for i := range expired {
		expired[i], began = newKey(), time.Now()
		probes[0].write(expired[i], 0, []byte("value"), shortTTL)
	}
	probes[0].ends(expired[len(expired)-1], began, shortTTL)
	for _, key := range expired {
		probes[0].lacks(key)
		race(t, probes, key, 0)
	}
}

// handles: what one process has written, another sees at once.
func handles(t *testing.T, c Config) {
	a, b, key := open(t, c), open(t, c), newKey()
	if !a.s.Shared() || !b.s.Shared() {
		t.Fatal("of two handles one is shared and one is not")
	}
	b.lacks(key)
	version := a.write(key, 0, stamped(key, 0, 48), longTTL)
	b.refuse(key, 0, []byte("second"), longTTL)
	for n := range uint64(50) {
		b.holds(key, stamped(key, n, 48), version)
		next := b.write(key, version, stamped(key, n+1, 48), longTTL)
		a.refuse(key, version, []byte("lost"), longTTL)
		version = next
		a, b = b, a
	}
	ending, began := newKey(), time.Now()
	a.write(ending, 0, []byte("value"), shortTTL)
	b.ends(ending, began, shortTTL)
	a.lacks(ending)
}
