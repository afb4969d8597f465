// Package integration tries the gate as its users have it: the real binary, a
// Caddyfile, real sockets. Backends are scripted servers in the test's process,
// since no model server can be had here.
package integration

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/amanycodes/pine-gate/internal/gatetest"
)

// Secrets of the tests' gates. They are canaries too: none may stand in a log.
const (
	callerKey  = "test-caller-key-000000000001"
	otherKey   = "test-caller-key-000000000002"
	adminKey   = "test-admin-key-0000000000001"
	backendKey = "test-backend-credential-0001"
)

func TestMain(m *testing.M) { os.Exit(gatetest.Main(m)) }

// gate is a gate on ports and in a directory of its own. The embedded one is nil until
// it is started.
type gate struct {
	*gatetest.Gate
	t      *testing.T
	url    string // http://127.0.0.1:port
	admin  string // host:port of Caddy's admin endpoint
	binary string // empty: gatetest's
	dir    string
	port   int
}

// startGate starts a gate with what is to stand between the braces of `pinegate`, and
// waits until it is ready.
func startGate(t *testing.T, block string) *gate {
	t.Helper()
	g := newGate(t)
	g.start(g.caddyfile("", block))
	return g
}

// newGate returns a gate that is yet to be started.
func newGate(t *testing.T) *gate {
	t.Helper()
	g := &gate{t: t, dir: t.TempDir(), port: gatetest.FreePort(), admin: gatetest.FreeAddress()}
	g.url = fmt.Sprintf("http://127.0.0.1:%d", g.port)
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

// start starts the gate and waits until it is ready.
func (g *gate) start(caddyfile string) {
	g.t.Helper()
	g.Gate = gatetest.Start(g.t, gatetest.Config{
		Binary: g.binary, Dir: g.dir, Caddyfile: caddyfile, Ready: g.url + "/readyz",
		Env: []string{"CALLER_KEY=" + callerKey, "OTHER_KEY=" + otherKey, "ADMIN_KEY=" + adminKey, "BACKEND_KEY=" + backendKey},
	})
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
	// The servers of before close their listeners and the connections that idle in the
	// background. A request on one that is closed just then is reset.
	eventually(g.t, "the listeners of before are closed", func() bool { return listeners(g.t, g.port) <= 1 })
	http.DefaultClient.CloseIdleConnections()
	return status, text
}

// listeners returns how many sockets listen on a port; 0 where there is no /proc.
func listeners(t *testing.T, port int) int {
	t.Helper()
	n := 0
	for _, file := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		table, err := os.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(table)) {
			const listening = "0A"
			if f := strings.Fields(line); len(f) > 3 && f[3] == listening && strings.HasSuffix(f[1], fmt.Sprintf(":%04X", port)) {
				n++
			}
		}
	}
	return n
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
		g.t.Fatalf("%s %s: %v\n%s", method, path, err, g.Logs.String())
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

// eventually waits for a condition that another process brings about.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	gatetest.Eventually(t, what, ok)
}
