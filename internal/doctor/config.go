package doctor

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/amanycodes/pine-gate/internal/config"
	"github.com/amanycodes/pine-gate/internal/pattern"
	"github.com/amanycodes/pine-gate/limiter"
	"github.com/amanycodes/pine-gate/usage/pricing"
)

// Checks of the configuration.

func checkGate(p *Instance) []Finding {
	if len(p.gates) > 0 {
		return nil
	}
	return []Finding{serious("write a `pinegate` block into a site, or load the configuration that has one", "the configuration has no gate")}
}

// checkAdminEndpoint checks who can reach Caddy's own admin endpoint, which
// requires no key.
func checkAdminEndpoint(p *Instance) []Finding {
	admin := p.config.Admin
	if admin == nil || admin.Disabled || admin.Listen == "" || !reachable(admin.Listen) {
		return nil
	}
	return []Finding{serious("`admin localhost:2019`, or a Unix socket, among the global options",
		"Caddy's admin endpoint listens on %s: whoever reaches it makes keys and changes the configuration, without a password", admin.Listen)}
}

// checkAdminSite checks where pinegate_admin is served.
func checkAdminSite(p *Instance) (found []Finding) {
	for _, site := range p.admins {
		listeners, tls := p.open(site.server)
		switch where := strings.Join(listeners, ", "); {
		case len(listeners) == 0:
		case tls:
			found = append(found, warning("bind it to a private address, or see that a firewall lets only operators and Prometheus in",
				"pinegate_admin is served on %s, which other machines may reach", where))
		default:
			found = append(found, warning("`bind 127.0.0.1`, or a host name for TLS, or see that nothing but a private network reaches it",
				"pinegate_admin is served on %s without TLS: admin keys cross the network in clear", where))
		}
	}
	return found
}

// checkTrusted returns findings for proxies that are trusted at any address.
func checkTrusted(p *Instance) (found []Finding) {
	for _, name := range p.gateServers() {
		var source struct {
			Source string   `json:"source"`
			Ranges []string `json:"ranges"`
		}
		raw := p.servers[name].TrustedProxiesRaw
		if raw == nil || json.Unmarshal(raw, &source) != nil {
			continue
		}
		for _, text := range source.Ranges {
			if network, err := netip.ParsePrefix(text); err == nil && network.Bits() == 0 {
				found = append(found, serious("name the networks of your load balancers in `trusted_proxies`",
					"trusted_proxies has %s: every caller can say which address it comes from, past the throttle and allow_ip", text))
			}
		}
	}
	return found
}

// credentialFields are the fields of an access log that may contain a caller's key
// and that Caddy does not hide by itself.
var credentialFields = []string{"request>headers>X-Api-Key", "request>headers>Api-Key", "request>headers>X-Goog-Api-Key", "request>uri"}

// checkLogs returns findings for access logs that contain callers' keys.
func checkLogs(p *Instance) (found []Finding) {
	reported := make(map[string]bool)
	for _, name := range p.gateServers() {
		server := p.servers[name]
		if server.Logs == nil {
			continue
		}
		if server.Logs.ShouldLogCredentials {
			found = append(found, serious("take `log_credentials` out of the `servers` option", "the access log of %s holds the credentials of callers", name))
		}
		loggers := []string{server.Logs.DefaultLoggerName}
		for _, host := range slices.Sorted(maps.Keys(server.Logs.LoggerNames)) {
			loggers = append(loggers, server.Logs.LoggerNames[host]...)
		}
		for _, logger := range loggers {
			full := strings.TrimSuffix("http.log.access."+logger, ".")
			for _, log := range p.logsOf(full) {
				missing := missingFilters(p.config.Logging, log)
				if len(missing) == 0 || reported[log] {
					continue
				}
				reported[log] = true
				found = append(found, serious("put the filter of the shipped Caddyfile into each `log` block: see docs/security.md",
					"the log %q takes access logs and hides no %s: callers' keys stand in it", log, strings.Join(missing, ", ")))
			}
		}
	}
	return found
}

