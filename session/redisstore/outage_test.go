package redisstore

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sallyport/sallyport/internal/backing"
	"github.com/sallyport/sallyport/session"
)

// both calls f with a Get and with a Swap.
func both(s *Store, f func(name string, op func(context.Context) error)) {
	f("get", func(ctx context.Context) error { _, _, err := s.Get(ctx, "k"); return err })
	f("swap", func(ctx context.Context) error {
		_, err := s.Swap(ctx, "k", 1, []byte("x"), time.Hour)
		return err
	})
}

// A server that hangs: its connections stay, and nothing comes.
func TestPausedServer(t *testing.T) {
	t.Parallel()
	server := backing.RedisForTest(t)
	s := open(t, server.URL())
	version := mustSwap(t, s, "k", 0, "value")
	if err := server.Pause(); err != nil {
		t.Fatal(err)
	}
	both(s, func(name string, op func(context.Context) error) {
		start := time.Now()
		unavailable(t, name, op(t.Context()))
		if took := time.Since(start); took > limit+2*time.Second {
			t.Errorf("%s took %v", name, took)
		}
	})
	both(s, func(name string, op func(context.Context) error) {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		err := op(ctx)
		unavailable(t, name, err)
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s past its deadline: %v", name, err)
		}
	})
	cancelled(t, s)
	if err := server.Resume(); err != nil {
		t.Fatal(err)
	}
	// What was given up may still fail, and say so, until its own timeout.
	eventually(t, "the end of all doubt", func() bool {
		mustGet(t, s, "k", "value", version)
		return !s.silent.Load()
	})
}

// cancelled expects that operations on a server that hangs return when they are cancelled.
func cancelled(t *testing.T, s *Store) {
	t.Helper()
	both(s, func(name string, op func(context.Context) error) {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(20*time.Millisecond, cancel)
		start := time.Now()
		err := op(ctx)
		unavailable(t, name, err)
		if took := time.Since(start); !errors.Is(err, context.Canceled) || took >= openTimeout {
			t.Errorf("%s, cancelled: %v after %v", name, err, took)
		}
		if err := op(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("%s, cancelled before: %v", name, err)
		}
	})
}

// A client may wait for minutes by its own settings, whether it looks at deadlines or not: an operation does not.
func TestPatientClient(t *testing.T) {
	t.Parallel()
	for _, punctual := range []bool{true, false} {
		t.Run(fmt.Sprintf("looks at deadlines %v", punctual), func(t *testing.T) {
			t.Parallel()
			server := backing.RedisForTest(t)
			client := redis.NewClient(&redis.Options{Addr: server.Addr(), ReadTimeout: time.Minute, ContextTimeoutEnabled: punctual})
			t.Cleanup(func() { _ = client.Close() })
			s, err := New(client, Options{})
			if err != nil {
				t.Fatal(err)
			}
			_ = mustSwap(t, s, "other", 0, "") // leaves the script and a connection
			if err := server.Pause(); err != nil {
				t.Fatal(err)
			}
			both(s, func(name string, op func(context.Context) error) {
				start := time.Now()
				unavailable(t, name, op(t.Context()))
				if took := time.Since(start); took > limit+5*time.Second {
					t.Errorf("%s took %v", name, took)
				}
			})
			cancelled(t, s)
			lateSwap(t, s, server)
		})
	}
}

// lateSwap expects that a swap that is given up while the server is paused takes effect, if at all, with the bytes
// that it was called with.
func lateSwap(t *testing.T, s *Store, server *backing.Redis) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, cancel)
	value := []byte("as it was")
	if _, err := s.Swap(ctx, "late", 0, value, time.Hour); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	copy(value, "changed!!")
	var wg sync.WaitGroup
	for i := range 20 { // calls that might take over what the first one still needs
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
			defer cancel()
			_, _ = s.Swap(ctx, fmt.Sprint("k", i), 0, []byte("another one"), time.Hour)
		})
	}
	wg.Wait()
	if err := server.Resume(); err != nil {
		t.Fatal(err)
	}
	var got []byte
	eventually(t, "the late swap", func() (there bool) {
		var err error
		got, _, err = s.Get(t.Context(), "late")
		return err == nil
	})
	if string(got) != "as it was" {
		t.Errorf("%q", got)
	}
}

