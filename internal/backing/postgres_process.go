//go:build unix

package backing

import (
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"syscall"
)

type postgresProcess struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
}

// freeze stops the server and then its children, so that it makes no more of them, and returns their process ids.
func (p *postgresProcess) freeze() (children []int, err error) {
	_ = p.cmd.Process.Signal(syscall.SIGSTOP)
	children, err = postgresChildren(p.cmd.Process.Pid)
	for _, pid := range children {
		_ = syscall.Kill(pid, syscall.SIGSTOP)
	}
	return children, err
}

// signal sends it to the children and then to the server.
func (p *postgresProcess) signal(s syscall.Signal, children []int) {
	for _, pid := range children {
		_ = syscall.Kill(pid, s)
	}
	_ = p.cmd.Process.Signal(s)
}

// postgresAlive reports whether one of the processes still runs.
func postgresAlive(pids []int) bool {
	for _, pid := range pids {
		if syscall.Kill(pid, 0) == nil && !postgresZombie(pid) {
			return true
		}
	}
	return false
}

// postgresGuard kills stopped processes when this one dies: it reads a pipe that ends with us.
type postgresGuard struct {
	pids []int
	cmd  *exec.Cmd
	pipe io.WriteCloser
}

func guardPostgres(pids []int) (*postgresGuard, error) {
	cmd := exec.Command("sh", "-c", `read -r word || kill -KILL "$@"`, "sh")
	for _, pid := range pids {
		cmd.Args = append(cmd.Args, strconv.Itoa(pid))
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // an interrupt at the terminal is not for it
	pipe, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return nil, fmt.Errorf("backing: %w", err)
	}
	return &postgresGuard{pids: pids, cmd: cmd, pipe: pipe}, nil
}

// release ends the guard without a kill.
func (g *postgresGuard) release() error {
	_, err := g.pipe.Write([]byte("over\n"))
	return errors.Join(err, g.pipe.Close(), g.cmd.Wait())
}
