package main

import (
	"fmt"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// cpuTime is the CPU time that a process has used, to the nanosecond, those of its
// threads that have ended included: /proc/<pid>/stat has it in ticks of 10 ms, and
// schedstat for each thread that still is.
func cpuTime(pid int) (time.Duration, error) {
	// clock_getcpuclockid(3): CPUCLOCK_SCHED of a process.
	clock := int32(^pid<<3 | 2)
	var used unix.Timespec
	if err := unix.ClockGettime(clock, &used); err != nil {
		return 0, err
	}
	return time.Duration(used.Nano()), nil
}

// endWithBench makes a process end when this one does, however it ends.
func endWithBench() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }

// checkFileLimit returns an error if so many connections may not be open. Go has raised the
// limit of this process to the most that it may be; what it starts begins likewise.
func checkFileLimit(connections int) error {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("reading the limit of open files: %w", err)
	}
	// This process has both the callers and the model server, and so has a gateway.
	if needed := uint64(2*connections + 200); limit.Max < needed {
		return fmt.Errorf("%d connections take %d open files, and %d are allowed: raise the limit (ulimit -Hn) or ask for less (-streams, -callers)", connections, needed, limit.Max)
	}
	return nil
}
