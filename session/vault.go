package session

import (
	"context"
	"crypto/sha256"
	"encoding"
	"encoding/base64"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/sallyport/sallyport/client"
	"github.com/sallyport/sallyport/internal/seal"
)

const (
	// storeTimeout bounds one call of a store.
	storeTimeout = 2 * time.Second
	// maxConflicts is how often a change is tried again because somebody else was faster.
	maxConflicts = 100
	// storeRetry is when to come back after a store has failed.
	storeRetry = 2 * time.Second
)

// What a key names. The letters are in the stores: never reuse one.
const (
	keySession = 's'
	keyOnce    = 'o'
	keyRoster  = 'r'
	keyToken   = 't'
	// In this process only.
	keyIdle  = 'i'
	keyEvent = 'e'
)

// storeKey is a kind and a hash, in the alphabet that every store takes. A dump of the keys shows nobody.
type storeKey [2 + 43]byte

func newStoreKey(kind byte, hash []byte) (k storeKey) {
	k[0], k[1] = kind, ':'
	base64.RawURLEncoding.Encode(k[2:], hash)
	return k
}

// sessionKey is where the entry of a session is. The id is 256 random bits, so its hash needs no key.
func sessionKey(id sessionID) storeKey {
	sum := sha256.Sum256(id[:])
	return newStoreKey(keySession, sum[:])
}

// vault is a store with seals: nothing is written in the open, and what is read was written by us, under that very key.
type vault struct {
	store  Store
	memory *Memory // store, if it is this process's: looking for nothing costs nothing
	plain  bool    // the texts of store's errors may be printed
	prompt bool    // store keeps to a limit of its own: a deadline for each read costs five allocations
	seal   *seal.Sealer
	now    func() time.Time
}

func newVault(s Store, sealer *seal.Sealer, now func() time.Time) *vault {
	v := &vault{store: s, seal: sealer, now: now}
	v.memory, _ = s.(*Memory)
	_, v.plain = s.(interface{ OwnWords() })
	limited, ok := s.(interface{ Limit() time.Duration })
	v.prompt = ok && limited.Limit() <= storeTimeout
	return v
}

// value is what can be in a vault.
type value interface {
	encoding.BinaryAppender
	encoding.BinaryUnmarshaler
}

// get opens the record of a key. Version 0 says that there is none. stale is that it was sealed with an older key. The error
// is ErrStore: nothing is known then.
func (v *vault) get(ctx context.Context, key *storeKey, dst value) (version int64, stale bool, err error) {
	var raw []byte
	name := ""
	if v.memory != nil {
		var ok bool
		if raw, version, ok = v.memory.get(key[:]); !ok {
			return 0, false, nil
		}
	} else {
		name = string(key[:])
		if raw, version, err = v.read(ctx, name); err != nil {
			if errors.Is(err, ErrNotFound) {
				return 0, false, nil
			}
			return 0, false, v.failed(err)
		}
	}
	if name == "" {
		name = string(key[:])
	}
	o, err := v.seal.OpenRaw(v.now(), name, raw, dst)
	if err == nil && version > 0 {
		return version, o.Stale, nil
	}
	refused, _ := errors.AsType[*seal.Error](err)
	switch {
	case refused != nil && refused.Reason == seal.Expired && !v.now().Before(o.Expires):
		return version, false, errPast // an old backup, or a store that keeps what has ended
	case err == nil:
		return 0, false, storeFault("version", nil)
	case refused != nil && refused.Reason == seal.Expired:
		return 0, false, storeFault("clock", err)
	}
	return 0, false, storeFault("corrupt", err)
}

// read is Store.Get. A request that goes away does not interrupt it: a driver may throw its connection away for that.
func (v *vault) read(ctx context.Context, key string) (raw []byte, version int64, err error) {
	defer containStore(&err)
	if _, limited := ctx.Deadline(); v.prompt && !limited {
		return v.store.Get(ctx, key)
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	return v.store.Get(ctx, key)
}

// write is Store.Swap, in the same way.
func (v *vault) write(ctx context.Context, key string, old int64, raw []byte, ttl time.Duration) (version int64, err error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	defer containStore(&err)
	return v.store.Swap(ctx, key, old, raw, ttl)
}

// bounded is ctx without its cancellation, with its deadline, and storeTimeout at most.
func bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	limit := storeTimeout
	if d, ok := ctx.Deadline(); ok {
		limit = min(limit, time.Until(d))
	}
	return context.WithTimeout(context.WithoutCancel(ctx), limit)
}

