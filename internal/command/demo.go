package command

import (
	"context"
	_ "embed"
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

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// demoCaddyfile is the Caddyfile that the demo starts by default.
//
//go:embed demo.Caddyfile
var demoCaddyfile []byte

// readyWait is how long the demo waits for the gate to be ready.
const readyWait = time.Minute

// demoCommand returns the command that starts a gate for trying it out.
func demoCommand() *cobra.Command {
	var d demo
	cmd := &cobra.Command{
		Use:   "demo [--dir <dir>] [--config <Caddyfile>] [--env-file <file>]",
		Short: "Starts a gate on the echo backend, with keys of its own, to try it out",
		Long: `
Starts a gate that needs no model server: its backend answers with what it was asked.
It generates the keys on the first start, takes ports that are free, prints lines to
paste into another terminal once the gate is ready, and runs until Ctrl-C.

All it keeps, the keys and what was used, is in the directory --dir.

With --config it starts a Caddyfile of yours the same way, with PINEGATE_KEY,
PINEGATE_ADMIN_KEY, PINEGATE_PORT, PINEGATE_ADMIN_PORT and CADDY_ADMIN set.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			d.out = cmd.OutOrStdout()
			return d.run(cmd.Context())
		},
	}
	cmd.Flags().StringVar(&d.dir, "dir", "pinegate-demo", "the directory of the keys and the data")
	cmd.Flags().StringVar(&d.config, "config", "", "a Caddyfile to start in place of the demo's own")
	cmd.Flags().StringVar(&d.envFile, "env-file", "", "the file of the keys (default: .env in the directory)")
	return cmd
}

// demo is one run of the command.
type demo struct {
	dir, config, envFile string // as given by the flags, then absolute
	out                  io.Writer
	env                  environment
}

// run starts the gate in this process and prints how to use it once it is ready. It
// returns when the terminal is closed; other signals end the process, as with `caddy
// run`.
func (d *demo) run(ctx context.Context) error {
	made, err := d.prepare()
	if err != nil {
		return err
	}
	if made {
		fmt.Fprintf(d.out, "Keys generated in %s\n", d.envFile)
	}
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	caddy.TrapSignals()
	if err := d.load(); err != nil {
		return err
	}
	ready, cancel := context.WithTimeout(ctx, readyWait)
	defer cancel()
	if err := waitReady(ready, d.env.url("PINEGATE_PORT")+"/readyz"); err != nil {
		return errors.Join(err, caddy.Stop())
	}
	d.warn(ready)
	d.printLines()
	<-hangup
	return caddy.Stop()
}

// prepare makes the directory, reads or generates the keys, and sets the environment
// that Caddyfiles read. It reports whether it has generated a key.
func (d *demo) prepare() (made bool, err error) {
	if d.envFile == "" {
		d.envFile = filepath.Join(d.dir, ".env")
	}
	for _, path := range []*string{&d.dir, &d.envFile} {
		if *path, err = filepath.Abs(*path); err != nil {
			return false, err
		}
	}
	data, config := filepath.Join(d.dir, "data"), filepath.Join(d.dir, "config")
	for _, dir := range []string{data, config} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return false, fmt.Errorf("making the directory of the demo: %w", err)
		}
	}
	if d.env, made, err = loadEnv(d.envFile); err != nil {
		return false, err
	}
	if err := d.env.setPorts(); err != nil {
		return false, err
	}
	d.env["XDG_DATA_HOME"], d.env["XDG_CONFIG_HOME"] = data, config
	for name, value := range d.env {
		if err := os.Setenv(name, value); err != nil {
			return false, fmt.Errorf("setting %s: %w", name, err)
		}
	}
	// Caddy has set these from the environment at the start of the process.
	caddy.DefaultStorage.Path = caddy.AppDataDir()
	caddy.ConfigAutosavePath = filepath.Join(caddy.AppConfigDir(), "autosave.json")
	return made, nil
}

// setPorts sets the variables that the Caddyfiles read and that are not set: free
// ports, and no shutdown delay, since there is no load balancer to wait for.
func (e environment) setPorts() error {
	for _, p := range []struct {
		name, host string
		usual      int
	}{{"PINEGATE_PORT", "", 8080}, {"PINEGATE_ADMIN_PORT", "", 9180}, {"CADDY_ADMIN", "localhost:", 2019}} {
		if e[p.name] != "" {
			continue
		}
		port, err := freePort(p.usual)
		if err != nil {
			return err
		}
		e[p.name] = p.host + strconv.Itoa(port)
	}
	if e["PINEGATE_SHUTDOWN_DELAY"] == "" {
		e["PINEGATE_SHUTDOWN_DELAY"] = "0s"
	}
	return nil
}

// freePort returns the first free port of the hundred from usual on.
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

// load starts Caddy with the Caddyfile.
func (d *demo) load() error {
	text, name := demoCaddyfile, "demo.Caddyfile"
	if d.config != "" {
		var err error
		if text, err = os.ReadFile(d.config); err != nil {
			return err
		}
		name = d.config
	}
	adapter := caddyconfig.GetAdapter("caddyfile")
	if adapter == nil {
		return errors.New("this Caddy has no adapter for Caddyfiles")
	}
	config, _, err := adapter.Adapt(text, map[string]any{"filename": name})
	if err != nil {
		return err
	}
	return caddy.Load(config, true)
}

// waitReady waits until url answers 200. It returns an error if ctx ends before that.
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
			return fmt.Errorf("the gate is not ready: %s does not answer 200", url)
		case <-tick.C:
		}
	}
}

