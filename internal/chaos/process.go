//go:build unix

package chaos

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// assignmentVariable tells a child of this program what it is.
const assignmentVariable = "SALLYPORT_CHAOS_ASSIGNMENT"

// patience bounds what a child is asked.
const patience = time.Minute

// assignment is what a child does.
type assignment struct {
	Role     string // serve, or one of the ways of a storm
	Process  int    // number of the process among its like
	Listen   string // where it serves
	Issuer   string
	Keys     [][]byte
	Cookie   bool          // sessions live in cookies, and Store only coordinates
	Store    string        // URL; empty: this process's memory
	Grace    time.Duration // of the server, as the client is told
	EventLog string
}

// Main is the first call in main, or in TestMain, of a program that uses this package. In a child it does what the child is for and
// returns true: return at once then.
func Main() bool {
	text := os.Getenv(assignmentVariable)
	if text == "" {
		return false
	}
	var a assignment
	err := json.Unmarshal([]byte(text), &a)
	if err == nil {
		if a.Role == roleServe {
			a.serve(os.Stdin, os.Stdout)
		} else {
			err = a.storm(os.Stdin, os.Stdout)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
		os.Exit(1)
	}
	return true
}

// process is a running child.
type process struct {
	pid    int
	in     io.WriteCloser
	lines  chan string   // what it says, line by line
	exited chan struct{} // closed when it is over
}

// start starts a child and waits until it says that it is ready. On a busy machine that may take more than one try.
func start(a assignment) (p *process, err error) {
	for range 3 {
		if p, err = startOnce(a); err == nil {
			return p, nil
		}
		time.Sleep(200 * time.Millisecond)
	}
	return nil, err
}

func startOnce(a assignment) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(a)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self)
	// What this program was told is not for the child, such as where a test's coverage goes.
	cmd.Env = append(slices.DeleteFunc(os.Environ(), func(s string) bool { return strings.HasPrefix(s, "GOCOVERDIR=") }), assignmentVariable+"="+string(text))
	cmd.Stderr, cmd.SysProcAttr = os.Stderr, attributes()
	p := &process{lines: make(chan string, 16), exited: make(chan struct{})}
	if p.in, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	started := make(chan error)
	go func() {
		// The kernel ends the child when the thread that made it ends, so this goroutine keeps its thread.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		r := bufio.NewReader(out)
		for {
			line, err := r.ReadString('\n')
			if err != nil {
				break
			}
			p.lines <- strings.TrimSuffix(line, "\n")
		}
		_ = cmd.Wait()
		close(p.exited)
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	p.pid = cmd.Process.Pid
	if line, err := p.hear(); err != nil || line != "ready" {
		p.kill()
		return nil, errors.Join(errors.New("chaos: a process does not start"), err)
	}
	return p, nil
}

// hear returns the next line that the child says.
func (p *process) hear() (string, error) {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case line := <-p.lines:
		return line, nil
	case <-p.exited:
		select {
		case line := <-p.lines:
			return line, nil
		default:
			return "", errors.New("chaos: a process has ended")
		}
	case <-timer.C:
		return "", errors.New("chaos: a process says nothing")
	}
}

// ask says something to the child and decodes what it answers.
func (p *process) ask(question, answer any) error {
	if err := p.tell(question); err != nil {
		return err
	}
	return p.told(answer)
}

func (p *process) tell(v any) error {
	line, err := json.Marshal(v)
	if err == nil {
		_, err = p.in.Write(append(line, '\n'))
	}
	return err
}

func (p *process) told(answer any) error {
	line, err := p.hear()
	if err != nil {
		return err
	}
	return json.Unmarshal([]byte(line), answer)
}

// kill is kill -9, of the child and what it has started.
func (p *process) kill() {
	_ = syscall.Kill(-p.pid, syscall.SIGKILL)
	p.await()
}

// stop lets the child end by itself, and kills it if it does not.
func (p *process) stop() {
	_ = p.in.Close()
	select {
	case <-p.exited:
	case <-time.After(10 * time.Second):
		p.kill()
	}
}

func (p *process) await() {
	for {
		select {
		case <-p.lines: // nobody listens any more, and it must not wait for that
		case <-p.exited:
			return
		}
	}
}
