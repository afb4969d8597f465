//go:build unix && !linux

package redistest

import "syscall"

func endWithTest() *syscall.SysProcAttr { return nil }

// stopped returns nil: SIGSTOP is assumed to take effect at once.
func stopped(int) error { return nil }
