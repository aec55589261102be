package main

import (
	"errors"
	"os"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/backing"
	"github.com/sallyport/sallyport/internal/benchmarks/child"
)

func TestMain(m *testing.M) {
	if child.Main(roles) {
		return
	}
	os.Exit(m.Run())
}

func skip(t *testing.T, err error) {
	t.Helper()
	if errors.Is(err, backing.ErrMissing) && os.Getenv("SALLYPORT_REQUIRE_ALL") != "1" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// What a session costs a store is promised: a request is one read and no write, a refresh three commands more.
func TestCommands(t *testing.T) {
	for _, p := range places {
		t.Run(p.name, func(t *testing.T) {
			all, err := counted(p)
			skip(t, err)
			for _, c := range all {
				reads, swaps := c.sent["get"], c.sent["evalsha"]
				t.Log(c.what, describe(c.sent))
				switch {
				case reads+swaps != c.sent.Trips():
					t.Errorf("%s: there is more than reads and swaps: %v", c.what, c.sent)
				case c.what == request && (reads != 1 || swaps != 0):
					t.Errorf("a request sends %v", c.sent)
				case c.what == refreshing && (reads < 1 || swaps < 1 || c.sent.Trips()-1 > 3):
					t.Errorf("a refresh sends %v", c.sent)
				}
			}
			if len(all) != 6 {
				t.Errorf("%d things were counted", len(all))
			}
		})
	}
}

func TestSectionsRun(t *testing.T) {
	o := options{sessions: []int{10, 20}, rows: []int{10, 20}, rounds: 1, batch: time.Millisecond}
	for _, s := range sections {
		t.Run(s.name, func(t *testing.T) { skip(t, s.run(o)) })
	}
}
