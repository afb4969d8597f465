// Package conformance holds the gate to what the official SDKs expect: they run,
// as they are, against the real binary on real sockets.
//
// It is a module of its own, so that nobody who builds the gate gets the SDKs'
// dependencies.
package conformance

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// The callers' secrets, by the ids that the Caddyfile below gives the keys.
const (
	keyFull      = "conformance-key-without-limits"
	keyScoped    = "conformance-key-for-echo-chats"
	keySlow      = "conformance-key-one-a-second-1"
	keySlow2     = "conformance-key-one-a-second-2"
	keyTiny      = "conformance-key-of-few-tokens"
	keyMetered   = "conformance-key-to-be-metered"
	keyAdmin     = "conformance-key-of-the-admin"
	keyUpstream  = "conformance-key-of-the-provider"
	keyOfNobody  = "conformance-key-of-nobody-at-all"
	unknownModel = "no-such-model"
)

const caddyfile = `{
	admin off
	persist_config off
	grace_period 2s
}

http://:{$GATE_PORT} {
	bind 127.0.0.1
	pinegate {
		admin_key {env.KEY_ADMIN}
		key full {env.KEY_FULL}
		key scoped {env.KEY_SCOPED} {
			models echo
			endpoints chat messages
		}
		key slow {env.KEY_SLOW} {
			limit 1 requests/second
		}
		key slow2 {env.KEY_SLOW2} {
			limit 1 requests/second
		}
		key tiny {env.KEY_TINY} {
			limit 50 tokens/minute
		}
		key metered {env.KEY_METERED}
		backend echo {
			api echo
			models echo
		}
		backend openai {$OPENAI_MOCK} {
			api_key {env.KEY_UPSTREAM}
			models gpt-*
		}
		backend anthropic {$ANTHROPIC_MOCK} {
			api anthropic
			api_key {env.KEY_UPSTREAM}
			models claude-*
		}
	}
}
`

// The gate under test, started once for all tests, and the model servers behind it.
var (
	gateURL         string
	openAIBackend   *backend
	anthropicServer *backend
)

func TestMain(m *testing.M) {
	code, err := testMain(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func testMain(m *testing.M) (code int, err error) {
	dir, err := os.MkdirTemp("", "conformance")
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()

	openAIBackend, anthropicServer = newBackend(), newBackend()
	defer openAIBackend.server.Close()
	defer anthropicServer.server.Close()

	stop, err := startGate(dir)
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, stop()) }()
	return m.Run(), nil
}

// startGate builds the gate and starts it, its files in dir, and returns when it
// is ready. stop ends it, and fails if it did not end well.
func startGate(dir string) (stop func() error, err error) {
	binary := filepath.Join(dir, "caddy")
	build := exec.Command("go", "build", "-o", binary, "./cmd/caddy")
	build.Dir = ".."
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("building the gate: %w\n%s", err, out)
	}
	config := filepath.Join(dir, "Caddyfile")
	if err := os.WriteFile(config, []byte(caddyfile), 0o600); err != nil {
		return nil, err
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	logs, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return nil, err
	}

	gate := exec.Command(binary, "run", "--config", config)
	gate.Stdout, gate.Stderr = logs, logs
	gate.Env = append(os.Environ(),
		"XDG_DATA_HOME="+filepath.Join(dir, "data"), "XDG_CONFIG_HOME="+filepath.Join(dir, "config"),
		"GATE_PORT="+strconv.Itoa(port),
		"OPENAI_MOCK="+openAIBackend.address(), "ANTHROPIC_MOCK="+anthropicServer.address(),
		"KEY_FULL="+keyFull, "KEY_SCOPED="+keyScoped, "KEY_SLOW="+keySlow, "KEY_SLOW2="+keySlow2,
		"KEY_TINY="+keyTiny, "KEY_METERED="+keyMetered, "KEY_ADMIN="+keyAdmin, "KEY_UPSTREAM="+keyUpstream,
	)
	if err := gate.Start(); err != nil {
		return nil, fmt.Errorf("starting the gate: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- gate.Wait() }()

	gateURL = "http://127.0.0.1:" + strconv.Itoa(port)
	if err := waitReady(gateURL+"/readyz", ended); err != nil {
		_ = gate.Process.Kill()
		text, _ := os.ReadFile(logs.Name())
		return nil, fmt.Errorf("%w\n%s", err, text)
	}
	return func() error {
		if err := gate.Process.Signal(os.Interrupt); err != nil {
			return fmt.Errorf("stopping the gate: %w", err)
		}
		if err := <-ended; err != nil {
			text, _ := os.ReadFile(logs.Name())
			return fmt.Errorf("the gate ended badly: %w\n%s", err, text)
		}
		return logs.Close()
	}, nil
}

func waitReady(url string, ended <-chan error) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
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
		case err := <-ended:
			return fmt.Errorf("the gate ended before it was ready: %w", err)
		case <-ctx.Done():
			return errors.New("the gate was not ready in time")
		case <-tick.C:
		}
	}
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	return l.Addr().(*net.TCPAddr).Port, l.Close()
}
