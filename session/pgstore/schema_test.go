package pgstore

import (
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
	for _, size := range []int{100, 1500, 2400, 3500} {
		s, url := fresh(t)
		key := "k"
		version := swap(t, s, key, 0, strings.Repeat("v", size), time.Hour)
		// Away from the end of an expiry bucket, which is the one thing that moves an index entry.
		ctx := t.Context()
		conn, err := pgx.Connect(ctx, url)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close(context.WithoutCancel(ctx))
		var ttl time.Duration
		if err := conn.QueryRow(ctx, "select date_bin('10 minutes', now(), 'epoch') + interval '65 minutes' - now()").Scan(&ttl); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Swap(ctx, key, version, nil, ttl); err != nil { // into that bucket
			t.Fatal(err)
		}
		if _, err := conn.Exec(ctx, "vacuum sallyport_records"); err != nil {
			t.Fatal(err)
		}
		if _, _, err := s.Get(ctx, key); err != nil {
			t.Fatal(err)
		}
		tx, err := conn.Begin(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if err := tx.QueryRow(ctx, "select version from sallyport_records").Scan(&version); err != nil {
			t.Fatal(err)
		}
		if err := tx.QueryRow(ctx, swapQuery, key, []byte(strings.Repeat("w", size)), ttl.Microseconds(), version).Scan(&version); err != nil {
			t.Fatal(err)
		}
		var updated, inPlace int
		if err := tx.QueryRow(ctx, `select pg_stat_get_xact_tuples_updated(c), pg_stat_get_xact_tuples_hot_updated(c)
			from (select 'sallyport_records'::regclass::oid as c) as t`).Scan(&updated, &inPlace); err != nil {
			t.Fatal(err)
		}
		if updated != 1 || inPlace != 1 {
			t.Errorf("%d bytes: %d rows updated, %d of them in place", size, updated, inPlace)
		}
		if err := tx.Commit(ctx); err != nil {
			t.Fatal(err)
		}
		if n := execute(t, url, "select pg_relation_size(reltoastrelid) from pg_class where oid = 'sallyport_records'::regclass")[0]; n != "0" {
			t.Errorf("%d bytes: %s bytes are out of line", size, n)
		}
	}
}
