package pgstore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/sallyport/sallyport/internal/backing"
	"github.com/sallyport/sallyport/session"
)

// shared is the server of the tests that do nothing to it. Each has a schema of its own.
var shared struct {
	once    sync.Once
	dir     string
	server  *backing.Postgres
	err     error
	schemas atomic.Int64
}

func TestMain(m *testing.M) {
	code := m.Run()
	if shared.server != nil {
		shared.server.Stop()
	}
	_ = os.RemoveAll(shared.dir)
	os.Exit(code)
}

// freshURL is that of an empty schema on the shared server.
func freshURL(t testing.TB) string {
	t.Helper()
	shared.once.Do(func() {
		if shared.dir, shared.err = os.MkdirTemp("", "pgstore"); shared.err == nil {
			shared.server, shared.err = backing.StartPostgres(context.Background(), shared.dir)
		}
	})
	if errors.Is(shared.err, backing.ErrMissing) && os.Getenv("SALLYPORT_REQUIRE_ALL") != "1" {
		t.Skip(shared.err)
	}
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return schemaURL(t, shared.server)
}

func schemaURL(t testing.TB, server *backing.Postgres) string {
	t.Helper()
	schema := fmt.Sprintf("s%d", shared.schemas.Add(1))
	execute(t, server.URL(), "create schema "+schema)
	return server.URL() + "&search_path=" + schema
}

// execute runs one statement as a stranger, and returns the first column of its rows.
func execute(t testing.TB, url, statement string, args ...any) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	rows, err := conn.Query(ctx, statement, args...)
	if err != nil {
		t.Fatal(err)
	}
	var column []string
	for rows.Next() {
		values, err := rows.Values()
		if err != nil {
			t.Fatal(err)
		}
		column = append(column, fmt.Sprint(values[0]))
	}
	if err := rows.Err(); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
	return column
}

// openURL returns a store that ends with the test.
func openURL(t testing.TB, url string) *Store {
	t.Helper()
	s, err := Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func migrate(t testing.TB, s *Store) {
	t.Helper()
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// fresh returns a store with an empty table, and its URL.
func fresh(t testing.TB) (*Store, string) {
	t.Helper()
	url := freshURL(t)
	s := openURL(t, url)
	migrate(t, s)
	return s, url
}

// onPool returns a store of New on a pool that a change has been made to. Both end with the test.
func onPool(t testing.TB, url string, options Options, change func(*pgxpool.Config)) *Store {
	t.Helper()
	config, err := PoolConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(config)
	}
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	s, err := New(pool, options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func swap(t testing.TB, s *Store, key string, old int64, value string, ttl time.Duration) int64 {
	t.Helper()
	version, err := s.Swap(t.Context(), key, old, []byte(value), ttl)
	if err != nil {
		t.Fatalf("Swap(%q, %d): %v", key, old, err)
	}
	if version <= 0 || version == old {
		t.Fatalf("Swap(%q, %d): version %d", key, old, version)
	}
	return version
}

func wantValue(t testing.TB, s *Store, key, value string, version int64) {
	t.Helper()
	got, v, err := s.Get(t.Context(), key)
	if err != nil || string(got) != value || v != version {
		t.Fatalf("Get(%q) = %q, %d, %v; want %q, %d", key, got, v, err, value, version)
	}
}

func wantAbsent(t testing.TB, s *Store, key string) {
	t.Helper()
	if value, version, err := s.Get(t.Context(), key); err != session.ErrNotFound {
		t.Fatalf("Get(%q) = %q, %d, %v; want ErrNotFound", key, value, version, err)
	}
}

func wantConflict(t testing.TB, s *Store, key string, old int64) {
	t.Helper()
	if version, err := s.Swap(t.Context(), key, old, []byte("loser"), time.Hour); err != session.ErrConflict {
		t.Fatalf("Swap(%q, %d) = %d, %v; want ErrConflict", key, old, version, err)
	}
}

// wantError checks that err is one of ours, that it says so, and that it gives nothing away.
func wantError(t testing.TB, url, key string, err error, text string) *Error {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("got %v, want an *Error that says %q", err, text)
	}
	if !strings.Contains(e.Error(), text) {
		t.Errorf("got %q, want %q in it", e, text)
	}
	config, parseErr := pgx.ParseConfig(url)
	if parseErr != nil {
		t.Fatal(parseErr)
	}
	for _, secret := range []string{key, config.Password, config.Host, fmt.Sprint(config.Port)} {
		if secret != "" && strings.Contains(e.Error(), secret) {
			t.Errorf("%q gives %q away", e, secret)
		}
	}
	if errors.Is(err, session.ErrNotFound) || errors.Is(err, session.ErrConflict) {
		t.Errorf("%v is one of those that say that something is known", err)
	}
	return e
}

// awaitLock returns when a statement that begins like that waits for somebody else's transaction.
func awaitLock(t testing.TB, url, statement string) {
	t.Helper()
	for execute(t, url, "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and starts_with(query, $1)", statement)[0] == "0" {
	}
}
