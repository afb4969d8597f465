package pinegate

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	_ "github.com/caddyserver/caddy/v2/modules/standard"
)

var update = flag.Bool("update", false, "write what is adapted into testdata/adapt")

const separator = "----------\n"

// adapt returns the JSON config of a Caddyfile, which must be formatted as
// `caddy fmt` does it.
func adapt(t *testing.T, input string) (string, error) {
	t.Helper()
	result, warnings, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(input), nil)
	if err != nil {
		return "", err
	}
	for _, warning := range warnings {
		t.Errorf("warning: %s", warning)
	}
	var out bytes.Buffer
	if err := json.Indent(&out, result, "", "\t"); err != nil {
		t.Fatal(err)
	}
	return out.String() + "\n", nil
}

// Each file is a Caddyfile, a line of ten dashes, and its JSON.
func TestAdaptGoldens(t *testing.T) {
	files, err := filepath.Glob("testdata/adapt/*.caddyfiletest")
	if err != nil || len(files) == 0 {
		t.Fatalf("no goldens: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".caddyfiletest"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			input, want, found := strings.Cut(string(text), separator)
			if !found {
				t.Fatalf("no line of ten dashes")
			}
			got, err := adapt(t, input)
			if err != nil {
				t.Fatal(err)
			}
			if *update {
				if err := os.WriteFile(file, []byte(input+separator+got), 0o600); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != want {
				t.Errorf("adapted to\n%s\nwant\n%s", got, want)
			}
		})
	}
}

// JSON configs are stored and shown: what is clear in the Caddyfile, also by
// way of {$NAME}, must not be in them.
func TestAdaptHidesClearSecrets(t *testing.T) {
	t.Setenv("PINEGATE_TEST_SECRET", "expanded-while-adapting")
	got, err := adapt(t, `:8080 {
	pinegate {
		admin_key clear-secret-of-the-admin
		key alice clear-secret-of-alice {$PINEGATE_TEST_SECRET}
		backend echo {
			api echo
		}
	}
}

:8081 {
	pinegate_admin {
		admin_key clear-secret-of-the-admin
	}
}
`)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(got, `"sha256:`); n != 4 {
		t.Errorf("%d hashes in the config, want 4:\n%s", n, got)
	}
	for _, secret := range []string{"clear-secret", "expanded-while-adapting"} {
		if strings.Contains(got, secret) {
			t.Errorf("%q stands in the config:\n%s", secret, got)
		}
	}
}

// The Caddyfiles that are shipped must come out of `caddy fmt` as they are.
func TestShippedCaddyfilesAreFormatted(t *testing.T) {
	files, err := filepath.Glob("examples/*/Caddyfile")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range append(files, "Caddyfile") {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Error(err)
			continue
		}
		if formatted := caddyfile.Format(text); !bytes.Equal(formatted, text) {
			t.Errorf("%s: caddy fmt makes of it:\n%s", file, formatted)
		}
	}
}
