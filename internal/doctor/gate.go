package doctor

import (
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/amanycodes/pine-gate/internal/control"
)

// maxKeys is the most keys that are checked.
const maxKeys = 10_000

// Caller sends a request to the control plane's API, with a body in JSON unless
// that is nil, and decodes the answer.
type Caller func(method, path string, body, answer any) error

// Running reports whether a gate is running, which is when [Instance.Fetch] was
// called.
func (p *Instance) Running() bool { return p.status != nil }

// Configured reports whether the configuration has a gate or its control plane.
func (p *Instance) Configured() bool { return len(p.gates) > 0 || len(p.admins) > 0 }

// Fetch fetches the state of the running gate.
func (p *Instance) Fetch(call Caller) error {
	p.status = new(control.Status)
	if err := call(http.MethodGet, "status", nil, p.status); err != nil {
		return err
	}
	var backends control.BackendList
	if err := call(http.MethodGet, "backends", nil, &backends); err != nil {
		return err
	}
	p.backends = backends.Data
	if err := call(http.MethodGet, "teams", nil, &p.teams); err != nil {
		return err
	}
	query := url.Values{"limit": {"1000"}}
	for {
		var page control.KeyPage
		if err := call(http.MethodGet, "keys?"+query.Encode(), nil, &page); err != nil {
			return err
		}
		p.keys = append(p.keys, page.Data...)
		if page.Next == nil {
			return nil
		}
		if len(p.keys) >= maxKeys {
			p.moreKeys = true
			return nil
		}
		query.Set("after", *page.Next)
	}
}

// Checks of the state of a running gate.

func checkStore(p *Instance) []Finding {
	switch {
	case p.status == nil || p.status.Store.Up:
		return nil
	case p.status.Store.Mode != nil:
		return []Finding{serious("look at Redis, and at the gate's log for the reason: see docs/troubleshooting.md",
			"the rate-limit store is unavailable: until it is back limits go by `outage %s`", *p.status.Store.Mode)}
	}
	return []Finding{serious("see that its directory is there, writable and not full: the gate's log has the reason",
		"the store is unavailable or full: requests are refused")}
}

// checkRedis returns findings for settings of Redis that lose data.
func checkRedis(p *Instance) (found []Finding) {
	if p.status == nil || p.status.Store.Type != "redis" {
		return nil
	}
	if eviction := p.status.Store.Eviction; eviction != nil && *eviction != "noeviction" {
		found = append(found, serious("`maxmemory-policy noeviction` in redis.conf",
			"Redis has maxmemory-policy %s: where its memory is full it forgets limits, usage and keys", *eviction))
	}
	if appendOnly := p.status.Store.AppendOnly; appendOnly != nil && !*appendOnly {
		found = append(found, warning("`appendonly yes` in redis.conf: see docs/redis.md",
			"Redis keeps no append-only file: a crash forgets the limits and keys since its last snapshot"))
	}
	return found
}

// checkBackends returns findings for backends that are down, cooling down, or
// without a working credential.
func checkBackends(p *Instance) (found []Finding) {
	down := 0
	for _, b := range p.backends {
		const look = "see the gate's log, and `caddy pinegate backends`"
		whole := slices.ContainsFunc(b.Cooldowns, func(c control.Cooldown) bool { return c.Model == nil && c.Key == nil })
		model := slices.ContainsFunc(b.Cooldowns, func(c control.Cooldown) bool { return c.Model != nil && c.Key == nil })
		switch {
		case b.Up != nil && !*b.Up:
			down++
			found = append(found, warning(look, "backend %q is down: the last attempt did not reach it", b.Name))
		case whole:
			found = append(found, warning(look, "backend %q is cooling down: it failed, or asked for it", b.Name))
		case len(b.Cooldowns) > 0 && !model:
			found = append(found, warning(look, "backend %q is cooling down for some keys, whose requests it failed or refused", b.Name))
		case model:
			found = append(found, warning(look, "some of its models are cooling down at backend %q: they failed, or it asked for it", b.Name))
		}
		switch n := b.Credentials; {
		case n.Cooling == 0:
		case n.Cooling == n.Total:
			found = append(found, serious("put working ones in their place", "backend %q refuses all of its %d credentials", b.Name, n.Total))
		default:
			found = append(found, warning("see the gate's log for which, and why", "backend %q refuses %d of its %d credentials", b.Name, n.Cooling, n.Total))
		}
	}
	if down > 0 && down == len(p.backends) {
		for i := range found {
			found[i].Serious = true
		}
	}
	return found
}

