package browser

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/amanycodes/pine-gate/internal/gatetest"
)

// Secrets of the tests' gates.
const (
	adminKey = "browser-key-of-the-administrator"
	aliceKey = "browser-key-of-alice-000000000001"
	bobKey   = "browser-key-of-bob-00000000000001"
)

// gate is a running gate: a site for callers, and one of pinegate_admin. The embedded
// one is nil until it is started.
type gate struct {
	*gatetest.Gate
	t         *testing.T
	url       string // of the callers' site
	control   string // of pinegate_admin's
	caddyfile string
	dir       string
}

// startGate runs the binary with what stands between the braces of `pinegate`.
func startGate(t *testing.T, block string) *gate {
	t.Helper()
	g := newGate(t)
	g.caddyfile = fmt.Sprintf(`{
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
`, filepath.Join(g.dir, "store"), g.url, block, g.control)
	g.start()
	return g
}

// newGate returns a gate that is yet to be started.
func newGate(t *testing.T) *gate {
	t.Helper()
	return &gate{t: t, dir: t.TempDir(), url: "http://" + gatetest.FreeAddress(), control: "http://" + gatetest.FreeAddress()}
}

// start starts the gate and waits until it is ready.
func (g *gate) start() {
	g.t.Helper()
	g.Gate = gatetest.Start(g.t, gatetest.Config{
		Dir: g.dir, Caddyfile: g.caddyfile, Ready: g.control + "/readyz",
		Env: []string{
			"CADDY_ADMIN=127.0.0.1:0", // where a Caddyfile doesn't say
			"KEY_ADMIN=" + adminKey, "PINEGATE_ADMIN_KEY=" + adminKey, "KEY_ALICE=" + aliceKey, "KEY_BOB=" + bobKey,
		},
	})
}

// kill kills the gate.
func (g *gate) kill() { _ = g.Stop(syscall.SIGKILL) }

// said is what the gate has logged, but for the requests that it answered.
func (g *gate) said() string {
	var said strings.Builder
	for line := range strings.Lines(g.Logs.String()) {
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
	gatetest.Eventually(t, what, holds, more...)
}
