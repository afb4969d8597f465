package caddyfile

import (
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"

	"github.com/amanycodes/pine-gate/internal/backends"
	"github.com/amanycodes/pine-gate/internal/config"
)

// ParseGate parses the directive `pinegate`. Syntax:
//
//	pinegate [<matcher>] {
//		admin_key <secret>...
//		key <id> <secret>... {
//			team <name>
//			models <pattern>...|none
//			endpoints <name>...
//			limit <n> <unit>[/<window>] [burst <n>]
//			expires <date>
//			allow_ip <cidr>...
//			disabled
//		}
//		keys <file>
//		team <name> {
//			models <pattern>...
//			limit <n> <unit>[/<window>] [burst <n>]
//		}
//		model <pattern> {
//			limit <n> <unit>[/<window>] [burst <n>]
//			price input <usd> [output <usd>] [cached <usd>] [cache_write <usd>]
//		}
//		limit <n> <unit>[/<window>] [burst <n>]
//		alert <percent>...
//		throttle off | [all] <n>/<window> [burst <n>]
//		backend <name> [<upstream>...] {
//			to <upstream>...
//			api <dialect>|echo
//			proxy direct|reverse_proxy
//			api_key <placeholder>...
//			models <pattern>...
//			discover <duration>|off
//			rename <public> <upstream>
//			limit <n> <unit>[/<window>] [burst <n>]
//			max_inflight <n>
//			queue <n> <duration>
//			first_token_timeout <duration>
//			idle_timeout <duration>
//			on_disconnect cancel|drain [<max>]
//			include_usage on|off
//			continuous_usage
//			pass_header <name>...
//			<any subdirective of reverse_proxy>
//		}
//		route <model pattern> <backend>[/<model>]... {
//			policy first|round_robin|weighted <n>...|least_inflight|lowest_latency|sticky [conversation|key]
//			attempts <n>
//		}
//		dial_allow <cidr>|public|private|loopback...
//		keepalive <duration>|off
//		max_body <size>
//		max_stream <duration>
//		estimate characters|tokens
//		max_output_tokens <n>
//		reserve_output_tokens <n>
//	}
//
// An upstream is host:port, http(s)://host[:port][/path] or unix/path; its path
// replaces /v1. Azure's hosts are recognized by name, and others with Azure's API
// by `?api-version=<version>` after the path: see examples/azure.
//
// A secret is `sha256:<64 hex digits>`, `{env.NAME}`, `{file./path}`, or clear
// text, which is hashed while adapting. The fields of [config.Gate] document what
// each subdirective means. Lists may be written on several lines; everything else
// but the blocks, limit and keys is written once.
func ParseGate(h httpcaddyfile.Helper) (*config.Gate, error) {
	h.Next() // the directive's name
	head := caddyfile.NewDispenser([]caddyfile.Token{h.Token()})
	head.Next()
	if h.NextArg() {
		return nil, h.Errf("unexpected argument %q after %q: expected '{', or a matcher before it", h.Val(), head.Val())
	}

	p := &gateParser{
		helper: h, gate: new(config.Gate), owners: make(secretOwners),
		keys: make(definitions), teams: make(definitions), models: make(definitions), backends: make(definitions), routed: make(definitions),
	}
	if err := parseBlock(h.Dispenser, p.subdirectives(), nil); err != nil {
		return nil, err
	}
	for _, b := range p.proxies {
		backend, err := b.finish(p.dialAllow)
		if err != nil {
			return nil, err
		}
		p.gate.Backends = append(p.gate.Backends, backend)
	}
	for _, r := range p.routes {
		if err := r.check(p.backends); err != nil {
			return nil, err
		}
		p.gate.Routes = append(p.gate.Routes, r.route)
	}
	if len(p.gate.Keys) == 0 && len(p.gate.KeyFiles) == 0 && !p.gate.KeyStore {
		return nil, head.Errf("%q has no keys, so that nobody could use it: expected key or keys", head.Val())
	}
	if len(p.gate.Backends) == 0 {
		return nil, head.Errf("%q has nothing behind it: expected backend", head.Val())
	}
	return p.gate, nil
}

