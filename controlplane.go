package pinegate

import (
	"context"
	"iter"
	"maps"
	"runtime/debug"
	"slices"
	"time"

	"github.com/amanycodes/pine-gate/handlers"
	"github.com/amanycodes/pine-gate/handlers/routing"
	"github.com/amanycodes/pine-gate/internal/backends"
	"github.com/amanycodes/pine-gate/internal/control"
	"github.com/amanycodes/pine-gate/internal/keys"
	"github.com/amanycodes/pine-gate/internal/keys/registry"
	"github.com/amanycodes/pine-gate/limiter"
	"github.com/amanycodes/pine-gate/limiter/failover"
)

// backendInfo is a backend with the parts of its configuration that the control plane
// shows.
type backendInfo struct {
	*routing.Backend
	transport  *backends.Transport
	upstreams  []string
	forwarding backends.Forwarding
}

// addBackend adds a backend for the control plane, once if several gates have
// it: it is the same in all of them.
func (a *App) addBackend(b *backendInfo) {
	if !slices.ContainsFunc(a.backends, func(other *backendInfo) bool { return other.Name == b.Name }) {
		a.backends = append(a.backends, b)
	}
}

// State implements [control.Gate].
func (a controlPlane) State() (control.State, *control.Problem) { return a, nil }

// Rules implements [control.State].
func (a controlPlane) Rules(kind limiter.ScopeKind, from string) iter.Seq[*limiter.Rule] {
	switch kind {
	case limiter.ScopeKey:
		return a.keyRules(from)
	case limiter.ScopeTeam:
		return rulesFrom(a.teamRules(), from)
	case limiter.ScopeModel:
		return rulesFrom(a.modelRules(), from)
	default:
		byName := make(map[string][]*limiter.Rule)
		for _, b := range a.backends {
			byName[b.Name] = b.Rules
		}
		return rulesFrom(byName, from)
	}
}

// rulesFrom yields rules in the order of their ids, beginning at from.
func rulesFrom(byID map[string][]*limiter.Rule, from string) iter.Seq[*limiter.Rule] {
	return func(yield func(*limiter.Rule) bool) {
		for _, id := range slices.Sorted(maps.Keys(byID)) {
			if id < from {
				continue
			}
			for _, rule := range byID[id] {
				if !yield(rule) {
					return
				}
			}
		}
	}
}

// keyRules yields the limits of keys without those of their teams. It creates
// the rules as it yields them: most keys are never used at this gate.
func (a controlPlane) keyRules(from string) iter.Seq[*limiter.Rule] {
	return func(yield func(*limiter.Rule) bool) {
		for _, same := range a.keys(from) {
			var rules []*limiter.Rule
			for _, k := range same {
				rules = addRules(rules, k.gateway.Policy.KeyRules(k.key))
			}
			for _, rule := range rules {
				if !yield(rule) {
					return
				}
			}
		}
	}
}

// addRules appends the rules of more whose counters are not in list yet.
func addRules(list, more []*limiter.Rule) []*limiter.Rule {
	for _, rule := range more {
		if !slices.ContainsFunc(list, func(r *limiter.Rule) bool { return r.Name() == rule.Name() }) {
			list = append(list, rule)
		}
	}
	return list
}

// gateKey is a key at one of the gates that take it.
type gateKey struct {
	gateway *handlers.Gateway
	key     *keys.Key
}

// keys yields the ids of all keys in order, beginning at from, each with the
// keys at the gates that take it. The slice is valid until the next iteration.
func (a controlPlane) keys(from string) iter.Seq2[string, []gateKey] {
	return func(yield func(string, []gateKey) bool) {
		left := make([][]*keys.Key, len(a.gateways))
		for i, g := range a.gateways {
			left[i] = g.Keys.Current().From(from)
		}
		var same []gateKey
		for {
			id, some := "", false
			for _, list := range left {
				if len(list) > 0 && (!some || list[0].ID < id) {
					id, some = list[0].ID, true
				}
			}
			if !some {
				return
			}
			same = same[:0]
			for i, list := range left {
				if len(list) > 0 && list[0].ID == id {
					same = append(same, gateKey{a.gateways[i], list[0]})
					left[i] = list[1:]
				}
			}
			if !yield(id, same) {
				return
			}
		}
	}
}

