// Package store holds what outlives a configuration: limits, usage, runtime keys and
// the state of backends, in memory, in files or in Redis.
package store

import (
	"path/filepath"

	"github.com/amanycodes/pine-gate/internal/config"
	"github.com/amanycodes/pine-gate/internal/keys/registry"
)

// KeysFile is the name of the file of runtime keys in the store's directory.
const KeysFile = "keys.db"

// KeysOpener returns a function that opens the runtime keys of an embedded store.
func KeysOpener(c *config.Store) func() (registry.Storage, error) {
	if c.Kind() == config.KindMemory {
		memory := registry.NewMemory()
		return func() (registry.Storage, error) { return memory, nil }
	}
	return func() (registry.Storage, error) {
		dir, err := c.Path()
		if err != nil {
			return nil, err
		}
		return registry.OpenBolt(filepath.Join(dir, KeysFile))
	}
}
