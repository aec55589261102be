package pgstore

import (
	"context"
	"math/rand/v2"
	"time"
)

const (
	sweepEvery = time.Minute
	// sweepBatch bounds one statement, and with it how long its locks and its transaction last: some ten milliseconds.
	sweepBatch = 1000
	// sweepTime bounds one batch.
	sweepTime = 10 * time.Second

	// expiry_bucket is the beginning of the ten minutes in which the record expires: twenty minutes after it the record has
	// been dead for ten. Those see to it that a version does not come back with a server whose clock is behind: see
	// Store.Swap, which goes by the old version while the row is there. The lock ends with the statement, as poolers need it.
	// The order is for the planner, which without it reads the whole table as soon as a good part of it is dead.
	sweepQuery = `with turn as materialized (
	select pg_try_advisory_xact_lock($1::bigint + 'sallyport_records'::regclass::oid::bigint) as ours
), gone as (
	delete from sallyport_records where ctid = any(array(
		select ctid from sallyport_records
		where (select ours from turn) and expiry_bucket <= now() - interval '20 minutes'
		order by expiry_bucket limit $2::bigint for update skip locked
	)) and expiry_bucket <= now() - interval '20 minutes'
	returning 1
)
select (select ours from turn), (select count(*) from gone)`
)

// Sweep deletes what has expired ten minutes ago or more, in batches, until nothing is left, another process is at it, ctx
// is done or a batch fails; records that a Swap is just writing are left alone. It returns how many it deleted, with an
// *Error if it was not done.
func (s *Store) Sweep(ctx context.Context) (deleted int64, err error) {
	for {
		ours, n, err := s.sweepOnce(ctx)
		deleted += n
		if err != nil || !ours || n < sweepBatch {
			return deleted, err
		}
	}
}

func (s *Store) sweepOnce(ctx context.Context) (ours bool, n int64, err error) {
	bounded, cancel := context.WithTimeout(ctx, sweepTime)
	defer cancel()
	err = s.query(bounded, sweepQuery, []any{int64(advisoryLock), sweepBatch}, &ours, &n)
	if err != nil {
		return false, 0, failure(ctx, bounded, err)
	}
	return ours, n, nil
}

// Run sweeps until ctx is done, and returns its error, or until Close, and returns nil. It begins after up to
// Options.SweepEvery, so that replicas that start together do not sweep together, and goes on after half to one
// and a half times that. It may run in every replica: those whose turn it is not have done one short query. After a failure,
// which Options.OnSweep is told of, it tries again at the next time. A store of Open does all this by itself.
func (s *Store) Run(ctx context.Context) error {
	either, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.closed, cancel)()
	wait := rand.N(s.options.SweepEvery)
	for {
		select {
		case <-either.Done():
			if s.closed.Err() != nil {
				return nil
			}
			return ctx.Err()
		case <-time.After(wait):
		}
		deleted, err := s.Sweep(either)
		if either.Err() == nil && s.options.OnSweep != nil {
			s.options.OnSweep(deleted, err)
		}
		wait = s.options.SweepEvery/2 + rand.N(s.options.SweepEvery)
	}
}