// teamRules returns the limits of the declared teams, by id. Those of the
// configuration override those created at runtime.
func (a controlPlane) teamRules() map[string][]*limiter.Rule {
	byID := make(map[string][]*limiter.Rule)
	for _, team := range a.runtimeTeams() {
		rules := make([]*limiter.Rule, 0, len(team.Limits))
		for _, limit := range team.Limits {
			rules = append(rules, limiter.NewRule(limiter.ScopeTeam, team.ID, limit))
		}
		byID[team.ID] = rules
	}
	for _, g := range a.gateways {
		for id, team := range g.Policy.Teams {
			byID[id] = team.Rules
		}
	}
	return byID
}

func (a controlPlane) runtimeTeams() []*registry.Team {
	reg, err := a.Registry()
	if err != nil {
		return nil
	}
	return reg.Snapshot().Teams()
}

// modelRules returns the limits of the model blocks, by pattern.
func (a controlPlane) modelRules() map[string][]*limiter.Rule {
	byPattern := make(map[string][]*limiter.Rule)
	for _, g := range a.gateways {
		for _, model := range g.Policy.Models {
			byPattern[model.Pattern.String()] = model.Rules
		}
	}
	return byPattern
}

// Peek implements [control.State].
func (a controlPlane) Peek(ctx context.Context, rules []*limiter.Rule) (states []limiter.State, own bool, err error) {
	shared := a.store.Shared()
	shared.Acquire()
	defer shared.Release()
	l := shared.Limiter()
	guarded, ok := l.(*failover.Limiter)
	own = ok && !guarded.Decides()
	if states, err = l.Peek(ctx, rules); err != nil {
		return nil, false, err
	}
	return states, own || ok && !guarded.Decides(), nil
}

// Backends implements [control.State].
func (a controlPlane) Backends(now time.Time) []control.Backend {
	up := a.metrics.BackendsUp()
	list := make([]control.Backend, 0, len(a.App.backends))
	for _, b := range a.App.backends {
		shown := b.show(now, a.hideModels())
		if reached, tried := up[b.Name]; tried {
			shown.Up = &reached
		}
		list = append(list, shown)
	}
	return list
}

// show returns the state of a backend. hideModels hides the names of models in
// cooldowns; those that the configuration or the backend itself lists stay.
func (b *backendInfo) show(now time.Time, hideModels bool) control.Backend {
	live := b.State.Snapshot(now)
	shown := control.Backend{
		Name:      b.Name,
		API:       b.API,
		Upstreams: b.upstreams,
		Proxy:     b.forwarding.Way,
		Models:    make([]string, 0, len(b.Models)),
		Inflight:  live.InFlight,
		Waiting:   live.Waiting,
		Attempts:  live.Attempts,
		Failures:  live.Failures,
		Cooldowns: make([]control.Cooldown, 0, len(live.Cooldowns)),
	}
	for _, p := range b.Models {
		shown.Models = append(shown.Models, p.String())
	}
	if reason := b.forwarding.Reason; reason != "" {
		shown.ProxyReason = &reason
	}
	if n := live.Capacity.Inflight; n > 0 {
		shown.MaxInflight = &n
	}
	if n := live.Capacity.Waiting; n > 0 {
		shown.Queue = &n
	}
	if live.FirstToken > 0 {
		seconds := live.FirstToken.Seconds()
		shown.FirstTokenSeconds = &seconds
	}
	for _, cooling := range live.Cooldowns {
		cooldown := control.Cooldown{Until: cooling.Until.Unix(), Reason: control.Failed}
		if cooling.Limited {
			cooldown.Reason = control.RateLimited
		}
		if cooling.Key != "" {
			cooldown.Key = &cooling.Key
		}
		if cooling.Model != "" {
			if cooldown.Model = &cooling.Model; hideModels {
				*cooldown.Model = "*"
			}
		}
		shown.Cooldowns = append(shown.Cooldowns, cooldown)
	}
	shown.Credentials.Total, shown.Credentials.Cooling = b.transport.Credentials(now)
	if b.Catalog.Known() {
		shown.Discovered = []string{}
		for _, m := range b.Catalog.Models() {
			shown.Discovered = append(shown.Discovered, m.ID)
		}
		heard := b.Catalog.Updated().Unix()
		shown.DiscoveredAt = &heard
	}
	return shown
}

