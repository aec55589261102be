//go:build !linux

package main

import "syscall"

// endWithParent does nothing here.
func endWithParent() *syscall.SysProcAttr { return nil }
