package main

import "syscall"

// endWithParent ends a replica when this process ends, however it does.
func endWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