// containStore turns a panic of a store into an error. What it panicked with is not ours to print.
func containStore(err *error) {
	if recover() != nil {
		*err = errStorePanic
	}
}

var errStorePanic = errors.New("session: the store panicked")

// errPast is what get returns, with the version, of a record whose own deadline has passed: it counts as none, but is there.
var errPast = errors.New("session: past its deadline")

// swap writes dst if the version is still old. The error is ErrConflict, or ErrStore: then it may have been written or not.
func (v *vault) swap(ctx context.Context, key *storeKey, old int64, src value, deadline time.Time) (version int64, err error) {
	ttl := deadline.Sub(v.now())
	if ttl < time.Second {
		ttl = time.Second // it has ended; whoever looks at it sees that
	}
	raw, err := v.seal.SealRaw(string(key[:]), src, deadline.Add(time.Second))
	if err != nil {
		return 0, cookieError(err)
	}
	version, err = v.write(ctx, string(key[:]), old, raw, ttl)
	if err != nil && !errors.Is(err, ErrConflict) {
		err = v.failed(err)
	}
	return version, err
}

// update changes the record of a key by compare-and-swap, as often as it takes: change sees what is there (version 0: nothing,
// and dst is empty) and returns the deadline of what it made of it, or the zero time to leave it. It may be called several times,
// and finds its own work if the answer to a write was lost. With from, that is tried first, unread.
func update[V any, P interface {
	*V
	value
}](ctx context.Context, v *vault, key *storeKey, from *versioned[V], change func(dst *V, version int64) (time.Time, error)) (versioned[V], error) {
	for n := range maxConflicts {
		if n > 3 { // many at once: let each other by
			if err := pause(ctx, rand.N(min(time.Duration(n)*time.Millisecond, 20*time.Millisecond))); err != nil {
				return versioned[V]{}, storeFault("conflict", nil)
			}
		}
		var h versioned[V]
		if from != nil {
			h, from = *from, nil
		} else {
			var err error
			h.version, _, err = v.get(ctx, key, P(&h.value))
			if err == errPast {
				h.value, err = *new(V), nil
			}
			if err != nil {
				return h, err
			}
		}
		seen := h.version
		deadline, err := change(&h.value, seen)
		if err != nil || deadline.IsZero() {
			return h, err
		}
		h.version, err = v.swap(ctx, key, seen, P(&h.value), deadline)
		if err == nil || !errors.Is(err, ErrConflict) {
			return h, err
		}
	}
	return versioned[V]{}, storeFault("conflict", nil)
}

// versioned is a value and the version that it was read or written with.
type versioned[V any] struct {
	value   V
	version int64
}

// failed is what a store's failure means: nothing about the user. What it says itself stays inside, unless the store says that it
// may be printed.
func (v *vault) failed(err error) *client.Error {
	reason := "unavailable"
	switch {
	case err == errStorePanic:
		reason = "panic"
	case errors.Is(err, ErrFull):
		reason = "full"
	case errors.Is(err, context.Canceled):
		reason = "canceled"
	case errors.Is(err, context.DeadlineExceeded):
		reason = "timeout"
	}
	if !v.plain {
		err = silenced{err}
	}
	return storeFault(reason, err)
}

// storeFault is ErrStore: to be tried again, and no reason to log anybody out.
func storeFault(reason string, cause error) *client.Error {
	e := client.NewError(ErrStore, reason, cause)
	e.Outcome, e.Action, e.RetryAfter = client.Transient, client.ActionRetry, storeRetry
	return e
}

// silenced keeps what a store said from being printed: it may quote keys, addresses or values.
type silenced struct{ err error }

func (s silenced) Error() string { return "session: the store failed" }
func (s silenced) Unwrap() error { return s.err }
