package redistest

import (
	"bytes"
	"errors"
	"os"
	"strconv"
	"syscall"
)

// endWithTest makes a process end when the test's does, also where that is killed or times out.
func endWithTest() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }

// stopped reports an error until a process stands still; a signal takes its time.
func stopped(pid int) error {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return err
	}
	// The state follows the name, which is in parentheses and may have any characters.
	if i := bytes.LastIndexByte(stat, ')'); i < 0 || i+2 >= len(stat) || stat[i+2] != 'T' {
		return errors.New("it still runs")
	}
	return nil
}
