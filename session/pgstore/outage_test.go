package pgstore

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/sallyport/sallyport/internal/backing"
	"github.com/sallyport/sallyport/session"
)

// eventually tries until the store answers again, which it does without anybody's help.
func eventually(t *testing.T, what string, call func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		err := call()
		if err == nil {
			return
		}
		if errors.Is(err, session.ErrNotFound) || errors.Is(err, session.ErrConflict) {
			t.Fatalf("%s: %v", what, err)
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s: still %v", what, err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// The record outlives a restart and a power failure, its version is the last one, and no version comes twice.
func TestServerDiesAndComesBack(t *testing.T) {
	server := backing.PostgresForTest(t)
	url := schemaURL(t, server)
	s := openURL(t, url)
	migrate(t, s)
	ctx := t.Context()
	last := swap(t, s, "k", 0, "v", time.Hour)
	for name, down := range map[string]func() error{
		"restart": func() error { return server.Restart(ctx) },
		"kill": func() error {
			if err := server.Kill(); err != nil {
				return err
			}
			// The pool still has connections, none of which is any good.
			for text := ""; text != "sallyport: PostgreSQL store: the database cannot be reached"; {
				_, err := s.Swap(ctx, "k", last, nil, time.Hour)
				text = wantError(t, url, "", err, "the database").Error()
			}
			return server.Restart(ctx)
		},
	} {
		// Many connections, all of which the server forgets.
		var wg sync.WaitGroup
		for range leastConns {
			wg.Go(func() { wantValue(t, s, "k", "v", last) })
		}
		wg.Wait()
		if err := down(); err != nil {
			t.Fatal(err)
		}
		eventually(t, name, func() error {
			_, version, err := s.Get(ctx, "k")
			if err == nil && version != last {
				t.Errorf("%s: version %d, want %d", name, version, last)
			}
			return err
		})
		var next int64
		eventually(t, name, func() error {
			version, err := s.Swap(ctx, "k", last, []byte("v"), time.Hour)
			next = version
			return err
		})
		if next <= last {
			t.Errorf("%s: version %d after %d", name, next, last)
		}
		last = next
	}
}

// A server that hangs costs a few seconds, not the caller's patience, and Close no more.
func TestServerHangs(t *testing.T) {
	server := backing.PostgresForTest(t)
	url := schemaURL(t, server)
	s := openURL(t, url)
	migrate(t, s)
	version := swap(t, s, "k", 0, "v", time.Hour)
	if err := server.Pause(); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	var late atomic.Int64
	var wg sync.WaitGroup
	for i := range 3 * leastConns { // more than there are connections
		wg.Go(func() {
			var err error
			if i%2 == 0 {
				_, _, err = s.Get(t.Context(), "k")
			} else {
				_, err = s.Swap(t.Context(), "k", version, []byte("v"), time.Hour)
			}
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v", err)
			}
			wantError(t, url, "", err, noAnswer)
			if time.Since(began) > 10*time.Second {
				late.Add(1)
			}
		})
	}
	wg.Wait()
	if n := late.Load(); n > 0 {
		t.Errorf("%d calls took more than ten seconds", n)
	}
	if err := server.Resume(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "resume", func() error {
		_, _, err := s.Get(t.Context(), "k")
		return err
	})

	if err := server.Pause(); err != nil {
		t.Fatal(err)
	}
	_, _, err := s.Get(t.Context(), "k")
	wantError(t, url, "", err, noAnswer)
	began = time.Now()
	s.Close()
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("Close took %v", took)
	}
	if err := server.Resume(); err != nil {
		t.Fatal(err)
	}
}

// partition passes connections on to a server, until it holds them all for good: what is sent is taken and goes nowhere,
// as when a machine is lost.
type partition struct {
	listener net.Listener
	server   string
	mu       sync.Mutex
	held     chan struct{} // closed: connections of before are dead
	conns    []net.Conn
}

func newPartition(t *testing.T, server string) *partition {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &partition{listener: l, server: server, held: make(chan struct{})}
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			p.mu.Lock()
			p.conns = append(p.conns, client)
			held := p.held
			p.mu.Unlock()
			go pass(client, server, held)
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		p.hold()
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, c := range p.conns {
			_ = c.Close()
		}
	})
	return p
}

// hold kills what is connected, without a word to either side. Who connects from now on reaches the server.
func (p *partition) hold() {
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.held)
	p.held = make(chan struct{})
}

func pass(client net.Conn, server string, held chan struct{}) {
	upstream, err := net.Dial("tcp", server)
	if err != nil {
		_ = client.Close()
		return
	}
	done := make(chan struct{}, 2)
	for _, pair := range [][2]net.Conn{{client, upstream}, {upstream, client}} {
		go func() {
			defer func() { done <- struct{}{} }()
			buffer := make([]byte, 1<<16)
			for {
				n, err := pair[0].Read(buffer)
				select {
				case <-held:
					return
				default:
				}
				if err != nil {
					return
				}
				if _, err := pair[1].Write(buffer[:n]); err != nil {
					return
				}
			}
		}()
	}
	<-done
	select {
	case <-held: // the client hears nothing
	default:
		_ = client.Close()
	}
	_ = upstream.Close()
}

// When a machine is lost and another takes over, the connections to the lost one do not stand in the way of new ones.
func TestTakeover(t *testing.T) {
	_, url := fresh(t)
	config, err := pgx.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	p := newPartition(t, net.JoinHostPort(config.Host, strconv.Itoa(int(config.Port))))
	_, port, err := net.SplitHostPort(p.listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	s := onPool(t, strings.Replace(url, fmt.Sprintf(":%d/", config.Port), ":"+port+"/", 1), Options{Timeout: 5 * time.Second}, func(c *pgxpool.Config) {
		c.MaxConns = 1
	})
	version := swap(t, s, "k", 0, "v", time.Hour)
	p.hold()
	brief, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, _, err = s.Get(brief, "k")
	wantError(t, url, "", err, noAnswer)
	wantValue(t, s, "k", "v", version)
}
