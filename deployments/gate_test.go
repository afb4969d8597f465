package deployments

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/amanycodes/pine-gate/internal/gatetest"
)

func TestMain(m *testing.M) { os.Exit(gatetest.Main(m)) }

// caddy runs the gate's binary to its end and returns what it wrote.
func caddy(t *testing.T, args ...string) (stdout string, err error) {
	t.Helper()
	cmd := gatetest.Command(t, args...)
	cmd.Env = append(cmd.Env, "XDG_DATA_HOME="+t.TempDir(), "XDG_CONFIG_HOME="+t.TempDir())
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("caddy %s: %w\n%s", strings.Join(args, " "), err, errs.String())
	}
	return out.String(), nil
}

// httpApp is what of the adapted Caddyfile is looked at.
type httpApp struct {
	ShutdownDelay time.Duration `json:"shutdown_delay"`
	GracePeriod   time.Duration `json:"grace_period"`
	Servers       map[string]struct {
		Listen            []string
		ReadHeaderTimeout time.Duration `json:"read_header_timeout"`
		WriteTimeout      time.Duration `json:"write_timeout"`
		IdleTimeout       time.Duration `json:"idle_timeout"`
	}
}

// hostOf lays what a pod would find on its disk into a folder, and returns the
// Caddyfile as it stands there.
func hostOf(t *testing.T, c *cluster) (dir, caddyfile string) {
	t.Helper()
	dir = t.TempDir()
	text := c.caddyfile(t)
	for _, volume := range []struct{ path, name string }{
		{"/etc/pine-gate/secrets", "secrets"}, {"/data/pinegate", "data"},
	} {
		at := filepath.Join(dir, volume.name)
		if err := os.Mkdir(at, 0o700); err != nil {
			t.Fatal(err)
		}
		text = strings.ReplaceAll(text, volume.path, at)
	}
	write := func(name, secret string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, "secrets", name), []byte(secret), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// What another hand puts into the existing Secret.
	for _, name := range []string{"admin-key", "key-app", "batch", "backend-openai", "redis-password"} {
		write(name, "an-entry-of-the-secret:"+name)
	}
	for _, secret := range c.secrets {
		for name, value := range secret.StringData {
			write(name, value)
		}
	}
	caddyfile = filepath.Join(dir, "Caddyfile")
	if err := os.WriteFile(caddyfile, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir, caddyfile
}

func adaptCaddyfile(t *testing.T, c *cluster) httpApp {
	t.Helper()
	_, file := hostOf(t, c)
	out, err := caddy(t, "adapt", "--config", file)
	if err != nil {
		t.Fatal(err)
	}
	var config struct{ Apps struct{ HTTP httpApp } }
	if err := json.Unmarshal([]byte(out), &config); err != nil {
		t.Fatal(err)
	}
	return config.Apps.HTTP
}

// The real binary takes the Caddyfile that the chart makes, and it sets what a
// gate on the open internet needs.
func TestRenderedCaddyfilesAreValid(t *testing.T) {
	for name, c := range installations(t) {
		t.Run(name, func(t *testing.T) {
			_, file := hostOf(t, c)
			if _, err := caddy(t, "validate", "--config", file); err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(c.caddyfile(t), logFilter(t)) {
				t.Error("logs are not filtered as those of the shipped Caddyfile are")
			}
			config := adaptCaddyfile(t, c)
			if len(config.Servers) != 2 {
				t.Errorf("%d servers, expected the gate and the control plane", len(config.Servers))
			}
			for name, server := range config.Servers {
				if server.ReadHeaderTimeout <= 0 || server.IdleTimeout <= 0 || server.WriteTimeout != 0 {
					t.Errorf("server %s: time-outs %+v", name, server)
				}
			}
			pod, _ := c.pods(t)
			for _, port := range pod.Spec.Containers[0].Ports {
				if !listens(config, ":"+strconv.Itoa(int(port.ContainerPort))) {
					t.Errorf("nothing listens on port %s", port.Name)
				}
			}
		})
	}
}

// logFilter is how the shipped Caddyfile keeps keys in a query out of its logs.
func logFilter(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../Caddyfile")
	if err != nil {
		t.Fatal(err)
	}
	line := regexp.MustCompile(`request>uri regexp .*`).FindString(string(text))
	if line == "" {
		t.Fatal("the shipped Caddyfile filters no log")
	}
	return line
}

func listens(config httpApp, address string) bool {
	for _, server := range config.Servers {
		for _, listen := range server.Listen {
			if listen == address {
				return true
			}
		}
	}
	return false
}

// What the chart makes of a trial's values is a gate that answers: to its
// caller, and to Prometheus with the admin key.
func TestInstalledGateAnswers(t *testing.T) {
	gate, admin := startInstalled(t, "testdata/values/trial.yaml")

	const body = `{"model":"echo","messages":[{"role":"user","content":"hello"}]}`
	for _, a := range []struct {
		url, key, body string
		want           int
	}{
		{fmt.Sprintf("http://127.0.0.1:%d/v1/chat/completions", gate), "callers-key-of-a-chart-test", body, 200},
		{fmt.Sprintf("http://127.0.0.1:%d/v1/chat/completions", gate), "", body, 401},
		{fmt.Sprintf("http://127.0.0.1:%d/metrics", gate), "admin-key-of-a-chart-test", "", 404},
		{fmt.Sprintf("http://127.0.0.1:%d/metrics", admin), "admin-key-of-a-chart-test", "", 200},
		{fmt.Sprintf("http://127.0.0.1:%d/metrics", admin), "callers-key-of-a-chart-test", "", 401},
	} {
		if status := ask(t, a.url, a.key, a.body); status != a.want {
			t.Errorf("%s with %q: %d, expected %d", a.url, a.key, status, a.want)
		}
	}
}

// startInstalled runs what the chart makes of values until the test ends, on ports of
// its own: that of the gate and that of the control plane.
func startInstalled(t *testing.T, values string) (gate, admin int) {
	t.Helper()
	dir, file := hostOf(t, install(t, values))
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	gate, admin = gatetest.FreePort(), gatetest.FreePort()
	moved := strings.NewReplacer(
		"http://:8080 {", fmt.Sprintf("http://127.0.0.1:%d {", gate),
		"http://:9180 {", fmt.Sprintf("http://127.0.0.1:%d {", admin),
		"admin localhost:2019", "admin "+gatetest.FreeAddress(),
		"shutdown_delay 10s", "shutdown_delay 10ms",
	).Replace(string(text))
	started := gatetest.Start(t, gatetest.Config{Dir: dir, Caddyfile: moved, Ready: fmt.Sprintf("http://127.0.0.1:%d/readyz", gate)})
	t.Cleanup(func() {
		if err := started.Stop(syscall.SIGINT); err != nil {
			t.Errorf("stopping the gate: %v\n%s", err, started.Logs.String())
		}
	})
	return gate, admin
}

func ask(t *testing.T, url, key, body string) int {
	t.Helper()
	method := http.MethodGet
	if body != "" {
		method = http.MethodPost
	}
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.Copy(io.Discard, res.Body) // a caller who leaves early is metered otherwise
	if err := errors.Join(err, res.Body.Close()); err != nil {
		t.Fatal(err)
	}
	return res.StatusCode
}
