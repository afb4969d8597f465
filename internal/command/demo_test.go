//go:build unix

package command

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/amanycodes/pine-gate/internal/gatetest"
)

func TestMain(m *testing.M) { os.Exit(gatetest.Main(m)) }

// The lines that the first start prints work when pasted into a shell in another
// directory, whatever the name of the directory.
func TestPrintedLinesWork(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "it's a directory")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}

	first := start(t, dir)
	if len(first.lines) != 2 {
		t.Fatalf("%d lines to paste, expected one for a chat and one for the usage:\n%s", len(first.lines), first.text)
	}
	if answer := paste(t, first.lines[0]); !strings.Contains(answer, `"content":"Hello from pine-gate"`) {
		t.Errorf("the chat answered %s", answer)
	}
	if answer := paste(t, first.lines[1]); !strings.Contains(answer, `"model":"echo"`) || !strings.Contains(answer, `"requests":1,`) {
		t.Errorf("the usage answered %s", answer)
	}
	if page := paste(t, "curl -fsS "+first.dashboard); !strings.Contains(page, "<title>pine-gate</title>") {
		t.Errorf("at the address of the dashboard is %s", page)
	}
	if strings.Contains(first.text, "SERIOUS") {
		t.Errorf("the doctor finds fault with the demo:\n%s", first.text)
	}
	info, err := os.Stat(filepath.Join(dir, ".env"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the keys' file: %v, %v", info, err)
	}
	first.stop(t)

	// The second start has the same keys and the earlier usage.
	second := start(t, dir)
	if !strings.Contains(first.text, "Keys generated") || strings.Contains(second.text, "Keys generated") {
		t.Error("not only the first start has generated keys")
	}
	if answer := paste(t, second.lines[1]); !strings.Contains(answer, `"requests":1,`) {
		t.Errorf("after a restart the usage answered %s", answer)
	}
	second.stop(t)

	env, err := os.ReadFile(filepath.Join(dir, ".env"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(env)) {
		if _, key, ok := assignment(line); ok && strings.Contains(first.text+second.text, key) {
			t.Error("a key was printed")
		}
	}
}

// The demo warns of a Caddyfile whose filter of credentials was removed.
func TestAnUnfilteredLogIsWarnedOf(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "Caddyfile")
	text, err := os.ReadFile("../../Caddyfile")
	if err != nil {
		t.Fatal(err)
	}
	started := func(caddyfile string) *running {
		t.Helper()
		if err := os.WriteFile(file, []byte(caddyfile), 0o600); err != nil {
			t.Fatal(err)
		}
		r := start(t, dir, "--config", file)
		r.stop(t)
		return r
	}
	shipped := started(string(text))
	changed := started(strings.ReplaceAll(string(text), "import redacted", ""))
	if strings.Contains(shipped.text, "SERIOUS") || !strings.Contains(changed.text, "hides no request>headers>X-Api-Key") {
		t.Errorf("with the filter: %s\nwithout: %s", shipped.text, changed.text)
	}
}

// running is a demo that was started.
type running struct {
	process *exec.Cmd
	text    string   // its output until it was ready
	lines   []string // the lines to paste

	dashboard string // its address
}

// start starts a demo with its directory in dir, and reads its output until it
// has printed everything.
func start(t *testing.T, dir string, args ...string) *running {
	t.Helper()
	r := &running{process: gatetest.Command(t, append([]string{"pinegate", "demo", "--dir", dir}, args...)...)}
	r.process.Env = append(r.process.Env, "PINEGATE_PORT="+strconv.Itoa(gatetest.FreePort()),
		"PINEGATE_ADMIN_PORT="+strconv.Itoa(gatetest.FreePort()), "CADDY_ADMIN="+gatetest.FreeAddress())
	out, err := r.process.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	r.process.Stderr = os.Stderr
	if err := r.process.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.process.Process.Signal(syscall.SIGTERM) }) // if the test fails halfway

	// If it never gets ready it ends by itself, which closes the pipe.
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		r.text += lines.Text() + "\n"
		if strings.HasPrefix(lines.Text(), "  curl ") {
			r.lines = append(r.lines, lines.Text())
		}
		if strings.HasPrefix(lines.Text(), "The dashboard, ") {
			r.dashboard = lines.Text()[strings.LastIndex(lines.Text(), " ")+1:]
		}
		if strings.HasPrefix(lines.Text(), "Ctrl-C ") {
			return r
		}
	}
	t.Fatalf("it ended early:\n%s", r.text)
	return nil
}

// stop stops the demo as Ctrl-C does, and requires a clean exit.
func (r *running) stop(t *testing.T) {
	t.Helper()
	if err := r.process.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	killed := time.AfterFunc(gatetest.Patience, func() { _ = r.process.Process.Kill() })
	defer killed.Stop()
	if err := r.process.Wait(); err != nil {
		t.Errorf("it ended with %v", err)
	}
}

// paste runs a line in a shell in another directory, as a user would.
func paste(t *testing.T, line string) string {
	t.Helper()
	shell := exec.Command("sh", "-c", line)
	shell.Dir = t.TempDir()
	out, err := shell.Output()
	if err != nil {
		t.Fatalf("pasting %s: %v", line, err)
	}
	return string(out)
}
