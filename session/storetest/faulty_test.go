package storetest_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport/sallyport/session"
	"github.com/sallyport/sallyport/session/storetest"
)

type fixture struct {
	*storetest.Faulty
	t *testing.T
}

func newFaulty(t *testing.T) fixture {
	return fixture{&storetest.Faulty{Store: session.NewMemory(session.MemoryOptions{})}, t}
}

// write must succeed.
func (f fixture) write(key string, old int64, value string, ttl time.Duration) int64 {
	f.t.Helper()
	version, err := f.Swap(context.Background(), key, old, []byte(value), ttl)
	if err != nil {
		f.t.Fatalf("Swap: %v", err)
	}
	return version
}

// is checks a record; version 0 means that there must be none.
func (f fixture) is(key, value string, version int64) {
	f.t.Helper()
	got, v, err := f.Get(context.Background(), key)
	if version == 0 && errors.Is(err, session.ErrNotFound) {
		return
	}
	if err != nil || v != version || string(got) != value {
		f.t.Fatalf("%s is %q, version %d (%v), want %q, %d", key, got, v, err, value, version)
	}
}

func TestFaultKinds(t *testing.T) {
	own := errors.New("own")
	for name, test := range map[string]struct {
		fault  storetest.Fault
		cancel time.Duration // 0: never
		err    error
		took   time.Duration
		effect bool
	}{
		"nothing":                {effect: true},
		"fail before":            {fault: storetest.Fault{Kind: storetest.FailBefore}, err: storetest.ErrInjected},
		"fail after":             {fault: storetest.Fault{Kind: storetest.FailAfter}, err: storetest.ErrInjected, effect: true},
		"own error":              {fault: storetest.Fault{Kind: storetest.FailBefore, Err: own}, err: own},
		"own error after":        {fault: storetest.Fault{Kind: storetest.FailAfter, Err: own}, err: own, effect: true},
		"hang":                   {fault: storetest.Fault{Kind: storetest.Hang}, err: storetest.ErrInjected, took: storetest.HangTime},
		"hang, cancelled":        {fault: storetest.Fault{Kind: storetest.Hang}, cancel: time.Second, err: context.Canceled, took: time.Second},
		"hang after":             {fault: storetest.Fault{Kind: storetest.HangAfter}, err: storetest.ErrInjected, took: storetest.HangTime, effect: true},
		"hang after, cancelled":  {fault: storetest.Fault{Kind: storetest.HangAfter}, cancel: time.Second, err: context.Canceled, took: time.Second, effect: true},
		"latency":                {fault: storetest.Fault{Latency: time.Second}, took: time.Second, effect: true},
		"latency, cancelled":     {fault: storetest.Fault{Latency: time.Minute}, cancel: time.Second, err: context.Canceled, took: time.Second},
		"late answer":            {fault: storetest.Fault{AnswerLatency: time.Second}, took: time.Second, effect: true},
		"late answer, cancelled": {fault: storetest.Fault{AnswerLatency: time.Minute}, cancel: time.Second, err: context.Canceled, took: time.Second, effect: true},
		"late failure":           {fault: storetest.Fault{Kind: storetest.FailAfter, Latency: time.Second, AnswerLatency: time.Second}, err: storetest.ErrInjected, took: 2 * time.Second, effect: true},
		"stale swap":             {fault: storetest.Fault{Kind: storetest.Stale}, effect: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFaulty(t)
				first := f.write("s1", 0, "old", time.Hour)
				f.Inject(storetest.Script(test.fault))
				f.Forget()
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				if test.cancel > 0 {
					time.AfterFunc(test.cancel, cancel)
				}
				began := time.Now()
				version, err := f.Swap(ctx, "s1", first, []byte("new"), time.Hour)
				if !errors.Is(err, test.err) || time.Since(began) != test.took || (err == nil) != (version != 0) {
					t.Fatalf("version %d, error %v after %v", version, err, time.Since(began))
				}
				value, _, err := f.Store.Get(t.Context(), "s1")
				if got := string(value) == "new"; err != nil || got != test.effect {
					t.Fatalf("the store has %q (%v)", value, err)
				}
				want := storetest.Call{
					Op: storetest.Swap, Key: "s1", Old: first, TTL: time.Hour, Fault: test.fault,
					Done: true, Effect: test.effect, Version: version, Err: test.err,
				}
				if calls := f.Calls(); !reflect.DeepEqual(calls, []storetest.Call{want}) {
					t.Fatalf("recorded %+v, want %+v", calls, want)
				}
			})
		})
	}
}

