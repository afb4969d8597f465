package integration

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/amanycodes/pine-gate/internal/gatetest"
)

// What docs/quickstart.md says to type is typed, from its Caddyfile on, and does
// what it says. Only the ports are others.
func TestQuickStartDoesWhatItSays(t *testing.T) {
	for _, tool := range []string{"sh", "curl"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip(err)
		}
	}
	page, err := os.ReadFile("../docs/quickstart.md")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	binary, err := gatetest.Binary()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(binary, filepath.Join(dir, "caddy")); err != nil {
		t.Fatal(err)
	}
	admin, port := gatetest.FreeAddress(), strconv.Itoa(gatetest.FreePort())
	here := strings.NewReplacer("8080", port, "9180", strconv.Itoa(gatetest.FreePort())).Replace(string(page))

	var script strings.Builder
	var request string
	var shown []string // blocks of what is printed
	for _, block := range regexp.MustCompile("(?ms)^```(caddyfile)?\n(.*?)^```").FindAllStringSubmatch(here, -1) {
		text := block[2]
		switch first, _, _ := strings.Cut(text, " "); {
		case block[1] != "":
			if err := os.WriteFile(filepath.Join(dir, "Caddyfile"), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		case first == "git", first == "xcaddy":
		case first == "export", first == "./caddy", first == "curl", strings.HasPrefix(first, "KEY="):
			if strings.Contains(text, "chat/completions") {
				request = text
				text = strings.Repeat(text+"echo\n", 3) // as often as the table says
			}
			script.WriteString(text)
		default:
			shown = append(shown, text)
		}
	}
	if request == "" || len(shown) != 2 {
		t.Fatalf("found the request %q and %d printed blocks", request, len(shown))
	}
	script.WriteString(request)

	// `caddy start` leaves a process behind, which would hold a pipe open.
	out, err := os.Create(filepath.Join(dir, "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	run := func(name string, args ...string) error {
		cmd := exec.Command(name, args...)
		cmd.Dir, cmd.Stdout, cmd.Stderr = dir, out, out
		cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=50", "CADDY_ADMIN="+admin,
			"XDG_DATA_HOME="+filepath.Join(dir, "data"), "XDG_CONFIG_HOME="+filepath.Join(dir, "config"), "HOME="+dir)
		return cmd.Run()
	}
	err = run("sh", "-e", "-c", script.String())
	if stopped := run("./caddy", "stop"); stopped != nil {
		t.Errorf("stopping: %v", stopped)
	}
	printed, readErr := os.ReadFile(out.Name())
	if err != nil || readErr != nil {
		t.Fatalf("%v %v\n%s", err, readErr, printed)
	}
	if n := strings.Count(string(printed), `"content":"Hello"`); n != 3 {
		t.Errorf("answered %d times, want 3", n)
	}
	for _, want := range append(shown, "\nok\n", `"unit":"usd"`, `Key "alice" is revoked.`) {
		if !strings.Contains(string(printed), strings.TrimSuffix(want, "\n")) {
			t.Errorf("nothing printed:\n%s", want)
		}
	}
	if t.Failed() {
		t.Logf("%s", printed)
	}
}
