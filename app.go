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
	"github.com/amanycodes/pine-gate/usage/pricing"
)

// App is the pinegate app: what all gates of one Caddy share. It exists with
// its defaults where it is not configured.
type App struct {
	config.App
	appState
}

// appState holds what an App has besides its configuration.
type appState struct {
	logger  *zap.Logger
	state   *state
	limits  *limits // nil: those of the state
	metrics *metrics.Metrics

	// What each key, team, model and backend was defined as: it is one thing
	// by its id, in all sites.
	definitions map[definition][]byte

	// The gates, and the backends of all of them, each name once: what is told to
	// who operates them.
	gateways []*handlers.Gateway
	backends []*operatedBackend

	// The keys of each gate, to be watched once the configuration runs.
	keyStores []*keys.Store

	// Whether any gate takes keys that are made at runtime.
	runtimeKeys bool

	// How many requests the backends take, by their names.
	capacities map[string]queue.Capacity

	// The backends to ask for their models, by their names.
	discoveries map[string]*discovery.Discovery
	stopAsking  func() // nil: nobody asks

	prices     *pricing.Files // nil: no price files
	stopPrices chan struct{}  // nil: nobody watches them
}

type definition struct{ kind, id string }

// CaddyModule returns the Caddy module information.
func (*App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "pinegate", New: func() caddy.Module { return new(App) }}
}

// Provision finds the state that this configuration shares with the one before.
// It opens nothing: see [state].
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
	if a.state, err = stateFor(a); err != nil {
		return err
	}
	a.limits, err = limitsFor(a)
	return err
}

// Start opens the store and begins to watch the files that keys and prices come
// from.
func (a *App) Start() error {
	if err := a.state.start(a); err != nil {
		return err
	}
	if a.limits != nil {
		a.limits.start(a)
	}
	if a.runtimeKeys {
		a.registry().Start()
	}
	for _, store := range a.keyStores {
		store.Start()
	}
	a.watchPrices()
	a.askBackends()
	running.add(a)
	return nil
}

// Stop ends what the app asks of backends. It closes nothing: requests may still
// be in flight, and Caddy stops apps in no particular order. What there is to
// close is closed with the last lease.
func (a *App) Stop() error {
	running.remove(a)
	if a.stopAsking != nil {
		a.stopAsking()
	}
	a.state.stop(a)
	return nil
}

// Cleanup lets go of the shared state. When the process exits, streams that
// outlived the grace period are told to end first, so that they settle.
func (a *App) Cleanup() error {
	a.unwatchPrices()
	if a.state == nil {
		return nil // provisioning failed
	}
	if caddy.Exiting() {
		a.state.settleAll(settleWait)
	}
	if a.limits != nil {
		a.limits.drop()
	}
	a.state.drop()
	return nil
}

// settleWait bounds how long an exit waits for streams to settle.
const settleWait = 2 * time.Second

// define notes what a key, team, model or backend is. It fails if another site
// said something else of the same id: its counters could not follow both.
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

// shared is what requests hold.
func (a *App) shared() handlers.Shared {
	if a.limits != nil {
		return a.limits
	}
	return a.state
}

// appFrom returns the app, made with its defaults where it is not configured.
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
