//go:build unix

// Package backing starts private servers of the programs that sessions can be kept in, for tests and examples, and breaks
// them: paused, killed, restarted. A server ends with the process that started it.
package backing

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	postgresUser     = "sallyport"
	postgresPatience = 30 * time.Second // for a start, a shutdown or a recovery on a busy machine
)

// Postgres is a private PostgreSQL: on a free port of 127.0.0.1, with a password of its own and its data, its log and its
// socket in one folder. It writes as durably as a real one (fsync is on). Its methods are called from one goroutine.
type Postgres struct {
	dir, bin, password string
	port               int
	as                 *syscall.Credential // nil: as this process

	mu      sync.Mutex
	process *postgresProcess // nil: not running
	guard   *postgresGuard   // while paused
}

// StartPostgres makes a database cluster in dir and starts a server on it. It returns ErrMissing if PostgreSQL is not
// installed: initdb and postgres are looked for on PATH, then where Debian puts them, newest first. As PostgreSQL
// refuses to run as root, root runs it as the user postgres, or nobody, and gives dir to that user, who has to
// be able to reach it. The path of dir is short enough for a socket in it, about 90 bytes. ctx bounds the start; the server
// runs until Stop, or until this process ends.
func StartPostgres(ctx context.Context, dir string) (*Postgres, error) {
	bin, err := postgresPrograms()
	if err != nil {
		return nil, err
	}
	p := &Postgres{dir: dir, bin: bin, password: rand.Text()}
	if os.Geteuid() == 0 {
		if p.as, err = postgresAccount(); err != nil {
			return nil, err
		}
		if err := os.Chown(dir, int(p.as.Uid), int(p.as.Gid)); err != nil {
			return nil, fmt.Errorf("backing: %w", err)
		}
	}
	if err := p.initialize(ctx); err != nil {
		return nil, err
	}
	for range 3 { // another process may take the port between the look and the start
		if p.port, err = postgresPort(); err != nil {
			return nil, err
		}
		if err = p.launch(ctx); err == nil || ctx.Err() != nil {
			break
		}
	}
	if err != nil {
		return nil, err
	}
	return p, nil
}

// PostgresForTest starts a server that ends with the test. The test is skipped if PostgreSQL is not installed, or fails
// with SALLYPORT_REQUIRE_ALL=1.
func PostgresForTest(t testing.TB) *Postgres {
	t.Helper()
	dir, err := os.MkdirTemp("", "postgres") // t.TempDir is closed to other users
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	p, err := StartPostgres(t.Context(), dir)
	switch {
	case errors.Is(err, ErrMissing) && os.Getenv("SALLYPORT_REQUIRE_ALL") != "1":
		t.Skip(err)
	case err != nil:
		t.Fatal(err)
	}
	t.Cleanup(p.Stop)
	return p
}

// URL is where the server listens, with user, password and database; it stays the same over a Restart.
func (p *Postgres) URL() string {
	return fmt.Sprintf("postgres://%s:%s@127.0.0.1:%d/postgres?sslmode=disable", postgresUser, p.password, p.port)
}

// Pause stops all processes of the server where they are, as a machine does that hangs: its port still takes connections.
func (p *Postgres) Pause() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.process == nil || p.guard != nil {
		return errors.New("backing: PostgreSQL is not running")
	}
	pids, err := p.process.freeze()
	if err != nil {
		return err
	}
	// What is stopped neither sees its parent die nor ends by itself.
	if p.guard, err = guardPostgres(pids); err != nil {
		p.process.signal(syscall.SIGCONT, pids)
	}
	return err
}

// Resume lets a paused server go on.
func (p *Postgres) Resume() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.resume()
}

func (p *Postgres) resume() error {
	if p.guard == nil {
		return nil
	}
	p.process.signal(syscall.SIGCONT, p.guard.pids)
	err := p.guard.release()
	p.guard = nil
	return err
}

// Kill ends all processes of the server at once, as a power failure does, paused or not. The data stay: see Restart.
func (p *Postgres) Kill() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.kill()
}

func (p *Postgres) kill() error {
	if p.process == nil {
		return nil
	}
	pids, err := p.process.freeze()
	p.process.signal(syscall.SIGKILL, pids)
	if p.guard != nil {
		err = errors.Join(err, p.guard.release())
		p.guard = nil
	}
	<-p.process.done
	p.process = nil
	// The next server refuses to start while one of them still holds the shared memory.
	for end := time.Now().Add(postgresPatience); postgresAlive(pids); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			return errors.Join(err, errors.New("backing: PostgreSQL does not die"))
		}
	}
	return err
}

// Restart stops the server if it runs, and starts it again on the same port with the same data. It returns when the server
// takes connections.
func (p *Postgres) Restart(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stop()
	return p.launch(ctx)
}

// Stop shuts the server down in order, or kills it if that takes too long. It may be called more than once.
func (p *Postgres) Stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stop()
}

