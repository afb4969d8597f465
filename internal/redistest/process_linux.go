package redistest

import (
	"bytes"
	"errors"
	"os"
	"strconv"
	"syscall"
)

// endWithTest returns attributes that end a process with the test's process, even if that is killed or
// times out.
func endWithTest() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }

// stopped reports an error until a process is stopped: a signal takes effect later.
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
