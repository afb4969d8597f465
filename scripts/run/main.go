// Command run is what `make run` starts once bin/caddy is built: the gate in the
// foreground, with keys made on the first start, and a word on how to ask it.
//
// It is Go and not a shell script because Go is all that is sure to be there.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// readyWait bounds how long the gate may take to say that it is ready.
const readyWait = 30 * time.Second

func main() {
	if err := run(os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "make run:", err)
		os.Exit(1)
	}
}

// run starts the gate in the working directory, says how to use it once it is
// ready, and returns when it has ended.
func run(out io.Writer) error {
	dir, err := os.Getwd()
	if err != nil {
		return fmt.Errorf("finding the working directory: %w", err)
	}
	envFile := filepath.Join(dir, ".env")
	env, made, err := loadEnv(envFile)
	if err != nil {
		return err
	}
	if made {
		fmt.Fprintf(out, "Made keys for the gate; they are in %s.\n", envFile)
	}
	if err := fillIn(env, filepath.Join(dir, ".run")); err != nil {
		return err
	}

	gate := exec.Command(filepath.Join(dir, "bin", "caddy"), "run", "--config", filepath.Join(dir, "Caddyfile"))
	gate.Env = env.list()
	gate.Stdout, gate.Stderr = os.Stdout, os.Stderr

	// The gate is kept out of the terminal's foreground group, so that it hears of
	// Ctrl-C once and from here, like of every other way to end this process.
	gate.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	if err := gate.Start(); err != nil {
		return fmt.Errorf("starting bin/caddy: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- gate.Wait() }()

	ctx, cancel := context.WithTimeout(context.Background(), readyWait)
	defer cancel()
	ready := make(chan error, 1)
	go func() { ready <- waitReady(ctx, env.url("PINEGATE_PORT")+"/readyz") }()

	stopping := false
	for {
		select {
		case err := <-ready:
			if err != nil && !stopping {
				fmt.Fprintln(os.Stderr, "make run:", err)
				_ = gate.Process.Signal(syscall.SIGTERM)
			}
			if err == nil {
				warn(ctx, out, gate.Path, env)
				tell(out, env, envFile)
			}
			ready = nil
		case s := <-signals:
			stopping = true
			cancel()
			if s == syscall.SIGHUP {
				s = syscall.SIGTERM // the terminal was closed; Caddy ignores SIGHUP
			}
			_ = gate.Process.Signal(s)
		case err := <-ended:
			if err != nil && !stopping {
				return fmt.Errorf("the gate ended: %w", err)
			}
			return nil
		}
	}
}

// fillIn sets what the shipped Caddyfile asks of its environment and nobody has
// set: ports that are free, and a place for the gate's data.
func fillIn(env environment, data string) error {
	for _, p := range []struct {
		name string
		port int
	}{{"PINEGATE_PORT", 8080}, {"PINEGATE_ADMIN_PORT", 9180}} {
		if env[p.name] != "" {
			continue
		}
		port, err := freePort(p.port)
		if err != nil {
			return err
		}
		env[p.name] = strconv.Itoa(port)
	}
	if env["CADDY_ADMIN"] == "" {
		port, err := freePort(2019)
		if err != nil {
			return err
		}
		env["CADDY_ADMIN"] = "localhost:" + strconv.Itoa(port)
	}
	if env["PINEGATE_SHUTDOWN_DELAY"] == "" {
		env["PINEGATE_SHUTDOWN_DELAY"] = "0s" // no balancer to wait for
	}
	env["XDG_DATA_HOME"] = filepath.Join(data, "data")
	env["XDG_CONFIG_HOME"] = filepath.Join(data, "config")
	for _, dir := range []string{env["XDG_DATA_HOME"], env["XDG_CONFIG_HOME"]} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("making a place for the gate's data: %w", err)
		}
	}
	return nil
}

// freePort returns the first free one of a hundred ports from the usual one up.
func freePort(usual int) (int, error) {
	for port := usual; port < usual+100; port++ {
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			continue
		}
		return port, l.Close()
	}
	return 0, fmt.Errorf("no port from %d to %d is free", usual, usual+99)
}

// waitReady returns when url answers 200, or an error when ctx ends before.
func waitReady(ctx context.Context, url string) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		if res, err := http.DefaultClient.Do(req); err == nil {
			_ = res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return errors.New("the gate does not say that it is ready")
		case <-tick.C:
		}
	}
}

// warn prints what the doctor finds of a Caddyfile that was changed, if any of it is
// serious: an access log that callers' keys get into, say. One that can't be asked, as
// where the admin endpoint is off, has said nothing.
func warn(ctx context.Context, out io.Writer, caddy string, env environment) {
	doctor := exec.CommandContext(ctx, caddy, "pinegate", "doctor", "--address", env["CADDY_ADMIN"])
	doctor.Env = env.list()
	if found, err := doctor.Output(); err != nil && len(found) > 0 {
		fmt.Fprintf(out, "\n%s", found)
	}
}

// tell prints lines to paste. They read the keys from the file where they are, so
// that no key is left in a terminal's scrollback or a shell's history.
func tell(out io.Writer, env environment, envFile string) {
	key := func(name string) string {
		return fmt.Sprintf(`"Authorization: Bearer $(sed -n 's/^%s=//p' %s)"`, name, shellQuote(envFile))
	}
	fmt.Fprintf(out, `
pine-gate is ready. In another terminal:

  curl %[1]s/v1/chat/completions -H %[2]s -H 'Content-Type: application/json' -d '{"model":"echo","messages":[{"role":"user","content":"Hello from pine-gate"}]}'

What was used, month by month, with the admin key:

  curl '%[1]s/v1/usage?bucket_width=1mo&group_by=model' -H %[3]s

The dashboard, with PINEGATE_ADMIN_KEY of %[4]s: %[5]s/

For an SDK: base URL %[1]s/v1 (Anthropic's: %[1]s), key PINEGATE_KEY of %[4]s, model echo.
Ctrl-C ends the gate.

`, env.url("PINEGATE_PORT"), key("PINEGATE_KEY"), key("PINEGATE_ADMIN_KEY"), envFile, env.url("PINEGATE_ADMIN_PORT"))
}

// shellQuote makes one word of s for a POSIX shell. Within the double quotes and
// the command substitution of the printed lines, single quotes quote as ever.
func shellQuote(s string) string {
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
