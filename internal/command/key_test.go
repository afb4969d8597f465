package command

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/amanycodes/pine-gate/internal/control"
	"github.com/amanycodes/pine-gate/internal/store"
)

// onStore runs a command with an embedded store.
func onStore(t *testing.T, dir, line string) (out, errors string, err error) {
	t.Helper()
	group, rest, _ := strings.Cut(line, " ")
	cmd := keyCommand()
	if group == "team" {
		cmd = teamCommand()
	}
	args := append(shellWords(rest), "--store", dir)
	return run(cmd, "", args...)
}

// shellWords splits a line as a shell does, as far as the tests need it.
func shellWords(line string) (words []string) {
	for i, part := range strings.Split(line, `"`) {
		if i%2 == 1 {
			words = append(words, part)
			continue
		}
		words = append(words, strings.Fields(part)...)
	}
	return words
}

func TestKeysAreWorkedOnInAStoreThatNoGateHasOpen(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	must := func(line string, parts ...string) string {
		t.Helper()
		out, _, err := onStore(t, dir, line)
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		for _, part := range parts {
			if !strings.Contains(out, part) {
				t.Errorf("%s: %s, want %s", line, out, part)
			}
		}
		return out
	}
	if _, _, err := onStore(t, dir, "key list"); err == nil || !strings.Contains(err.Error(), "check --store") {
		t.Errorf("a store that does not exist: %v", err)
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("a list makes a store")
	}
	must(`team create search --limit "25 usd/month"`, "search", "25 usd/month")
	must(`key list`, "There are no keys")
	var created control.CreatedKey
	out := must(`key create alice --team search --limit "3 requests/hour" --limit "1M tokens/day" --models gpt-*,claude-* --metadata owner=ops --json`)
	if err := json.Unmarshal([]byte(out), &created); err != nil || created.ID != "alice" || !strings.HasPrefix(created.Key, "pg_live_") {
		t.Fatalf("%s: %v", out, err)
	}
	if text := must(`key create bob --env test`); !strings.HasPrefix(text, "pg_test_") || strings.Count(text, "\n") != 1 {
		t.Errorf("the secret does not stand alone: %q", text)
	}
	must(`key list`, "alice", "bob", "active", "…"+created.Key[len(created.Key)-4:])
	must(`key show alice`, "3 requests/hour, 1M tokens/day", "gpt-*, claude-*", "metadata owner")
	must(`key update alice --team "" --limit "5 requests/hour"`, "5 requests/hour")
	if text := must(`key show alice --json`); strings.Contains(text, "search") || strings.Contains(text, "1M tokens") || !strings.Contains(text, `"gpt-*"`) {
		t.Errorf("updated: %s", text)
	}
	must(`key rotate alice --grace 1h`, "pg_live_")
	must(`key disable alice`, "disabled")
	must(`key list`, "disabled")
	must(`key enable alice`, "enabled")
	must(`key revoke alice`, "revoked")
	must(`key delete alice`, "deleted")
	must(`team delete search`, "deleted")
	must(`team list`, "No team")
	if text := must(`key list --json`); strings.Contains(text, "alice") || !strings.Contains(text, "bob") {
		t.Errorf("list: %s", text)
	}
	content, err := os.ReadFile(filepath.Join(dir, store.KeysFile))
	if err != nil || strings.Contains(string(content), created.Key) {
		t.Errorf("the file holds the secret, or %v", err)
	}
	if info, err := os.Stat(filepath.Join(dir, store.KeysFile)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file's mode is %v (%v)", info.Mode(), err)
	}
}

func TestErrorsOfKeyCommandsSayWhatToDo(t *testing.T) {
	dir := t.TempDir()
	if _, _, err := onStore(t, dir, "key create alice"); err != nil {
		t.Fatal(err)
	}
	for line, want := range map[string]string{
		"key create alice":                 "one with this id already",
		"key create":                       "expected one argument, the id of the key",
		"key create a b":                   "expected one argument",
		`key create bob --limit "3 pears"`: "limits",
		"key create bob --env prod":        "live or test",
		"key update alice":                 "say what by a flag",
		"key update nobody --team x":       "none with this id",
		"key rotate alice --grace soon":    "grace",
		"key show nobody":                  `no key "nobody"`,
		"key revoke nobody":                "none with this id",
		"team show nobody":                 "nobody",
		"team update nobody":               "say what by a flag",
	} {
		if _, _, err := onStore(t, dir, line); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", line, err, want)
		}
	}
	if _, _, err := run(keyCommand(), "", "list", "--address", "127.0.0.1:1"); err == nil || !strings.Contains(err.Error(), "--store <dir>") {
		t.Errorf("without a gate: %v", err)
	}
}
