package pgstore

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/sallyport/sallyport/internal/backing"
	"github.com/sallyport/sallyport/session"
	"github.com/sallyport/sallyport/session/storetest"
)

var _ session.Store = (*Store)(nil)

func TestContract(t *testing.T) {
	server := backing.PostgresForTest(t)
	url := schemaURL(t, server)
	migrate(t, openURL(t, url))
	storetest.Config{
		Open: func(t *testing.T) session.Store { return openURL(t, url) },
		Restart: func(t *testing.T) {
			if err := server.Kill(); err != nil {
				t.Fatal(err)
			}
			if err := server.Restart(t.Context()); err != nil {
				t.Fatal(err)
			}
		},
		Pause: func(t *testing.T) (resume func()) {
			if err := server.Pause(); err != nil {
				t.Fatal(err)
			}
			return func() {
				if err := server.Resume(); err != nil {
					t.Error(err)
				}
			}
		},
	}.Run(t)
}

// The statements mean the same however pgx sends them: poolers may leave no choice.
func TestExecutionModes(t *testing.T) {
	url := freshURL(t)
	for _, mode := range []string{"cache_statement", "cache_describe", "describe_exec", "exec", "simple_protocol"} {
		t.Run(mode, func(t *testing.T) {
			s := openURL(t, url+"&default_query_exec_mode="+mode)
			migrate(t, s)
			key := "m:" + mode
			wantAbsent(t, s, key)
			value := string([]byte{0, 1, '\'', '\\', '"', 0xff, 0xfe, '$', '1'})
			first := swap(t, s, key, 0, value, time.Hour)
			wantValue(t, s, key, value, first)
			wantConflict(t, s, key, 0)
			wantConflict(t, s, key, first+1)
			second := swap(t, s, key, first, "", 1500*time.Millisecond)
			wantValue(t, s, key, "", second)
			third := swap(t, s, key, second, "gone", 0)
			wantAbsent(t, s, key)
			wantConflict(t, s, key, third)
			if fourth := swap(t, s, key, 0, "again", time.Hour); fourth <= third {
				t.Errorf("version %d after %d", fourth, third)
			}
			if _, err := s.Sweep(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

type counter struct{ queries atomic.Int64 }

func (c *counter) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	c.queries.Add(1)
	return ctx
}

func (c *counter) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

func TestOneStatementEach(t *testing.T) {
	_, url := fresh(t)
	var count counter
	s := onPool(t, url, Options{}, func(config *pgxpool.Config) { config.ConnConfig.Tracer = &count })
	var version int64
	for _, step := range []struct {
		name string
		call func()
	}{
		{"create", func() { version = swap(t, s, "k", 0, "v", time.Hour) }},
		{"get", func() { wantValue(t, s, "k", "v", version) }},
		{"swap", func() { swap(t, s, "k", version, "w", time.Hour) }},
		{"conflict on create", func() { wantConflict(t, s, "k", 0) }},
		{"conflict on swap", func() { wantConflict(t, s, "k", version) }},
		{"sweep", func() { _, _ = s.Sweep(t.Context()) }},
	} {
		before := count.queries.Load()
		step.call()
		if n := count.queries.Load() - before; n != 1 {
			t.Errorf("%s: %d statements", step.name, n)
		}
	}
}

// Who comes too late reads only: a row lock would be a write to the log, and a wait for the disk.
func TestLosersWriteNothing(t *testing.T) {
	s, url := fresh(t)
	version := swap(t, s, "k", 0, "v", time.Hour)
	before := execute(t, url, "select xmin::text || ' ' || xmax::text || ' ' || ctid::text from sallyport_records")[0]
	wantConflict(t, s, "k", 0)
	wantConflict(t, s, "k", version+1)
	after := execute(t, url, "select xmin::text || ' ' || xmax::text || ' ' || ctid::text from sallyport_records")[0]
	if before != after {
		t.Errorf("the row was %s, is %s", before, after)
	}
}

// Of two that find no record, one waits for what becomes of the other's.
func TestCreateTogether(t *testing.T) {
	s, url := fresh(t)
	for _, commit := range []bool{true, false} {
		key := fmt.Sprint("k:", commit)
		other := transaction(t, url)
		var first int64
		if err := other.QueryRow(t.Context(), createQuery, key, []byte("first"), time.Hour.Microseconds()).Scan(&first); err != nil {
			t.Fatal(err)
		}
		second := make(chan error)
		go func() {
			_, err := s.Swap(t.Context(), key, 0, []byte("second"), time.Hour)
			second <- err
		}()
		awaitLock(t, url, "insert into sallyport_records")
		if commit {
			if err := other.Commit(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := <-second; err != session.ErrConflict {
				t.Errorf("after a commit: %v", err)
			}
			wantValue(t, s, key, "first", first)
			continue
		}
		if err := other.Rollback(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := <-second; err != nil {
			t.Errorf("after a rollback: %v", err)
		}
	}
}

// expire makes the record one that expired that long ago.
func expire(t testing.TB, url, key string, ago time.Duration) {
	t.Helper()
	execute(t, url, "update sallyport_records set expires_at = clock_timestamp() - $2::bigint * interval '1 microsecond' where key = $1", key, ago.Microseconds())
}

func TestExpiryIsByTheServersClock(t *testing.T) {
	s, url := fresh(t)
	first := swap(t, s, "k", 0, "v", time.Hour)
	left := execute(t, url, "select extract(epoch from expires_at - clock_timestamp())::int between 3500 and 3600 from sallyport_records")
	if left[0] != "true" {
		t.Error("ttl is not in the server's time")
	}
	expire(t, url, "k", time.Microsecond)
	wantAbsent(t, s, "k")
	wantConflict(t, s, "k", first)
	second := swap(t, s, "k", 0, "w", time.Hour)
	if second <= first {
		t.Errorf("version %d after %d", second, first)
	}
	wantConflict(t, s, "k", first)
	wantValue(t, s, "k", "w", second)
	if n := execute(t, url, "select count(*) from sallyport_records")[0]; n != "1" {
		t.Errorf("%s rows", n)
	}
}

// A version comes neither from a clock that has gone back nor from before a deletion.
func TestVersionsAreNotReused(t *testing.T) {
	s, url := fresh(t)
	first := swap(t, s, "k", 0, "v", time.Hour)
	ahead := time.Now().Add(24 * time.Hour).UnixMicro() // as written by a server whose clock was a day ahead
	execute(t, url, "update sallyport_records set version = $1", ahead)
	if v := swap(t, s, "k", ahead, "w", time.Hour); v != ahead+1 {
		t.Errorf("a swap: version %d, want %d", v, ahead+1)
	}
	expire(t, url, "k", time.Second)
	if v := swap(t, s, "k", 0, "x", time.Hour); v != ahead+2 {
		t.Errorf("after an expiry: version %d, want %d", v, ahead+2)
	}
	execute(t, url, "delete from sallyport_records")
	if v := swap(t, s, "k", 0, "y", time.Hour); v <= first {
		t.Errorf("after a deletion: version %d, and %d was there", v, first)
	}
}

func TestIncrements(t *testing.T) {
	one, url := fresh(t)
	stores := []*Store{one, openURL(t, url)}
	swap(t, one, "k", 0, "0", time.Hour)
	const goroutines, each = 64, 5
	var seen sync.Map
	var wg sync.WaitGroup
	for g := range goroutines {
		wg.Go(func() {
			s := stores[g%len(stores)]
			for done := 0; done < each; {
				value, version, err := s.Get(t.Context(), "k")
				if err != nil {
					t.Error(err)
					return
				}
				var n int
				if _, err := fmt.Sscan(string(value), &n); err != nil {
					t.Error(err)
					return
				}
				next, err := s.Swap(t.Context(), "k", version, fmt.Append(nil, n+1), time.Hour)
				switch {
				case err == nil:
					done++
					if _, again := seen.LoadOrStore(next, true); again {
						t.Errorf("version %d twice", next)
					}
				case err != session.ErrConflict:
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	if value, _, err := one.Get(t.Context(), "k"); err != nil || string(value) != fmt.Sprint(goroutines*each) {
		t.Errorf("got %s, %v; want %d", value, err, goroutines*each)
	}
}

// What somebody else has put under our key is an error, neither absence nor a record.
func TestStrangersRow(t *testing.T) {
	s, url := fresh(t)
	execute(t, url, "alter table sallyport_records drop constraint sallyport_records_version_check")
	for _, version := range []int64{0, -1} {
		execute(t, url, "delete from sallyport_records")
		execute(t, url, "insert into sallyport_records values ('k', $1, 'x', now() + interval '1 hour')", version)
		_, _, err := s.Get(t.Context(), "k")
		wantError(t, url, "", err, "a version that no store gives")
		wantConflict(t, s, "k", 0)
		wantConflict(t, s, "k", version)
	}
	execute(t, url, "update sallyport_records set version = 9223372036854775807")
	_, err := s.Swap(t.Context(), "k", 9223372036854775807, nil, time.Hour)
	wantError(t, url, "", err, "refused the statement")
	if got := execute(t, url, "select convert_from(value, 'UTF8') from sallyport_records"); got[0] != "x" {
		t.Errorf("the stranger's row was overwritten: %q", got)
	}
}
