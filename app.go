package pinegate

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/amanycodes/pine-gate/handlers"
	"github.com/amanycodes/pine-gate/internal/backends/discovery"
	"github.com/amanycodes/pine-gate/internal/backends/queue"
	"github.com/amanycodes/pine-gate/internal/config"
	"github.com/amanycodes/pine-gate/internal/keys"
	"github.com/amanycodes/pine-gate/internal/metrics"
	"github.com/amanycodes/pine-gate/internal/store"
	"github.com/amanycodes/pine-gate/usage/pricing"
)

// App is the pinegate app: the state that all gates of one Caddy share. It
// exists with its defaults if it is not configured.
type App struct {
	config.App
	appState
}

// appState holds what an App has besides its configuration.
type appState struct {
	logger  *zap.Logger
	metrics *metrics.Metrics

	store       *store.Store // nil: provisioning failed
	storeConfig *store.Config

	// The configuration of each key, team, model and backend: an id means the
	// same in all sites.
	definitions map[definition][]byte

	// The gates, and the backends of all of them with unique names, for the
	// control plane.
	gateways []*handlers.Gateway
	backends []*backendInfo

	// The keys of each gate, which are watched once the configuration runs.
	keyStores []*keys.Store

	// Whether any gate takes runtime keys.
	runtimeKeys bool

	// The backends to poll for their models, by name.
	discoveries map[string]*discovery.Discovery
	stopAsking  func() // nil: not polling

	prices     *pricing.Files // nil: no price files
	stopPrices chan struct{}  // nil: not watching
}

type definition struct{ kind, id string }

// CaddyModule returns the Caddy module information.
func (*App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "pinegate", New: func() caddy.Module { return new(App) }}
}

// Provision gets the store that this configuration shares with the previous
// one. It opens nothing: see [store.For].
func (a *App) Provision(ctx caddy.Context) error {
	a.logger = ctx.Logger()
	a.definitions = make(map[definition][]byte)
	var err error
	perKey := a.Metrics != nil && a.Metrics.PerKey
	if a.metrics, err = metrics.For(ctx.GetMetricsRegistry(), perKey); err != nil {
		return fmt.Errorf("registering metrics: %w", err)
	}
	if _, err := a.Store.Settings(); err != nil {
		return err
	}
	if a.Webhook != nil {
		if err := a.Webhook.Check(); err != nil {
			return err
		}
	}
	if err := a.provisionPrices(); err != nil {
		return err
	}
	a.storeConfig = &store.Config{
		Store: a.Store, Webhook: a.Webhook, HideModels: a.hideModels(), Metrics: a.metrics, Logger: a.logger,
		Capacities: make(map[string]queue.Capacity),
	}
	a.store, err = store.For(a.storeConfig)
	return err
}

// Start opens the store, and starts watching key and price files and polling
// backends for their models.
func (a *App) Start() error {
	if err := a.store.Start(); err != nil {
		return err
	}
	if a.runtimeKeys {
		a.store.Registry().Start()
	}
	for _, store := range a.keyStores {
		store.Start()
	}
	a.watchPrices()
	a.askBackends()
	running.add(a)
	return nil
}

// Stop stops polling backends. It closes nothing: requests may still be in
// flight, and Caddy stops apps in no particular order. The store is closed with
// its last reference.
func (a *App) Stop() error {
	running.remove(a)
	if a.stopAsking != nil {
		a.stopAsking()
	}
	a.store.Stop()
	return nil
}

// Cleanup drops the store. When the process exits, it first cancels the streams
// that outlived the grace period, so that they settle.
func (a *App) Cleanup() error {
	a.unwatchPrices()
	if a.store == nil {
		return nil // provisioning failed
	}
	if caddy.Exiting() {
		a.store.Settle(settleWait)
	}
	a.store.Drop()
	return nil
}

// settleWait bounds how long an exit waits for streams to settle.
const settleWait = 2 * time.Second

// define records the configuration of a key, team, model or backend. It fails if
// another site configures the same id differently: both share one set of counters.
func (a *App) define(kind, id string, value any) error {
	text, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("encoding %s %q: %w", kind, id, err)
	}
	d := definition{kind, id}
	if before, ok := a.definitions[d]; ok && !bytes.Equal(before, text) {
		return fmt.Errorf("%s %q is defined twice, and differently: it is one %s with one set of counters in all sites", kind, id, kind)
	}
	a.definitions[d] = text
	return nil
}

func (a *App) hideModels() bool { return a.Metrics != nil && a.Metrics.HideModels }

// appFrom returns the app, with its defaults if it is not configured.
func appFrom(ctx caddy.Context) (*App, error) {
	module, err := ctx.App("pinegate")
	if err != nil {
		return nil, fmt.Errorf("loading the pinegate app: %w", err)
	}
	app, ok := module.(*App)
	if !ok {
		return nil, errors.New("the app named pinegate is another module")
	}
	return app, nil
}

var (
	_ caddy.App          = (*App)(nil)
	_ caddy.Provisioner  = (*App)(nil)
	_ caddy.CleanerUpper = (*App)(nil)
)
