package command

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/amanycodes/pine-gate/internal/keys"
)

// secretNames are the names of the variables that hold the keys of the demo.
var secretNames = []string{"PINEGATE_KEY", "PINEGATE_ADMIN_KEY"}

// environment is the environment in which the gate is started.
type environment map[string]string

// loadEnv returns the environment of this process overridden by the variables in
// file, because the printed commands read the keys from file. It adds missing keys to
// file, and reports whether it did.
func loadEnv(file string) (env environment, made bool, err error) {
	text, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, false, fmt.Errorf("reading the keys: %w", err)
	}
	if len(text) == 0 {
		text = []byte("# The keys of `caddy pinegate demo`. Other variables that the Caddyfile reads may be set\n# here too.\n")
	}

	lines := strings.Split(strings.TrimRight(string(text), "\n"), "\n")
	for _, name := range secretNames {
		changed, err := ensureKey(&lines, name)
		if err != nil {
			return nil, false, err
		}
		made = made || changed
	}
	if made {
		if err := writePrivate(file, strings.Join(lines, "\n")+"\n"); err != nil {
			return nil, false, err
		}
	} else if err := os.Chmod(file, 0o600); err != nil {
		return nil, false, fmt.Errorf("making the keys private: %w", err)
	}

	env = make(environment)
	for _, pair := range os.Environ() {
		if name, value, ok := strings.Cut(pair, "="); ok {
			env[name] = value
		}
	}
	for _, line := range lines {
		if name, value, ok := assignment(line); ok && value != "" {
			env[name] = value
		}
	}
	return env, made, nil
}

// ensureKey generates the key for a line without a value, or adds a line if there is
// none. It reports whether it did.
func ensureKey(lines *[]string, name string) (bool, error) {
	at := -1
	for i, line := range *lines {
		if n, value, ok := assignment(line); ok && n == name {
			if value != "" {
				return false, nil
			}
			at = i
		}
	}
	key, err := keys.Generate("test", rand.Reader)
	if err != nil {
		return false, fmt.Errorf("generating a key: %w", err)
	}
	line := name + "=" + key
	if at < 0 {
		*lines = append(*lines, line)
	} else {
		(*lines)[at] = line
	}
	return true, nil
}

// assignment parses a line NAME=VALUE. ok is false for comments and other lines.
func assignment(line string) (name, value string, ok bool) {
	name, value, ok = strings.Cut(strings.TrimSpace(line), "=")
	return name, value, ok && !strings.HasPrefix(name, "#")
}

// writePrivate atomically replaces a file with one that only its owner may read.
func writePrivate(file, text string) error {
	temporary := file + ".new"
	if err := os.Remove(temporary); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("writing the keys: %w", err)
	}
	if err := os.WriteFile(temporary, []byte(text), 0o600); err != nil {
		return fmt.Errorf("writing the keys: %w", err)
	}
	if err := os.Rename(temporary, file); err != nil {
		return fmt.Errorf("writing the keys: %w", err)
	}
	return nil
}

// url returns the address of the listener on the port in the variable called port.
func (e environment) url(port string) string {
	return "http://127.0.0.1:" + e[port]
}
