package pinegate

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"go.uber.org/zap"

	"github.com/amanycodes/pine-gate/handlers/routing"
	"github.com/amanycodes/pine-gate/internal/backends"
	"github.com/amanycodes/pine-gate/internal/backends/queue"
	"github.com/amanycodes/pine-gate/internal/config"
	"github.com/amanycodes/pine-gate/internal/keys"
	"github.com/amanycodes/pine-gate/internal/pattern"
	"github.com/amanycodes/pine-gate/internal/wire"
	"github.com/amanycodes/pine-gate/limiter"
)

// provisionBackend loads the backend's reverse_proxy and returns the backend that
// requests are routed to. maxBody is the largest body of a request in bytes.
func provisionBackend(ctx caddy.Context, app *App, b *config.Backend, maxBody int64) (*routing.Backend, error) {
	if err := keys.CheckID(b.Name); err != nil {
		return nil, fmt.Errorf("its name: %w", err)
	}
	if err := app.define("backend", b.Name, b); err != nil {
		return nil, err
	}
	if err := b.Check(); err != nil {
		return nil, err
	}
	if len(b.ProxyRaw) == 0 {
		return nil, errors.New("it has no proxy to forward with")
	}
	proxyConfig := b.ProxyRaw // which LoadModule clears
	module, err := ctx.LoadModule(b, "ProxyRaw")
	if err != nil {
		return nil, fmt.Errorf("loading its proxy: %w", err)
	}
	proxy, ok := module.(*reverseproxy.Handler)
	if !ok {
		return nil, fmt.Errorf("its proxy is a %T: expected the handler reverse_proxy", module)
	}
	transport, ok := proxy.Transport.(*backends.Transport)
	if !ok {
		return nil, errors.New("its proxy's transport is not pinegate, which sets the credential and meters")
	}
	forwarding, err := backends.NewForwarder(proxy, proxyConfig, b.Forward)
	if err != nil {
		return nil, err
	}
	app.logger.Debug("backend forwards", zap.String("backend", b.Name), zap.String("proxy", forwarding.Way), zap.String("reason", forwarding.Reason))
	live := app.store.Backends().Get(b.Name)
	transport.Share(live)
	if err := checkUpstreams(proxy, transport); err != nil {
		return nil, err
	}
	backend := &routing.Backend{
		Name:            b.Name,
		API:             transport.API,
		Rename:          b.Rename,
		IncludeUsage:    b.IncludeUsage == nil || *b.IncludeUsage,
		ContinuousUsage: b.ContinuousUsage,
		Drain:           time.Duration(b.Drain),
		FirstToken:      orDefault(time.Duration(b.FirstTokenTimeout), defaultFirstToken),
		Idle:            orDefault(time.Duration(b.IdleTimeout), defaultIdle),
		CompletionCap:   transport.IsAzure() || isOpenAI(proxy),
		Forwarder:       forwarding.Forwarder,
		Metrics:         app.metrics.Backend(b.Name),
		State:           live,
	}
	serves := b.Models
	if len(serves) == 0 {
		serves = []string{"*"}
	}
	if backend.Models, err = pattern.ParseList(serves); err != nil {
		return nil, fmt.Errorf("models: %w", err)
	}
	if backend.Rules, err = rules(limiter.ScopeBackend, b.Name, b.Limits); err != nil {
		return nil, err
	}
	capacity := capacityOf(b, maxBody)
	capacity.Bytes = max(capacity.Bytes, app.storeConfig.Capacities[b.Name].Bytes) // sites may differ in max_body
	live.InitCapacity(capacity)                                                    // the capacity of a running configuration applies until this one starts
	app.storeConfig.Capacities[b.Name] = capacity
	app.addBackend(&backendInfo{backend, transport, transport.Upstreams(proxy.Upstreams), forwarding})
	return backend, discover(app, b, backend, transport)
}

// Defaults of the options of a backend.
const (
	defaultFirstToken   = 5 * time.Minute
	defaultIdle         = 2 * time.Minute
	defaultQueueTimeout = 30 * time.Second
)

// queuedShare is the divisor of max_body that gives the average size assumed
// for a waiting request: few are that large, and all of them together must not
// exhaust the machine's memory.
const queuedShare = 10

// capacityOf returns how many requests the backend takes at a time, and how
// many may wait, each of at most maxBody bytes.
func capacityOf(b *config.Backend, maxBody int64) queue.Capacity {
	return queue.Capacity{
		Bytes:    max(maxBody, b.Queue*(maxBody/queuedShare)),
		Inflight: b.MaxInflight,
		Waiting:  int(b.Queue),
		Wait:     orDefault(time.Duration(b.QueueTimeout), defaultQueueTimeout),
	}
}

// checkUpstreams returns an error for addresses in the configuration outside
// dial_allow. Names are checked when they are dialled.
func checkUpstreams(proxy *reverseproxy.Handler, transport *backends.Transport) error {
	if transport.API == "echo" {
		return nil // needs no upstream
	}
	if len(proxy.Upstreams) == 0 && proxy.DynamicUpstreams == nil {
		return errors.New("it has no upstream: say where it is, as in `backend vllm 127.0.0.1:8000`")
	}
	policy, err := backends.ParseDialAllow(transport.DialAllow)
	if err != nil {
		return err
	}
	for _, upstream := range proxy.Upstreams {
		if err := policy.CheckUpstream(upstream.Dial); err != nil {
			return fmt.Errorf("upstream %s: %w", upstream.Dial, err)
		}
	}
	return nil
}

// isOpenAI reports whether a backend is OpenAI's or Azure's own: they cap chats
// by another field than all others.
func isOpenAI(proxy *reverseproxy.Handler) bool {
	for _, upstream := range proxy.Upstreams {
		host, _, err := net.SplitHostPort(upstream.Dial)
		if err != nil {
			host = (&url.URL{Host: upstream.Dial}).Hostname()
		}
		host = strings.ToLower(host)
		if host == "api.openai.com" || backends.IsAzure(host) {
			return true
		}
	}
	return false
}

// modelNames returns the models that the configuration names, for `/v1/models`,
// and the names and patterns that metrics may use as labels.
func (h *Handler) modelNames(served []*routing.Backend) (models []wire.Model, labels []pattern.Pattern) {
	listed := make(map[string]bool)
	add := func(p pattern.Pattern, owner string) {
		if p.LiteralPrefix() > 0 {
			labels = append(labels, p)
		}
		if p.Literal() && !listed[p.String()] {
			listed[p.String()] = true
			models = append(models, wire.Model{ID: p.String(), OwnedBy: owner})
		}
	}
	for i, backend := range served {
		if backend.API == "echo" {
			echo, _ := pattern.Parse("echo")
			add(echo, backend.Name)
		}
		for _, p := range backend.Models {
			add(p, backend.Name)
		}
		for _, public := range slices.Sorted(maps.Keys(h.Backends[i].Rename)) {
			if p, err := pattern.Parse(public); err == nil && backend.Models.Match(public) {
				add(p, backend.Name)
			}
		}
	}
	for _, route := range h.Routes {
		if p, err := pattern.Parse(route.Model); err == nil { // else refused by routes
			add(p, route.Backends[0].Backend)
		}
	}
	for _, block := range h.Models {
		p, err := pattern.Parse(block.Pattern)
		if err != nil {
			continue // refused by policy
		}
		for _, backend := range served {
			if backend.Models.Match(block.Pattern) || !p.Literal() {
				add(p, backend.Name)
				break
			}
		}
	}
	return models, labels
}
