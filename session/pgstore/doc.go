// Package pgstore keeps sessions in PostgreSQL 14 or newer. Most applications call Open with a URL, and Migrate once
// per release, or at every start: replicas may do so at the same time.
//
//	store, err := pgstore.Open(ctx, os.Getenv("SESSION_STORE"))
//	if err != nil { … }
//	defer store.Close()
//	if err := store.Migrate(ctx); err != nil { … }
//
// A read is one SELECT, a write one statement, both by primary key. Values are sealed and keys are hashes before they come
// here, so a dump of the table shows no token and no subject.
//
// # What an operator does
//
// Nothing, as long as one process runs that has its Store from Open: it takes away what has expired, in small batches, one
// replica at a time. A row goes at the first sweep that comes ten to twenty minutes after its expiry. To watch that:
//
//	select count(*) from sallyport_records where expiry_bucket < now() - interval '1 hour'
//
// stays at 0. The role of the application needs SELECT, INSERT, UPDATE and DELETE on the table; the role that migrates
// may create tables. Who wants to run the statements of Migration by hand finds them there. The table is found on the
// search_path, which the URL can set: applications that share a database have a schema each.
//
// Connections lead to the primary: a hot standby refuses writes, and its reads are late, so Open does not take one. Several
// hosts in the URL are tried in turn. With asynchronous replication a failover loses the last writes, and so may a
// crash with synchronous_commit = off: a session can come back in the state before, with a refresh token that
// has been used since. Versions are microseconds of the server's clock, or one more than before: they are unique over
// deletion, restart and failover as long as no server's clock is more than ten minutes behind another's.
//
// The table stays in READ COMMITTED, the default isolation. Under a stricter default_transaction_isolation a Swap that
// meets another may fail, as unavailable, where it would have returned ErrConflict.
//
// # PgBouncer
//
// In session mode nothing is special. In transaction mode the statements that pgx prepares have to be known to the pooler:
// PgBouncer 1.21 or newer with max_prepared_statements above 0 knows them. For others add
// default_query_exec_mode=exec to the URL, which costs the server a parse and a plan per call. No session state
// is used otherwise: no SET, no start-up parameter but application_name, no lock that outlives its statement or, in
// Migrate, its transaction. A search_path belongs to the role there (ALTER ROLE … SET), not into the URL.
package pgstore