// deafen returns the address of a way to the server that drops the connection instead of the answer to the first command
// after armed is set that has the word in it.
func deafen(t *testing.T, server, word string, armed *atomic.Bool) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", server)
			if err != nil {
				_ = near.Close()
				continue
			}
			var drop atomic.Bool
			carry := func(to, from net.Conn, look bool) {
				defer near.Close()
				defer far.Close()
				b := make([]byte, 64<<10)
				for {
					n, err := from.Read(b)
					if look && bytes.Contains(b[:n], []byte(word)) && armed.CompareAndSwap(true, false) {
						drop.Store(true)
					}
					if err != nil || !look && drop.Load() {
						return
					}
					if _, err := to.Write(b[:n]); err != nil {
						return
					}
				}
			}
			go carry(far, near, true)
			go carry(near, far, false)
		}
	}()
	return l.Addr().String()
}

// A swap whose answer is lost has taken effect. Sent again it would say ErrConflict, that is, that nothing has changed.
// A read is sent again.
func TestLostAnswer(t *testing.T) {
	server := backing.RedisForTest(t)
	for _, word := range []string{"evalsha", "get"} {
		var armed atomic.Bool
		client := redis.NewClient(&redis.Options{Addr: deafen(t, server.Addr(), word, &armed), MaxRetries: 5})
		defer client.Close()
		s, err := New(client, Options{})
		if err != nil {
			t.Fatal(err)
		}
		version := mustSwap(t, s, word, 0, "one")
		armed.Store(true)
		if word == "get" {
			mustGet(t, s, word, "one", version)
		} else {
			_, err = s.Swap(t.Context(), word, version, []byte("two"), time.Hour)
			unavailable(t, "swap", err)
			if b, _, err := s.Get(t.Context(), word); err != nil || string(b) != "two" {
				t.Errorf("%q, %v: the swap did not arrive, so this proves nothing", b, err)
			}
		}
		if armed.Load() {
			t.Errorf("no answer to %s was lost", word)
		}
	}
}

// A killed server is an error at once, and after its restart all works without a new store, although the client
// still holds the dead connections. The script is gone then. Nothing that Open has made prints an address.
func TestRestart(t *testing.T) {
	server := backing.RedisForTest(t, "appendfsync always")
	s := open(t, server.URL()+"?pool_size=20")
	const keys = 20
	versions := make([]int64, keys)
	inParallel := func(what string, old []int64) {
		t.Helper()
		var wg sync.WaitGroup
		for i := range keys {
			wg.Go(func() {
				v, err := s.Swap(t.Context(), fmt.Sprint("k", i), old[i], []byte(what), time.Hour)
				if err != nil || v <= old[i] {
					t.Errorf("%s: version %d after %d, %v", what, v, old[i], err)
				}
				versions[i] = v
			})
		}
		wg.Wait()
	}
	inParallel("before", make([]int64, keys))
	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	both(s, func(name string, op func(context.Context) error) {
		err := op(t.Context())
		unavailable(t, name, err)
		if err != nil && !strings.Contains(err.Error(), "reached") {
			t.Errorf("%s: %v", name, err)
		}
	})
	if err := server.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i, v := range versions {
		mustGet(t, s, fmt.Sprint("k", i), "before", v)
	}
	inParallel("after", append([]int64(nil), versions...))

	logged.Lock()
	defer logged.Unlock()
	for _, line := range logged.lines {
		if strings.Contains(line, server.Addr()) {
			t.Errorf("go-redis printed %q", line)
		}
	}
}

// A server that comes back without its data has forgotten the versions, too.
func TestRestartWithoutData(t *testing.T) {
	server := backing.RedisForTest(t, "appendonly no")
	s := open(t, server.URL())
	last := mustSwap(t, s, "k", 0, "x")
	for i := range 3 {
		for range 10 {
			last = mustSwap(t, s, "k", last, "x")
		}
		if err := server.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := server.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, _, err := s.Get(t.Context(), "k"); err != session.ErrNotFound {
			t.Fatalf("restart %d lost nothing: %v", i, err)
		}
		if _, err := s.Swap(t.Context(), "k", last, nil, time.Hour); err != session.ErrConflict {
			t.Fatal(err)
		}
		v := mustSwap(t, s, "k", 0, "x")
		if v <= last {
			t.Errorf("version %d after %d", v, last)
		}
		last = v
	}
}

