package pinegate

import (
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/amanycodes/pine-gate/handlers"
	"github.com/amanycodes/pine-gate/handlers/routing"
	"github.com/amanycodes/pine-gate/internal/config"
	"github.com/amanycodes/pine-gate/internal/keys"
	"github.com/amanycodes/pine-gate/internal/pattern"
	"github.com/amanycodes/pine-gate/internal/tokens"
	"github.com/amanycodes/pine-gate/limiter"
)

// Defaults of the options of a gate.
const (
	defaultMaxBody       = 32_000_000 // bytes
	defaultMaxStream     = 30 * time.Minute
	defaultKeepAlive     = 15 * time.Second
	defaultReserveOutput = 4096 // tokens
)

// Handler is the gate (`http.handlers.pinegate`). It answers every request that
// reaches it: unknown paths are refused, never passed on.
type Handler struct {
	config.Gate
	handlerState
}

// handlerState holds what a Handler has besides its configuration.
type handlerState struct {
	gateway *handlers.Gateway
	keys    *keys.Store
}

// CaddyModule returns the Caddy module information.
func (*Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.pinegate", New: func() caddy.Module { return new(Handler) }}
}

// Provision builds the gateway of the configuration.
func (h *Handler) Provision(ctx caddy.Context) error {
	app, err := appFrom(ctx)
	if err != nil {
		return err
	}
	if err := h.Check(); err != nil {
		return err
	}
	g := &handlers.Gateway{
		Shared:        app.store.Shared(),
		Starting:      running.starting,
		Metrics:       app.metrics,
		Logger:        ctx.Logger(),
		Events:        ctx.Logger().Named(handlers.EventsLogger),
		MaxBody:       orDefault(h.MaxBody, defaultMaxBody),
		MaxStream:     orDefault(time.Duration(h.MaxStream), defaultMaxStream),
		KeepAlive:     max(0, orDefault(time.Duration(h.KeepAlive), defaultKeepAlive)),
		MaxOutput:     h.MaxOutputTokens,
		ReserveOutput: orDefault(h.ReserveOutputTokens, defaultReserveOutput),
		HideModels:    app.Metrics != nil && app.Metrics.HideModels,
	}
	if h.Estimate == "tokens" {
		g.CountTokens = tokens.O200k().Count
	}
	if g.Throttle, err = throttleFor(h.Throttle); err != nil {
		return err
	}
	g.Alerts = h.alerts(app)
	if g.Policy, err = h.policy(app); err != nil {
		return err
	}
	for _, c := range h.Backends {
		b, err := provisionBackend(ctx, app, c, g.MaxBody)
		if err != nil {
			return fmt.Errorf("backend %q: %w", c.Name, err)
		}
		g.Backends = append(g.Backends, b)
	}
	routes, err := h.routes(g.Backends)
	if err != nil {
		return err
	}
	g.Router = routing.NewRouter(g.Backends, routes)
	g.Models, g.Policy.Names = h.modelNames(g.Backends)
	g.Policy.Discovered = app.store.Backends().Names()
	if h.keys, err = h.keyStore(ctx, app); err != nil {
		return err
	}
	g.Keys = h.keys
	h.gateway = g
	app.gateways = append(app.gateways, g)
	return nil
}

// ServeHTTP answers every request; it never calls next: the gate refuses
// unknown paths.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	h.gateway.ServeHTTP(w, r)
	return nil
}

// Cleanup stops watching the files that keys come from. Requests in flight
// keep the keys they were admitted with.
func (h *Handler) Cleanup() error {
	if h.keys != nil {
		h.keys.Close()
	}
	return nil
}

// policy returns the policy of the configuration: teams, models and default
// limits.
func (h *Handler) policy(app *App) (*handlers.Policy, error) {
	p := &handlers.Policy{Teams: make(map[string]*handlers.Team), Defaults: h.Limits, Prices: app.prices}
	for _, c := range h.Teams {
		if p.Teams[c.ID] != nil {
			return nil, fmt.Errorf("team %q stands twice", c.ID)
		}
		if err := app.define("team", c.ID, c); err != nil {
			return nil, err
		}
		team := new(handlers.Team)
		var err error
		if team.Models, err = config.ModelPatterns(c.Models); err != nil {
			return nil, fmt.Errorf("team %q: %w", c.ID, err)
		}
		if team.Rules, err = rules(limiter.ScopeTeam, c.ID, c.Limits); err != nil {
			return nil, fmt.Errorf("team %q: %w", c.ID, err)
		}
		p.Teams[c.ID] = team
	}
	for _, c := range h.Models {
		if err := app.define("model", c.Pattern, c); err != nil {
			return nil, err
		}
		parsed, err := pattern.Parse(c.Pattern)
		if err != nil {
			return nil, fmt.Errorf("model: %w", err)
		}
		model := &handlers.Model{Pattern: parsed, Price: c.Price}
		if model.Rules, err = rules(limiter.ScopeModel, c.Pattern, c.Limits); err != nil {
			return nil, fmt.Errorf("model %q: %w", c.Pattern, err)
		}
		p.Models = append(p.Models, model)
	}
	return p, nil
}

// rules returns the counters of the limits of a scope.
func rules(kind limiter.ScopeKind, id string, limits []limiter.Limit) ([]*limiter.Rule, error) {
	if err := config.CheckLimits(limits); err != nil {
		return nil, err
	}
	made := make([]*limiter.Rule, 0, len(limits))
	for _, limit := range limits {
		made = append(made, limiter.NewRule(kind, id, limit))
	}
	return made, nil
}

func orDefault[T int64 | time.Duration](value, def T) T {
	if value == 0 {
		return def
	}
	return value
}

var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddy.CleanerUpper          = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
)

// alerts returns the alerts of the gate's quotas, nil if there are none.
func (h *Handler) alerts(app *App) *handlers.Alerts {
	if len(h.Alert) == 0 {
		return nil
	}
	percents := slices.Sorted(slices.Values(h.Alert))
	return &handlers.Alerts{Percents: percents, Budgets: app.store.Budgets(), Webhook: app.store.Webhook()}
}
