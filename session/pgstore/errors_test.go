package pgstore

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/sallyport/sallyport/session"
)

func TestServersErrors(t *testing.T) {
	for _, test := range []struct {
		state, text string
		is          error
	}{
		{"53100", "the disk of the database is full", session.ErrFull},
		{"53200", "the memory of the database is full", session.ErrFull},
		{"53300", "no connection left", nil},
		{"25006", "takes no writes", nil},
		{"40001", "read committed", nil},
		{"40P01", "deadlock", nil},
		{"42P01", "run Store.Migrate", nil},
		{"42501", "may not do that", nil},
		{"28P01", "does not let us in", nil},
		{"57P03", "starting, stopping or recovering", nil},
		{"57014", "cancelled the statement", nil},
		{"26000", "default_query_exec_mode=exec", nil},
		{"XX000", "refused the statement", nil},
		{"some secret", "refused the statement", nil},
	} {
		said := &pgconn.PgError{
			Severity: "ERROR", Code: test.state, Message: "secret in the message", Detail: "Key (key)=(secret)", Hint: "secret",
			Where: "secret", TableName: "secret", InternalQuery: "select secret",
		}
		e := failure(t.Context(), t.Context(), fmt.Errorf("secret around it: %w", said))
		if e.State != test.state || !strings.Contains(e.Error(), test.text) || strings.Contains(e.Error(), "secret") {
			t.Errorf("%s: %q, State %q; want %q", test.state, e, e.State, test.text)
		}
		if (test.is == nil) != (e.Unwrap() == nil) || test.is != nil && !errors.Is(e, test.is) {
			t.Errorf("%s: is %v, want %v", test.state, e.Unwrap(), test.is)
		}
		var leaked *pgconn.PgError
		if errors.As(e, &leaked) {
			t.Errorf("%s: the server's words come along", test.state)
		}
	}
}

// That the server cancelled a statement because we asked for it is not the server's failure.
func TestCancelledForUs(t *testing.T) {
	said := &pgconn.PgError{Severity: "ERROR", Code: "57014"}
	done, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	if e := failure(t.Context(), done, said); !errors.Is(e, context.DeadlineExceeded) || e.State != "" {
		t.Errorf("%v is %v, State %q", e, e.Unwrap(), e.State)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if e := failure(gone, gone, said); !errors.Is(e, context.Canceled) {
		t.Errorf("%v is %v", e, e.Unwrap())
	}
}

func TestURLs(t *testing.T) {
	for _, url := range []string{"", "http://user:hunter2@secret.example/", "postgres://user:hunter2@secret.example:port/", "postgres://user:hunter2@secret.example/?pool_max_conns=hunter2", "postgres://user:hunter2@secret.example/?sslmode=hunter2"} {
		s, err := Open(t.Context(), url)
		if url == "" {
			if err == nil {
				s.Close() // the environment says where
			}
			continue
		}
		if err == nil {
			s.Close()
			t.Errorf("%s: no error", url)
			continue
		}
		if text := err.Error(); !strings.Contains(text, notAURL) || strings.Contains(text, "hunter2") || strings.Contains(text, "secret") {
			t.Errorf("%q", text)
		}
	}
	if _, err := New(nil, Options{}); err == nil {
		t.Error("a store without a pool")
	}
}

func TestPoolConfig(t *testing.T) {
	base := "postgres://u@h/d"
	c, err := PoolConfig(base)
	if err != nil {
		t.Fatal(err)
	}
	if c.MaxConns < leastConns || c.PingTimeout != pingTime || c.ConnConfig.ConnectTimeout != callTime || c.ConnConfig.ValidateConnect == nil {
		t.Errorf("the defaults: %d, %v, %v", c.MaxConns, c.PingTimeout, c.ConnConfig.ConnectTimeout)
	}
	for name := range c.ConnConfig.RuntimeParams { // a pooler knows no other
		if name != "application_name" {
			t.Errorf("%s is sent at the start", name)
		}
	}
	c, err = PoolConfig(base + "?pool_max_conns=3&pool_ping_timeout=7s&connect_timeout=9&application_name=mine")
	if err != nil {
		t.Fatal(err)
	}
	if c.MaxConns != 3 || c.PingTimeout != 7*time.Second || c.ConnConfig.ConnectTimeout != 9*time.Second || c.ConnConfig.RuntimeParams["application_name"] != "mine" {
		t.Errorf("the URL's own: %d, %v, %v", c.MaxConns, c.PingTimeout, c.ConnConfig.ConnectTimeout)
	}
}

func TestReadOnly(t *testing.T) {
	s, url := fresh(t)
	version := swap(t, s, "k", 0, "v", time.Hour)
	readOnlyURL := url + "&default_transaction_read_only=on"

	refused := openURL(t, readOnlyURL)
	_, _, err := refused.Get(t.Context(), "k")
	wantError(t, url, "", err, "takes no writes")

	// A server that becomes so under the connection of somebody's pool.
	connections := 0
	late := onPool(t, url, Options{}, func(c *pgxpool.Config) {
		c.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
			connections++
			_, err := conn.Exec(ctx, "set default_transaction_read_only = on")
			return err
		}
	})
	wantValue(t, late, "k", "v", version)
	for i := range 3 {
		_, err := late.Swap(t.Context(), "k", version, nil, time.Hour)
		if e := wantError(t, url, "", err, "takes no writes"); e.State != "25006" {
			t.Errorf("SQLSTATE %q", e.State)
		}
		_, err = late.Swap(t.Context(), "new", 0, nil, time.Hour)
		wantError(t, url, "", err, "takes no writes")
		if connections != 2*i+2 {
			t.Errorf("%d connections after %d writes: it stays with the one that takes none", connections, 2*i+2)
		}
	}
	wantValue(t, s, "k", "v", version)
}

