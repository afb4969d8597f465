package integration

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/amanycodes/pine-gate/internal/gatetest"
)

// metric reads one line of the metrics on Caddy's admin endpoint.
func (g *gate) metric(name string) string {
	g.t.Helper()
	res, err := http.Get("http://" + g.admin + "/metrics")
	if err != nil {
		g.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		g.t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// A disk that fails is borne, shown and recovered from: no usage is lost.
func TestJournalThatCannotBeWrittenRecovers(t *testing.T) {
	const up = `pinegate_store_up{store="file"}`
	b := newBackend(t, answers(200, chatAnswer("ok", 4, 3)))
	g := newGate(t)
	dir := filepath.Join(g.dir, "store")
	store := fmt.Sprintf("pinegate {\nstore file %s\n}", dir)
	g.start(g.caddyfile(store, block(b, "")))
	if v := g.metric(up); v != "1" {
		t.Errorf("%s is %q with a disk that works", up, v)
	}
	// No segment is begun yet, and none can be.
	journal, away := filepath.Join(dir, "usage.journal"), filepath.Join(dir, "away")
	if err := errors.Join(os.Rename(journal, away), os.WriteFile(journal, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		if a := g.chat(callerKey, "m", "x"); a.status != 200 {
			t.Fatalf("got %d %s while there is room in memory", a.status, a.body)
		}
	}
	eventually(t, "the metric is 0", func() bool { return g.metric(up) == "0" })
	if got := g.usageOf("alice"); got.Requests != 5 {
		t.Errorf("usage %+v while nothing can be written, want 5 requests", got)
	}
	if err := errors.Join(os.Remove(journal), os.Rename(away, journal)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the journal works again", func() bool { return g.metric(up) == "1" })
	eventually(t, "the log has it", func() bool { return strings.Contains(g.Logs.String(), "works again") })
	g.Stop(syscall.SIGKILL)
	if logs := g.Logs.String(); strings.Count(logs, "fails, its records are kept in memory") != 1 || strings.Count(logs, "works again") != 1 {
		t.Errorf("want one line at each change\n%s", logs)
	}
	if got, want := g.again(store, block(b, "")).usageOf("alice"), (result{Requests: 5, Input: 20, Output: 15}); got != want {
		t.Errorf("usage after a kill %+v, want %+v", got, want)
	}
}

// One process has a store; validating a configuration takes nothing of it.
func TestStoreBelongsToOneProcess(t *testing.T) {
	b := newBackend(t, answers(200, chatAnswer("ok", 4, 3)))
	g := newGate(t)
	store := fmt.Sprintf("pinegate {\nstore file %s {\nsync always\n}\n}", g.dir)
	g.start(g.caddyfile(store, block(b, "")))
	g.chat(callerKey, "m", "x")
	env := g.Cmd.Env
	validate := gatetest.Command(t, "validate", "--config", filepath.Join(g.dir, "Caddyfile"))
	validate.Env = env
	if out, err := validate.CombinedOutput(); err != nil {
		t.Errorf("validating beside a running gate: %v\n%s", err, out)
	}

	second := newGate(t)
	config := filepath.Join(second.dir, "Caddyfile")
	if err := os.WriteFile(config, []byte(second.caddyfile(store, block(b, ""))), 0o600); err != nil {
		t.Fatal(err)
	}
	run := gatetest.Command(t, "run", "--config", config)
	run.Env = env
	out, err := run.CombinedOutput()
	if err == nil || !bytes.Contains(out, []byte("usage ledger is open in another process")) {
		t.Errorf("a second gate on one store: %v\n%s", err, out)
	}

	// Reloads change what may be changed, and open nothing twice.
	for _, settings := range []string{"sync 50ms", "retention 30d", "sync always\nretention 60d"} {
		store := fmt.Sprintf("pinegate {\nstore file %s {\n%s\n}\n}", g.dir, settings)
		if status := g.reload(g.caddyfile(store, block(b, ""))); status != 200 {
			t.Errorf("reload with %q: %d\n%s", settings, status, g.Logs.String())
		}
		g.chat(callerKey, "m", "x")
	}
	if got := g.usageOf("alice"); got.Requests != 4 {
		t.Errorf("usage %+v, want 4 requests", got)
	}
}

func TestUsageEventsGoWhereALogAsksForThem(t *testing.T) {
	b := newBackend(t, answers(200, chatAnswer("ok", 40, 30)))
	for _, hidden := range []bool{false, true} {
		t.Run(fmt.Sprint("hide_models=", hidden), func(t *testing.T) {
			g := newGate(t)
			file := filepath.Join(g.dir, "usage.log")
			global := fmt.Sprintf("log usage {\ninclude http.handlers.pinegate.usage\nlevel DEBUG\noutput file %s\n}", file)
			if hidden {
				global += "\npinegate {\nmetrics {\nhide_models\n}\n}"
			}
			config := g.caddyfile(global, block(b, "model * {\nprice input 1 output 2\n}"))
			g.start(strings.Replace(config, "\tdebug\n", "", 1))
			for range 3 {
				g.chat(callerKey, "m-1", "x")
			}
			g.do("POST", "/v1/chat/completions", "wrong", chatBody("m-1", "x")) // reached no backend
			g.Stop(syscall.SIGTERM)

			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			lines := strings.Split(strings.TrimSpace(string(text)), "\n")
			if len(lines) != 3 {
				t.Fatalf("%d lines for three records:\n%s", len(lines), text)
			}
			var event map[string]any
			if err := json.Unmarshal([]byte(lines[0]), &event); err != nil {
				t.Fatal(err)
			}
			for name, want := range map[string]any{
				"logger": "http.handlers.pinegate.usage", "msg": "usage", "key": "alice", "endpoint": "chat", "backend": "mock", "status": 200.0,
				"input_tokens": 40.0, "output_tokens": 30.0, "cost_usd": "0.0001", "outcome": "ok", "estimated": false, "attempts": 1.0,
			} {
				if event[name] != want {
					t.Errorf("%s is %v, want %v", name, event[name], want)
				}
			}
			if id, _ := event["request_id"].(string); !strings.HasPrefix(id, "req_") {
				t.Errorf("request_id is %v", event["request_id"])
			}
			if got := event["model"] == "m-1" && event["upstream_model"] == "m-1"; got == hidden || hidden && bytes.Contains(text, []byte("m-1")) {
				t.Errorf("models with hide_models %v: %s", hidden, lines[0])
			}
			if strings.Contains(g.Logs.String(), "pinegate.usage") {
				t.Error("the default log is flooded")
			}
		})
	}
}
