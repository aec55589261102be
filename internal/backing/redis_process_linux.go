package backing

import (
	"os"
	"syscall"
)

// redisAttributes gives the server a process group of its own, and lets the kernel end it when we end, however that
// happens.
func redisAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

func redisKill(p *os.Process) { _ = syscall.Kill(-p.Pid, syscall.SIGKILL) }

func redisPause(p *os.Process) error { return syscall.Kill(p.Pid, syscall.SIGSTOP) }

func redisResume(p *os.Process) error { return syscall.Kill(p.Pid, syscall.SIGCONT) }
