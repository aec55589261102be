package storetest

import (
	"errors"
	"testing"
	"time"

	"github.com/sallyport/sallyport/session"
)

func expiry(t *testing.T, c Config) {
	p, key := open(t, c), newKey()
	began := time.Now()
	p.write(key, 0, []byte("value"), shortTTL)
	p.ends(key, began, shortTTL) // it reads all the while, which does not prolong it either
	p.lacks(key)
}

// longExpiry: those are the ttls that end at once, or soon, if they are counted in 32 bits of milliseconds or
// microseconds, or taken for a date.
func longExpiry(t *testing.T, c Config) {
	p := open(t, c)
	const soon = shortTTL / 4
	written := map[string]int64{}
	for _, ttl := range []time.Duration{
		(1<<31 + 1000) * time.Millisecond, 1<<32*time.Millisecond + soon, (1<<31 + 1000) * time.Microsecond, 1<<32*time.Microsecond + soon,
		31 * 24 * time.Hour, 401 * 24 * time.Hour,
	} {
		key := newKey()
		written[key] = p.write(key, 0, []byte("value"), ttl)
		p.holds(key, []byte("value"), written[key])
	}
	time.Sleep(2 * soon)
	for key, version := range written {
		p.holds(key, []byte("value"), version)
	}
}

// lastTTL: a Swap replaces the ttl, by a longer one as well as by a shorter.
func lastTTL(t *testing.T, c Config) {
	p := open(t, c)
	var key string
	var version int64
	patiently(t, shortTTL, func() (time.Time, bool) {
		key = newKey()
		began := time.Now()
		version = p.write(key, 0, []byte("short"), shortTTL)
		var err error
		version, err = p.swap(key, version, []byte("long"), longTTL)
		return began, err == nil
	})
	shortened := newKey()
	first := p.write(shortened, 0, []byte("long"), longTTL)
	began := time.Now()
	p.write(shortened, first, []byte("short"), shortTTL)
	p.ends(shortened, began, shortTTL)
	time.Sleep(shortTTL / 2)
	p.holds(key, []byte("long"), version)
}

// conflictTTL: a Swap that conflicts does not move the end of the record that is there.
func conflictTTL(t *testing.T, c Config) {
	p := open(t, c)
	kept := newKey()
	first := p.write(kept, 0, []byte("first"), longTTL)
	second := p.write(kept, first, []byte("second"), longTTL)
	p.refuse(kept, first, []byte("third"), shortTTL)
	p.refuse(kept, 0, []byte("third"), shortTTL)
	keptSince := time.Now()

	patiently(t, shortTTL, func() (time.Time, bool) {
		key := newKey()
		began := time.Now()
		version := p.write(key, 0, []byte("first"), shortTTL)
		_, err := p.swap(key, 0, []byte("second"), longTTL)
		if !errors.Is(err, session.ErrConflict) {
			return began, false
		}
		p.refuse(key, version+1, []byte("second"), longTTL)
		p.ends(key, began, shortTTL)
		return began, true
	})
	time.Sleep(time.Until(keptSince.Add(shortTTL * 3 / 2)))
	p.holds(kept, []byte("second"), second)
}

// versionAfterExpiry: what has expired is absent for Swap, too, and its versions do not come back.
func versionAfterExpiry(t *testing.T, c Config) {
	p, key := open(t, c), newKey()
	seen := map[int64]bool{}
	note := func(version int64) int64 {
		if seen[version] {
			t.Fatal("a write has a version that a write of this key before its expiry had")
		}
		seen[version] = true
		return version
	}
	for range 2 {
		began := time.Now()
		version := note(p.write(key, 0, []byte("value"), shortTTL))
		if next, err := p.swap(key, version, []byte("value"), shortTTL); err == nil {
			version = note(next)
		} else if time.Since(began) < shortTTL*9/10 {
			t.Fatalf("Swap with the version that the record has: %v", err)
		}
		p.ends(key, began, shortTTL)
		p.refuse(key, version, []byte("value"), longTTL)
		p.lacks(key)
	}
	version := note(p.write(key, 0, []byte("last"), longTTL))
	for old := range seen {
		if old != version {
			p.refuse(key, old, []byte("older"), longTTL)
		}
	}
	p.holds(key, []byte("last"), version)
}
