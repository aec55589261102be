package seal

import (
	"bytes"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"sync/atomic"
)

// Purpose is what a value is sealed for. Each has its own subkey of every ring key and
// shows in the first byte, so a value made for one never opens as another.
type Purpose uint8

// The purposes. The numbers are on the wire: never reuse one.
const (
	Session     Purpose = 1
	Login       Purpose = 2
	Logout      Purpose = 3
	Fingerprint Purpose = 4 // not for sealing: names sessions in events
	Stored      Purpose = 5 // records in a store
	Ticket      Purpose = 6 // the cookie of a session that is in a store
	Naming      Purpose = 7 // not for sealing: names what a store keeps of issuers and subjects
)

func (p Purpose) String() string {
	switch p {
	case Session:
		return "session"
	case Login:
		return "login"
	case Logout:
		return "logout"
	case Fingerprint:
		return "fingerprint"
	case Stored:
		return "stored"
	case Ticket:
		return "ticket"
	case Naming:
		return "naming"
	}
	return "unknown"
}

// MinKey is the least length of a ring key in bytes.
const MinKey = 32

// Ring is an ordered set of keys, newest first: the first seals, all open.
type Ring struct {
	keys []*ringKey
}

type ringKey struct {
	id  byte // public: tells which key to try, so that a ring of many costs what one costs
	key []byte
}

// NewRing takes keys newest first, each of at least MinKey random bytes.
func NewRing(keys [][]byte) (*Ring, error) {
	if len(keys) == 0 {
		return nil, fmt.Errorf("no key: give at least one of %d random bytes", MinKey)
	}
	r := new(Ring)
	for i, k := range keys {
		if len(k) < MinKey {
			return nil, fmt.Errorf("key %d has %d bytes: give at least %d random bytes", i+1, len(k), MinKey)
		}
		if bytes.Count(k, k[:1]) == len(k) && k[0] == 0 {
			return nil, fmt.Errorf("key %d is all zeros: give random bytes", i+1)
		}
		for j := range i {
			if bytes.Equal(keys[j], k) {
				return nil, fmt.Errorf("keys %d and %d are the same", j+1, i+1)
			}
		}
		id, err := subkey(k, "key id", 1)
		if err != nil {
			return nil, err
		}
		r.keys = append(r.keys, &ringKey{id: id[0], key: bytes.Clone(k)})
	}
	return r, nil
}

// Subkey returns 32 bytes for a purpose other than sealing, from the newest key.
func (r *Ring) Subkey(p Purpose) ([]byte, error) {
	return subkey(r.keys[0].key, "purpose "+p.String(), keySize)
}

// Subkeys is Subkey for all keys, newest first.
func (r *Ring) Subkeys(p Purpose) (all [][]byte, err error) {
	for _, k := range r.keys {
		sub, err := subkey(k.key, "purpose "+p.String(), keySize)
		if err != nil {
			return nil, err
		}
		all = append(all, sub)
	}
	return all, nil
}

// subkey is HKDF-SHA256 (RFC 5869) without salt; the ring key is uniformly random.
func subkey(key []byte, what string, n int) ([]byte, error) {
	return hkdf.Key(sha256.New, key, nil, "sallyport v1 "+what, n)
}

// sealsPerPrefix bounds the values sealed under one derived key. Their 96-bit nonces are random:
// after 2^20 of them the chance that two are equal is 2^-57.
const sealsPerPrefix = 1 << 20

// purposeKey is a ring key's subkey for one purpose.
type purposeKey struct {
	*xaes
	id   byte
	seal atomic.Pointer[sealing]
}

// sealing is the derived key that this process seals with at the moment.
type sealing struct {
	*derived
	left atomic.Int64
}

// current returns the derived key to seal the next value with.
func (k *purposeKey) current() (*derived, error) {
	for {
		s := k.seal.Load()
		if s != nil && s.left.Add(-1) >= 0 {
			return s.derived, nil
		}
		var prefix [prefixSize]byte
		rand.Read(prefix[:])
		d, err := k.derive(prefix)
		if err != nil {
			return nil, err
		}
		next := &sealing{derived: d}
		next.left.Store(sealsPerPrefix)
		k.seal.CompareAndSwap(s, next)
	}
}
