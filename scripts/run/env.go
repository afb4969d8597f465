package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/amanycodes/pine-gate/internal/keys"
)

// secretNames are the variables that hold the gate's own keys.
var secretNames = []string{"PINEGATE_KEY", "PINEGATE_ADMIN_KEY"}

// environment is what the gate is started with.
type environment map[string]string

// loadEnv returns the environment of this process with what .env says on top:
// the lines that are printed to be pasted read the keys there, so what is there
// must hold. It puts in the keys that are missing, and tells whether it did.
func loadEnv(file string) (env environment, made bool, err error) {
	text, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, false, fmt.Errorf("reading the keys: %w", err)
	}
	if len(text) == 0 {
		text = []byte("# The gate's keys, made by `make run`. git ignores this file; .env.example says what\n# else may stand here.\n")
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
		return nil, false, fmt.Errorf("keeping the keys private: %w", err)
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

// ensureKey gives a key to the line that names it without one, or adds a line
// where there is none. It tells whether it did.
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
		return false, fmt.Errorf("making a key: %w", err)
	}
	line := name + "=" + key
	if at < 0 {
		*lines = append(*lines, line)
	} else {
		(*lines)[at] = line
	}
	return true, nil
}

// assignment reads a line NAME=VALUE; comments and other lines are none.
func assignment(line string) (name, value string, ok bool) {
	name, value, ok = strings.Cut(strings.TrimSpace(line), "=")
	return name, value, ok && !strings.HasPrefix(name, "#")
}

// writePrivate replaces a file that only its owner may read, whole or not at all.
func writePrivate(file, text string) error {
	temporary := file + ".new"
	if err := os.Remove(temporary); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("keeping the keys: %w", err)
	}
	if err := os.WriteFile(temporary, []byte(text), 0o600); err != nil {
		return fmt.Errorf("keeping the keys: %w", err)
	}
	if err := os.Rename(temporary, file); err != nil {
		return fmt.Errorf("keeping the keys: %w", err)
	}
	return nil
}

// list is the environment as a process takes it.
func (e environment) list() []string {
	list := make([]string, 0, len(e))
	for name, value := range e {
		list = append(list, name+"="+value)
	}
	return list
}

// url is where the listener is whose port a variable holds.
func (e environment) url(port string) string {
	return "http://127.0.0.1:" + e[port]
}
