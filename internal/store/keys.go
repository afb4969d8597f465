// Package store holds what outlives a configuration: limits, usage, runtime keys and
// the state of backends, in memory, in files or in Redis.
package store

import (
	"cmp"
	"path/filepath"

	"github.com/caddyserver/caddy/v2"
	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"github.com/amanycodes/pine-gate/internal/config"
	"github.com/amanycodes/pine-gate/internal/keys/registry"
	redislimit "github.com/amanycodes/pine-gate/limiter/redis"
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
	logger := caddy.Log().Named("pinegate.keys")
	return registry.New(open, registry.Options{
		OnStatus: func(err error) {
			if err != nil {
				logger.Error("key store unavailable: runtime keys cannot be changed, and are refused once they are too old", zap.Error(err))
				return
			}
			logger.Info("key store available again")
		},
		OnError: func(err error) { logger.Error("ignoring an invalid entry of the key store", zap.Error(err)) },
		Audit: func(a registry.Audit) {
			logger.Info("audit", zap.String("action", a.Action), zap.String("kind", string(a.Kind)), zap.String("id", a.ID), zap.String("actor", a.Actor))
		},
	})
}

// redisKeys is a storage that owns its client.
type redisKeys struct {
	*registry.Redis
	client redis.UniversalClient
}

func (r redisKeys) Close() error { return r.client.Close() }

// openRedisKeys opens the runtime keys that all gates of a Redis share.
func openRedisKeys(options redislimit.Options) (registry.Storage, error) {
	quietRedis()
	client, err := redislimit.NewClient(options)
	if err != nil {
		return nil, err
	}
	return redisKeys{registry.NewRedis(client, cmp.Or(options.Prefix, redislimit.DefaultPrefix)), client}, nil
}
