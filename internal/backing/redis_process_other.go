//go:build !linux

package backing

import (
	"os"
	"os/exec"
	"strconv"
	"syscall"
)

// redisAttributes can only on Linux see to it that the server ends with us.
func redisAttributes() *syscall.SysProcAttr { return nil }

func redisKill(p *os.Process) { _ = p.Kill() }

// The signals' names are in package syscall only where they exist; the command kill says so otherwise.

func redisPause(p *os.Process) error {
	return exec.Command("kill", "-STOP", strconv.Itoa(p.Pid)).Run()
}

func redisResume(p *os.Process) error {
	return exec.Command("kill", "-CONT", strconv.Itoa(p.Pid)).Run()
}
