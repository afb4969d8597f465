package browser

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// Secrets of the tests' gates.
const (
	adminKey = "browser-key-of-the-administrator"
	aliceKey = "browser-key-of-alice-000000000001"
	bobKey   = "browser-key-of-bob-00000000000001"
)

// patience bounds what another process brings about: CI's machine may stall.
const patience = 90 * time.Second

// gate is a running gate: a site for callers, and one of pinegate_admin.
type gate struct {
	t       *testing.T
	url     string // of the callers' site
	control string // of pinegate_admin's
	config  string
	dir     string
	cmd     *exec.Cmd
	logs    logBuffer
}

// startGate runs the binary with what stands between the braces of `pinegate`.
func startGate(t *testing.T, block string) *gate {
	t.Helper()
	g := newGate(t)
	g.configure(fmt.Sprintf(`{
	admin off
	persist_config off
	grace_period 2s
	pinegate {
		store file %s
	}
}
%s {
	pinegate {
		%s
	}
}
%s {
	log
	pinegate_admin {
		admin_key {env.KEY_ADMIN}
	}
}
`, filepath.Join(g.dir, "store"), g.url, block, g.control))
	g.start()
	return g
}

// newGate picks ports and a folder for a gate that is yet to be started.
func newGate(t *testing.T) *gate {
	t.Helper()
	g := &gate{t: t, dir: t.TempDir()}
	g.url, g.control = fmt.Sprintf("http://127.0.0.1:%d", freePort(t)), fmt.Sprintf("http://127.0.0.1:%d", freePort(t))
	g.config = filepath.Join(g.dir, "Caddyfile")
	return g
}

func (g *gate) configure(caddyfile string) {
	g.t.Helper()
	if err := os.WriteFile(g.config, []byte(caddyfile), 0o600); err != nil {
		g.t.Fatal(err)
	}
}

// start runs the gate and waits until it is ready.
func (g *gate) start() {
	g.t.Helper()
	g.cmd = exec.Command(binary, "run", "--config", g.config)
	g.cmd.Env = append(os.Environ(), "XDG_DATA_HOME="+g.dir, "XDG_CONFIG_HOME="+g.dir, "HOME="+g.dir,
		"CADDY_ADMIN=127.0.0.1:0", // where a Caddyfile doesn't say
		"KEY_ADMIN="+adminKey, "PINEGATE_ADMIN_KEY="+adminKey, "KEY_ALICE="+aliceKey, "KEY_BOB="+bobKey)
	g.cmd.Stdout, g.cmd.Stderr = &g.logs, &g.logs
	if err := g.cmd.Start(); err != nil {
		g.t.Fatal(err)
	}
	cmd := g.cmd
	g.t.Cleanup(func() { end(cmd) })
	eventually(g.t, "the gate is ready", func() bool {
		res, err := http.Get(g.control + "/readyz")
		if err != nil {
			return false
		}
		defer res.Body.Close()
		return res.StatusCode == http.StatusOK
	}, g.said)
}

// kill ends the gate without a word.
func (g *gate) kill() { end(g.cmd) }

func end(cmd *exec.Cmd) {
	if cmd.ProcessState == nil {
		_ = cmd.Process.Signal(syscall.SIGKILL)
		_ = cmd.Wait()
	}
}

// said is what the gate has logged, but for the requests that it answered.
func (g *gate) said() string {
	var said strings.Builder
	for line := range strings.Lines(g.logs.String()) {
		if !strings.Contains(line, `"handled request"`) {
			said.WriteString(line)
		}
	}
	return said.String()
}

// spent is what an answer says that it cost.
type spent struct {
	Usage struct {
		Input  int `json:"prompt_tokens"`
		Output int `json:"completion_tokens"`
	} `json:"usage"`
}

// chat sends a chat request and returns its status and what it used.
func (g *gate) chat(key, model, prompt string) (int, spent) {
	g.t.Helper()
	body, err := json.Marshal(map[string]any{"model": model, "messages": []any{map[string]string{"role": "user", "content": prompt}}})
	if err != nil {
		g.t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(g.t.Context(), http.MethodPost, g.url+"/v1/chat/completions", bytes.NewReader(body))
	if err != nil {
		g.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+key)
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		g.t.Fatalf("asking the gate: %v\n%s", err, g.said())
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		g.t.Fatal(err)
	}
	var answer spent
	if res.StatusCode == http.StatusOK {
		if err := json.Unmarshal(text, &answer); err != nil {
			g.t.Fatal(err)
		}
	}
	return res.StatusCode, answer
}

// eventually waits for a condition that another process brings about.
func eventually(t *testing.T, what string, holds func() bool, more ...func() string) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline:
			var said strings.Builder
			for _, m := range more {
				said.WriteString("\n" + m())
			}
			t.Fatalf("not within %v: %s%s", patience, what, said.String())
		}
	}
}

// logBuffer collects what a process prints.
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

// freePort picks a port to listen on later, below those that the system gives to
// whoever asks for any.
func freePort(t *testing.T) int {
	t.Helper()
	const lowest, count = 16384, 16384
	nextPort.CompareAndSwap(0, 1+rand.Int32N(count))
	for range count {
		port := lowest + int(nextPort.Add(1))%count
		if l, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port)); err == nil {
			l.Close()
			return port
		}
	}
	t.Fatal("no port is free")
	return 0
}