func TestNoWayIn(t *testing.T) {
	_, url := fresh(t)
	config, err := pgx.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	role := "full_" + config.RuntimeParams["search_path"]
	execute(t, url, fmt.Sprintf("create role %s login password 'app' connection limit 0", role))
	for _, test := range []struct{ url, text, state string }{
		{strings.Replace(url, config.Password, "wrong", 1), "does not let us in", "28P01"},
		{strings.Replace(url, "/postgres?", "/nowhere?", 1), "does not let us in", "3D000"},
		{strings.Replace(url, "sallyport:"+config.Password, role+":app", 1), "no connection left", "53300"},
		{strings.Replace(url, fmt.Sprintf(":%d/", config.Port), ":1/", 1), "cannot be reached", ""},
	} {
		s := openURL(t, test.url)
		_, _, err := s.Get(t.Context(), "some:key")
		if e := wantError(t, test.url, "some:key", err, test.text); e.State != test.state {
			t.Errorf("SQLSTATE %q, want %q", e.State, test.state)
		}
		wantError(t, test.url, "", s.Migrate(t.Context()), test.text)
	}
}

// A writer that meets another under a stricter isolation than the default is told so, and has written nothing.
func TestSerialization(t *testing.T) {
	s, url := fresh(t)
	version := swap(t, s, "k", 0, "v", time.Hour)
	strict := openURL(t, url+"&default_transaction_isolation=repeatable%20read")
	other := transaction(t, url)
	var next int64
	if err := other.QueryRow(t.Context(), swapQuery, "k", []byte("w"), time.Hour.Microseconds(), version).Scan(&next); err != nil {
		t.Fatal(err)
	}
	failed := make(chan error)
	go func() {
		_, err := strict.Swap(t.Context(), "k", version, []byte("x"), time.Hour)
		failed <- err
	}()
	awaitLock(t, url, "update sallyport_records")
	if err := other.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantError(t, url, "", <-failed, "read committed")
	wantValue(t, s, "k", "w", next)
}

func TestGivingUp(t *testing.T) {
	s, url := fresh(t)
	version := swap(t, s, "k", 0, "v", time.Hour)
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	_, _, err := s.Get(cancelled, "k")
	if e := wantError(t, url, "", err, givenUp); !errors.Is(e, context.Canceled) || errors.Is(e, context.DeadlineExceeded) {
		t.Errorf("a cancelled context: %v", e.Unwrap())
	}
	past, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	_, err = s.Swap(past, "k", version, nil, time.Hour)
	if e := wantError(t, url, "", err, noAnswer); !errors.Is(e, context.DeadlineExceeded) {
		t.Errorf("a deadline that is past: %v", e.Unwrap())
	}
	wantValue(t, s, "k", "v", version)

	// A row that somebody has locked, and a call that waits for it: our own deadline.
	brief := onPool(t, url, Options{Timeout: 50 * time.Millisecond}, nil)
	if err := brief.pool.Ping(t.Context()); err != nil { // a connection takes longer than that
		t.Fatal(err)
	}
	other := transaction(t, url)
	if _, err := other.Exec(t.Context(), "select from sallyport_records for update"); err != nil {
		t.Fatal(err)
	}
	_, err = brief.Swap(t.Context(), "k", version, nil, time.Hour)
	if e := wantError(t, url, "", err, noAnswer); !errors.Is(e, context.DeadlineExceeded) {
		t.Errorf("a locked row: %v", e.Unwrap())
	}
}
