package storetest

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/sallyport/sallyport/session"
)

// probe asks one handle, and fails the test where an answer is not the promised one.
type probe struct {
	t *testing.T
	s session.Store
}

func open(t *testing.T, c Config) probe {
	t.Helper()
	s := c.Open(t)
	if s == nil {
		t.Fatal("storetest: Config.Open returned nil")
	}
	return probe{t, s}
}

// newKey returns a key of the form that the session uses: a letter and a hash.
func newKey() string {
	var b [32]byte
	rand.Read(b[:])
	return "t" + base64.RawURLEncoding.EncodeToString(b[:])
}

func within(d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), d)
}

func (p probe) get(key string) (value []byte, version int64, err error) {
	ctx, cancel := within(few)
	defer cancel()
	return p.s.Get(ctx, key)
}

func (p probe) swap(key string, old int64, value []byte, ttl time.Duration) (int64, error) {
	ctx, cancel := within(few)
	defer cancel()
	return p.s.Swap(ctx, key, old, value, ttl)
}

// write is a swap that must be done.
func (p probe) write(key string, old int64, value []byte, ttl time.Duration) int64 {
	p.t.Helper()
	version, err := p.swap(key, old, value, ttl)
	if err != nil {
		p.t.Fatalf("Swap with the version that the record has: %v", err)
	}
	if version <= 0 {
		p.t.Fatalf("Swap returned version %d, which is not positive", version)
	}
	if version == old {
		p.t.Fatal("Swap returned the version that it replaced")
	}
	return version
}

// refuse is a swap that must conflict.
func (p probe) refuse(key string, old int64, value []byte, ttl time.Duration) {
	p.t.Helper()
	if version, err := p.swap(key, old, value, ttl); !errors.Is(err, session.ErrConflict) {
		p.t.Fatalf("Swap with old = %d: version %d, error %v; want ErrConflict", old, version, err)
	}
}

// holds checks that the record is what was written.
func (p probe) holds(key string, value []byte, version int64) {
	p.t.Helper()
	got, v, err := p.get(key)
	if err != nil {
		p.t.Fatalf("Get of what was written: %v", err)
	}
	if !bytes.Equal(got, value) {
		p.t.Fatalf("Get returned %s, want %s", brief(got), brief(value))
	}
	if v != version {
		p.t.Fatalf("Get returned version %d, want %d", v, version)
	}
}

func (p probe) lacks(key string) {
	p.t.Helper()
	if value, version, err := p.get(key); !errors.Is(err, session.ErrNotFound) {
		p.t.Fatalf("Get: %s, version %d, error %v; want ErrNotFound", brief(value), version, err)
	}
}

// ends waits for the record to expire, whose write began then.
func (p probe) ends(key string, began time.Time, ttl time.Duration) {
	p.t.Helper()
	for {
		_, _, err := p.get(key)
		lived := time.Since(began)
		switch {
		case errors.Is(err, session.ErrNotFound):
			if lived < ttl-ttl/10 {
				p.t.Fatalf("a record with a ttl of %v was gone after %v", ttl, lived)
			}
			return
		case err != nil:
			p.t.Fatalf("Get of a record that is to expire: %v", err)
		case lived > ttl+late:
			p.t.Fatalf("a record with a ttl of %v was still there after %v", ttl, lived)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// patiently repeats what only holds if two calls are not a whole ttl apart, which a busy machine may not manage. try
// returns when its record was written.
func patiently(t *testing.T, ttl time.Duration, try func() (began time.Time, ok bool)) {
	t.Helper()
	for range 5 {
		began, ok := try()
		switch {
		case ok:
			return
		case time.Since(began) < ttl*9/10:
			t.Fatalf("a record with a ttl of %v was not there any more after %v", ttl, time.Since(began))
		}
	}
	t.Fatalf("two calls were never less than %v apart", ttl)
}

// unavailable reports whether err is one of those that say that nothing is known.
func unavailable(err error) bool {
	return err != nil && !errors.Is(err, session.ErrNotFound) && !errors.Is(err, session.ErrConflict)
}

// brief is a value for a message of a test.
func brief(value []byte) string {
	if len(value) > 32 {
		return fmt.Sprintf("%d bytes %q…", len(value), value[:32])
	}
	return fmt.Sprintf("%d bytes %q", len(value), value)
}

// stamped returns size bytes, at least 48, that say whose they are, which of its values, and whether they are whole.
func stamped(key string, n uint64, size int) []byte {
	b := make([]byte, max(size, 48))
	binary.BigEndian.PutUint64(b[32:], n)
	binary.BigEndian.PutUint64(b[40:], uint64(len(b)))
	for i := 48; i < len(b); i++ {
		b[i] = byte(uint64(i) * (n*2 + 1))
	}
	sum := digest(key, b[32:])
	copy(b, sum[:])
	return b
}

// readStamp returns the number of a value that stamped made for the key; ok is false if it is another's or torn.
func readStamp(key string, b []byte) (n uint64, ok bool) {
	if len(b) < 48 {
		return 0, false
	}
	sum := digest(key, b[32:])
	return binary.BigEndian.Uint64(b[32:]), bytes.Equal(b[:32], sum[:])
}

func digest(key string, b []byte) [32]byte {
	return sha256.Sum256(append([]byte(key+"\x00"), b...))
}
