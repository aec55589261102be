package idtoken

import (
	"context"
	"errors"
	"sync"
	"time"
)

const (
	defaultAge    = time.Hour       // soft age without Cache-Control
	minAge        = 5 * time.Minute // soft age, whatever Cache-Control says
	hardAge       = 24 * time.Hour  // a withdrawn key stops working after this at the latest
	refetchEvery  = time.Minute     // fetches for the sake of an unknown key id
	fetchTimeout  = 5 * time.Second
	maxRetryPause = time.Minute
)

// KeySetConfig says where a [KeySet] comes from.
type KeySetConfig struct {
	// Fetch returns the body of the issuer's jwks_uri and its Cache-Control header ("" if there is none), or an error for
	// anything but a 200. It is called from a goroutine of its own, one call at a time, with a context that ends after 5 s and
	// never with the request that needed the keys.
	Fetch func(ctx context.Context) (body []byte, cacheControl string, err error)

	// Now is the clock; nil means time.Now.
	Now func() time.Time

	// OnEvent is told "jwks.refetched" (a newer set has replaced one), "jwks.unavailable" (a fetch failed or brought no usable
	// document) and "jwks.budget_spent" (an unknown key id, and no fetch for it). It may be nil, must not block, and is called
	// from several goroutines.
	OnEvent func(kind string)
}

// KeySet is the cached key set of one issuer (OpenID Connect Core §10.1.1). It may be used concurrently.
//
// The first verification fetches it. After its soft age (Cache-Control's max-age between 5 minutes and 24 hours, 1 hour without
// one) it is fetched again in the background while the old keys serve; after 24 hours they serve no longer. A key id that is not
// in it causes one fetch a minute at most, the first load not counted. A fetch that fails leaves the old keys in place; a second
// failure in a row makes the next one wait, 1 s at first and 60 s at most.
type KeySet struct {
	cfg KeySetConfig

	mu          sync.Mutex
	set         *snapshot
	flight      *flight
	failures    int // in a row
	failedAt    time.Time
	refetchedAt time.Time
}

// snapshot is a key set as it was at one moment. It is never modified.
type snapshot struct {
	keys      []publicKey
	fetchedAt time.Time // when the fetch began
	age       time.Duration
}

// flight is one fetch and those who wait for it. set and err are for reading after done is closed.
type flight struct {
	done   chan struct{}
	forKey bool // began because of an unknown key id
	set    *snapshot
	err    error
}

// NewKeySet returns a KeySet that has fetched nothing yet.
func NewKeySet(cfg KeySetConfig) *KeySet {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &KeySet{cfg: cfg}
}

// find returns the keys to try for a token. It fails with "jwks" when there is no key set to look in, and with what choose says
// when there is no key.
func (k *KeySet) find(ctx context.Context, w wanted) (candidates, error) {
	if k == nil || k.cfg.Fetch == nil {
		return candidates{}, fail(reasonJWKS, "there is no key set")
	}
	set, err := k.current(ctx)
	for final := false; err == nil; {
		found, chosen := choose(set.keys, w)
		if found.from = set; final || !errors.Is(chosen, errNoKey) && !errors.Is(chosen, errAmbiguous) {
			return found, chosen
		}
		set, final, err = k.refetch(ctx, set)
	}
	return candidates{}, err
}

// newer returns the keys to try of a set that is newer than the one that tried was found in, and none if there is no
// such set to be had: a token without a key id does not say that its key is a new one (OpenID Connect Core §10.1.1).
func (k *KeySet) newer(ctx context.Context, w wanted, tried candidates) candidates {
	set, _, err := k.refetch(ctx, tried.from)
	if err != nil || set == tried.from {
		return candidates{}
	}
	found, err := choose(set.keys, w)
	if err != nil {
		return candidates{}
	}
	return found
}