func (p *Postgres) stop() {
	if p.process == nil {
		return
	}
	_ = p.resume()
	_ = p.process.cmd.Process.Signal(syscall.SIGINT) // its "fast" shutdown
	select {
	case <-p.process.done:
		p.process = nil
	case <-time.After(postgresPatience):
		_ = p.kill()
	}
}

func (p *Postgres) data() string { return filepath.Join(p.dir, "data") }

func (p *Postgres) initialize(ctx context.Context) error {
	secret := filepath.Join(p.dir, "password")
	if err := os.WriteFile(secret, []byte(p.password+"\n"), 0o600); err != nil {
		return fmt.Errorf("backing: %w", err)
	}
	defer os.Remove(secret)
	if p.as != nil {
		if err := os.Chown(secret, int(p.as.Uid), int(p.as.Gid)); err != nil {
			return fmt.Errorf("backing: %w", err)
		}
	}
	cmd := exec.CommandContext(ctx, filepath.Join(p.bin, "initdb"), "--pgdata="+p.data(), "--username="+postgresUser,
		"--pwfile="+secret, "--auth=scram-sha-256", "--encoding=UTF8", "--no-locale", "--no-sync")
	cmd.Dir = p.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: p.as}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("backing: initdb: %w: %s", err, out)
	}
	return nil
}

// launch starts the server and waits until it takes connections.
func (p *Postgres) launch(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, postgresPatience)
	defer cancel()
	log, err := os.OpenFile(filepath.Join(p.dir, "log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("backing: %w", err)
	}
	defer log.Close()
	cmd := exec.Command(filepath.Join(p.bin, "postgres"), "-D", p.data(), "-p", strconv.Itoa(p.port), "-k", p.dir,
		"-c", "listen_addresses=127.0.0.1", "-c", "logging_collector=off", "-c", "max_connections=200")
	cmd.Dir = p.dir
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = postgresAttributes(p.as)
	process := &postgresProcess{cmd: cmd, done: make(chan struct{})}
	started := make(chan error)
	go func() {
		// Linux sends the death signal when the thread that started the child ends: keep it for as long.
		runtime.LockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait()
			close(process.done)
		}
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("backing: %w", err)
	}
	p.process = process
	for !p.ready() {
		select {
		case <-process.done:
			p.process = nil
			text, _ := os.ReadFile(log.Name())
			return fmt.Errorf("backing: PostgreSQL ended: %s", text[max(0, len(text)-2000):])
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("backing: PostgreSQL is not ready: %w", ctx.Err()), p.kill())
		case <-time.After(10 * time.Millisecond):
		}
	}
	return nil
}

// ready reads what pg_ctl waits for, too: the eighth line of the server's lock file.
func (p *Postgres) ready() bool {
	text, err := os.ReadFile(filepath.Join(p.data(), "postmaster.pid"))
	lines := strings.Split(string(text), "\n")
	return err == nil && len(lines) >= 8 && lines[0] == strconv.Itoa(p.process.cmd.Process.Pid) && strings.TrimSpace(lines[7]) == "ready"
}

func postgresAccount() (*syscall.Credential, error) {
	account, err := user.Lookup("postgres")
	if err != nil {
		account, err = user.Lookup("nobody")
	}
	if err != nil {
		return nil, errors.New("backing: there is neither a user postgres nor nobody, and PostgreSQL refuses to run as root")
	}
	uid, err := strconv.ParseUint(account.Uid, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("backing: %w", err)
	}
	gid, err := strconv.ParseUint(account.Gid, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("backing: %w", err)
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
}

// postgresPort is below the range from which systems take the ports of outgoing connections: there, a client that dials a
// dead server could be given the server's own port and talk to itself.
func postgresPort() (int, error) {
	for range 100 {
		port := 22000 + mathrand.IntN(10000)
		if l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port))); err == nil {
			return port, l.Close()
		}
	}
	return 0, errors.New("backing: no free port")
}

// postgresPrograms is the folder with initdb and postgres.
func postgresPrograms() (string, error) {
	var folders []string
	if path, err := exec.LookPath("initdb"); err == nil {
		if path, err = filepath.EvalSymlinks(path); err == nil {
			folders = append(folders, filepath.Dir(path))
		}
	}
	debian, _ := filepath.Glob("/usr/lib/postgresql/*/bin")
	slices.SortFunc(debian, func(a, b string) int { return cmp.Compare(postgresVersion(b), postgresVersion(a)) })
	folders = append(folders, debian...)
	for _, folder := range folders {
		if postgresProgram(folder, "initdb") && postgresProgram(folder, "postgres") {
			return folder, nil
		}
	}
	return "", fmt.Errorf("%w: PostgreSQL (initdb and postgres)", ErrMissing)
}

func postgresProgram(folder, name string) bool {
	_, err := exec.LookPath(filepath.Join(folder, name))
	return err == nil
}

// postgresVersion is the 15 of /usr/lib/postgresql/15/bin.
func postgresVersion(folder string) float64 {
	version, _ := strconv.ParseFloat(filepath.Base(filepath.Dir(folder)), 64)
	return version
}
