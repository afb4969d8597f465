package caddyfile

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/amanycodes/pine-gate/internal/config"
)

// Each subdirective of a gate and a backend is in a golden file, so that none is
// lost when the parser changes.
func TestAdaptGoldensHaveEverySubdirective(t *testing.T) {
	var shown strings.Builder
	files, _ := filepath.Glob("../../testdata/adapt/*.caddyfiletest")
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		input, _, _ := strings.Cut(string(text), "----------\n")
		shown.WriteString(input)
	}
	lines := strings.Split(shown.String(), "\n")
	known := (&gateParser{gate: new(config.Gate), owners: secretOwners{}}).subdirectives()
	for name := range (&backendParser{backend: new(config.Backend)}).subdirectives() {
		known[name] = subdirective{}
	}
	known["policy"], known["attempts"] = subdirective{}, subdirective{}
next:
	for name := range known {
		for _, line := range lines {
			if fields := strings.Fields(line); len(fields) > 0 && fields[0] == name {
				continue next
			}
		}
		t.Errorf("%q stands in no golden", name)
	}
}