// gateParser holds the state that the subdirectives of a gate share.
type gateParser struct {
	helper httpcaddyfile.Helper
	gate   *config.Gate

	owners                                secretOwners
	keys, teams, models, backends, routed definitions

	// finish builds the configurations of backends last: dial_allow, which each of
	// them contains, may be written below them.
	proxies   []*backendParser
	dialAllow []string

	// Routes are checked last: they may be written above the backends they name.
	routes []*routeParser
}

func (p *gateParser) subdirectives() subdirectives {
	gate := p.gate
	nothing := func() {}
	return subdirectives{
		"admin_key": p.owners.adminKey(&gate.AdminKeys),
		"keys":      {repeats: true, parse: p.parseKeyFile},
		"key": {repeats: true, parse: func(d *caddyfile.Dispenser) error {
			key, err := parseKey(d, p.keys, p.owners)
			gate.Keys = append(gate.Keys, key)
			return err
		}},
		"team": {repeats: true, parse: func(d *caddyfile.Dispenser) error {
			team, err := parseTeam(d, p.teams)
			gate.Teams = append(gate.Teams, team)
			return err
		}},
		"model": {repeats: true, parse: func(d *caddyfile.Dispenser) error {
			model, err := parseModel(d, p.models)
			gate.Models = append(gate.Models, model)
			return err
		}},
		"backend": {repeats: true, parse: func(d *caddyfile.Dispenser) error {
			backend, err := parseBackend(p.helper, d, p.backends)
			p.proxies = append(p.proxies, backend)
			return err
		}},
		"route": {repeats: true, parse: func(d *caddyfile.Dispenser) error {
			route, err := parseRoute(d, p.routed)
			p.routes = append(p.routes, route)
			return err
		}},
		"limit": limitsOf(&gate.Limits),
		"alert": {repeats: true, parse: p.parseAlert},
		"throttle": {parse: func(d *caddyfile.Dispenser) (err error) {
			gate.Throttle, err = parseThrottle(d)
			return err
		}},
		"dial_allow": checked(listOf(&p.dialAllow, "networks, public, private or loopback", nil), func() error {
			_, err := backends.ParseDialAllow(p.dialAllow)
			return err
		}),
		"keepalive":             valueOf(&gate.KeepAlive, aDuration+", or off", parseKeepAlive),
		"max_body":              valueOf(&gate.MaxBody, aSize, parseSize),
		"max_stream":            valueOf(&gate.MaxStream, aDuration, parseDuration),
		"estimate":              oneOf(map[string]func(){"characters": nothing, "tokens": func() { gate.Estimate = "tokens" }}),
		"max_output_tokens":     valueOf(&gate.MaxOutputTokens, aCount, parseCount),
		"reserve_output_tokens": valueOf(&gate.ReserveOutputTokens, aCount, parseCount),
	}
}

func (p *gateParser) parseKeyFile(d *caddyfile.Dispenser) error {
	path, err := argument(d, "the path of a JSON file, or store")
	if err != nil {
		return err
	}
	if path == "store" { // write ./store for a file with this name
		if p.gate.KeyStore {
			return d.Err("keys store stands here already")
		}
		p.gate.KeyStore = true
		return nil
	}
	for _, other := range p.gate.KeyFiles {
		if other == path {
			return d.Errf("keys: %q stands here already", path)
		}
	}
	p.gate.KeyFiles = append(p.gate.KeyFiles, path)
	return nil
}

// parseAlert parses the percentages of `alert`, with or without a percent sign.
func (p *gateParser) parseAlert(d *caddyfile.Dispenser) error {
	args, err := arguments(d, config.ExpectedPercents)
	if err != nil {
		return err
	}
	for _, arg := range args {
		percent, err := strconv.Atoi(strings.TrimSuffix(arg, "%"))
		if err != nil || percent < 1 || percent > 100 {
			return d.Errf("alert: %q: expected %s", arg, config.ExpectedPercents)
		}
		if slices.Contains(p.gate.Alert, percent) {
			return d.Errf("alert: %d stands here already", percent)
		}
		p.gate.Alert = append(p.gate.Alert, percent)
	}
	return nil
}
