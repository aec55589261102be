package redisstore

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
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
	if err := server.Resume(); err != nil {
		t.Fatal(err)
	}
	mustGet(t, s, "k", "value", version)
}

// A client may wait for minutes by its own settings, and look at no context: an operation does not.
func TestPatientClient(t *testing.T) {
	server := backing.RedisForTest(t)
	client := redis.NewClient(&redis.Options{Addr: server.Addr(), ReadTimeout: time.Minute})
	defer client.Close()
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
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(20*time.Millisecond, cancel)
		start = time.Now()
		err := op(ctx)
		unavailable(t, name, err)
		if took := time.Since(start); !errors.Is(err, context.Canceled) || took >= limit {
			t.Errorf("%s, cancelled: %v after %v", name, err, took)
		}
		cancel()
		if err := op(ctx); err != context.Canceled && !errors.Is(err, context.Canceled) {
			t.Errorf("%s, cancelled before: %v", name, err)
		}
	})

	// A swap that was given up may take effect later, and then with the bytes that it was called with.
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, cancel)
	value := []byte("as it was")
	if _, err := s.Swap(ctx, "late", 0, value, time.Hour); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	copy(value, "changed!!")
	for i := range 20 { // calls that might take over what the first one still needs
		go func() { _, _ = s.Swap(t.Context(), fmt.Sprint("k", i), 0, []byte("another one"), time.Hour) }()
	}
	if err := server.Resume(); err != nil {
		t.Fatal(err)
	}
	var got []byte
	eventually(t, "the late swap", func() bool {
		got, _, err = s.Get(t.Context(), "late")
		return err == nil
	})
	if string(got) != "as it was" {
		t.Errorf("%q", got)
	}
}

// A swap without an answer may have taken effect. Sent again it would say ErrConflict, that is, that nothing has changed.
func TestSwapIsSentOnce(t *testing.T) {
	server := backing.RedisForTest(t)
	client := redis.NewClient(&redis.Options{Addr: server.Addr(), ReadTimeout: 100 * time.Millisecond, MaxRetries: 5})
	defer client.Close()
	s, err := New(client, Options{})
	if err != nil {
		t.Fatal(err)
	}
	version := mustSwap(t, s, "k", 0, "one")
	raw := plain(t, server.Addr())
	raw.ConfigResetStat(t.Context())
	if err := server.Pause(); err != nil {
		t.Fatal(err)
	}
	_, err = s.Swap(t.Context(), "k", version, []byte("two"), time.Hour)
	unavailable(t, "swap", err)
	if err := server.Resume(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the swap", func() bool {
		b, _, err := s.Get(t.Context(), "k")
		return err == nil && string(b) == "two"
	})
	if n := executed(t, raw, "evalsha") + executed(t, raw, "eval"); n != 1 {
		t.Errorf("sent %d times", n)
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
	master := backing.RedisForTest(t, "repl-diskless-sync-delay 0")
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
		err := (&Store{}).failure(t.Context(), c.err)
		unavailable(t, c.words, err)
		if !strings.Contains(err.Error(), c.words) || strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "6381") {
			t.Errorf("%v: %v", c.err, err)
		}
		if errors.Is(err, context.DeadlineExceeded) || errors.Unwrap(err) != nil {
			t.Errorf("%v wraps %v", err, c.err)
		}
	}
	ctx, cancel := context.WithDeadline(t.Context(), time.Unix(1, 0))
	defer cancel()
	if err := (&Store{}).failure(ctx, late); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}
