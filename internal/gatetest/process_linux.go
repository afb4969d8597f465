package gatetest

import "syscall"

// endWithTest makes a process end when the test's does, also where that is killed or times out.
func endWithTest() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