// expiresSoon is how long before its expiry a key is reported.
const expiresSoon = 7 * 24 * time.Hour

// checkKeysEnd returns findings for keys that have expired or expire soon.
func checkKeysEnd(p *Instance) (found []Finding) {
	var soon, over []string
	for _, k := range p.keys {
		if !working(&k) {
			continue
		}
		end, ok := endOf(&k)
		switch {
		case !ok || end.Sub(p.now) > expiresSoon:
		case end.After(p.now):
			soon = append(soon, k.ID)
		default:
			over = append(over, k.ID)
		}
	}
	if len(soon) > 0 {
		found = append(found, warning("`caddy pinegate key update <id> --expires <date>`, or `expires` in the Caddyfile, where they are to go on",
			"within 7 days %d of the keys end: %s", len(soon), someOf(soon)))
	}
	if len(over) > 0 {
		found = append(found, warning("delete them, or give them another end", "%d of the keys have ended and are refused: %s", len(over), someOf(over)))
	}
	return found
}

// working reports whether a key is neither disabled nor revoked.
func working(k *control.Key) bool { return !k.Disabled && k.Revoked == nil }

// endOf returns when a key expires, and false if it never does.
func endOf(k *control.Key) (time.Time, bool) {
	if end, err := time.Parse(time.RFC3339, k.Expires); err == nil {
		return end, true
	}
	day, err := time.Parse(time.DateOnly, k.Expires)
	return day.AddDate(0, 0, 1), err == nil // it works on that day
}

// checkKeysLimited returns findings for keys without limits.
func checkKeysLimited(p *Instance) (found []Finding) {
	limited := make(map[string]bool)
	for _, g := range p.gates {
		if len(g.Limits) > 0 {
			return nil // these limits apply to each key
		}
		for _, t := range g.Teams {
			limited[t.ID] = len(t.Limits) > 0
		}
	}
	for _, t := range p.teams.Data {
		limited[t.ID] = limited[t.ID] || len(t.Limits) > 0
	}
	var without []string
	for _, k := range p.allKeys() {
		if working(&k) && len(k.Limits) == 0 && !limited[k.Team] {
			without = append(without, k.ID)
		}
	}
	if len(without) > 0 {
		found = append(found, warning("`limit` in their blocks, or in the pinegate block for each key: see docs/limits.md",
			"nothing limits %d of the keys: %s", len(without), someOf(without)))
	}
	if p.moreKeys {
		found = append(found, warning("`caddy pinegate key list` shows all", "there are more keys than the %d that were checked", len(p.keys)))
	}
	return found
}

// allKeys returns the keys of the running gate, or else those of the
// configuration.
func (p *Instance) allKeys() []control.Key {
	if p.status != nil {
		return p.keys
	}
	var all []control.Key
	for _, g := range p.gates {
		for _, k := range g.Keys {
			var key control.Key
			key.ID, key.Team, key.Limits, key.Expires, key.Disabled = k.ID, k.Team, k.Limits, k.Expires, k.Disabled
			all = append(all, key)
		}
	}
	return all
}

func checkProxy(p *Instance) []Finding {
	if p.status == nil || !p.status.UntrustedProxy {
		return nil
	}
	return []Finding{warning("name its network in `trusted_proxies`, with `trusted_proxies_strict`; if it is no proxy of yours, there is nothing to do",
		"requests come with X-Forwarded-For from an address that is not among trusted_proxies: if that is your load balancer, all callers share one address for throttle and allow_ip")}
}
