package pgstore

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// fill adds n records that expired that long ago, or will expire if ago is negative.
func fill(t testing.TB, url, prefix string, n int, ago time.Duration) {
	t.Helper()
	execute(t, url, `insert into sallyport_records select $1 || i, 1, 'v', clock_timestamp() - $3::bigint * interval '1 microsecond'
		from generate_series(1, $2::int) as i`, prefix, n, ago.Microseconds())
}

func count(t testing.TB, url, prefix string) string {
	t.Helper()
	return execute(t, url, "select count(*) from sallyport_records where starts_with(key, $1)", prefix)[0]
}

func wantSwept(t testing.TB, s *Store, want int64) {
	t.Helper()
	if n, err := s.Sweep(t.Context()); n != want || err != nil {
		t.Fatalf("Sweep: %d, %v; want %d", n, err, want)
	}
}

func TestSweep(t *testing.T) {
	s, url := fresh(t)
	wantSwept(t, s, 0)
	fill(t, url, "alive", 500, -time.Hour)
	fill(t, url, "fresh", 500, 9*time.Minute)
	fill(t, url, "dead", 2*sweepBatch+7, 21*time.Minute)
	wantSwept(t, s, 2*sweepBatch+7)
	for prefix, want := range map[string]string{"alive": "500", "fresh": "500", "dead": "0"} {
		if n := count(t, url, prefix); n != want {
			t.Errorf("%s: %s are left, want %s", prefix, n, want)
		}
	}
	wantSwept(t, s, 0)
}

func TestSweepingTogether(t *testing.T) {
	one, url := fresh(t)
	stores := []*Store{one, openURL(t, url), openURL(t, url)}
	const dead = 20 * sweepBatch
	fill(t, url, "dead", dead, time.Hour)
	var mu sync.Mutex
	var sum int64
	var wg sync.WaitGroup
	for _, s := range stores {
		wg.Go(func() {
			n, err := s.Sweep(t.Context())
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			sum += n
			mu.Unlock()
		})
	}
	wg.Wait()
	if n := count(t, url, "dead"); fmt.Sprint(dead-sum) != n {
		t.Errorf("%d were deleted of %d, and %s are left", sum, dead, n)
	}
	wantSwept(t, one, dead-sum)
}

// transaction opens one as somebody else, to be ended by the test.
func transaction(t *testing.T, url string) pgx.Tx {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	tx, err := conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return tx
}

func TestOneSweepsAtATime(t *testing.T) {
	s, url := fresh(t)
	fill(t, url, "dead", 3, time.Hour)
	other := transaction(t, url)
	var ours bool
	var n int64
	if err := other.QueryRow(t.Context(), sweepQuery, int64(advisoryLock), 1).Scan(&ours, &n); err != nil || !ours || n != 1 {
		t.Fatalf("the other one: %t, %d, %v", ours, n, err)
	}
	wantSwept(t, s, 0)
	_, elsewhere := fresh(t)
	fill(t, elsewhere, "dead", 3, time.Hour)
	wantSwept(t, openURL(t, elsewhere), 3) // another schema is another matter
	if err := other.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantSwept(t, s, 2)
}

// A record that is being written anew is neither waited for nor deleted.
func TestSweepAndSwap(t *testing.T) {
	s, url := fresh(t)
	fill(t, url, "dead", 3, time.Hour)
	other := transaction(t, url)
	var version int64
	if err := other.QueryRow(t.Context(), createQuery, "dead2", []byte("new"), time.Hour.Microseconds()).Scan(&version); err != nil {
		t.Fatal(err)
	}
	wantSwept(t, s, 2)
	if err := other.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantSwept(t, s, 0)
	wantValue(t, s, "dead2", "new", version)
}

func TestRun(t *testing.T) {
	_, url := fresh(t)
	type result struct {
		deleted int64
		err     error
	}
	swept := make(chan result)
	stopped := make(chan struct{})
	defer close(stopped)
	s := onPool(t, url, Options{SweepEvery: time.Millisecond, OnSweep: func(deleted int64, err error) {
		select {
		case swept <- result{deleted, err}:
		case <-stopped:
		}
	}}, nil)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- s.Run(ctx) }()

	fill(t, url, "dead", 5, time.Hour)
	for deleted := int64(0); deleted < 5; {
		r := <-swept
		if deleted += r.deleted; r.err != nil {
			t.Fatal(r.err)
		}
	}
	execute(t, url, "alter table sallyport_records rename to elsewhere")
	for r := range swept {
		if r.err != nil {
			wantError(t, url, "", r.err, "Migrate")
			break
		}
	}
	execute(t, url, "alter table elsewhere rename to sallyport_records")
	for r := range swept { // a failure does not end it
		if r.err == nil {
			break
		}
	}
	cancel()
	if err := await(ended, swept); !errors.Is(err, context.Canceled) {
		t.Errorf("Run returned %v after its context", err)
	}

	go func() { ended <- s.Run(t.Context()) }()
	<-swept
	s.Close()
	if err := await(ended, swept); err != nil {
		t.Errorf("Run returned %v after Close", err)
	}
}

// await takes what is still said until the end.
func await[T any](ended chan error, said chan T) error {
	for {
		select {
		case err := <-ended:
			return err
		case <-said:
		}
	}
}

// What Open returns sweeps by itself, until Close.
func TestOpenSweeps(t *testing.T) {
	_, url := fresh(t)
	fill(t, url, "dead", 5, time.Hour)
	config, err := PoolConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	swept := make(chan int64, 1000)
	s, err := open(t.Context(), config, Options{SweepEvery: time.Millisecond, OnSweep: func(deleted int64, err error) { swept <- deleted }})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for deleted := int64(0); deleted < 5; deleted += <-swept {
	}
	s.Close()
	s.sweeper.Wait()
	_, _, err = s.Get(t.Context(), "k")
	wantError(t, url, "", err, "closed")
}
