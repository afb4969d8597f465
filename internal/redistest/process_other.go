//go:build unix && !linux

package redistest

import "syscall"

func endWithTest() *syscall.SysProcAttr { return nil }

// stopped always returns nil here: SIGSTOP is taken to be immediate.
func stopped(int) error { return nil }
