package session

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"time"
)

// memoryHere bounds what this process remembers without a store in any case: the states that were used up to no effect, and what
// it has reported. Anybody can make those, without an account anywhere; with more, what would end first goes, and all that
// can be done twice then is to fail, and to say so.
const memoryHere = 32 << 20

// toldFor is how long an event that each request of a session would repeat is not repeated.
const toldFor = 10 * time.Minute

// claim is a hash of a state.
type claim [sha256.Size]byte

func claimOf(state string) claim { return sha256.Sum256([]byte(state)) }

// use is the record that something was used up. The nonce tells whose write it is if the answer to it was lost.
type use struct {
	nonce   [16]byte
	arrived int64 // of a logout token, milliseconds since 1970
	done    bool  // and what it asks for was done
}

const useVersion = 1

// AppendBinary writes the record.
func (u *use) AppendBinary(b []byte) ([]byte, error) {
	done := byte(0)
	if u.done {
		done = 1
	}
	return binary.AppendUvarint(append(append(b, useVersion, done), u.nonce[:]...), uint64(u.arrived)), nil
}

// UnmarshalBinary reads what AppendBinary wrote.
func (u *use) UnmarshalBinary(b []byte) error {
	if len(b) < 2+len(u.nonce) || b[0] != useVersion || b[1] > 1 {
		return errRecord
	}
	*u = use{done: b[1] == 1}
	d := decoder{b: b[2+copy(u.nonce[:], b[2:]):]}
	u.arrived = d.int64()
	if d.failed || len(d.b) != 0 {
		return errRecord
	}
	return nil
}

// useOnce records that a key is used up until deadline. Of all who do that, in all processes, for one the result is its own. The
// version is positive then, 0 otherwise. Failure: ErrStore; it may be used up or not.
func (v *vault) useOnce(ctx context.Context, key *storeKey, arrived int64, deadline time.Time) (versioned[use], error) {
	mine := use{arrived: arrived}
	rand.Read(mine.nonce[:])
	version, err := v.swap(ctx, key, 0, &mine, deadline)
	if err == nil {
		return versioned[use]{mine, version}, nil
	}
	if !errors.Is(err, ErrConflict) {
		return versioned[use]{}, err
	}
	var there use
	switch version, _, err = v.get(ctx, key, &there); {
	case err == errPast, err == nil && version == 0: // it has ended since, and is past its time either way
		return versioned[use]{}, nil
	case err != nil:
		return versioned[use]{}, err
	case there.nonce == mine.nonce:
		return versioned[use]{there, version}, nil
	}
	return versioned[use]{there, 0}, nil
}

// taken reports whether a state was used up. Failure: ErrStore.
func (m *Manager) taken(ctx context.Context, c claim) (bool, error) {
	if m.takenHere(c) {
		return true, nil
	}
	key := newStoreKey(keyOnce, c[:])
	version, _, err := m.shared.once.get(ctx, &key, new(use))
	if err == errPast {
		return true, nil
	}
	return version != 0, err
}

// takenHere is taken as far as this process knows by itself.
func (m *Manager) takenHere(c claim) bool {
	if m.takenIdly(c) {
		return true
	}
	if mem := m.shared.once.memory; mem != nil {
		key := newStoreKey(keyOnce, c[:])
		_, _, ok := mem.get(key[:])
		return ok
	}
	return false
}

func (m *Manager) takenIdly(c claim) bool {
	key := newStoreKey(keyIdle, c[:])
	_, _, taken := m.shared.here.get(key[:])
	return taken
}

// takeIdly uses a state up for one who does nothing but fail, and reports whether it was not used up before.
func (m *Manager) takeIdly(c claim, deadline time.Time) (first bool) {
	return m.note(newStoreKey(keyIdle, c[:]), deadline.Sub(m.now()))
}

// firstHere reports whether texts have not been noted in this process for a while, and notes them.
func (m *Manager) firstHere(kind byte, texts ...[]byte) bool {
	sum := sha256.Sum256(bytes.Join(texts, []byte{0}))
	return m.note(newStoreKey(kind, sum[:]), toldFor)
}

func (m *Manager) note(key storeKey, ttl time.Duration) (first bool) {
	_, err := m.shared.here.Swap(context.Background(), string(key[:]), 0, nil, ttl)
	return !errors.Is(err, ErrConflict)
}
