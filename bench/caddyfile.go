package main

import (
	"crypto/sha256"
	"fmt"
	"strings"
)

// gatewayKind is a gateway that the bench starts: a Caddy of the same binary, with
// the same transport settings.
type gatewayKind struct {
	name  string
	log   bool   // Caddy's own access log and metrics
	gate  string // what stands in the gate's block beside its keys and its backend; "": reverse_proxy and no gate
	redis bool   // limits are shared over Redis
	// callers are so many keys, each with a team and a model of its own and all of
	// their limits, among which requests take turns: with one all of them are on
	// the same limits.
	callers int
}

const (
	bare = "bare" // what all are compared with
	// bareLog is what those are compared with, too, that do what Caddy itself would do.
	bareLog = "bare+log"
)

// gatewayKinds are the gateways in the order of the report. One limit is the least
// that makes a gate; all on is authentication, four limits over key, team and model,
// a price, the durable ledger, and metrics by key. Over Redis they are measured with
// many keys that take turns, and with one whose limits all callers are on.
var gatewayKinds = []gatewayKind{
	{name: bare},
	{name: bareLog, log: true},
	{name: "gate", gate: oneLimit, callers: 1},
	{name: "all-on", gate: fourLimits, callers: 1},
	{name: "all-on+log", log: true, gate: fourLimits, callers: 1},
	{name: "redis", gate: fourLimits, redis: true, callers: 1000},
	{name: "redis-hot", gate: fourLimits, redis: true, callers: 1},
}

func namesOfGateways() (names []string) {
	for _, kind := range gatewayKinds {
		names = append(names, kind.name)
	}
	return names
}

// The limits of a caller of number %[1]d, whose key's hash is %[2]x.
const (
	oneLimit = `
		key bench-%[1]d sha256:%[2]x {
			limit 1000000 requests/second
		}`
	fourLimits = `
		key bench-%[1]d sha256:%[2]x {
			team bench-%[1]d
			limit 1000000 requests/second
			limit 1000G tokens/month
		}
		team bench-%[1]d {
			limit 100000 concurrent
		}
		model bench-model-%[1]d {
			limit 1000G tokens/minute
			price input 2.50 output 10
		}`
)

// benchKey is the key of a caller; nothing that it opens outlives the run.
func benchKey(caller int) string { return fmt.Sprintf("the-key-of-the-benchmark-%d", caller) }

func benchModel(caller int) string { return fmt.Sprintf("bench-model-%d", caller) }

const transport = `
			transport http {
				keepalive_idle_conns_per_host 2048
			}`

// caddyfile is the configuration of a gateway on a port, in front of an upstream.
func (kind gatewayKind) caddyfile(port, admin, upstream, redis string) string {
	return kind.global(admin, redis) + kind.site(port, upstream)
}

// global are the global options.
func (kind gatewayKind) global(admin, redis string) string {
	var options strings.Builder
	fmt.Fprintf(&options, "	admin %s\n	persist_config off\n", admin)
	if kind.log {
		options.WriteString("	metrics\n")
	}
	if kind.gate == fourLimits {
		options.WriteString("	pinegate {\n		metrics {\n			per_key\n		}\n")
		if kind.redis {
			// A store that is slow for once must not change what is measured.
			fmt.Fprintf(&options, "		store redis redis://%s {\n			timeout 5s\n			outage deny\n		}\n", redis)
		}
		options.WriteString("	}\n")
	}
	return "{\n" + options.String() + "}\n"
}

// site is the site that requests come to.
func (kind gatewayKind) site(port, upstream string) string {
	var site strings.Builder
	if kind.log {
		site.WriteString("	log {\n		output file {$XDG_DATA_HOME}/access.log\n	}\n")
	}
	if kind.gate == "" {
		fmt.Fprintf(&site, "	reverse_proxy %s {%s\n	}\n", upstream, transport)
	} else {
		site.WriteString("	pinegate {")
		for i := range kind.callers {
			fmt.Fprintf(&site, kind.gate, i, sha256.Sum256([]byte(benchKey(i))))
		}
		fmt.Fprintf(&site, "\n		backend mock %s {\n			models bench-*%s\n		}\n	}\n", upstream, transport)
	}
	return fmt.Sprintf("http://:%s {\n	bind 127.0.0.1\n%s}\n", port, &site)
}
