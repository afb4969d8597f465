package pinegate

import (
	"slices"
	"time"

	"github.com/amanycodes/pine-gate/internal/control"
)

// What the doctor finds by what a gate tells of itself.

func checkStore(p *patient) []finding {
	switch {
	case p.status == nil || p.status.Store.Up:
		return nil
	case p.status.Store.Mode != nil:
		return []finding{serious("look at Redis, and at the gate's log for the reason: see docs/troubleshooting.md",
			"the store of limits is away: until it is back limits go by `outage %s`", *p.status.Store.Mode)}
	}
	return []finding{serious("see that its directory is there, writable and not full: the gate's log has the reason",
		"the store is away or full: requests are refused")}
}

// checkRedis looks at settings of Redis by which it loses what it was told.
func checkRedis(p *patient) (found []finding) {
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

// checkBackends looks for those that are down, are left alone, or lack a credential
// that works.
func checkBackends(p *patient) (found []finding) {
	down := 0
	for _, b := range p.backends {
		const look = "see the gate's log, and `caddy pinegate backends`"
		whole := slices.ContainsFunc(b.Cooldowns, func(c control.Cooldown) bool { return c.Model == nil })
		switch {
		case b.Up != nil && !*b.Up:
			down++
			found = append(found, warning(look, "backend %q is down: the last attempt did not reach it", b.Name))
		case whole:
			found = append(found, warning(look, "backend %q is left alone for a while: it failed, or asked for it", b.Name))
		case len(b.Cooldowns) > 0:
			found = append(found, warning(look, "backend %q is not asked for some of its models for a while: they failed, or it asked for it", b.Name))
		}
		switch n := b.Credentials; {
		case n.Resting == 0:
		case n.Resting == n.Total:
			found = append(found, serious("put working ones in their place", "backend %q refuses all of its %d credentials", b.Name, n.Total))
		default:
			found = append(found, warning("see the gate's log for which, and why", "backend %q refuses %d of its %d credentials", b.Name, n.Resting, n.Total))
		}
	}
	if down > 0 && down == len(p.backends) {
		for i := range found {
			found[i].Serious = true
		}
	}
	return found
}

// expiresSoon is how long before its end a key is told of.
const expiresSoon = 7 * 24 * time.Hour

// checkKeysEnd looks for keys that end soon, or did.
func checkKeysEnd(p *patient) (found []finding) {
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

// working tells whether a key is one that callers use.
func working(k *control.Key) bool { return !k.Disabled && k.Revoked == nil }

// endOf is when a key ends, false where it does not.
func endOf(k *control.Key) (time.Time, bool) {
	if end, err := time.Parse(time.RFC3339, k.Expires); err == nil {
		return end, true
	}
	day, err := time.Parse(time.DateOnly, k.Expires)
	return day.AddDate(0, 0, 1), err == nil // it works on that day
}

// checkKeysLimited looks for keys that nothing limits.
func checkKeysLimited(p *patient) (found []finding) {
	limited := make(map[string]bool)
	for _, g := range p.gates {
		if len(g.Limits) > 0 {
			return nil // each key has those
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
		found = append(found, warning("`caddy pinegate key list` shows all", "there are more keys than the %d that were looked at", len(p.keys)))
	}
	return found
}

// allKeys are the keys that the gate tells, else those that the configuration holds.
func (p *patient) allKeys() []control.Key {
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

func checkProxy(p *patient) []finding {
	if p.status == nil || !p.status.UntrustedProxy {
		return nil
	}
	return []finding{warning("name its network in `trusted_proxies`, with `trusted_proxies_strict`; if it is no proxy of yours, there is nothing to do",
		"requests come with X-Forwarded-For from an address that is not among trusted_proxies: if that is your load balancer, all callers share one address for throttle and allow_ip")}
}
