package integration

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// pluginMain is what xcaddy generates for `--with github.com/amanycodes/pine-gate`.
const pluginMain = `package main

import (
	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	_ "github.com/amanycodes/pine-gate"
	_ "github.com/caddyserver/caddy/v2/modules/standard"
)

func main() { caddycmd.Main() }
`

// Users build Caddy with the gate by xcaddy: a module of their own, in which
// this one's replace lines would count for nothing, without cgo, with its tags.
func TestBuildAsXcaddyMakesItAnswers(t *testing.T) {
	t.Parallel() // it waits for compilers most of the time
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	read := func(name string) string {
		t.Helper()
		text, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	// The versions that this module was tried with, so that none is looked up.
	module := read("go.mod")
	if strings.Contains(module, "\nreplace ") || strings.Contains(module, "\nexclude ") {
		t.Error("go.mod has replace or exclude lines, which nobody who builds with this module gets")
	}
	module = strings.Replace(module, "module github.com/amanycodes/pine-gate", "module caddy", 1)
	module += "\nrequire github.com/amanycodes/pine-gate v0.0.0\n\nreplace github.com/amanycodes/pine-gate => " + root + "\n"
	write("go.mod", module)
	write("go.sum", read("go.sum"))
	write("main.go", pluginMain)

	built := filepath.Join(dir, "caddy")
	build := exec.Command("go", "build", "-o", built, "-trimpath", "-tags", "nobadger,nomysql,nopgx", ".")
	build.Dir = dir
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-mod=mod", "GOWORK=off")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building: %v\n%s", err, out)
	}

	g := newGate(t)
	g.binary = built
	g.start(g.caddyfile("", "key alice {env.CALLER_KEY}\nbackend demo {\napi echo\n}"))
	a := g.chat(callerKey, "echo", "are you there?")
	if a.status != 200 || !strings.Contains(a.body, "are you there?") {
		t.Errorf("got %d %s", a.status, a.body)
	}
}
