package session

import (
	"context"
	"errors"
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport/sallyport/client"
)

// errAway is what a store says that is away.
var errAway = errors.New("dial tcp 10.0.0.7:6379: connection refused CANARY")

// storeCall is one call of a store.
type storeCall struct {
	ctx   context.Context
	swap  bool
	key   string
	old   int64
	value []byte // of a Swap, sealed
	ttl   time.Duration
}

// wire is one process's way to a store. It tells what went over it, and fails, waits or dies as it is told to.
type wire struct {
	store  Store
	shared bool
	dead   atomic.Bool

	mu     sync.Mutex
	calls  []storeCall
	before func(storeCall) error              // an error: the store is not asked
	after  func(storeCall, error) error       // what the caller is told
	stale  map[string]versioned[storedRecord] // what Get answers instead
}

type storedRecord struct{ value []byte }

func (w *wire) Shared() bool { return w.shared }

// alive does not return in a process that is dead: none of its goroutines does anything any more.
func (w *wire) alive() {
	if w != nil && w.dead.Load() {
		runtime.Goexit()
	}
}

func (w *wire) Get(ctx context.Context, key string) (value []byte, version int64, err error) {
	c := storeCall{ctx: ctx, key: key}
	err = w.run(ctx, c, func() error {
		w.mu.Lock()
		old, ok := w.stale[key]
		w.mu.Unlock()
		if ok {
			value, version = old.value.value, old.version
			return nil
		}
		value, version, err = w.store.Get(ctx, key)
		return err
	})
	return value, version, err
}

func (w *wire) Swap(ctx context.Context, key string, old int64, value []byte, ttl time.Duration) (version int64, err error) {
	c := storeCall{ctx: ctx, swap: true, key: key, old: old, value: value, ttl: ttl}
	err = w.run(ctx, c, func() error {
		version, err = w.store.Swap(ctx, key, old, value, ttl)
		return err
	})
	return version, err
}

func (w *wire) run(ctx context.Context, c storeCall, ask func() error) error {
	w.alive()
	w.mu.Lock()
	w.calls = append(w.calls, c)
	before, after := w.before, w.after
	w.mu.Unlock()
	if before != nil {
		err := before(c)
		w.alive()
		if err != nil {
			return err
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	err := ask()
	if after != nil {
		err = after(c, err)
	}
	w.alive()
	return err
}

// set says what becomes of the calls from now on; nil means nothing.
func (w *wire) set(before func(storeCall) error, after func(storeCall, error) error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.before, w.after = before, after
}

// away makes the store fail, or not.
func (w *wire) away(yes bool) {
	if !yes {
		w.set(nil, nil)
		return
	}
	w.set(func(storeCall) error { return errAway }, nil)
}

// count says how many calls there were since the last count.
func (w *wire) count() (gets, swaps int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.calls {
		if c.swap {
			swaps++
		} else {
			gets++
		}
	}
	w.calls = nil
	return gets, swaps
}

// nth calls f for the n-th Swap of a session's entry from now on, counted from 1, and the next if next is true.
func nthSwap(n int, f func() error) func(storeCall) error {
	var seen atomic.Int64
	return func(c storeCall) error {
		if c.swap && c.key[0] == keySession && seen.Add(1) == int64(n) {
			return f()
		}
		return nil
	}
}

// told is nthSwap for wire.after: f sees the answer and says what the caller is told.
func told(n int, f func(error) error) func(storeCall, error) error {
	var seen atomic.Int64
	return func(c storeCall, err error) error {
		if c.swap && c.key[0] == keySession && seen.Add(1) == int64(n) {
			return f(err)
		}
		return err
	}
}

// uplink is one process's way to the server.
type uplink struct {
	*fakeServer
	wire *wire
}

func (u uplink) Refresh(ctx context.Context, t *client.Tokens) (*client.Tokens, error) {
	u.wire.alive()
	next, err := u.fakeServer.Refresh(ctx, t)
	u.wire.alive()
	return next, err
}

func (u uplink) Revoke(ctx context.Context, t *client.Tokens) error {
	u.wire.alive()
	return u.fakeServer.Revoke(ctx, t)
}

func (b *bed) server() server { return uplink{b.as, b.wire} }

// die ends the process: what it has under way never returns.
func (b *bed) die() { b.wire.dead.Store(true) }

// arrangements are the four ways to keep sessions; whatever a test shows must hold for all. It runs in a bubble of synctest.
func arrangements(t *testing.T, f func(t *testing.T, b *bed)) {
	arranged(t, Config{IdleTimeout: 12 * time.Hour}, f)
}

func arranged(t *testing.T, cfg Config, f func(t *testing.T, b *bed)) {
	for _, a := range []struct {
		name  string
		place func(cfg *Config) *wire
	}{
		{"cookies and this process", func(*Config) *wire { return nil }},
		{"cookies and a shared store", func(c *Config) *wire {
			w := &wire{store: NewMemory(MemoryOptions{}), shared: true}
			c.Coordination = w
			return w
		}},
		{"store of this process", func(c *Config) *wire { c.Store = NewMemory(MemoryOptions{}); return nil }},
		{"shared store", func(c *Config) *wire {
			w := &wire{store: NewMemory(MemoryOptions{}), shared: true}
			c.Store = w
			return w
		}},
	} {
		t.Run(a.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				mine := cfg
				w := a.place(&mine)
				b := newBedAt(t, mine, &clock{bubble: true})
				b.wire = w
				f(t, b)
				b.settled()
			})
		})
	}
}

