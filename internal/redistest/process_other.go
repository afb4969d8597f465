//go:build unix && !linux

package redistest

import "syscall"

func endWithTest() *syscall.SysProcAttr { return nil }

// stopped can't tell here: SIGSTOP is taken to be at once.
func stopped(int) error { return nil }
