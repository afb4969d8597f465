package pinegate

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/amanycodes/pine-gate/handlers"
	"github.com/amanycodes/pine-gate/handlers/routing"
	"github.com/amanycodes/pine-gate/internal/keys"
	"github.com/amanycodes/pine-gate/internal/pattern"
	"github.com/amanycodes/pine-gate/internal/tokens"
	"github.com/amanycodes/pine-gate/limiter"
)

// Defaults of what a gate does not say.
const (
	defaultMaxBody       = 10_000_000 // bytes
	defaultMaxStream     = 30 * time.Minute
	defaultKeepAlive     = 15 * time.Second
	defaultReserveOutput = 4096 // tokens
)

// handlerState is what a Handler holds besides its configuration.
type handlerState struct {
	gateway *handlers.Gateway
	keys    *keys.Store
}

// CaddyModule returns the Caddy module information.
func (*Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.pinegate", New: func() caddy.Module { return new(Handler) }}
}

// Provision turns the configuration into a gateway.
func (h *Handler) Provision(ctx caddy.Context) error {
	app, err := appFrom(ctx)
	if err != nil {
		return err
	}
	if len(h.Keys) == 0 && len(h.KeyFiles) == 0 && !h.KeyStore {
		return errors.New("a gate needs a source of keys: a key block, a keys file or keys store; it is never open")
	}
	if len(h.Backends) == 0 {
		return errors.New("a gate needs a backend")
	}
	if err := h.checkNumbers(); err != nil {
		return err
	}
	g := &handlers.Gateway{
		Shared:        app.shared(),
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
	switch h.Estimate {
	case "", "characters":
	case "tokens":
		g.CountTokens = tokens.O200k().Count
	default:
		return fmt.Errorf("estimate: unknown word %q: expected characters or tokens", h.Estimate)
	}
	if g.Throttle, err = throttleFor(h.Throttle); err != nil {
		return err
	}
	if g.Alerts, err = h.alerts(app); err != nil {
		return err
	}
	if g.Policy, err = h.policy(app); err != nil {
		return err
	}
	for _, config := range h.Backends {
		b, err := config.provision(ctx, app, g.MaxBody)
		if err != nil {
			return fmt.Errorf("backend %q: %w", config.Name, err)
		}
		g.Backends = append(g.Backends, b)
	}
	routes, err := h.routes(g.Backends)
	if err != nil {
		return err
	}
	g.Router = routing.NewRouter(g.Backends, routes)
	g.Models, g.Policy.Names = h.modelNames(g.Backends)
	g.Policy.Discovered = app.state.backends.Names()
	if h.keys, err = h.keyStore(ctx, app); err != nil {
		return err
	}
	g.Keys = h.keys
	h.gateway = g
	app.gateways = append(app.gateways, g)
	return nil
}

func (h *Handler) checkNumbers() error {
	for _, n := range []struct {
		name  string
		value int64
	}{
		{"max_body", h.MaxBody},
		{"max_stream", int64(h.MaxStream)},
		{"max_output_tokens", h.MaxOutputTokens},
		{"reserve_output_tokens", h.ReserveOutputTokens},
	} {
		if n.value < 0 {
			return fmt.Errorf("%s is %d: expected a positive number", n.name, n.value)
		}
	}
	return nil
}

// ServeHTTP answers the request; it never calls next: what the gate does not
// know is refused.
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

// policy turns teams, models and default limits into rules.
func (h *Handler) policy(app *App) (*handlers.Policy, error) {
	p := &handlers.Policy{Teams: make(map[string]*handlers.Team), Defaults: h.Limits, Prices: app.prices}
	if err := checkLimits(h.Limits); err != nil {
		return nil, err
	}
	for _, config := range h.Teams {
		if p.Teams[config.ID] != nil {
			return nil, fmt.Errorf("team %q stands twice", config.ID)
		}
		if err := app.define("team", config.ID, config); err != nil {
			return nil, err
		}
		team := new(handlers.Team)
		var err error
		if team.Models, err = patterns(config.Models); err != nil {
			return nil, fmt.Errorf("team %q: %w", config.ID, err)
		}
		if team.Rules, err = rules(limiter.ScopeTeam, config.ID, config.Limits); err != nil {
			return nil, fmt.Errorf("team %q: %w", config.ID, err)
		}
		p.Teams[config.ID] = team
	}
	for _, config := range h.Models {
		if err := app.define("model", config.Pattern, config); err != nil {
			return nil, err
		}
		parsed, err := pattern.Parse(config.Pattern)
		if err != nil {
			return nil, fmt.Errorf("model: %w", err)
		}
		model := &handlers.Model{Pattern: parsed, Price: config.Price}
		if model.Rules, err = rules(limiter.ScopeModel, config.Pattern, config.Limits); err != nil {
			return nil, fmt.Errorf("model %q: %w", config.Pattern, err)
		}
		p.Models = append(p.Models, model)
	}
	return p, nil
}

// rules makes the counters of a scope's limits.
func rules(kind limiter.ScopeKind, id string, limits []limiter.Limit) ([]*limiter.Rule, error) {
	if err := checkLimits(limits); err != nil {
		return nil, err
	}
	made := make([]*limiter.Rule, 0, len(limits))
	for _, limit := range limits {
		made = append(made, limiter.NewRule(kind, id, limit))
	}
	return made, nil
}

// checkLimits refuses limits that make no sense, and two of one unit and
// window: they would share a counter.
func checkLimits(limits []limiter.Limit) error {
	type counter struct {
		unit   limiter.Unit
		window limiter.Window
	}
	seen := make(map[counter]bool, len(limits))
	for _, limit := range limits {
		if err := limit.Validate(); err != nil {
			return err
		}
		c := counter{limit.Unit, limit.Window}
		if seen[c] {
			return fmt.Errorf("limit %s: there is one of this unit and window already", limit)
		}
		seen[c] = true
	}
	return nil
}

// patterns parses model patterns: nil, for every model, where there are none,
// and a list that matches nothing for `none`.
func patterns(texts []string) (pattern.List, error) {
	switch {
	case len(texts) == 0:
		return nil, nil
	case len(texts) == 1 && texts[0] == "none":
		return pattern.List{}, nil
	}
	return pattern.ParseList(texts)
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
