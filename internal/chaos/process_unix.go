//go:build unix && !linux

package chaos

import "syscall"

// attributes gives a child a process group of its own. It ends with its standard input.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