// Requests implements [control.State].
func (a controlPlane) Requests(n int, now time.Time) control.RequestList {
	running, total := a.store.Shared().InFlight().List(n)
	list := control.RequestList{Data: make([]control.Request, 0, len(running)), Total: total}
	for _, r := range running {
		shown := control.Request{
			ID: r.ID, Key: r.Key, Endpoint: r.Endpoint, Model: r.Model, Stream: r.Stream, State: string(r.State),
			StartedAt: r.Start.Unix(), Seconds: max(0, now.Sub(r.Start).Seconds()), InputTokens: r.Input, OutputTokens: r.Output,
		}
		if r.Team != "" {
			shown.Team = &r.Team
		}
		if r.Backend != "" {
			shown.Backend = &r.Backend
		}
		list.Data = append(list.Data, shown)
	}
	return list
}

// Rejections implements [control.State].
func (a controlPlane) Rejections() control.RejectionList {
	list := control.RejectionList{Since: a.metrics.Since().Unix(), Data: []control.Rejection{}}
	for _, r := range a.metrics.Rejections() {
		list.Data = append(list.Data, control.Rejection{Reason: r.Reason, Scope: r.Scope, Count: r.Count})
	}
	return list
}

// Status implements [control.State].
func (a controlPlane) Status(ctx context.Context) control.Status {
	return control.Status{
		Version:        version(),
		StartedAt:      a.metrics.Since().Unix(),
		Store:          a.storeState(ctx),
		Gates:          a.gates(),
		Inflight:       a.store.Shared().InFlight().Len(),
		Keys:           a.countKeys(),
		Teams:          len(a.teamRules()),
		RuntimeKeys:    a.runtimeKeys,
		HideModels:     a.hideModels(),
		UntrustedProxy: slices.ContainsFunc(a.gateways, (*handlers.Gateway).SawUntrustedProxy),
	}
}

// storeState returns whether the stores are available: that of usage, and that
// shared with other gates.
func (a controlPlane) storeState(ctx context.Context) control.Store {
	s := control.Store{Type: a.Store.Kind()}
	shared := a.store.Shared()
	shared.Acquire()
	defer shared.Release()
	ledger, err := shared.Ledger()
	s.Up = err == nil && ledger.Ready() == nil
	if guarded, ok := shared.Limiter().(*failover.Limiter); ok {
		if mode, away := guarded.Away(); away {
			word := mode.String()
			s.Up, s.Mode = false, &word
		} else {
			s.Eviction, s.AppendOnly = a.store.RedisSettings(ctx)
		}
	}
	return s
}

// gates returns the number of gates that share the limits.
func (a controlPlane) gates() int {
	if guarded, ok := a.store.Shared().Limiter().(*failover.Limiter); ok {
		return guarded.Gates()
	}
	return 1
}

func (a controlPlane) countKeys() (n int) {
	if len(a.gateways) == 1 {
		return a.gateways[0].Keys.Current().Len()
	}
	for range a.keys("") {
		n++
	}
	return n
}

// version returns the version of this module in the binary.
func version() string {
	const module = "github.com/amanycodes/pine-gate"
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if info.Main.Path == module {
		return info.Main.Version
	}
	for _, dep := range info.Deps {
		if dep.Path == module {
			return dep.Version
		}
	}
	return "unknown"
}

var _ control.State = controlPlane{}
