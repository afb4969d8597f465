package pinegate

import (
	"cmp"
	"errors"
	"iter"
	"net/http"

	"github.com/caddyserver/caddy/v2"
	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"github.com/amanycodes/pine-gate/handlers"
	"github.com/amanycodes/pine-gate/internal/control"
	"github.com/amanycodes/pine-gate/internal/keys"
	"github.com/amanycodes/pine-gate/internal/keys/registry"
	"github.com/amanycodes/pine-gate/limiter"
)

// newRegistry returns the keys that are made at runtime with a store. It opens
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

// redisKeys is a storage with a client of its own.
type redisKeys struct {
	*registry.Redis
	client redis.UniversalClient
}

func (r redisKeys) Close() error { return r.client.Close() }

// openRedisKeys opens the keys that all gates of a Redis share.
func openRedisKeys(options limiter.RedisOptions) (registry.Storage, error) {
	quietRedis()
	client, err := limiter.NewClient(options)
	if err != nil {
		return nil, err
	}
	return redisKeys{registry.NewRedis(client, cmp.Or(options.Prefix, limiter.DefaultPrefix)), client}, nil
}

// registry returns the keys that are made at runtime with the configuration's
// store.
func (a *App) registry() *registry.Registry {
	if a.limits != nil {
		return a.limits.registry
	}
	return a.state.registry
}

// errNoRuntimeKeys says what to do where keys that are made at runtime would open
// nothing.
var errNoRuntimeKeys = errors.New("no gate takes keys that are made at runtime: write `keys store` into its pinegate block")

// operated is a configuration as the control plane operates it.
type operated struct{ *App }

// Registry implements [control.Gate].
func (a operated) Registry() (*registry.Registry, error) {
	if !a.runtimeKeys {
		return nil, errNoRuntimeKeys
	}
	return a.registry(), nil
}

// Configured implements [control.Gate].
func (a operated) Configured() iter.Seq[*keys.Key] {
	return func(yield func(*keys.Key) bool) {
		seen := make(map[string]bool)
		for _, store := range a.keyStores {
			for key := range store.Current().All() {
				if key.Runtime || seen[key.ID] {
					continue
				}
				seen[key.ID] = true
				if !yield(key) {
					return
				}
			}
		}
	}
}

// ConfiguredTeam implements [control.Gate].
func (a operated) ConfiguredTeam(id string) bool {
	_, ok := a.definitions[definition{"team", id}]
	return ok
}

// ServeUsage implements [control.Gate].
func (a operated) ServeUsage(w http.ResponseWriter, r *http.Request) *control.Problem {
	refusal := handlers.WriteUsage(a.state, a.logger, w, r)
	if refusal == nil {
		return nil
	}
	detail := refusal.Error()
	if refusal.Message != "" {
		detail = refusal.Message
	}
	if refusal.Param != "" {
		detail = refusal.Param + " " + detail
	}
	return control.NewProblem(refusal.StatusCode(), detail)
}

var _ control.Gate = operated{}
