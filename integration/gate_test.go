// Package integration tries the gate as its users have it: the real binary, a
// Caddyfile, real sockets. Backends are scripted servers in the test's process,
// since no model server can be had here.
package integration

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// Secrets of the tests' gates. They are canaries too: none may stand in a log.
const (
	callerKey  = "test-caller-key-000000000001"
	otherKey   = "test-caller-key-000000000002"
	adminKey   = "test-admin-key-0000000000001"
	backendKey = "test-backend-credential-0001"
)

// binary is Caddy with the module, built once with the race detector.
var binary string

func TestMain(m *testing.M) {
	os.Exit(runTests(m))
}

func runTests(m *testing.M) int {
	dir, err := os.MkdirTemp("", "pine-gate-integration")
	if err != nil {
		fmt.Fprintln(os.Stderr, "making a folder:", err)
		return 1
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "caddy")
	build := exec.Command("go", "build", "-race", "-o", binary, "../cmd/caddy")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "building the gate: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// gate is a running gate.
type gate struct {
	t       *testing.T
	url     string // http://127.0.0.1:port
	admin   string // host:port of Caddy's admin endpoint
	binary  string
	dir     string
	port    int
	cmd     *exec.Cmd
	logs    logBuffer
	stopped sync.Once
}

// startGate runs the binary with a Caddyfile whose global options and site are
// given: what stands between the braces of `pinegate`. It waits until the gate
// is ready.
func startGate(t *testing.T, block string) *gate {
	t.Helper()
	g := newGate(t)
	g.start(g.caddyfile("", block))
	return g
}

// newGate picks ports and a folder for a gate that is yet to be started.
func newGate(t *testing.T) *gate {
	t.Helper()
	g := &gate{t: t, dir: t.TempDir(), port: freePort(t), binary: binary}
	g.url = fmt.Sprintf("http://127.0.0.1:%d", g.port)
	g.admin = fmt.Sprintf("127.0.0.1:%d", freePort(t))
	return g
}

// caddyfile is a whole one: debug logs, so that tests see all that is logged.
func (g *gate) caddyfile(global, block string) string {
	return fmt.Sprintf(`{
	admin %s
	persist_config off
	debug
	grace_period 3s
	%s
	log {
		format filter {
			request>headers>X-Api-Key delete
			request>headers>Api-Key delete
			request>headers>X-Goog-Api-Key delete
			request>uri regexp (?i)([?&;][^=&;]*(key|token|auth|%%)[^=&;]*=)[^&;]* ${1}REDACTED
		}
	}
}
http://127.0.0.1:%d {
	log
	pinegate {
%s
	}
}
`, g.admin, global, g.port, block)
}

// start runs the gate and waits until it is ready.
func (g *gate) start(caddyfile string) {
	g.t.Helper()
	path := filepath.Join(g.dir, "Caddyfile")
	if err := os.WriteFile(path, []byte(caddyfile), 0o600); err != nil {
		g.t.Fatal(err)
	}
	g.cmd = exec.Command(g.binary, "run", "--config", path)
	g.cmd.Env = append(os.Environ(),
		"GORACE=atexit_sleep_ms=50", // else the race detector makes each exit take a second
		"XDG_DATA_HOME="+g.dir, "XDG_CONFIG_HOME="+g.dir, "HOME="+g.dir,
		"CALLER_KEY="+callerKey, "OTHER_KEY="+otherKey, "ADMIN_KEY="+adminKey, "BACKEND_KEY="+backendKey)
	g.cmd.Stdout, g.cmd.Stderr = &g.logs, &g.logs
	if err := g.cmd.Start(); err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { g.stop(syscall.SIGKILL) })
	g.waitReady()
}

func (g *gate) waitReady() {
	g.t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for time.Now().Before(deadline) {
		res, err := http.Get(g.url + "/readyz")
		if err == nil {
			res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return
			}
		}
		time.Sleep(20 * time.Millisecond)
	}
	g.t.Fatalf("the gate is not ready\n%s", g.logs.String())
}

// stop ends the gate by a signal and waits for it.
func (g *gate) stop(signal syscall.Signal) {
	g.stopped.Do(func() {
		_ = g.cmd.Process.Signal(signal)
		_ = g.cmd.Wait()
		if race := ownRace(g.logs.String()); race != "" {
			g.t.Errorf("the gate has a data race\n%s", race)
		}
	})
}

