//go:build unix

package chaos

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/client"
	"github.com/sallyport/sallyport/internal/backing"
	"github.com/sallyport/sallyport/session"
)

// cluster is a Redis Cluster as a store's server. Nothing pauses or restarts it as a whole.
type cluster struct{ *backing.RedisCluster }

func (cluster) Pause() error                  { return nil }
func (cluster) Resume() error                 { return nil }
func (cluster) Kill() error                   { return nil }
func (cluster) Restart(context.Context) error { return nil }

// backward reports whether a refresh token came back to the server after the store had acknowledged what replaced it.
func backward(arrivals []*arrival, events []event) bool {
	first := map[uint64]*arrival{}
	for _, a := range arrivals {
		if b := first[a.token]; b != nil && slices.ContainsFunc(events, func(e event) bool {
			return e.Kind == client.EventTokenRefreshed && e.Run == b.run && b.at.UnixMicro() <= e.At && e.At <= a.at.UnixMicro()
		}) {
			return true
		}
		first[a.token] = a
	}
	return false
}

// A master of a Redis Cluster is killed under load, with a server that forgives nothing. Until its replica has taken over, its sessions
// are told to wait, and the others notice nothing; then all are served again. A session is lost only if the cluster had acknowledged
// its new refresh token and then lost it. ATK-K17
func TestFailover(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes its time")
	}
	redis := backing.RedisClusterForTest(t)
	r := &run{
		cfg: Config{Dir: t.TempDir(), Store: "redis", Processes: 4, Sessions: 120, Lifetime: 2 * time.Second, Pace: 400 * time.Millisecond},
		dir: t.TempDir(), random: rand.New(rand.NewPCG(1, 2)), killed: map[string]time.Time{}, store: cluster{redis},
	}
	defer r.stop()
	if err := r.start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := r.logIn(t.Context()); err != nil {
		t.Fatal(err)
	}
	victim, err := redis.Master(t.Context(), "any key")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	var wg sync.WaitGroup
	for _, b := range r.browsers {
		wg.Go(func() { r.live(ctx, b) })
	}
	sleep(ctx, 3*time.Second)
	before := r.counts.later.Load()
	if err := victim.Kill(); err != nil {
		t.Fatal(err)
	}
	killed := time.Now()
	wg.Wait()
	stuck := r.settle(t.Context())
	for _, m := range r.processes {
		m.process.stop()
	}
	a, err := r.account(stuck)
	if err != nil {
		t.Fatal(err)
	}
	events, err := readEvents(r.dir)
	if err != nil {
		t.Fatal(err)
	}
	// The store acknowledged each refresh that an event tells of. What it lost of them shows: a session comes back to a generation that it
	// had left, or the browser knows of a newer one than the store.
	acknowledged, undone, back := 0, map[int]bool{}, time.Duration(0)
	for browser, list := range events {
		seen := map[uint64]bool{}
		for _, e := range list {
			switch {
			case e.Kind == client.EventSessionCreated:
				clear(seen)
			case e.Kind == session.EventStoreFailed && e.Reason == "stale":
				undone[browser] = true
			case e.Kind == session.EventStoreFailed:
				back = max(back, time.UnixMicro(e.At).Sub(killed))
			case e.Kind == client.EventTokenRefreshed:
				acknowledged++
				if seen[e.Generation] {
					undone[browser] = true
				}
				seen[e.Generation] = true
			}
		}
	}
	number := map[string]int{}
	for _, b := range r.browsers {
		number[b.subject] = b.number
	}
	for _, list := range r.server.log() {
		if number := number[list[0].whose]; backward(list, events[number]) {
			undone[number] = true
		}
	}
	t.Logf("%d requests, %d served, %d told to wait, all served again %v after the kill; of %d acknowledged refreshes the cluster lost %d, sessions lost %d, families revoked %d",
		a.Requests, a.Served, a.Later, back.Round(10*time.Millisecond), acknowledged, len(undone), a.Lost, a.Revoked)
	if a.Foreign+a.Tasteless > 0 {
		t.Errorf("%d answers of somebody else, %q", a.Foreign, a.Odd)
	}
	if before != 0 || a.Later == 0 || a.Served == 0 {
		t.Errorf("told to wait before the kill %d times, and after it %d times", before, a.Later)
	}
	if a.Broken > a.Requests/10 {
		t.Errorf("%d requests without an answer", a.Broken)
	}
	if len(undone) > acknowledged/50 {
		t.Errorf("the cluster lost %d of %d", len(undone), acknowledged)
	}
	if len(stuck) > len(undone) || a.Lost > len(undone) {
		t.Errorf("%d sessions lost, %d not served", a.Lost, len(stuck))
	}
}