// current returns the cached set while it serves, and fetches one otherwise.
func (k *KeySet) current(ctx context.Context) (*snapshot, error) {
	now := k.cfg.Now()
	k.mu.Lock()
	if k.set != nil && within(now, k.set.fetchedAt, k.set.age) {
		defer k.mu.Unlock()
		return k.set, nil
	}
	f := k.flight
	if f == nil && !within(now, k.failedAt, retryPause(k.failures)) {
		f = k.begin(now, false)
	}
	set := k.set
	k.mu.Unlock()
	switch {
	case set != nil && now.Sub(set.fetchedAt) < hardAge:
		return set, nil
	case f == nil:
		return nil, fail(reasonJWKS, "the key set was unavailable a moment ago")
	}
	return f.wait(ctx)
}

// refetch gets a set that is newer than seen, because seen lacks a key. final: this was the fetch for that key, or one begun for
// another such key at the same time; what it brought decides.
func (k *KeySet) refetch(ctx context.Context, seen *snapshot) (set *snapshot, final bool, err error) {
	now := k.cfg.Now()
	k.mu.Lock()
	if k.set != seen && k.set != nil {
		defer k.mu.Unlock()
		return k.set, false, nil
	}
	f := k.flight
	if f == nil && !within(now, k.refetchedAt, refetchEvery) {
		k.refetchedAt = now
		f = k.begin(now, true)
	}
	// The fetch of a moment ago, if it worked, is the answer to this key too.
	answered := k.set != nil && k.failures == 0 && !k.set.fetchedAt.Before(k.refetchedAt)
	set = k.set
	k.mu.Unlock()
	if f == nil {
		k.report("jwks.budget_spent")
		if answered {
			return set, true, nil
		}
		return nil, true, fail(reasonJWKS, "an unknown key id, and fetching the key set for one has just failed")
	}
	set, err = f.wait(ctx)
	return set, f.forKey, err
}

// begin starts the only flight; k.mu is held. No request's context goes along: who asked first may leave first.
func (k *KeySet) begin(now time.Time, forKey bool) *flight {
	f := &flight{done: make(chan struct{}), forKey: forKey}
	k.flight = f
	go k.fly(f, now)
	return f
}

func (k *KeySet) fly(f *flight, now time.Time) {
	set, err := k.load(now)
	event, landed := "", k.cfg.Now()
	k.mu.Lock()
	if err != nil {
		event = "jwks.unavailable"
		f.err = failCause(reasonJWKS, "the key set is unavailable", err)
		k.failures++
		k.failedAt = landed
	} else {
		if k.set != nil {
			event = "jwks.refetched"
		}
		f.set, k.set, k.failures = set, set, 0
	}
	k.flight = nil
	k.mu.Unlock()
	// Who has waited finds the event already told.
	k.report(event)
	close(f.done)
}

var errFetchPanic = errors.New("idtoken: the fetch panicked")

func (k *KeySet) load(now time.Time) (set *snapshot, err error) {
	// A panic in this goroutine would end the whole program, where one in a handler ends a request.
	defer func() {
		if recover() != nil {
			set, err = nil, errFetchPanic
		}
	}()
	ctx, cancel := context.WithTimeout(context.Background(), fetchTimeout)
	defer cancel()
	body, cacheControl, err := k.cfg.Fetch(ctx)
	if err != nil {
		return nil, err
	}
	keys, err := parseKeySet(body)
	if err != nil {
		return nil, err
	}
	return &snapshot{keys: keys, fetchedAt: now, age: softAge(cacheControl)}, nil
}

// report calls the hook. A hook that panics loses its event and nothing else.
func (k *KeySet) report(kind string) {
	if k.cfg.OnEvent == nil || kind == "" {
		return
	}
	defer func() { _ = recover() }()
	k.cfg.OnEvent(kind)
}

func (f *flight) wait(ctx context.Context) (*snapshot, error) {
	select {
	case <-f.done:
		return f.set, f.err
	case <-ctx.Done():
		return nil, failCause(reasonJWKS, "the key set did not come in time", ctx.Err())
	}
}

// within reports whether now is less than d after then. A clock that was set back is never within.
func within(now, then time.Time, d time.Duration) bool {
	passed := now.Sub(then)
	return passed >= 0 && passed < d
}

// retryPause is how long nothing is fetched after n failures in a row: not at all after one, then 1 s, 2 s, 4 s, … 60 s.
func retryPause(n int) time.Duration {
	if n < 2 {
		return 0
	}
	return min(time.Second<<min(n-2, 6), maxRetryPause)
}
