//go:build unix

package gatetest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// binaryVar is the environment variable with the path of the binary. `make test` builds
// one for all packages.
const binaryVar = "PINEGATE_TEST_BINARY"

// built is what Binary has built: the directory to remove in the end.
var built string

// Binary returns the path of Caddy with the module: what PINEGATE_TEST_BINARY has, else
// one that it builds, once for each process, with the race detector where the test has
// it. Main removes it.
var Binary = sync.OnceValues(func() (string, error) {
	if path := os.Getenv(binaryVar); path != "" {
		if _, err := os.Stat(path); err != nil {
			return "", fmt.Errorf("%s: %w", binaryVar, err)
		}
		return path, nil
	}
	dir, err := os.MkdirTemp("", "gatetest")
	if err != nil {
		return "", err
	}
	built = dir
	binary := filepath.Join(dir, "caddy")
	args := []string{"build", "-o", binary}
	if raceEnabled {
		args = append(args, "-race")
	}
	build := exec.Command("go", append(args, "./cmd/caddy")...)
	build.Dir = Root()
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building the gate: %w\n%s", err, out)
	}
	return binary, nil
})

// Root returns the directory of the module, which is the working directory of the test
// or above it.
func Root() string {
	dir, err := os.Getwd()
	if err != nil {
		panic(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "cmd", "caddy")); err == nil {
			return dir
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			panic("gatetest: the test runs outside of the module")
		}
		dir = parent
	}
}

// Main runs the tests of a package, removes what Binary has built, and returns the exit
// status, for TestMain.
func Main(m *testing.M) int {
	defer func() {
		if built != "" {
			_ = os.RemoveAll(built) // left in the system's temporary directory otherwise
		}
	}()
	return m.Run()
}

// quickExit is for binaries with the race detector, which makes each exit take a second
// by default.
const quickExit = "GORACE=atexit_sleep_ms=50"

// Command returns a command of the binary, with the environment of the test. It fails
// the test if there is no binary.
func Command(t testing.TB, args ...string) *exec.Cmd {
	t.Helper()
	binary, err := Binary()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(binary, args...)
	cmd.Env = append(os.Environ(), quickExit)
	return cmd
}
