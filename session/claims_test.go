package session

import (
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// What a stranger can do without an account keeps nobody from logging in. ATK-Q02
func TestFailedLoginsFillNothing(t *testing.T) {
	b := newBed(t, Config{})
	b.shared.claims.spending.max, b.shared.claims.idle.max = 1, 3
	c, _ := testClientFor(t, b.clock.now)
	stranger := newBrowser(t)
	var last string
	for range 20 {
		b.clock.add(time.Millisecond)
		last = b.start(stranger, c, LoginOptions{})
		r := stranger.request()
		l, err := b.FindLogin(r, last)
		if err != nil {
			t.Fatal(err)
		}
		if err := b.TakeLogin(header{}, r, l, false); err != nil {
			t.Fatal(err)
		}
		_, err = b.FindLogin(r, last)
		wantError(t, err, "state_replayed", "")
		wantError(t, b.TakeLogin(header{}, r, l, true), "state_replayed", "") // it was used up: no code for it
	}
	if n := len(b.shared.claims.idle.items); n != 3 {
		t.Fatalf("%d remembered", n)
	}
	br := newBrowser(t)
	b.take(t, br, b.start(br, c, LoginOptions{}))
	for range 5 { // a full memory does not keep anybody from ending a logout either
		br.do(func(w http.ResponseWriter, r *http.Request) {
			state, err := b.SaveLogout(w, r)
			if err != nil {
				t.Fatal(err)
			}
			again := newBrowser(t)
			again.take(w.(header))
			if err := b.TakeLogout(header{}, again.request(), state); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestClaimIsMadeOnce(t *testing.T) {
	c := newClaims()
	now := time.Unix(1_900_000_000, 0)
	for i := range 200 {
		var wg sync.WaitGroup
		var won atomic.Int32
		for j := range 8 {
			wg.Go(func() {
				if added, _ := c.take(claimOf(strings.Repeat("s", i)), now, now.Add(time.Minute), j%2 == 0); added {
					won.Add(1)
				}
			})
		}
		wg.Wait()
		if won.Load() != 1 {
			t.Fatalf("%d took it", won.Load())
		}
	}
}
