//go:build unix

package chaos

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/backing"
)

// durationVariable asks for a longer run: "2m" is what has to hold before a change is taken.
const durationVariable = "SALLYPORT_CHAOS"

// folder is for a store's data: a test's own folder has a path that is too long for PostgreSQL, and is closed to it.
func folder(t *testing.T) string {
	dir, err := os.MkdirTemp("", "chaos")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// Whatever is killed, paused or lost: no session goes but those that the server itself gave up, each accounted for, and nobody sees
// another one's token. The three arrangements run at the same time. ATK-F01, ATK-F10, ATK-F12, ATK-F13
func TestChaos(t *testing.T) {
	duration, sessions := 8*time.Second, 60
	if text := os.Getenv(durationVariable); text != "" {
		var err error
		if duration, err = time.ParseDuration(text); err != nil {
			t.Fatal(err)
		}
		sessions = 400
	}
	if testing.Short() {
		t.Skip("it takes its time")
	}
	// The window is longer than the run: what is lost is not lost to a window that passed while everything failed.
	configs := []Config{{Store: "redis", Grace: 5 * time.Minute}, {Store: "redis", Cookie: true}, {Store: "postgres"}}
	accounts, failures := make([]*Account, len(configs)), make([]error, len(configs))
	var wg sync.WaitGroup
	for i := range configs {
		cfg := &configs[i]
		cfg.Dir, cfg.Sessions, cfg.Duration, cfg.Seed = folder(t), sessions, duration, uint64(i+1)
		if err := cfg.Check(); err != nil {
			t.Fatal(err)
		}
		wg.Go(func() { accounts[i], failures[i] = Run(t.Context(), *cfg) })
	}
	wg.Wait()
	for i, cfg := range configs {
		t.Run(fmt.Sprintf("%s cookie %v grace %v", cfg.Store, cfg.Cookie, cfg.Grace), func(t *testing.T) {
			a, err := accounts[i], failures[i]
			if errors.Is(err, backing.ErrMissing) && os.Getenv("SALLYPORT_REQUIRE_ALL") != "1" {
				t.Skip(err)
			}
			if err != nil {
				t.Fatal(err)
			}
			var text bytes.Buffer
			a.Print(&text)
			t.Log(text.String())
			for _, f := range a.Failures() {
				t.Error(f)
			}
			if a.Kills == 0 || a.Pauses == 0 || a.Restarts == 0 || len(a.Struck) == 0 && duration >= time.Minute {
				t.Errorf("nothing was disturbed: %d kills, %d pauses, %d crashes, %v", a.Kills, a.Pauses, a.Restarts, a.Struck)
			}
		})
	}
}
