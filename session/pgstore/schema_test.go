package pgstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

func TestMissingTable(t *testing.T) {
	url := freshURL(t)
	s := openURL(t, url)
	_, _, err := s.Get(t.Context(), "some:key")
	if e := wantError(t, url, "some:key", err, "run Store.Migrate"); e.State != "42P01" {
		t.Errorf("SQLSTATE %q", e.State)
	}
	_, err = s.Swap(t.Context(), "some:key", 0, nil, time.Hour)
	wantError(t, url, "some:key", err, "run Store.Migrate")
	_, err = s.Swap(t.Context(), "some:key", 1, nil, time.Hour)
	wantError(t, url, "some:key", err, "run Store.Migrate")
	_, err = s.Sweep(t.Context())
	wantError(t, url, "", err, "run Store.Migrate")

	migrate(t, s) // the same connections go on
	wantValue(t, s, "some:key", "v", swap(t, s, "some:key", 0, "v", time.Hour))
}

func TestMigrateAgain(t *testing.T) {
	s, url := fresh(t)
	version := swap(t, s, "k", 0, "v", time.Hour)
	migrate(t, s)
	migrate(t, openURL(t, url))
	wantValue(t, s, "k", "v", version)
	execute(t, url, "drop index sallyport_records_expiry")
	ctx := t.Context()
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	for range 2 { // by hand, as an operator does
		if _, err := conn.Exec(ctx, Migration, pgx.QueryExecModeSimpleProtocol); err != nil {
			t.Fatal(err)
		}
	}
	wantValue(t, s, "k", "v", version)
}

func TestMigrateTogether(t *testing.T) {
	for range 5 {
		url := freshURL(t)
		start := make(chan struct{})
		var wg sync.WaitGroup
		for range 8 {
			s := openURL(t, url)
			_, _ = s.Sweep(t.Context()) // connects
			wg.Go(func() {
				<-start
				if err := s.Migrate(t.Context()); err != nil {
					t.Errorf("%v (%v)", err, errors.Unwrap(err))
				}
			})
		}
		close(start)
		wg.Wait()
	}
}

// A role that may only read and write rows can start an application whose Migrate has nothing to do.
func TestMigrateWithoutTheRight(t *testing.T) {
	_, url := fresh(t)
	schema := url[strings.LastIndex(url, "=")+1:]
	role := "app_" + schema
	execute(t, url, fmt.Sprintf("create role %s login password 'app'", role))
	execute(t, url, fmt.Sprintf("grant usage on schema %s to %s", schema, role))
	asRole := strings.Replace(url, url[:strings.Index(url, "@")], "postgres://"+role+":app", 1)
	s := openURL(t, asRole)
	_, err := s.Swap(t.Context(), "k", 0, nil, time.Hour)
	wantError(t, asRole, "", err, "the role may not do that")
	wantError(t, asRole, "", s.Migrate(t.Context()), "the role may not do that")

	execute(t, url, fmt.Sprintf("grant select, insert, update, delete on sallyport_records to %s", role))
	migrate(t, s)
	version := swap(t, s, "k", 0, "v", time.Hour)
	version = swap(t, s, "k", version, "w", time.Hour)
	wantValue(t, s, "k", "w", version)
	expire(t, url, "k", time.Hour)
	if n, err := s.Sweep(t.Context()); n != 1 || err != nil {
		t.Errorf("Sweep: %d, %v", n, err)
	}
}

func TestAnotherTableOfThatName(t *testing.T) {
	url := freshURL(t)
	s := openURL(t, url)
	execute(t, url, "create table sallyport_records (key text, version text, value text, expires_at timestamptz)")
	wantError(t, url, "", s.Migrate(t.Context()), "has another form")
	_, err := s.Swap(t.Context(), "k", 0, []byte("v"), time.Hour)
	wantError(t, url, "", err, "")
	execute(t, url, "insert into sallyport_records values ('k', 'one', 'v', now() + interval '1 hour')")
	_, _, err = s.Get(t.Context(), "k")
	wantError(t, url, "", err, "has another form")
}

// An update of a session stays on its page and makes no index entry: what the layout of Migration is for.
func TestUpdatesAreInPlace(t *testing.T) {
	const records = 100
	for _, size := range []int{100, 1500, 2400, 3500} {
		_, url := fresh(t)
		ctx := t.Context()
		conn, err := pgx.Connect(ctx, url)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close(context.WithoutCancel(ctx))
		// All ends in the middle of an expiry bucket, for an update that moves a record to another is not in place.
		var ttl time.Duration
		if err := conn.QueryRow(ctx, "select date_bin('10 minutes', now(), 'epoch') + interval '65 minutes' - now()").Scan(&ttl); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Exec(ctx, `insert into sallyport_records select 'k' || i, 1, $2, now() + $3::bigint * interval '1 microsecond'
			from generate_series(1, $1::int) as i`, records, bytes.Repeat([]byte("v"), size), ttl.Microseconds()); err != nil {
			t.Fatal(err)
		}
		var inPlace int64
		for i := range records {
			err := pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
				const counted = "select pg_stat_get_xact_tuples_hot_updated('sallyport_records'::regclass)"
				var before, after, version int64
				err := tx.QueryRow(ctx, counted).Scan(&before)
				if err != nil {
					return err
				}
				err = tx.QueryRow(ctx, swapQuery, fmt.Sprint("k", i+1), bytes.Repeat([]byte("w"), size), ttl.Microseconds(), 1).Scan(&version)
				if err != nil {
					return err
				}
				err = tx.QueryRow(ctx, counted).Scan(&after)
				inPlace += after - before
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		if inPlace < records*95/100 {
			t.Errorf("%d bytes: %d of %d updates in place", size, inPlace, records)
		}
		if n := execute(t, url, "select pg_relation_size(reltoastrelid) from pg_class where oid = 'sallyport_records'::regclass")[0]; n != "0" {
			t.Errorf("%d bytes: %s bytes are out of line", size, n)
		}
	}
}
