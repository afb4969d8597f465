//go:build unix

// Package gatetest starts gates for tests: the real binary with a Caddyfile, on real
// sockets. It imports nothing but the standard library, since modules of tests that
// have dependencies of their own import it.
package gatetest

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Patience bounds waits for what another process brings about. It is far more than
// that takes anywhere: CI's machine may stall.
const Patience = 90 * time.Second

// Config is what a gate is started with.
type Config struct {
	// Binary is the path of the binary. Default: the one of the function Binary.
	Binary string

	// Dir is where the Caddyfile, the data and the configuration directory of the gate
	// are. Start makes a temporary one by default, Launch needs it.
	Dir string

	// Caddyfile is the text of the Caddyfile.
	Caddyfile string

	// Env has further environment variables, as NAME=value.
	Env []string

	// Ready is the URL that answers 200 as soon as the gate is ready.
	Ready string
}

// Gate is a gate that was started.
type Gate struct {
	Cmd  *exec.Cmd
	Logs Log // what it has written

	ready   string
	stop    sync.Once
	ended   chan struct{}
	waitErr error // of Cmd.Wait; set before ended is closed
}

// Start starts a gate and waits until it is ready. It kills it at the end of the test,
// where it still runs, and reports the data races that it has found in its own code.
func Start(t testing.TB, c Config) *Gate {
	t.Helper()
	if c.Dir == "" {
		c.Dir = t.TempDir()
	}
	g, err := Launch(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = g.Stop(syscall.SIGKILL)
		if race := ownRace(g.Logs.String()); race != "" {
			t.Errorf("the gate has a data race\n%s", race)
		}
	})
	return g
}

// Launch starts a gate and waits until it is ready. The caller stops it.
func Launch(c Config) (*Gate, error) {
	if c.Binary == "" {
		var err error
		if c.Binary, err = Binary(); err != nil {
			return nil, err
		}
	}
	file := filepath.Join(c.Dir, "Caddyfile")
	if err := os.WriteFile(file, []byte(c.Caddyfile), 0o600); err != nil {
		return nil, err
	}
	g := &Gate{Cmd: exec.Command(c.Binary, "run", "--config", file), ready: c.Ready, ended: make(chan struct{})}
	g.Cmd.Env = append(os.Environ(), quickExit, "XDG_DATA_HOME="+c.Dir, "XDG_CONFIG_HOME="+c.Dir, "HOME="+c.Dir)
	g.Cmd.Env = append(g.Cmd.Env, c.Env...)
	g.Cmd.Stdout, g.Cmd.Stderr, g.Cmd.SysProcAttr = &g.Logs, &g.Logs, endWithTest()
	if err := g.Cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting the gate: %w", err)
	}
	go func() {
		defer close(g.ended)
		g.waitErr = g.Cmd.Wait()
	}()
	if err := g.waitReady(); err != nil {
		_ = g.Stop(syscall.SIGKILL)
		return nil, fmt.Errorf("%w\n%s", err, g.Logs.String())
	}
	return g, nil
}

// waitReady waits until the gate answers that it is ready. It returns an error if the
// gate ends before, or takes longer than Patience.
func (g *Gate) waitReady() error {
	client := &http.Client{Timeout: Patience, Transport: new(http.Transport)}
	defer client.CloseIdleConnections()
	deadline := time.After(Patience)
	for {
		if res, err := client.Get(g.ready); err == nil {
			_ = res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-g.ended:
			return fmt.Errorf("the gate ended before it was ready: %w", g.waitErr)
		case <-deadline:
			return fmt.Errorf("the gate was not ready within %v", Patience)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// Stop sends a signal to the gate and waits until it has ended, which it returns the
// error of: nil if it ended with status 0. It kills a gate that does not end within
// Patience. Only the first call sends a signal.
func (g *Gate) Stop(signal syscall.Signal) error {
	g.stop.Do(func() { _ = g.Cmd.Process.Signal(signal) }) // it may have ended by itself
	select {
	case <-g.ended:
		return g.waitErr
	case <-time.After(Patience):
		_ = g.Cmd.Process.Kill()
		<-g.ended
		return errors.New("the gate did not end and was killed")
	}
}

// ownRace returns the first report of a data race in which the gate's own code takes
// part. Caddy has some of its own: its certificates' events read an app while it starts.
func ownRace(logs string) string {
	for _, report := range strings.Split(logs, "==================\n") {
		if strings.HasPrefix(report, "WARNING: DATA RACE") && strings.Contains(report, "github.com/amanycodes/pine-gate") {
			return report
		}
	}
	return ""
}

// Log collects what a process writes. It may be read meanwhile.
type Log struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Write adds p to the log.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

// String returns all that was written so far.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// Eventually waits until a condition holds that another process brings about. It fails
// the test if it does not within Patience, with what each of more returns.
func Eventually(t testing.TB, what string, holds func() bool, more ...func() string) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(Patience)
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline:
			var text strings.Builder
			for _, m := range more {
				text.WriteString("\n" + m())
			}
			t.Fatalf("not within %v: %s%s", Patience, what, text.String())
		}
	}
}
