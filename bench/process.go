package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// process is a gateway's process, with those that it has started: of nginx, say, the
// first one does nothing.
type process struct{ pids []int }

// processOf finds the process and its descendants.
func processOf(pid int) (process, error) {
	parents := make(map[int][]int)
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return process{}, err
	}
	for _, path := range stats {
		stat, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		// The name, in parentheses, may hold anything. Behind it are state and parent.
		fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
		if len(fields) < 2 {
			continue
		}
		id, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		parent, _ := strconv.Atoi(string(fields[1]))
		parents[parent] = append(parents[parent], id)
	}
	p := process{[]int{pid}}
	for i := 0; i < len(p.pids); i++ {
		p.pids = append(p.pids, parents[p.pids[i]]...)
	}
	_, err = p.cpu()
	return p, err
}

// cpu is the CPU time that the process has used so far, in user and kernel mode.
func (p process) cpu() (time.Duration, error) {
	var sum time.Duration
	for _, pid := range p.pids {
		used, err := cpuTime(pid)
		if err != nil {
			return 0, fmt.Errorf("reading the CPU time of process %d: %w", pid, err)
		}
		sum += used
	}
	return sum, nil
}

// peak is the most memory that the process had in RAM since forgetPeak.
func (p process) peak() (int64, error) { return p.status("VmHWM") }

// resident is the memory that the process has in RAM.
func (p process) resident() (int64, error) { return p.status("VmRSS") }

// forgetPeak lets peak begin anew; where that is not allowed it is that since the
// process started.
func (p process) forgetPeak() {
	for _, pid := range p.pids {
		_ = os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0)
	}
}

// status sums up a size of /proc/<pid>/status, in bytes.
func (p process) status(name string) (int64, error) {
	var sum int64
	for _, pid := range p.pids {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			return 0, err
		}
		size, err := statusSize(string(text), name)
		if err != nil {
			return 0, err
		}
		sum += size
	}
	return sum, nil
}

func statusSize(status, name string) (int64, error) {
	for line := range strings.Lines(status) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			kilobytes, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "kB")), 10, 64)
			return kilobytes << 10, err
		}
	}
	return 0, fmt.Errorf("no %s in /proc/<pid>/status", name)
}

// held is the memory that a Go process needs, by its own account: what lives on
// the heap after a collection, and the stacks of its goroutines. Unlike what the
// system gave the process, it does not depend on what happened before.
type held struct{ heap, stacks int64 }

// readHeld asks a Caddy's admin endpoint. Pools give their memory up in the second
// of two collections.
func readHeld(admin string) (h held, err error) {
	for range 2 {
		if h, err = readHeap("http://" + admin + "/debug/pprof/heap?gc=1&debug=1"); err != nil {
			return h, fmt.Errorf("reading the heap of a gateway: %w", err)
		}
	}
	return h, nil
}

func readHeap(url string) (h held, err error) {
	res, err := http.Get(url)
	if err != nil {
		return h, err
	}
	defer res.Body.Close()
	return parseHeap(res.Body)
}

// parseHeap reads the lines of runtime.MemStats at the end of a heap profile.
func parseHeap(from io.Reader) (h held, err error) {
	found := 0
	lines := bufio.NewScanner(from)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		for name, into := range map[string]*int64{"# HeapAlloc = ": &h.heap, "# Stack = ": &h.stacks} {
			value, ok := strings.CutPrefix(lines.Text(), name)
			if !ok {
				continue
			}
			value, _, _ = strings.Cut(value, " ") // of stacks: "<in use> / <taken from the system>"
			if *into, err = strconv.ParseInt(value, 10, 64); err != nil {
				return h, err
			}
			found++
		}
	}
	if err := lines.Err(); err != nil {
		return h, err
	}
	if found != 2 {
		return h, fmt.Errorf("no sizes in a heap profile")
	}
	return h, nil
}

// machineInfo says in a line on what was measured.
func machineInfo() string {
	model := runtime.GOARCH
	if info, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(info)) {
			if name, value, _ := strings.Cut(line, ":"); strings.TrimSpace(name) == "model name" {
				model = strings.TrimSpace(value)
				break
			}
		}
	}
	return fmt.Sprintf("%d × %s, %s %s", runtime.NumCPU(), model, runtime.GOOS, runtime.GOARCH)
}

func goVersion() string { return runtime.Version() }