func TestPartition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFaulty(t)
		version := f.write("s1", 0, "value", time.Hour)
		f.Inject(storetest.Always(storetest.Fault{Kind: storetest.Hang}))
		for range 3 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			if _, _, err := f.Get(ctx, "s1"); !errors.Is(err, context.DeadlineExceeded) {
				t.Fatal(err)
			}
			cancel()
		}
		f.Inject(nil)
		f.is("s1", "value", version)
	})
}

func TestStaleRead(t *testing.T) {
	f := newFaulty(t)
	stale := func() { f.Inject(storetest.Script(storetest.Fault{Kind: storetest.Stale})) }
	first := f.write("s1", 0, "one", time.Hour)
	stale()
	f.is("s1", "", 0)
	second := f.write("s1", first, "two", time.Hour)
	third := f.write("s1", second, "three", time.Hour)
	stale()
	f.is("s1", "two", second)
	f.is("s1", "three", third)
	stale()
	if _, _, err := f.Get(t.Context(), "s2"); err != session.ErrNotFound {
		t.Fatal(err)
	}
}

func TestSkew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFaulty(t)
		f.Inject(storetest.Script(storetest.Fault{Skew: time.Minute}, storetest.Fault{Skew: -time.Minute}, storetest.Fault{Skew: -2 * time.Hour}))
		later := f.write("s1", 0, "later", time.Hour)
		sooner := f.write("s2", 0, "sooner", time.Hour)
		atOnce := f.write("s3", 0, "at once", time.Hour)
		f.is("s3", "at once", atOnce)
		time.Sleep(time.Millisecond)
		f.is("s3", "", 0)
		time.Sleep(59*time.Minute - 2*time.Millisecond)
		f.is("s2", "sooner", sooner)
		time.Sleep(time.Millisecond)
		f.is("s2", "", 0)
		time.Sleep(2*time.Minute - time.Millisecond)
		f.is("s1", "later", later)
		time.Sleep(time.Millisecond)
		f.is("s1", "", 0)
	})
}

func TestLoseLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFaulty(t)
		conflict := func(key string, old int64) {
			t.Helper()
			if _, err := f.Swap(t.Context(), key, old, nil, time.Hour); err != session.ErrConflict {
				t.Fatalf("Swap of %s with old = %d: %v", key, old, err)
			}
		}
		a1 := f.write("a", 0, "a1", 2*time.Hour)
		b1 := f.write("b", 0, "b1", time.Hour)
		a2 := f.write("a", a1, "a2", 3*time.Hour)
		a3 := f.write("a", a2, "a3", 3*time.Hour)
		c1 := f.write("c", 0, "c1", time.Hour)

		f.LoseLast(3)
		f.is("a", "a1", a1)
		f.is("b", "b1", b1)
		f.is("c", "", 0)
		for _, lost := range []int64{0, a2, a3} {
			conflict("a", lost)
		}
		conflict("c", c1)
		f.is("a", "a1", a1)

		// What was set back is a record like any other, with a version that was never there.
		a4 := f.write("a", a1, "a4", time.Hour)
		c2 := f.write("c", 0, "c2", time.Hour)
		if slices.Contains([]int64{a1, a2, a3, c1}, a4) || c2 == c1 {
			t.Fatal("a version came twice")
		}
		for _, old := range []int64{0, a1, a2, a3} {
			conflict("a", old)
		}
		f.is("a", "a4", a4)
		f.is("c", "c2", c2)

		f.LoseLast(100)
		for _, key := range []string{"a", "b", "c"} {
			f.is(key, "", 0)
		}
		conflict("a", a4)
		a5 := f.write("a", 0, "a5", time.Hour)
		f.write("a", a5, "a6", 3*time.Hour)
		f.LoseLast(1)
		f.is("a", "a5", a5)
		time.Sleep(time.Hour) // the record that is back has its own end
		f.is("a", "", 0)
		conflict("a", a5)
		f.write("a", 0, "a7", time.Hour)
		time.Sleep(2 * time.Hour)
		f.LoseLast(1)
		f.is("a", "", 0)
		f.write("a", 0, "a8", time.Hour)
	})
}

// A write that is under way while the store restarts does not bring a lost record back.
func TestLoseLastDuringASwap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := newFaulty(t)
		f := fixture{&storetest.Faulty{Store: slow}, t}
		first := f.write("s1", 0, "one", time.Hour)
		second := f.write("s1", first, "two", time.Hour)
		slow.Inject(storetest.Script(storetest.Fault{AnswerLatency: time.Second}))
		time.AfterFunc(time.Second/2, func() { f.LoseLast(1) })
		if version, err := f.Swap(t.Context(), "s1", second, []byte("three"), time.Hour); err != storetest.ErrInjected {
			t.Fatalf("version %d, error %v", version, err)
		}
		f.is("s1", "one", first)
		f.is("s1", "four", f.write("s1", first, "four", time.Hour))
	})
}

