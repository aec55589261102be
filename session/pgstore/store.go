package pgstore

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/sallyport/sallyport/session"
)

const (
	callTime = 2 * time.Second
	// pingTime bounds the question whether a connection that was idle for a second still lives, so that one that a
	// firewall has forgotten leaves time for another.
	pingTime = 500 * time.Millisecond
	// closingTime bounds Close: connections that the server does not answer on are given up.
	closingTime = 3 * time.Second
	// leastConns is how many connections the pool of Open may have at least: commits that wait for the disk
	// are waited for together.
	leastConns = 16
)

// Options are the settings of New. The zero value is a good one.
type Options struct {
	// Timeout bounds each Get and Swap; 2 seconds by default.
	Timeout time.Duration
	// SweepEvery is the mean time between two sweeps of Run; one minute by default.
	SweepEvery time.Duration
	// OnSweep is called by Run after each sweep with what Sweep returned. It may be nil.
	OnSweep func(deleted int64, err error)
}

// Store is a session.Store in PostgreSQL. Its errors are session.ErrNotFound, session.ErrConflict and
// *Error. It is safe for concurrent use.
type Store struct {
	pool    *pgxpool.Pool
	owned   bool // the pool is to be closed with the store
	options Options

	closed  context.Context // done after Close
	close   context.CancelFunc
	sweeper sync.WaitGroup // what Open started
}

// Open returns a store with a pool of its own, connected as PoolConfig says, that sweeps by itself: see Run. The URL is
// what pgxpool.ParseConfig takes, "postgres://user:password@host:5432/database?pool_max_conns=20". Nothing is sent
// before the first call, so that a database that is away does not keep an application from starting; who
// would rather have it fail calls Migrate. The error says that the URL is none, without repeating it. ctx is not kept.
func Open(ctx context.Context, url string) (*Store, error) {
	if url == "" { // pgx would take whatever PGHOST says
		return nil, &Error{reason: notAURL}
	}
	config, err := PoolConfig(url)
	if err != nil {
		return nil, err
	}
	return open(ctx, config, Options{})
}

func open(ctx context.Context, config *pgxpool.Config, options Options) (*Store, error) {
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, failure(ctx, ctx, err)
	}
	s, err := New(pool, options)
	if err != nil {
		return nil, err
	}
	s.owned = true
	s.sweeper.Go(func() { _ = s.Run(s.closed) })
	return s, nil
}

// PoolConfig returns the settings with which Open connects, for those who change some of them (BeforeConnect, for passwords
// that do not last) and give the pool to New. Where the URL does not say otherwise: 2 seconds for a connection, 500
// milliseconds for a sign of life of one that was idle, as many connections as four times the processors but at least 16,
// and the application_name sallyport. A server that is a standby or read-only by default is not taken
// unless the URL has target_session_attrs.
func PoolConfig(url string) (*pgxpool.Config, error) {
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, &Error{reason: notAURL}
	}
	plain, err := pgconn.ParseConfig(url) // which leaves the pool's parameters where they were
	if err != nil {
		return nil, &Error{reason: notAURL}
	}
	if _, set := plain.RuntimeParams["pool_max_conns"]; !set {
		config.MaxConns = max(leastConns, int32(4*runtime.GOMAXPROCS(0)))
	}
	if config.PingTimeout == 0 {
		config.PingTimeout = pingTime
	}
	conn := config.ConnConfig
	if conn.ConnectTimeout == 0 {
		conn.ConnectTimeout = callTime
	}
	if conn.RuntimeParams["application_name"] == "" {
		conn.RuntimeParams["application_name"] = "sallyport"
	}
	if conn.ValidateConnect == nil {
		conn.ValidateConnect = writable
	}
	// A server that has become read-only under a connection stays so: the next call looks for another.
	conn.OnPgError = func(_ *pgconn.PgConn, e *pgconn.PgError) bool {
		return !strings.EqualFold(e.SeverityUnlocalized, "FATAL") && e.Code != readOnlyTransaction
	}
	return config, nil
}

// writable refuses a server that takes no writes, by what PostgreSQL says of itself when one connects.
func writable(_ context.Context, conn *pgconn.PgConn) error {
	if conn.ParameterStatus("in_hot_standby") == "on" || conn.ParameterStatus("default_transaction_read_only") == "on" {
		return errReadOnly
	}
	return nil
}

