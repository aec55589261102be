package main

import (
	"fmt"
	"time"

	"github.com/sallyport/sallyport/internal/benchmarks/child"
	"github.com/sallyport/sallyport/internal/benchmarks/measure"
	"github.com/sallyport/sallyport/internal/benchmarks/population"
	"github.com/sallyport/sallyport/internal/benchmarks/stores"
)

// latency is what an authorization server takes in the load of PostgreSQL: between the two writes of a refresh the
// database has time for others.
const latency = "20ms"

// postgres is the refresh section for sessions in PostgreSQL, and what its table is like under a load of refreshes.
func postgres(o options) error {
	issuer, err := child.Start("authorization-server", "", -1)
	if err != nil {
		return err
	}
	defer issuer.Stop()
	alone, err := tokenRequestCase(issuer.Report[0])
	if err != nil {
		return err
	}
	cases := []measure.Case{alone}
	for _, n := range o.rows {
		server, err := stores.StartPostgres(stores.Workers)
		if err != nil {
			return err
		}
		defer server.Stop()
		users, err := population.New(issuer.Report[0], places[0].config(server.Store), n)
		if err != nil {
			return err
		}
		cases = append(cases, measure.Case{Name: sessionsOf(n), Run: users.Refresh, Server: server.CPU})
	}
	series, err := measure.Interleave(cases, o.rounds, o.batch)
	if err != nil {
		return err
	}
	fmt.Printf("\n## Refreshes, Store in PostgreSQL\n\n%s", refreshTable(series))
	return vacuum(o)
}

// vacuum is the largest number of sessions under load, for longer than the vacuum sleeps.
func vacuum(o options) error {
	issuer, err := child.Start("authorization-server", latency, -1)
	if err != nil {
		return err
	}
	defer issuer.Stop()
	server, err := stores.StartPostgres(stores.Workers)
	if err != nil {
		return err
	}
	defer server.Stop()
	n := o.rows[len(o.rows)-1]
	users, err := population.New(issuer.Report[0], places[0].config(server.Store), n)
	if err != nil {
		return err
	}
	rows := ""
	note := func(when string, log, updates int64) (int64, int64, error) {
		<-time.After(1500 * time.Millisecond) // the server's statistics are that old
		row, log, updates, err := tableRow(server, n, when, log, updates)
		rows += row
		return log, updates, err
	}
	log, updates, err := note("login", 0, 0)
	if err != nil {
		return err
	}
	before := server.Statements()
	if err := users.Refresh(1); err != nil {
		return err
	}
	settle()
	trips := server.Statements() - before
	start, refreshed := time.Now(), 0
	for time.Since(start) < o.load {
		const part = 500
		if err := users.Refresh(part); err != nil {
			return err
		}
		refreshed += part
	}
	took := time.Since(start)
	if _, _, err := note(fmt.Sprintf("%d refreshes", refreshed), log, updates); err != nil {
		return err
	}
	fmt.Printf("\n## The table in PostgreSQL\n\n| sessions | after | rows a session | table, bytes a session | indexes | dead rows | updates | in place | vacuums | log, bytes an update |\n|---:|---|---:|---:|---:|---:|---:|---:|---:|---:|\n%s", rows)
	fmt.Printf("\n%d statements for a request that refreshes, its read included. %d refreshes in %.0f s: %.0f a second, a server that takes %s.\n",
		trips, refreshed, took.Seconds(), float64(refreshed)/max(took.Seconds(), 1e-9), latency)
	return nil
}

// tableRow says what the table takes. log and updates are what there was of them before.
func tableRow(p *stores.Postgres, n int, when string, log, updates int64) (row string, newLog, upd int64, err error) {
	var live, table, indexes, dead, hot, vacuums int64
	err = p.Query(`select (select count(*) from sallyport_records), pg_table_size(relid), pg_indexes_size(relid), n_dead_tup, n_tup_upd, n_tup_hot_upd, autovacuum_count,
	pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint
from pg_stat_user_tables where relname = 'sallyport_records'`, &live, &table, &indexes, &dead, &upd, &hot, &vacuums, &newLog)
	per, logged := 1/float64(n), ""
	if log > 0 && upd > updates {
		logged = fmt.Sprintf("%.0f", float64(newLog-log)/float64(upd-updates))
	}
	return fmt.Sprintf("| %d | %s | %.1f | %.0f | %.0f | %d | %d | %.1f %% | %d | %s |\n", n, when, float64(live)*per, float64(table)*per, float64(indexes)*per,
		dead, upd, 100*float64(hot)/float64(max(upd, 1)), vacuums, logged), newLog, upd, err
}