// ownRace returns the first report of a data race that the gate's own code has a part
// in. Caddy has some of its own: its certificates' events read an app while it starts.
func ownRace(logs string) string {
	for _, report := range strings.Split(logs, "==================\n") {
		if strings.HasPrefix(report, "WARNING: DATA RACE") && strings.Contains(report, "github.com/amanycodes/pine-gate") {
			return report
		}
	}
	return ""
}

func TestRacesOfTheGateAreToldApart(t *testing.T) {
	const line, head = "==================\n", "WARNING: DATA RACE\nRead at 0x1 by goroutine 6:\n"
	const others, own = "  caddytls.(*TLS).Start()\n", "  github.com/amanycodes/pine-gate/handlers.(*call).settle()\n"
	for logs, want := range map[string]string{
		"{}\n": "",
		"{}\n" + line + head + others + line + own:                      "",
		line + head + others + line + "{}\n" + line + head + own + line: head + own,
	} {
		if got := ownRace(logs); got != want {
			t.Errorf("of %q: %q", logs, got)
		}
	}
}

// reload loads another Caddyfile through Caddy's admin endpoint and returns its
// answer's status.
func (g *gate) reload(caddyfile string) int {
	g.t.Helper()
	status, _ := g.load(caddyfile)
	return status
}

// load is reload, and returns what is wrong with the Caddyfile, too. Each load
// starts the admin endpoint anew, which may cut a connection that comes then:
// what has no answer is sent again.
func (g *gate) load(caddyfile string) (status int, text string) {
	g.t.Helper()
	eventually(g.t, "the admin endpoint answers", func() bool {
		req, err := http.NewRequest("POST", "http://"+g.admin+"/load", strings.NewReader(caddyfile))
		if err != nil {
			g.t.Fatal(err)
		}
		req.Header.Set("Content-Type", "text/caddyfile")
		req.Close = true
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			return false
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		status, text = res.StatusCode, string(body)
		return err == nil
	})
	// The servers of before close the connections that idle, and a POST on one
	// that is closed just then has no answer and is not sent again.
	http.DefaultClient.CloseIdleConnections()
	return status, text
}

// answer is a response that was read to its end.
type answer struct {
	status int
	header http.Header
	body   string
}

// do sends a request with a key, as Bearer where it is not empty.
func (g *gate) do(method, path, key, body string, header ...string) answer {
	g.t.Helper()
	res := g.open(context.Background(), method, path, key, body, header...)
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		g.t.Fatalf("reading the answer of %s %s: %v", method, path, err)
	}
	return answer{res.StatusCode, res.Header, string(text)}
}

// open sends a request and returns its answer unread.
func (g *gate) open(ctx context.Context, method, path, key, body string, header ...string) *http.Response {
	g.t.Helper()
	req, err := http.NewRequestWithContext(ctx, method, g.url+path, strings.NewReader(body))
	if err != nil {
		g.t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		g.t.Fatalf("%s %s: %v\n%s", method, path, err, g.logs.String())
	}
	return res
}

// chat sends a chat request.
func (g *gate) chat(key, model, prompt string, extra ...string) answer {
	g.t.Helper()
	return g.do("POST", "/v1/chat/completions", key, chatBody(model, prompt, extra...))
}

// chatBody makes a chat request; extra are members, as `"stream":true`.
func chatBody(model, prompt string, extra ...string) string {
	members := append([]string{
		fmt.Sprintf(`"model":%q`, model),
		fmt.Sprintf(`"messages":[{"role":"user","content":%q}]`, prompt),
	}, extra...)
	return "{" + strings.Join(members, ",") + "}"
}

// logBuffer collects what the gate prints.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// nextPort is where freePort looks next.
var nextPort atomic.Int32

// freePort picks a port to listen on later. It is below those that the system
// gives to whoever asks for any: a backend or a connection could take it first.
func freePort(t *testing.T) int {
	t.Helper()
	const lowest, count = 16384, 16384
	nextPort.CompareAndSwap(0, 1+rand.Int32N(count))
	for range count {
		port := lowest + int(nextPort.Add(1))%count
		if l, err := net.Listen("tcp", fmt.Sprintf(":%d", port)); err == nil {
			l.Close()
			return port
		}
	}
	t.Fatal("no port is free")
	return 0
}

// eventually waits for a condition that another process brings about.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("not within a minute: %s", what)
		}
		time.Sleep(10 * time.Millisecond)
	}
}
