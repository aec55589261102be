//go:build unix

package backing

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// ask runs one query on a connection of its own.
func askPostgres(t *testing.T, p *Postgres, patience time.Duration, query string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	conn, err := pgconn.Connect(ctx, p.URL())
	if err != nil {
		return "", err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	results, err := conn.Exec(ctx, query).ReadAll()
	if err != nil {
		return "", err
	}
	if len(results) == 0 || len(results[len(results)-1].Rows) == 0 {
		return "", nil
	}
	return string(results[len(results)-1].Rows[0][0]), nil
}

func wantPostgres(t *testing.T, p *Postgres, query, want string) {
	t.Helper()
	if got, err := askPostgres(t, p, time.Minute, query); err != nil || got != want {
		t.Fatalf("%s: got %q, %v; want %q", query, got, err, want)
	}
}

func TestPostgresLife(t *testing.T) {
	p := PostgresForTest(t)
	ctx := t.Context()
	wantPostgres(t, p, "show fsync", "on")
	wantPostgres(t, p, "show listen_addresses", "127.0.0.1")
	wantPostgres(t, p, "create table kept(n int); insert into kept values (7); select n from kept", "7")

	url := p.URL()
	if err := p.Restart(ctx); err != nil {
		t.Fatal(err)
	}
	if p.URL() != url {
		t.Error("another address after a restart")
	}
	wantPostgres(t, p, "select n from kept", "7")

	if err := p.Pause(); err != nil {
		t.Fatal(err)
	}
	if _, err := askPostgres(t, p, 50*time.Millisecond, "select 1"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a paused server: %v", err)
	}
	if err := p.Pause(); err == nil {
		t.Error("paused twice")
	}
	if err := p.Resume(); err != nil {
		t.Fatal(err)
	}
	wantPostgres(t, p, "select n from kept", "7")

	for _, paused := range []bool{false, true} {
		if paused {
			if err := p.Pause(); err != nil {
				t.Fatal(err)
			}
		}
		if err := p.Kill(); err != nil {
			t.Fatal(err)
		}
		if _, err := askPostgres(t, p, time.Minute, "select 1"); err == nil || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a killed server: %v", err)
		}
		if err := p.Restart(ctx); err != nil {
			t.Fatal(err)
		}
		wantPostgres(t, p, "select n from kept", "7")
	}

	if err := p.Pause(); err != nil {
		t.Fatal(err)
	}
	p.Stop() // a paused server stops
	if _, err := os.Stat(filepath.Join(p.data(), "postmaster.pid")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it did not shut down in order: %v", err)
	}
	p.Stop()
}

func TestPostgresAsksForThePassword(t *testing.T) {
	p := PostgresForTest(t)
	_, err := pgconn.Connect(t.Context(), strings.Replace(p.URL(), p.password, "wrong", 1))
	var refused *pgconn.PgError
	if !errors.As(err, &refused) || refused.Code != "28P01" {
		t.Errorf("a wrong password: %v", err)
	}
}

func TestPostgresMissing(t *testing.T) {
	if found, _ := filepath.Glob("/usr/lib/postgresql/*/bin"); len(found) > 0 {
		t.Log("only the order can be shown where it is installed")
	} else {
		t.Setenv("PATH", t.TempDir())
		if _, err := StartPostgres(t.Context(), t.TempDir()); !errors.Is(err, ErrMissing) {
			t.Errorf("got %v", err)
		}
	}
	if postgresVersion("/usr/lib/postgresql/9.6/bin") >= postgresVersion("/usr/lib/postgresql/15/bin") {
		t.Error("9.6 is taken for newer than 15")
	}
}

// Nothing may survive the process that started it: neither a server that runs nor one that is paused.
func TestPostgresDiesWithItsParent(t *testing.T) {
	if dir := os.Getenv("POSTGRES_PARENT"); dir != "" {
		parentOfPostgres(t, dir)
		return
	}
	if _, err := postgresPrograms(); err != nil {
		PostgresForTest(t) // skips, or fails
	}
	for _, paused := range []string{"", "paused"} {
		dir, err := os.MkdirTemp("", "postgres")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.RemoveAll(dir) })
		cmd := exec.Command(os.Args[0], "-test.run=^TestPostgresDiesWithItsParent$")
		cmd.Env = append(os.Environ(), "POSTGRES_PARENT="+dir, "POSTGRES_STATE="+paused)
		if out, err := cmd.CombinedOutput(); err == nil || cmd.ProcessState.ExitCode() != -1 {
			t.Fatalf("the parent was not killed: %v: %s", err, out)
		}
		text, err := os.ReadFile(filepath.Join(dir, "pids"))
		if err != nil {
			t.Fatal(err)
		}
		var pids []int
		for _, field := range strings.Fields(string(text)) {
			pid, err := strconv.Atoi(field)
			if err != nil {
				t.Fatal(err)
			}
			pids = append(pids, pid)
		}
		if len(pids) < 4 {
			t.Fatalf("only %d processes", len(pids))
		}
		for end := time.Now().Add(postgresPatience); postgresAlive(pids); time.Sleep(10 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%q: it survived", paused)
			}
		}
	}
}

// parentOfPostgres starts a server, leaves its process ids in dir and dies.
func parentOfPostgres(t *testing.T, dir string) {
	p, err := StartPostgres(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	children, err := postgresChildren(p.process.cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	if os.Getenv("POSTGRES_STATE") == "paused" {
		if err := p.Pause(); err != nil {
			t.Fatal(err)
		}
	}
	text := fmt.Sprint(p.process.cmd.Process.Pid)
	for _, pid := range children {
		text += fmt.Sprint(" ", pid)
	}
	if err := os.WriteFile(filepath.Join(dir, "pids"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {}
}