// The URL of a replica is a mistake that the first write tells.
func TestReplica(t *testing.T) {
	t.Parallel()
	master := backing.RedisForTest(t, "repl-diskless-sync-delay 0", "repl-ping-replica-period 1")
	_, port, _ := net.SplitHostPort(master.Addr())
	replica := backing.RedisForTest(t, "replicaof 127.0.0.1 "+port)
	s := open(t, replica.URL())
	// Until the first synchronization the replica says LOADING or MASTERDOWN, or has no record: never ErrConflict.
	version := mustSwap(t, open(t, master.URL()), "k", 0, "value")
	eventually(t, "replication", func() bool { _, _, err := s.Get(t.Context(), "k"); return err == nil })
	for key, old := range map[string]int64{"k": version, "none": 0} {
		_, err := s.Swap(t.Context(), key, old, []byte("x"), time.Hour)
		unavailable(t, "swap", err)
		if err != nil && !strings.Contains(err.Error(), "is a replica") {
			t.Error(err)
		}
	}
	mustGet(t, s, "k", "value", version)
}

func TestClosed(t *testing.T) {
	s := open(t, "redis://127.0.0.1:1")
	_ = s.Close()
	both(s, func(name string, op func(context.Context) error) { unavailable(t, name, op(t.Context())) })
}

type serverError string

func (e serverError) Error() string { return string(e) }
func (serverError) RedisError()     {}

// Whatever the client says, with keys and addresses in it, comes out in our own words, and nothing can be unwrapped.
func TestFailureWords(t *testing.T) {
	dial := &net.OpError{Op: "dial", Net: "tcp", Addr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}, Err: syscall.ECONNREFUSED}
	read := &net.OpError{Op: "read", Net: "tcp", Addr: dial.Addr, Err: syscall.ECONNRESET}
	late := &net.OpError{Op: "read", Net: "tcp", Addr: dial.Addr, Err: os.ErrDeadlineExceeded}
	for _, c := range []struct {
		err   error
		words string
	}{
		{serverError("READONLY You can't write to secret"), "is a replica"},
		{serverError("LOADING secret"), "loading"},
		{serverError("CLUSTERDOWN Hash slot not served secret"), "cluster"},
		{serverError("MASTERDOWN secret"), "master"},
		{serverError("MOVED 3999 127.0.0.1:6381"), "redirecting"},
		{serverError("ASK 3999 127.0.0.1:6381"), "redirecting"},
		{serverError("TRYAGAIN secret"), "moving"},
		{serverError("MISCONF secret"), "disk"},
		{serverError("NOREPLICAS secret"), "replicas"},
		{serverError("BUSY secret"), "busy"},
		{serverError("NOAUTH secret"), "password"},
		{serverError("WRONGPASS secret"), "password"},
		{serverError("NOPERM this user secret"), "command"},
		{serverError("ERR max number of clients reached secret"), "clients"},
		{serverError("WRONGTYPE secret"), "not a record"},
		{serverError("ERR secret"), "refuses"},
		{dial, "reached"},
		{&dialError{dial}, "reached"},
		{fmt.Errorf("%w", &dialError{io.EOF}), "reached"},
		{read, "broke"},
		{late, "in time"},
		{errSlow, "in time"},
		{io.EOF, "broke"},
		{io.ErrUnexpectedEOF, "broke"},
		{redis.ErrClosed, "closed"},
		{redis.ErrPoolTimeout, "busy"},
		{errors.New("redis: can't parse \"secret\""), "failed"},
		{tls.RecordHeaderError{Msg: "secret"}, "failed"},
		{context.DeadlineExceeded, "in time"}, // a deadline of the client's own
	} {
		err := failure(t.Context(), c.err)
		unavailable(t, c.words, err)
		if !strings.Contains(err.Error(), c.words) || strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "6381") {
			t.Errorf("%v: %v", c.err, err)
		}
		if errors.Is(err, context.DeadlineExceeded) || errors.Unwrap(err) != nil {
			t.Errorf("%v wraps %v", err, c.err)
		}
	}
	// The connection's timer may be faster than the context's.
	if err := failure(&bounded{t.Context(), time.Unix(1, 0)}, late); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}
