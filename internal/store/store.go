package store

import (
	"context"
	"time"

	"go.uber.org/zap"

	"github.com/amanycodes/pine-gate/handlers"
	"github.com/amanycodes/pine-gate/internal/alerts"
	"github.com/amanycodes/pine-gate/internal/backends/health"
	"github.com/amanycodes/pine-gate/internal/backends/queue"
	"github.com/amanycodes/pine-gate/internal/config"
	"github.com/amanycodes/pine-gate/internal/keys/registry"
	"github.com/amanycodes/pine-gate/internal/metrics"
)

// Config holds the settings of a store.
type Config struct {
	Store      *config.Store
	Webhook    *config.Webhook
	HideModels bool // in events
	Metrics    *metrics.Metrics
	Logger     *zap.Logger

	// Capacities maps the names of backends to their capacities. It may change
	// until the store is started.
	Capacities map[string]queue.Capacity
}

// Store is the reference of one configuration to the state that outlives it.
// Configurations of the same store share that state.
type Store struct {
	config *Config
	local  *localState
	shared *sharedState // nil: not shared with other gates
}

// For returns the store of a configuration. It opens no file and uses no
// network: Caddy validates configurations while another one runs. The caller
// must drop it.
func For(c *Config) (*Store, error) {
	s := &Store{config: c}
	var err error
	if s.local, err = localFor(s); err != nil {
		return nil, err
	}
	if s.shared, err = s.local.sharedFor(c); err != nil {
		s.local.drop()
		return nil, err
	}
	return s, nil
}

// Start opens the store.
func (s *Store) Start() error { return s.local.start(s) }

// Stop restores the settings of the previous configuration, if that still runs.
// It closes nothing: requests may still be in flight.
func (s *Store) Stop() { s.local.stop(s) }

// Settle cancels all requests in flight and waits for them, at most as long as
// wait.
func (s *Store) Settle(wait time.Duration) { s.local.settleAll(wait) }

// Drop removes the reference. The last one, those of requests included, closes
// the store.
func (s *Store) Drop() {
	if s.shared != nil {
		s.shared.drop()
	}
	s.local.drop()
}

// Shared returns the state to which requests hold references.
func (s *Store) Shared() handlers.Shared {
	if s.shared != nil {
		return s.shared
	}
	return s.local
}

// Local returns the part of the store that belongs to this gate.
func (s *Store) Local() handlers.Shared { return s.local }

// Registry returns the runtime keys.
func (s *Store) Registry() *registry.Registry {
	if s.shared != nil {
		return s.shared.registry
	}
	return s.local.registry
}

// Backends returns the states of all backends.
func (s *Store) Backends() *health.Set { return &s.local.backends }

// Budgets returns the alerts raised so far.
func (s *Store) Budgets() *alerts.Budgets { return &s.local.budgets }

// Webhook returns the webhook that alerts are sent to.
func (s *Store) Webhook() *alerts.Webhook { return s.local.webhook }

// RedisSettings returns the eviction policy of Redis and whether it keeps an
// append-only file; nil if Redis does not return them, or the store is not in
// Redis.
func (s *Store) RedisSettings(ctx context.Context) (eviction *string, appendOnly *bool) {
	if s.shared == nil {
		return nil, nil
	}
	return s.shared.serverSettings(ctx)
}
