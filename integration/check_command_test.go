package integration

import (
	"strings"
	"testing"

	"github.com/amanycodes/pine-gate/internal/gatetest"
)

// The check of an image's health asks the gate that runs, by either door.
func TestCheckCommandAsksTheRunningGate(t *testing.T) {
	g := newGate(t)
	g.start(g.caddyfile("", "key alice {env.CALLER_KEY}\nbackend demo {\napi echo\n}"))
	check := func(address string) (out string, code int) {
		t.Helper()
		cmd := gatetest.Command(t, "pinegate", "check", "--address", address)
		text, _ := cmd.CombinedOutput() // the exit status is what counts
		return string(text), cmd.ProcessState.ExitCode()
	}
	for _, address := range []string{g.admin, "http://" + g.admin, g.url + "/readyz"} {
		if out, code := check(address); out != "ok\n" || code != 0 {
			t.Errorf("%s: exit status %d, %q", address, code, out)
		}
	}
	if status := g.reload("{\n\tadmin " + g.admin + "\n\tpersist_config off\n}\nhttp://127.0.0.1:0 {\n\trespond ok\n}\n"); status != 200 {
		t.Fatal(status)
	}
	if out, code := check(g.admin); code != 1 || !strings.Contains(out, "without pinegate") {
		t.Errorf("exit status %d, %q", code, out)
	}
}
