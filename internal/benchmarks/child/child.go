// Package child runs parts of a benchmark in processes of their own, so that their work is not counted
// as that of what is measured. A child is the same program, started again.
package child

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
)

const (
	roleVariable     = "SALLYPORT_BENCHMARK_ROLE"
	argumentVariable = "SALLYPORT_BENCHMARK_ARGUMENT"
)

// Role is what a child does with its argument: it starts and returns the lines to report, and what ends it.
type Role func(argument string) (report []string, stop func(), err error)

// Main is the first call in main, or in TestMain, of a program that starts children. In a child it
// plays the role until standard input ends and returns true: return at once then.
func Main(roles map[string]Role) bool {
	name := os.Getenv(roleVariable)
	if name == "" {
		return false
	}
	role, ok := roles[name]
	if !ok {
		fmt.Fprintln(os.Stderr, "no such role:", name)
		os.Exit(2)
	}
	report, stop, err := role(os.Getenv(argumentVariable))
	if err != nil {
		fmt.Fprintln(os.Stderr, name+":", err)
		os.Exit(1)
	}
	fmt.Println(len(report))
	for _, line := range report {
		fmt.Println(line)
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
	stop()
	return true
}

// Process is a running child.
type Process struct {
	PID    int
	Report []string

	cmd *exec.Cmd
	in  io.Closer
}

// Start starts a child and waits for its report. With core ≥ 0 the child has one thread of Go code,
// and that core if taskset is there to say so.
func Start(role, argument string, core int) (*Process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := Pinned(core, self)
	cmd.Env = append(os.Environ(), roleVariable+"="+role, argumentVariable+"="+argument)
	if core >= 0 {
		cmd.Env = append(cmd.Env, "GOMAXPROCS=1")
	}
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &Process{PID: cmd.Process.Pid, cmd: cmd, in: in}
	if p.Report, err = readReport(bufio.NewReader(out)); err != nil {
		p.Stop()
		return nil, fmt.Errorf("the %s process said nothing: %w", role, err)
	}
	return p, nil
}

func readReport(r *bufio.Reader) ([]string, error) {
	line, err := r.ReadString('\n')
	if err != nil {
		return nil, err
	}
	n, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		return nil, err
	}
	lines := make([]string, n)
	for i := range lines {
		if line, err = r.ReadString('\n'); err != nil {
			return nil, err
		}
		lines[i] = strings.TrimSuffix(line, "\n")
	}
	return lines, nil
}

// Stop ends the child and waits for it.
func (p *Process) Stop() {
	_ = p.in.Close()
	_ = p.cmd.Wait()
}

// Pinned is exec.Command on one core, where there are two and taskset to choose one.
func Pinned(core int, args ...string) *exec.Cmd {
	if core >= 0 && core < runtime.NumCPU() && runtime.NumCPU() > 1 {
		if path, err := exec.LookPath("taskset"); err == nil {
			args = append([]string{path, "-c", strconv.Itoa(core)}, args...)
		}
	}
	return exec.Command(args[0], args[1:]...)
}