// warn prints the doctor's findings if the Caddyfile was changed such that one of them
// is serious, such as an access log that contains callers' keys. It prints nothing if
// the doctor can't query the gate, for example because the admin endpoint is off.
func (d *demo) warn(ctx context.Context) {
	self, err := os.Executable()
	if err != nil {
		return
	}
	doctor := exec.CommandContext(ctx, self, "pinegate", "doctor", "--address", d.env["CADDY_ADMIN"])
	if found, err := doctor.Output(); err != nil && len(found) > 0 {
		fmt.Fprintf(d.out, "\n%s", found)
	}
}

// printLines prints the commands to paste. They read the keys from the env file, so
// that no key ends up in a terminal's scrollback or a shell's history.
func (d *demo) printLines() {
	bold, plain := "", ""
	if f, ok := d.out.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		bold, plain = "\x1b[1m", "\x1b[0m" // distinguishes it from the gate's log
	}
	key := func(name string) string {
		return fmt.Sprintf(`"Authorization: Bearer $(sed -n 's/^%s=//p' %s)"`, name, shellQuote(d.envFile))
	}
	fmt.Fprintf(d.out, `
%[6]spine-gate is ready.%[7]s In another terminal:

%[6]s  curl %[1]s/v1/chat/completions -H %[2]s -H 'Content-Type: application/json' -d '{"model":"echo","messages":[{"role":"user","content":"Hello from pine-gate"}]}'%[7]s

Usage by month, with the admin key:

%[6]s  curl '%[1]s/v1/usage?bucket_width=1mo&group_by=model' -H %[3]s%[7]s

The dashboard, with PINEGATE_ADMIN_KEY of %[4]s: %[5]s/

For an SDK: base URL %[1]s/v1 (Anthropic's: %[1]s), key PINEGATE_KEY of %[4]s, model echo.
Ctrl-C stops the gate.

`, d.env.url("PINEGATE_PORT"), key("PINEGATE_KEY"), key("PINEGATE_ADMIN_KEY"), d.envFile, d.env.url("PINEGATE_ADMIN_PORT"), bold, plain)
}

// shellQuote returns s as one word for a POSIX shell. Within the double quotes and the
// command substitution of the printed lines, single quotes work as usual.
func shellQuote(s string) string {
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
