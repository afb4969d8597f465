// Package store holds what outlives a configuration: limits, usage, runtime keys and
// the state of backends, in memory, in files or in Redis.
package store

import (
	"path/filepath"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/amanycodes/pine-gate/internal/config"
	"github.com/amanycodes/pine-gate/internal/keys/registry"
)

// KeysFile is the name of the file of runtime keys in the store's directory.
const KeysFile = "keys.db"

// KeysOpener returns the function that opens the runtime keys of an embedded
// store.
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

// newRegistry returns the registry of the runtime keys of a store. It opens
// nothing yet.
func newRegistry(open func() (registry.Storage, error)) *registry.Registry {
	logger := func() *zap.Logger { return caddy.Log().Named("pinegate.keys") }
	health := &healthReporter{
		logger: logger,
		fails:  "key store unavailable: runtime keys cannot be changed, and are refused once they are too old",
		works:  "key store available again",
	}
	return registry.New(open, registry.Options{
		OnRefresh: health.report,
		OnError:   func(err error) { logger().Error("ignoring an invalid entry of the key store", zap.Error(err)) },
		Audit: func(a registry.Audit) {
			logger().Info("audit", zap.String("action", a.Action), zap.String("kind", string(a.Kind)), zap.String("id", a.ID), zap.String("actor", a.Actor))
		},
	})
}
