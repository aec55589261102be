package storetest

import (
	"context"
	"sync"
	"time"

	"github.com/sallyport/sallyport/session"
)

// Faulty is a store that does what Store does, except for what Inject says. It passes time with timers, so it is
// deterministic under testing/synctest. It keeps a copy of every record and a list of the calls: it is for tests. Safe for
// concurrent use; a Faulty may be the Store of another, for processes that have a network each.
//
//	f := &storetest.Faulty{Store: session.NewMemory(session.MemoryOptions{})}
//	f.Inject(storetest.Script(storetest.Fault{Kind: storetest.FailAfter}))
type Faulty struct {
	// Store is where the records are.
	Store session.Store
	// AsShared makes Shared true whatever Store says, for several processes played by one.
	AsShared bool

	mu     sync.Mutex
	source Source
	calls  []*Call
	memory memory
}

const maxCalls = 1 << 16

// Inject says what becomes of the calls from now on; nil means nothing.
func (f *Faulty) Inject(s Source) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.source = s
}

// Calls returns the calls so far, in the order in which they began, the first 65,536 at most.
func (f *Faulty) Calls() []Call {
	f.mu.Lock()
	defer f.mu.Unlock()
	calls := make([]Call, len(f.calls))
	for i, c := range f.calls {
		calls[i] = *c
	}
	return calls
}

// Forget empties the list of calls.
func (f *Faulty) Forget() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = nil
}

// Shared is AsShared or what Store says.
func (f *Faulty) Shared() bool { return f.AsShared || f.Store.Shared() }

// Get is Store.Get with what was injected.
func (f *Faulty) Get(ctx context.Context, key string) (value []byte, version int64, err error) {
	c := f.begin(Call{Op: Get, Key: key})
	defer func() { f.end(c, version, err) }()
	err = c.Fault.run(ctx, func() error {
		if c.Fault.Kind == Stale {
			if before, ok := f.before(key); ok {
				value, version, err = before.answer()
				return err
			}
		}
		value, version, err = f.get(ctx, key)
		return err
	})
	if err != nil {
		return nil, 0, err
	}
	return value, version, nil
}

// Swap is Store.Swap with what was injected.
func (f *Faulty) Swap(ctx context.Context, key string, old int64, value []byte, ttl time.Duration) (version int64, err error) {
	c := f.begin(Call{Op: Swap, Key: key, Old: old, TTL: ttl})
	defer func() { f.end(c, version, err) }()
	if c.Fault.Skew != 0 {
		ttl = max(ttl+c.Fault.Skew, time.Millisecond)
	}
	err = c.Fault.run(ctx, func() error {
		version, err = f.swap(ctx, c, value, ttl)
		return err
	})
	if err != nil {
		return 0, err
	}
	return version, nil
}

func (f *Faulty) begin(c Call) *Call {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.source != nil {
		c.Fault = f.source(c)
	}
	if len(f.calls) < maxCalls {
		f.calls = append(f.calls, &c)
	}
	return &c
}

func (f *Faulty) end(c *Call, version int64, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	c.Done, c.Version, c.Err = true, version, err
}

// run is the call under the fault.
func (x Fault) run(ctx context.Context, ask func() error) error {
	if err := pass(ctx, x.Latency); err != nil {
		return err
	}
	fail := x.Err
	if fail == nil {
		fail = ErrInjected
	}
	switch x.Kind {
	case FailBefore:
		return fail
	case Hang:
		return hang(ctx)
	}
	err := ask()
	if x.Kind == HangAfter {
		return hang(ctx)
	}
	if x.AnswerLatency > 0 {
		if late := pass(ctx, x.AnswerLatency); late != nil {
			return late
		}
	}
	if x.Kind == FailAfter {
		return fail
	}
	return err
}

// pass lets time pass, until ctx is done.
func pass(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
	return ctx.Err()
}

func hang(ctx context.Context) error {
	if err := pass(ctx, HangTime); err != nil {
		return err
	}
	return ErrInjected
}
