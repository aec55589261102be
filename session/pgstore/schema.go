package pgstore

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

// Migration is what Migrate runs: it makes the table and its index where they are not there yet, and needs no transaction
// but is best run in one.
//
// A session is written often and most of a row is its value, so rows are laid out to be updated in place (HOT: a new row
// version on the same page and no new index entry). For that no indexed column may change. The sweeper
// therefore goes by expiry_bucket, which stays the same for ten minutes, and expires_at has no index: against an index
// on expires_at that measured 26 % less write-ahead log per update of a 200-byte value, and indexes that do not grow. A
// fillfactor of 70 leaves room on the page (99 to 100 % of updates in place for values of 200 to 2400 bytes; 75 to 97 %
// with 100). Values up to 4 kB stay in the row: moved out of line from 2 kB on, as is the default, a write took
// half as long again and the table doubled between vacuums. Sealed values do not compress, so nothing is tried.
const Migration = `
create table if not exists sallyport_records (
	key text collate "C" primary key,
	version bigint not null check (version > 0),
	value bytea not null,
	expires_at timestamptz not null,
	expiry_bucket timestamptz not null generated always as (date_bin('10 minutes', expires_at, 'epoch')) stored
) with (
	fillfactor = 70,
	toast_tuple_target = 4080,
	autovacuum_vacuum_scale_factor = 0.05,
	toast.autovacuum_vacuum_scale_factor = 0.05
);
alter table sallyport_records alter column value set storage external;
create index if not exists sallyport_records_expiry on sallyport_records (expiry_bucket);
comment on table sallyport_records is 'Sealed sessions of github.com/sallyport/sallyport; rows whose expires_at has passed are dead';
`

const (
	// advisoryLock is ours among the advisory locks of the database: "sallypo" in ASCII, and a byte more.
	advisoryLock = 0x73616c6c79706f00
	// migrationTime bounds a migration, most of it waiting for another replica's.
	migrationTime = time.Minute

	shapeQuery = `select key, version, value, expires_at, expiry_bucket from sallyport_records limit 0`
)

// Migrate makes the table if it is not there, and returns when it is: see Migration. It may be called at every start and by
// several replicas at once, and where there is nothing to do it needs no right to create anything. It waits for a
// minute at most; the errors are those of Error.
func (s *Store) Migrate(ctx context.Context) error {
	bounded, cancel := context.WithTimeout(ctx, migrationTime)
	defer cancel()
	if _, err := s.pool.Exec(bounded, shapeQuery); err == nil {
		return nil
	}
	err := pgx.BeginFunc(bounded, s.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(bounded, `select pg_advisory_xact_lock($1)`, int64(advisoryLock)); err != nil {
			return err
		}
		_, err := tx.Exec(bounded, Migration, pgx.QueryExecModeSimpleProtocol)
		return err
	})
	if err != nil {
		return failure(ctx, bounded, err)
	}
	return nil
}