func TestScript(t *testing.T) {
	f := newFaulty(t)
	f.Inject(storetest.Script(storetest.Fault{}, storetest.Fault{Kind: storetest.FailBefore, Err: session.ErrFull}))
	version := f.write("s1", 0, "one", time.Hour)
	if _, err := f.Swap(t.Context(), "s1", version, nil, time.Hour); err != session.ErrFull {
		t.Fatal(err)
	}
	version = f.write("s1", version, "two", time.Hour)
	f.Inject(func(c storetest.Call) storetest.Fault {
		if c.Op == storetest.Swap && c.Key == "s2" && c.Old == 0 {
			return storetest.Fault{Kind: storetest.FailBefore}
		}
		return storetest.Fault{}
	})
	f.is("s1", "two", version)
	if _, err := f.Swap(t.Context(), "s2", 0, nil, time.Hour); err != storetest.ErrInjected {
		t.Fatal(err)
	}
	f.write("s3", 0, "", time.Hour)
	var ops []string
	for _, c := range f.Calls() {
		ops = append(ops, fmt.Sprint(c.Op, " ", c.Key, " ", c.Err == nil))
	}
	want := []string{"Swap s1 true", "Swap s1 false", "Swap s1 true", "Get s1 true", "Swap s2 false", "Swap s3 true"}
	if !slices.Equal(ops, want) {
		t.Fatalf("recorded %q, want %q", ops, want)
	}
}

// What becomes of the calls for one key is the same whatever happens to others meanwhile.
func TestRandomIsDeterministic(t *testing.T) {
	faults := []storetest.Fault{{Kind: storetest.FailBefore}, {Kind: storetest.FailAfter}, {Kind: storetest.Stale}}
	run := func(seed uint64, concurrent bool) (kinds [8][]storetest.Kind) {
		source := storetest.Random(seed, 0.3, faults...)
		ask := func(key int) {
			kinds[key] = append(kinds[key], source(storetest.Call{Op: storetest.Get, Key: fmt.Sprint("s", key)}).Kind)
		}
		var wg sync.WaitGroup
		for key := range kinds {
			calls := func() {
				for range 1000 {
					ask(key)
				}
			}
			if concurrent {
				wg.Go(calls)
			} else {
				calls()
			}
		}
		wg.Wait()
		return kinds
	}
	one := run(1, false)
	if !reflect.DeepEqual(one, run(1, true)) {
		t.Fatal("the same seed gave other faults")
	}
	if reflect.DeepEqual(one, run(2, false)) || slices.Equal(one[0], one[1]) {
		t.Fatal("another seed, or another key, gave the same faults")
	}
	for _, kinds := range one {
		struck := map[storetest.Kind]int{}
		for _, k := range kinds {
			struck[k]++
		}
		// 1,000 calls at 0.3: 300 ± 14.5 are struck, a third by each.
		if n := 1000 - struck[storetest.Pass]; n < 220 || n > 380 || len(struck) != 4 {
			t.Fatalf("%d of 1000 struck: %v", n, struck)
		}
	}
}

// Several processes with a network each that fails at random, over a store that restarts under them: no version comes
// twice, and no record is another's.
func TestFaultyRandomly(t *testing.T) {
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) {
			base := &storetest.Faulty{Store: session.NewMemory(session.MemoryOptions{})}
			var mu sync.Mutex
			given := map[int64]bool{}
			var wg sync.WaitGroup
			for i := range 8 {
				f := &storetest.Faulty{Store: base, AsShared: true}
				f.Inject(storetest.Random(seed+uint64(i)<<8, 0.3,
					storetest.Fault{Kind: storetest.FailBefore}, storetest.Fault{Kind: storetest.FailAfter},
					storetest.Fault{Latency: time.Millisecond}, storetest.Fault{AnswerLatency: 2 * time.Millisecond}))
				r := rand.New(rand.NewPCG(seed, uint64(i)))
				wg.Go(func() {
					for range 300 {
						key := fmt.Sprint("s", r.IntN(4))
						_, version, err := f.Get(t.Context(), key)
						if err != nil && err != session.ErrNotFound {
							continue
						}
						version, err = f.Swap(t.Context(), key, version, []byte(key), time.Duration(1+r.IntN(10))*time.Millisecond)
						mu.Lock()
						if err == nil && given[version] {
							t.Errorf("version %d came twice", version)
						}
						given[version] = true
						mu.Unlock()
						if value, _, err := f.Get(t.Context(), key); err == nil && string(value) != key {
							t.Errorf("%s holds %q", key, value)
						}
						if r.IntN(50) == 0 {
							base.LoseLast(r.IntN(20))
						}
						time.Sleep(time.Millisecond)
					}
				})
			}
			wg.Wait()
		})
	}
}
