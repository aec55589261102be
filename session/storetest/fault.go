package storetest

import (
	"errors"
	"hash/fnv"
	"math/rand/v2"
	"sync"
	"time"
)

// ErrInjected is what a call fails with that a Fault makes fail.
var ErrInjected = errors.New("storetest: injected failure")

// Kind is what becomes of a call.
type Kind uint8

const (
	// Pass lets the call through.
	Pass Kind = iota
	// FailBefore fails, and the store is not asked.
	FailBefore
	// FailAfter fails, and the store has done what was asked.
	FailAfter
	// Hang does not answer until the context is done, or HangTime has passed, and the store is not asked.
	Hang
	// HangAfter does not answer either, and the store has done what was asked.
	HangAfter
	// Stale makes a Get return the record as it was before the last write that Faulty has seen, with the version that it
	// had then. The contract forbids it: this is for what must not do harm even so. A Swap passes.
	Stale
)

// HangTime is how long a call hangs whose context is not done before: the contract has calls return.
const HangTime = 5 * time.Second

// Fault is what becomes of one call. The zero value is nothing.
type Fault struct {
	Kind Kind
	// Err is what FailBefore and FailAfter fail with; nil means ErrInjected.
	Err error
	// Latency passes before the store is asked. A call whose context is done meanwhile does not get there.
	Latency time.Duration
	// AnswerLatency passes after the store has answered. A call whose context is done meanwhile fails although the store has
	// done what was asked.
	AnswerLatency time.Duration
	// Skew is added to the ttl of a Swap, as a clock that is wrong does; what is left is 1 ms at least.
	Skew time.Duration
}

// Op is a method of session.Store.
type Op uint8

// The methods that a Fault may strike.
const (
	Get Op = iota
	Swap
)

// String is the method's name.
func (o Op) String() string {
	if o == Get {
		return "Get"
	}
	return "Swap"
}

// Call is one call of a Faulty, first as a Source sees it, then as it came out.
type Call struct {
	Op  Op
	Key string
	Old int64         // of a Swap
	TTL time.Duration // of a Swap, as its caller asked

	Fault Fault
	// Done says that the call has returned, Effect that the store has written. Both may be false of a call under way.
	Done, Effect bool
	// Version and Err are what the caller was told.
	Version int64
	Err     error
}

// Source says what becomes of a call. It is called before the store is asked, for one call at a time.
type Source func(Call) Fault

// Always is a Source of one fault for all calls: Always(Fault{Kind: Hang}) is a partition.
func Always(f Fault) Source { return func(Call) Fault { return f } }

// Script is a Source of these faults for the next calls, in this order, and then of none.
func Script(faults ...Fault) Source {
	return func(Call) Fault {
		if len(faults) == 0 {
			return Fault{}
		}
		f := faults[0]
		faults = faults[1:]
		return f
	}
}

// Random is a Source that strikes a part p of the calls, 0 to 1, with one of the faults. What becomes of the n-th Get or Swap
// of a key depends on nothing but the seed, the key and n, whatever else happens at the same time.
func Random(seed uint64, p float64, faults ...Fault) Source {
	type series struct {
		op  Op
		key string
	}
	var mu sync.Mutex // a Source may serve several Faultys
	all := map[series]*rand.Rand{}
	return func(c Call) Fault {
		mu.Lock()
		defer mu.Unlock()
		s := series{c.Op, c.Key}
		r := all[s]
		if r == nil {
			h := fnv.New64a()
			h.Write([]byte{byte(c.Op)})
			h.Write([]byte(c.Key))
			r = rand.New(rand.NewPCG(seed, h.Sum64()))
			all[s] = r
		}
		if r.Float64() >= p || len(faults) == 0 {
			return Fault{}
		}
		return faults[r.IntN(len(faults))]
	}
}
