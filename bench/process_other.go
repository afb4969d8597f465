//go:build !linux

package main

import (
	"errors"
	"syscall"
	"time"
)

func cpuTime(int) (time.Duration, error) {
	return 0, errors.New("only Linux has the CPU time of another process")
}

func endWithBench() *syscall.SysProcAttr { return nil }

func checkFileLimit(int) error { return nil }
