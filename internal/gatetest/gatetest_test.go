//go:build unix

package gatetest

import "testing"

func TestOnlyRacesOfTheGateItselfCount(t *testing.T) {
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