// New returns a store on a pool that stays the caller's: it leads to the primary, and is closed after the store. PoolConfig
// has settings that suit. Somebody has to sweep: go store.Run(ctx). The error is that there is no pool.
func New(pool *pgxpool.Pool, options Options) (*Store, error) {
	if pool == nil {
		return nil, &Error{reason: "there is no pool"}
	}
	if options.Timeout <= 0 {
		options.Timeout = callTime
	}
	if options.SweepEvery <= 0 {
		options.SweepEvery = sweepEvery
	}
	s := &Store{pool: pool, options: options}
	s.closed, s.close = context.WithCancel(context.Background())
	return s, nil
}

// Close ends Run, and closes the pool if Open made it. It returns within a few seconds whatever becomes of the network.
// What is called afterwards fails.
func (s *Store) Close() {
	s.close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.sweeper.Wait()
		if s.owned {
			s.pool.Close()
		}
	}()
	select {
	case <-done:
	case <-time.After(closingTime):
	}
}

// Shared reports true: see session.Store.
func (s *Store) Shared() bool { return true }

// OwnWords says that no error of this store has a key, a value, an address or a word of the server's in its text.
func (s *Store) OwnWords() {}

// The casts give the parameters the types that they have in the table in every execution mode of pgx, simple protocol
// included.
const (
	clockMicroseconds = `(extract(epoch from clock_timestamp()) * 1000000)::bigint`

	getQuery = `select value, version from sallyport_records where key = $1::text and expires_at > clock_timestamp()`

	// The look before the insert spares those who come too late a row lock, which is a write to the disk. What it misses,
	// the conflict clause sees.
	createQuery = `insert into sallyport_records as r (key, version, value, expires_at)
select $1::text, ` + clockMicroseconds + `, $2::bytea, clock_timestamp() + $3::bigint * interval '1 microsecond'
where not exists (select from sallyport_records where key = $1::text and expires_at > clock_timestamp())
on conflict (key) do update
set version = greatest(r.version + 1, excluded.version), value = excluded.value, expires_at = excluded.expires_at
where r.expires_at <= clock_timestamp()
returning version`

	swapQuery = `update sallyport_records
set version = greatest(version + 1, ` + clockMicroseconds + `), value = $2::bytea, expires_at = clock_timestamp() + $3::bigint * interval '1 microsecond'
where key = $1::text and version = $4::bigint and expires_at > clock_timestamp()
returning version`
)

// Get is one SELECT: see session.Store.
func (s *Store) Get(ctx context.Context, key string) (value []byte, version int64, err error) {
	bounded, cancel := context.WithTimeout(ctx, s.options.Timeout)
	defer cancel()
	err = s.query(bounded, getQuery, []any{key}, &value, &version)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return nil, 0, session.ErrNotFound
	case err != nil:
		return nil, 0, failure(ctx, bounded, err)
	case version <= 0:
		return nil, 0, &Error{reason: "the record has a version that no store gives"}
	}
	return value, version, nil
}

// Swap is one statement, an UPDATE or, if old is 0, an INSERT: see session.Store. session.ErrFull is among its errors if
// the server's disk or memory is full.
func (s *Store) Swap(ctx context.Context, key string, old int64, value []byte, ttl time.Duration) (version int64, err error) {
	if old < 0 {
		return 0, session.ErrConflict // no record has such a version
	}
	if value == nil {
		value = []byte{} // and not NULL
	}
	bounded, cancel := context.WithTimeout(ctx, s.options.Timeout)
	defer cancel()
	statement, args := createQuery, []any{key, value, ttl.Microseconds()}
	if old != 0 {
		statement, args = swapQuery, append(args, old)
	}
	err = s.query(bounded, statement, args, &version)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return 0, session.ErrConflict
	case err != nil:
		return 0, failure(ctx, bounded, err)
	}
	return version, nil
}

// query runs a statement that gives one row at most.
func (s *Store) query(ctx context.Context, statement string, args []any, columns ...any) error {
	if s.closed.Err() != nil {
		return errClosed
	}
	conn, err := s.pool.Acquire(ctx)
	if err != nil {
		return err
	}
	err = conn.QueryRow(ctx, statement, args...).Scan(columns...)
	if conn.Conn().IsClosed() {
		// It broke, and pgx says good-bye to the server, which may take fifteen seconds where nobody answers. Its
		// place in the pool is free before that, for a connection to the server that takes over.
		conn.Hijack()
		return err
	}
	conn.Release()
	return err
}
