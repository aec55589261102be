package backing

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"
)

// ErrMissing is what the Start functions return if a server is not installed.
var ErrMissing = errors.New("backing: not installed")

// redisProcess is one run after the other of the same program in the same folder on the same port.
type redisProcess struct {
	program, dir string
	args         []string
	port         int

	mu      sync.Mutex
	process *os.Process
	exited  chan struct{} // closed when the present run is over
}

func (p *redisProcess) addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(p.port)) }

// start runs the program and returns when it answers a PING. After an error nothing of it is left.
func (p *redisProcess) start(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running() {
		return errors.New("backing: the server is running already")
	}
	log, err := os.OpenFile(filepath.Join(p.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(p.program, p.args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = p.dir, log, log
	cmd.SysProcAttr = redisAttributes()

	started, exited := make(chan error), make(chan struct{})
	go func() {
		// The kernel ends the child when the thread that made it ends, so this goroutine keeps its thread for as long as
		// the child runs.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait()
			close(exited)
		}
	}()
	if err := <-started; err != nil {
		return err
	}
	p.process, p.exited = cmd.Process, exited
	if err := p.answers(ctx); err != nil {
		redisKill(p.process)
		<-exited
		return err
	}
	return nil
}

// answers waits for the server's PONG.
func (p *redisProcess) answers(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	for !ping(ctx, p.addr()) {
		select {
		case <-p.exited:
			return fmt.Errorf("backing: %s stopped at once: %s", filepath.Base(p.program), p.lastWords())
		case <-ctx.Done():
			return fmt.Errorf("backing: %s does not answer: %w", filepath.Base(p.program), ctx.Err())
		case <-time.After(5 * time.Millisecond):
		}
	}
	return nil
}

// ping reports whether a server answers there, and not only that it is loading its data.
func ping(ctx context.Context, addr string) bool {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return false
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(time.Second))
	if _, err := conn.Write([]byte("PING\r\n")); err != nil {
		return false
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	return err == nil && (strings.HasPrefix(line, "+PONG") || strings.HasPrefix(line, "-NOAUTH"))
}

func (p *redisProcess) lastWords() string {
	b, _ := os.ReadFile(filepath.Join(p.dir, "log"))
	return strings.TrimSpace(string(b[max(0, len(b)-500):]))
}

func (p *redisProcess) running() bool {
	if p.exited == nil {
		return false
	}
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

// with calls f with the process if there is one.
func (p *redisProcess) with(f func(*os.Process) error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.running() {
		return errors.New("backing: the server is not running")
	}
	return f(p.process)
}

// kill ends the process and all that it started, and waits for its end.
func (p *redisProcess) kill() error {
	return p.with(func(process *os.Process) error {
		redisKill(process)
		<-p.exited
		return nil
	})
}

// stop asks the process to end, which lets it write what it still holds, and kills it if it does not. It asks more than
// once, because a replica refuses while it writes its first append-only file.
func (p *redisProcess) stop() {
	_ = p.with(func(process *os.Process) error {
		_ = redisResume(process)
		for range 5 {
			_ = process.Signal(os.Interrupt)
			select {
			case <-p.exited:
				return nil
			case <-time.After(time.Second):
			}
		}
		redisKill(process)
		<-p.exited
		return nil
	})
}

// freeRedisPort returns a port on which nothing listens, nor on the one 10,000 above, which a cluster's nodes use among
// themselves. Both are below the range from which systems take the ports of outgoing connections: there, a client that
// dials a dead server could be given the server's own port and talk to itself.
func freeRedisPort() (int, error) {
	for range 100 {
		port := 12000 + rand.IntN(10000)
		if free(port) && free(port+10000) {
			return port, nil
		}
	}
	return 0, errors.New("backing: no free port")
}

func free(port int) bool {
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return false
	}
	return l.Close() == nil
}