// replicas are n processes on one shared store, with one server, in both placements and each in a bubble of synctest.
func replicas(t *testing.T, n int, f func(t *testing.T, all []*bed)) {
	for _, inStore := range []bool{false, true} {
		name := "cookies"
		if inStore {
			name = "store"
		}
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				all := newReplicas(t, n, inStore)
				f(t, all)
				time.Sleep(2 * settleTimeout)
				for _, b := range all {
					if !b.wire.dead.Load() {
						b.settled()
					}
				}
				if !all[0].as.rotation.Reusable {
					all[0].sentAtMost(maxSends) // R1
				}
			})
		})
	}
}

func newReplicas(t *testing.T, n int, inStore bool) (all []*bed) {
	mem := NewMemory(MemoryOptions{})
	var as *fakeServer
	for range n {
		all = append(all, newReplica(t, Config{}, mem, inStore, as))
		as = all[0].as
	}
	return all
}

func newReplica(t *testing.T, cfg Config, store Store, inStore bool, as *fakeServer) *bed {
	w := &wire{store: store, shared: true}
	cfg.IdleTimeout, cfg.Replicas = 12*time.Hour, true
	if inStore {
		cfg.Store = w
	} else {
		cfg.Coordination = w
	}
	b := newBedAt(t, cfg, &clock{bubble: true})
	b.wire = w
	if as != nil {
		b.as = as
	}
	return b
}

// sentAtMost checks how often any refresh token was sent, as far as the server may have seen it.
func (b *bed) sentAtMost(n int) {
	b.t.Helper()
	b.as.mu.Lock()
	defer b.as.mu.Unlock()
	times := map[client.Secret]int{}
	for _, s := range b.as.spent {
		if times[s]++; times[s] > n {
			b.t.Errorf("a refresh token was sent %d times", times[s])
		}
	}
}

// answer is what a request got.
type answer struct {
	s   *Session
	err error
	h   header
}

// ask is a request of that browser, which waits at most for a while. Its cookies are not taken.
func (b *bed) ask(br *browser, wait time.Duration) (a answer) {
	r := br.request()
	ctx, cancel := context.WithTimeout(r.Context(), wait)
	defer cancel()
	a.h = header{}
	a.s, a.err = b.freshen(a.h, r.WithContext(ctx))
	return a
}

// askAside is ask while the test goes on.
func (b *bed) askAside(br *browser, wait time.Duration) <-chan answer {
	out := make(chan answer, 1)
	br = br.clone()
	go func() {
		defer close(out) // of a process that dies nothing comes
		out <- b.ask(br, wait)
	}()
	return out
}

// wantToken checks that a request got that token.
func (a answer) wantToken(t *testing.T, token string) {
	t.Helper()
	if a.err != nil || a.s == nil || string(a.s.AccessToken()) != token {
		t.Fatalf("%v; want %q", a.err, token)
	}
}

// served checks which token a request gets, and how many calls there are when what it began is done.
func (b *bed) served(br *browser, token string, calls int) {
	b.t.Helper()
	b.ask(br, time.Minute).wantToken(b.t, token)
	synctest.Wait()
	if b.as.count() != calls {
		b.t.Fatalf("%d calls, want %d", b.as.count(), calls)
	}
}

// said counts the events of a kind, with that reason if it is not empty.
func (b *bed) said(kind, reason string) (n int) {
	b.events.mu.Lock()
	defer b.events.mu.Unlock()
	for _, e := range b.events.all {
		if e.Kind == kind && (reason == "" || e.Reason == reason) {
			n++
		}
	}
	return n
}

// loginFor gives the browser a session whose access token lives for that long.
func (b *bed) loginFor(br *browser, subject string, life time.Duration) *Session {
	b.t.Helper()
	s, err := b.loginWith(br, subject, func(tok *client.Tokens) { tok.Expiry = b.clock.now().Add(life) })
	if err != nil {
		b.t.Fatal(err)
	}
	return s
}

// endIn logs the browser out.
func (b *bed) endIn(br *browser) (last *client.Tokens, err error) {
	br.do(func(w http.ResponseWriter, r *http.Request) {
		var s *Session
		if s, err = b.LoadToEnd(r); err == nil {
			last, err = b.End(w, r, s)
		}
	})
	return last, err
}