// logsOf returns the names of the logs that the logger writes to.
func (p *Instance) logsOf(logger string) (names []string) {
	within := func(list []string) bool {
		return slices.ContainsFunc(list, func(prefix string) bool { return logger == prefix || strings.HasPrefix(logger, prefix+".") })
	}
	if p.config.Logging == nil || p.config.Logging.Logs["default"] == nil {
		names = append(names, "default")
	}
	if p.config.Logging == nil {
		return names
	}
	for _, name := range slices.Sorted(maps.Keys(p.config.Logging.Logs)) {
		log := p.config.Logging.Logs[name]
		var writer struct {
			Output string `json:"output"`
		}
		_ = json.Unmarshal(log.WriterRaw, &writer) // empty: standard error
		if writer.Output != "discard" && (len(log.Include) == 0 || within(log.Include)) && !within(log.Exclude) {
			names = append(names, name)
		}
	}
	return names
}

// missingFilters returns the fields with credentials that the log does not filter.
func missingFilters(logging *caddy.Logging, name string) (missing []string) {
	type encoder struct {
		Format string                     `json:"format"`
		Fields map[string]json.RawMessage `json:"fields"`
		Wrap   json.RawMessage            `json:"wrap"`
	}
	filtered := make(map[string]bool)
	if logging != nil && logging.Logs[name] != nil {
		for raw := logging.Logs[name].EncoderRaw; raw != nil; {
			var e encoder
			if json.Unmarshal(raw, &e) != nil {
				break
			}
			for field := range e.Fields {
				if e.Format == "filter" {
					filtered[field] = true
				}
			}
			raw = e.Wrap
		}
	}
	for _, field := range credentialFields {
		hidden := false
		for part := field; part != "" && !hidden; {
			hidden = filtered[part]
			part = part[:max(strings.LastIndex(part, ">"), 0)]
		}
		if !hidden {
			missing = append(missing, field)
		}
	}
	return missing
}

func checkDebug(p *Instance) []Finding {
	if p.config.Logging == nil || p.config.Logging.Logs["default"] == nil || !strings.EqualFold(p.config.Logging.Logs["default"].Level, "debug") {
		return nil
	}
	return []Finding{warning("take `debug` out of the global options", "the log is at level DEBUG, which is slow and verbose")}
}

// checkEnd checks how a shutdown or a reload treats requests in flight.
func checkEnd(p *Instance) (found []Finding) {
	if p.http.GracePeriod <= 0 {
		found = append(found, warning("`grace_period 30s` among the global options", "there is no grace_period: a stop waits for the last stream, however long it takes"))
	}
	if p.http.ShutdownDelay <= 0 {
		found = append(found, warning("`shutdown_delay 5s` among the global options", "there is no shutdown_delay: a stop refuses callers before their load balancer knows"))
	}
	return found
}

// checkTimeouts checks the timeouts that bound slow callers, and those that cut off
// streams.
func checkTimeouts(p *Instance) (found []Finding) {
	for _, name := range p.gateServers() {
		s := p.servers[name]
		if s.WriteTimeout > 0 {
			found = append(found, serious("write `write_idle` in place of `write` into `timeouts`",
				"the timeout `write` of %s cuts every answer that takes longer than %s", name, time.Duration(s.WriteTimeout)))
		}
		var missing []string
		for _, t := range []struct {
			word  string
			value caddy.Duration
		}{{"read_header", s.ReadHeaderTimeout}, {"read_body", s.ReadTimeout}, {"idle", s.IdleTimeout}} {
			if t.value <= 0 {
				missing = append(missing, t.word)
			}
		}
		if len(missing) > 0 {
			found = append(found, warning("`servers { timeouts { … } }` among the global options, as in the shipped Caddyfile",
				"the server %s (%s) has no timeout %s: slow callers hold connections", name, strings.Join(s.Listen, ", "), strings.Join(missing, ", ")))
		}
	}
	return found
}

func checkMemory(p *Instance) []Finding {
	if p.app.Store.Kind() != config.KindMemory {
		return nil
	}
	return []Finding{warning("`store file` among the options of `pinegate`, which is the default", "the store is memory: a restart forgets usage, quotas, and keys that were made at runtime")}
}

