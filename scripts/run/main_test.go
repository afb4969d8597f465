package main

import (
	"bufio"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The lines that the first start prints work as they are, pasted into a shell in
// another directory, whatever the checkout is called.
func TestPrintedLinesWork(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "it's a checkout")
	install(t, dir)
	ports := []string{"PINEGATE_PORT=" + freePortForTest(t), "PINEGATE_ADMIN_PORT=" + freePortForTest(t), "CADDY_ADMIN=localhost:" + freePortForTest(t)}

	first := start(t, dir, ports)
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
	info, err := os.Stat(filepath.Join(dir, ".env"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the keys' file: %v, %v", info, err)
	}
	first.stop(t)

	// The second start has the same keys and still knows what was used.
	second := start(t, dir, ports)
	if strings.Contains(second.text, "Made keys") {
		t.Error("the second start made keys")
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

// Who takes the filter of credentials out of the Caddyfile is told what that means.
func TestAnUnfilteredLogIsWarnedOf(t *testing.T) {
	dir := t.TempDir()
	install(t, dir)
	ports := []string{"PINEGATE_PORT=" + freePortForTest(t), "PINEGATE_ADMIN_PORT=" + freePortForTest(t), "CADDY_ADMIN=localhost:" + freePortForTest(t)}
	shipped := start(t, dir, ports)
	shipped.stop(t)
	file := filepath.Join(dir, "Caddyfile")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(strings.ReplaceAll(string(text), "import redacted", "")), 0o600); err != nil {
		t.Fatal(err)
	}
	changed := start(t, dir, ports)
	changed.stop(t)
	if strings.Contains(shipped.text, "SERIOUS") || !strings.Contains(changed.text, "hides no request>headers>X-Api-Key") {
		t.Errorf("with the filter: %s\nwithout: %s", shipped.text, changed.text)
	}
}

// install puts into dir what `make run` has built and the shipped Caddyfile.
func install(t *testing.T, dir string) {
	t.Helper()
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	build := exec.Command("go", "build", "-o", filepath.Join(dir, "bin")+string(filepath.Separator), "./cmd/caddy", "./scripts/run")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building: %v\n%s", err, out)
	}
	caddyfile, err := os.ReadFile(filepath.Join(root, "Caddyfile"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "Caddyfile"), caddyfile, 0o600); err != nil {
		t.Fatal(err)
	}
}

// running is a started `make run`.
type running struct {
	process *exec.Cmd
	text    string   // what it printed until it was ready
	lines   []string // those to paste

	dashboard string // its address
}

// start starts bin/run and reads what it prints until it has said everything.
func start(t *testing.T, dir string, env []string) *running {
	t.Helper()
	r := &running{process: exec.Command(filepath.Join(dir, "bin", "run"))}
	r.process.Dir = dir
	r.process.Env = append(os.Environ(), env...)
	out, err := r.process.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	r.process.Stderr = os.Stderr
	if err := r.process.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.process.Process.Signal(syscall.SIGTERM) }) // if the test fails halfway

	// If it never gets ready it ends by itself, and the pipe with it.
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

// stop does what Ctrl-C does, and wants a clean end.
func (r *running) stop(t *testing.T) {
	t.Helper()
	if err := r.process.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	killed := time.AfterFunc(20*time.Second, func() { _ = r.process.Process.Kill() })
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

func freePortForTest(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
}
