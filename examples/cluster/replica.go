package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// replica is one process of the application.
type replica struct {
	number int
	addr   string
	binary string
	env    map[string]string

	mu     sync.Mutex
	cmd    *exec.Cmd
	exited chan struct{}
	kills  int

	events sync.Map // kind of an event to *counter
}

// startReplica returns when the replica listens.
func startReplica(ctx context.Context, number int, binary string, env map[string]string) (*replica, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0") // a free port, and the same after a restart
	if err != nil {
		return nil, err
	}
	defer l.Close()
	r := &replica{number: number, addr: l.Addr().String(), binary: binary, env: map[string]string{}}
	maps.Copy(r.env, env)
	r.env["LISTEN"] = r.addr
	l.Close()
	return r, r.restart(ctx)
}

// restart starts the process, which must not run.
func (r *replica) restart(ctx context.Context) error {
	cmd := exec.Command(r.binary)
	for name, value := range r.env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	slices.Sort(cmd.Env)
	cmd.SysProcAttr = endWithParent()
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	ready, exited, last := make(chan struct{}), make(chan struct{}), make(chan string, 1)
	var read sync.WaitGroup
	read.Go(func() {
		s := bufio.NewScanner(stdout)
		for once := true; s.Scan(); {
			if once && strings.HasPrefix(s.Text(), "listening on ") {
				once = false
				close(ready)
			}
		}
	})
	read.Go(func() { last <- r.follow(stderr) })
	go func() {
		read.Wait()
		_ = cmd.Wait()
		close(exited)
	}()
	r.mu.Lock()
	r.cmd, r.exited = cmd, exited
	r.mu.Unlock()
	select {
	case <-ready:
		return nil
	case <-exited:
		return fmt.Errorf("replica %d ended at once: %s", r.number, <-last)
	case <-time.After(20 * time.Second):
		r.kill()
		return errors.New("it does not listen")
	case <-ctx.Done():
		return ctx.Err()
	}
}

// follow counts the events in the log and returns its last line.
func (r *replica) follow(log io.Reader) (last string) {
	s := bufio.NewScanner(log)
	for s.Scan() {
		last = s.Text()
		_, kind, ok := strings.Cut(last, " msg=")
		if !ok {
			continue
		}
		kind, _, _ = strings.Cut(kind, " ")
		n, _ := r.events.LoadOrStore(kind, new(counter))
		n.(*counter).add()
	}
	return last
}

// count is how many events of a kind the replica has logged.
func (r *replica) count(kind string) int {
	if n, ok := r.events.Load(kind); ok {
		return n.(*counter).get()
	}
	return 0
}

// kill ends the process in the middle of whatever it does.
func (r *replica) kill() {
	r.mu.Lock()
	cmd, exited := r.cmd, r.exited
	r.kills++
	r.mu.Unlock()
	_ = cmd.Process.Kill()
	<-exited
}

// stop asks the process to end, and waits for it.
func (r *replica) stop() {
	r.mu.Lock()
	cmd, exited := r.cmd, r.exited
	r.mu.Unlock()
	if cmd == nil {
		return
	}
	_ = cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-exited:
	case <-time.After(10 * time.Second):
		_ = cmd.Process.Signal(os.Kill)
		<-exited
	}
}