func checkThrottle(p *Instance) (found []Finding) {
	for _, g := range p.gates {
		if g.Throttle != nil && g.Throttle.Off {
			found = append(found, warning("take `throttle off` out of the block", "the gate of %s has no throttle: nothing slows who guesses keys", g.server))
		}
	}
	return found
}

// checkPrices returns a finding for models without a price if there is a budget in
// USD.
func checkPrices(p *Instance) []Finding {
	if !p.limitsMoney() {
		return nil
	}
	list, err := p.prices()
	if err != nil {
		return []Finding{warning("see that the files are there", "there are budgets in USD, and the price files can't be read from here: %v", err)}
	}
	var without []string
	for _, g := range p.gates {
		for _, b := range g.Backends {
			for _, model := range p.namesOf(b) {
				if !priced(g.Gate, list, b, model) && !slices.Contains(without, model) {
					without = append(without, model)
				}
			}
		}
	}
	if len(without) == 0 {
		return nil
	}
	return []Finding{warning("`price` in a `model` block, or a file for `prices`: see docs/prices.md",
		"there are budgets in USD, and no price of %s: requests under them are refused with model_not_priced", someOf(without))}
}

// limitsMoney reports whether there is a budget in USD.
func (p *Instance) limitsMoney() bool {
	isUSD := func(limits []limiter.Limit) bool {
		return slices.ContainsFunc(limits, func(l limiter.Limit) bool { return l.Unit == limiter.USD })
	}
	for _, g := range p.gates {
		found := isUSD(g.Limits)
		for _, k := range g.Keys {
			found = found || isUSD(k.Limits)
		}
		for _, t := range g.Teams {
			found = found || isUSD(t.Limits)
		}
		for _, m := range g.Models {
			found = found || isUSD(m.Limits)
		}
		for _, b := range g.Backends {
			found = found || isUSD(b.Limits)
		}
		if found {
			return true
		}
	}
	for _, k := range p.keys {
		if isUSD(k.Limits) {
			return true
		}
	}
	for _, t := range p.teams.Data {
		if isUSD(t.Limits) {
			return true
		}
	}
	return false
}

func (p *Instance) prices() (*pricing.List, error) {
	paths := make([]string, len(p.app.Prices))
	for i, path := range p.app.Prices {
		var err error
		if paths[i], err = caddy.NewReplacer().ReplaceOrErr(path, true, true); err != nil {
			return nil, err
		}
	}
	return pricing.Read(paths)
}

// namesOf returns the models of a backend, configured and discovered. Without price
// files it includes patterns, as placeholders for the models that they match.
func (p *Instance) namesOf(b *config.Backend) (names []string) {
	serves, err := config.ModelPatterns(b.Models)
	if err != nil {
		return nil
	}
	for _, m := range serves {
		// A price file may contain any of the names that a pattern matches.
		if m.Literal() || len(p.app.Prices) == 0 && apiOf(b) != "echo" {
			names = append(names, m.String())
		}
	}
	if len(serves) == 0 && len(p.app.Prices) == 0 && apiOf(b) != "echo" {
		names = append(names, "*")
	}
	for _, state := range p.backends {
		if state.Name != b.Name {
			continue
		}
		for _, name := range state.Discovered {
			if serves == nil || serves.Match(name) {
				names = append(names, name)
			}
		}
	}
	return names
}

// apiOf returns the dialect of a backend's transport.
func apiOf(b *config.Backend) string {
	var proxy struct {
		Transport struct {
			API string `json:"api"`
		} `json:"transport"`
	}
	_ = json.Unmarshal(b.ProxyRaw, &proxy) // invalid JSON would not have been loaded
	return proxy.Transport.API
}

// priced reports whether a model has a price at backend b.
func priced(gate *config.Gate, list *pricing.List, b *config.Backend, model string) bool {
	for _, block := range gate.Models {
		if m, err := pattern.Parse(block.Pattern); err == nil && block.Price != nil && m.Match(model) {
			return true
		}
	}
	upstream := model
	if renamed, ok := b.Rename[model]; ok {
		upstream = renamed
	}
	return list.Find(b.Name, model, upstream) != nil
}

// someOf returns the first few of names as text.
func someOf(names []string) string {
	const named = 5
	text := strings.Join(names[:min(len(names), named)], ", ")
	if more := len(names) - named; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}
