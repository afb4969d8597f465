//go:build unix && !linux

package gatetest

import "syscall"

func endWithTest() *syscall.SysProcAttr { return nil }
