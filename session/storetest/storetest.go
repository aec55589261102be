// Package storetest proves session stores, and breaks them.
//
// Most users need Run, in a test of their own store: it checks every promise of session.Store. A store with a server behind
// it has more to prove: that it survives a restart and an outage, see Config.
//
// Faulty wraps a store and makes it slow, deaf, forgetful or late, by a script, for tests of what uses a store.
package storetest

import (
	"testing"
	"time"

	"github.com/sallyport/sallyport/session"
)

// Config says how to reach a store and what can be done to it. Only Open must be set.
type Config struct {
	// Open returns a handle of the store. It is called for each subtest, with keys that no other has used, so records may
	// stay; t.Cleanup is the place to close it. If the store is Shared, all handles must reach the same records, as
	// those of several processes do: some subtests open two.
	Open func(t *testing.T) session.Store
	// Restart stops what is behind the store and starts it again; open handles must go on. A store may lose its last
	// writes by that, or all. Without it the subtest is skipped for a store that is Shared, and what a restart does is
	// not proved.
	Restart func(t *testing.T)
	// Pause makes what is behind the store stop answering, as a broken network or SIGSTOP does, until resume is
	// called. Without it the subtest is skipped for a store that is Shared, and what an outage does is not proved.
	Pause func(t *testing.T) (resume func())
}

// Run proves the store that open returns handles of, see Config.Open. It takes some seconds, for records
// expire in real time.
func Run(t *testing.T, open func(t *testing.T) session.Store) {
	t.Helper()
	Config{Open: open}.Run(t)
}

// What "at once", "within a few seconds" and "after ttl" mean here; generous, for tests run on busy machines.
const (
	atOnce   = 2 * time.Second
	few      = 10 * time.Second
	recovery = 30 * time.Second // after an outage
	late     = 3 * time.Second  // for a record to go after its ttl

	shortTTL = 1200 * time.Millisecond // not whole seconds: a store that rounds down is caught
	longTTL  = time.Hour
)

// promises are those that a store is asked for in parallel, for most of their time is waiting.
var promises = []struct {
	name  string
	check func(*testing.T, Config)
}{
	{"absent", absent},
	{"first write", firstWrite},
	{"only if absent", onlyIfAbsent},
	{"replaced", replaced},
	{"conflict", conflict},
	{"values", values},
	{"keys", keys},
	{"passed value is not kept", passedValue},
	{"returned value belongs to the caller", returnedValue},
	{"versions", versions},
	{"expiry", expiry},
	{"long ttl", longExpiry},
	{"ttl of the last write", lastTTL},
	{"ttl after a conflict", conflictTTL},
	{"version after expiry", versionAfterExpiry},
	{"increments", increments},
	{"one winner", oneWinner},
	{"one successor", oneSuccessor},
	{"done context", doneContext},
	{"cancelled", cancelled},
}

// Run proves the store. The subtests are named after what the contract promises; a store that is not Shared makes fewer
// promises. It must not run in parallel with other tests of the same server if it
// restarts or pauses it.
func (c Config) Run(t *testing.T) {
	if c.Open == nil {
		t.Fatal("storetest: Config.Open is not set")
	}
	shared := open(t, c).s.Shared()
	t.Run("records", func(t *testing.T) {
		for _, promise := range promises {
			t.Run(promise.name, func(t *testing.T) {
				t.Parallel()
				promise.check(t, c)
			})
		}
	})
	if shared {
		t.Run("handles", func(t *testing.T) { handles(t, c) })
	}
	if shared || c.Pause != nil {
		t.Run("outage", func(t *testing.T) { outage(t, c) })
	}
	if shared || c.Restart != nil {
		t.Run("restart", func(t *testing.T) { restart(t, c) })
	}
}
