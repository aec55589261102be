package chaos

import "syscall"

// attributes gives a child a process group of its own, and lets the kernel end it when we end, however that happens.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
