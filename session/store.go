package session

import (
	"context"
	"errors"
	"time"
)

// Store keeps small sealed records that several processes share. Everything that a session needs of it (lease, once,
// tombstone, hand-off) is built on compare-and-swap, here and not in each store; package storetest checks
// that a store keeps what is promised below.
//
// Keys are up to 64 bytes of letters, digits, '-', '_' and ':', hashes after a letter; values are up to 64 kB
// of any bytes. Methods are called concurrently. They return within a few seconds
// whatever becomes of the network, and at once if ctx is done.
//
// Any error but ErrNotFound and ErrConflict means that nothing is known: not whether there is a record, nor whether a
// write took effect. ErrFull says in addition why. What an error says is not printed, as it may quote what it should not, unless the
// store has a method OwnWords(): it promises that the texts of its errors hold nothing that came from outside. Calls get a deadline of two
// seconds; a store that has a method Limit() time.Duration and returns no more than that keeps to one of its own, and is spared the cost.
type Store interface {
	// Get returns the record and its version; ErrNotFound if there is none or it has expired. A Get that begins after a
	// Swap has returned sees what that wrote. The value belongs to the caller.
	Get(ctx context.Context, key string) (value []byte, version int64, err error)
	// Swap writes value, to expire after ttl by the store's clock, if the stored version equals old (0: only if there is
	// no record), and returns the new version; else ErrConflict, and nothing has changed. A version is
	// positive, and no other write of that key has or had it, not even before an expiry or a restart of the store.
	// The store keeps no reference to value.
	Swap(ctx context.Context, key string, old int64, value []byte, ttl time.Duration) (version int64, err error)
	// Shared reports whether other processes see the same records.
	Shared() bool
}

var (
	// ErrNotFound is what Store.Get returns if there is no such record.
	ErrNotFound = errors.New("sallyport: no such record")
	// ErrConflict is what Store.Swap returns if the record has another version.
	ErrConflict = errors.New("sallyport: the record has another version")
	// ErrFull is what Store.Swap returns if there is no room.
	ErrFull = errors.New("sallyport: the store is full")
)
