package pgstore

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
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
	const bucket = "select date_bin('10 minutes', now(), 'epoch')"
	for {
		s, url := fresh(t)
		wantSwept(t, s, 0)
		before := execute(t, url, bucket)[0]
		fill(t, url, "alive", 500, -time.Hour)
		fill(t, url, "fresh", 500, time.Minute)
		fill(t, url, "dead", 2*sweepBatch+7, 20*time.Minute)
		// Not yet dead for ten minutes, or just so.
		execute(t, url, "insert into sallyport_records select 'last', 1, 'v', date_bin('10 minutes', now(), 'epoch') - interval '10 minutes'")
		deleted, err := s.Sweep(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		left := map[string]string{}
		for _, prefix := range []string{"alive", "fresh", "last", "dead"} {
			left[prefix] = count(t, url, prefix)
		}
		if execute(t, url, bucket)[0] != before {
			continue // the clock has struck meanwhile
		}
		if deleted != 2*sweepBatch+7 {
			t.Errorf("%d were deleted, want %d", deleted, 2*sweepBatch+7)
		}
		if want := map[string]string{"alive": "500", "fresh": "500", "last": "1", "dead": "0"}; !maps.Equal(left, want) {
			t.Errorf("%v are left, want %v", left, want)
		}
		wantSwept(t, s, 0)
		return
	}
}

// Sweeping goes by the index even where much of the table is dead: reading all of it takes seconds when it is large.
func TestSweepReadsTheIndex(t *testing.T) {
	_, url := fresh(t)
	for _, hours := range []string{"12 * random()", "-1 - random()"} { // the dead come last
		execute(t, url, "insert into sallyport_records select gen_random_uuid(), 1, 'v', now() + interval '1 hour' * ("+hours+") from generate_series(1, 20000)")
	}
	execute(t, url, "analyze sallyport_records")
	plan := strings.Join(execute(t, url, "explain (costs off) "+strings.NewReplacer("$1", "1", "$2", fmt.Sprint(sweepBatch)).Replace(sweepQuery)), "\n")
	if !strings.Contains(plan, "sallyport_records_expiry") || strings.Contains(plan, "Seq Scan") {
		t.Errorf("the plan:\n%s", plan)
	}
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
