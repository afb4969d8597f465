package caddyfile

import (
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/amanycodes/pine-gate/internal/config"
)

// routeParser parses a route. check validates the names of its backends once
// the whole gate is parsed.
type routeParser struct {
	route   config.Route
	targets []caddyfile.Dispenser // the positions of the targets, for errors
}

const aTarget = "<backend>[/<model>]..."

// parseRoute parses a pattern of models with its backends, and its block:
//
//	route <model pattern> <backend>[/<model>]... {
//		policy first|round_robin|weighted <n>...|least_inflight|lowest_latency|sticky [conversation|key]
//		attempts <n>
//	}
func parseRoute(d *caddyfile.Dispenser, patterns definitions) (*routeParser, error) {
	p := new(routeParser)
	text, err := argument(d, "a pattern of models, then "+aTarget)
	if err != nil {
		return nil, err
	}
	if err := aPattern(text); err != nil {
		return nil, d.Errf("route: %v", err)
	}
	if line, again := patterns[text]; again {
		return nil, d.Errf("route %q is defined already, in line %d", text, line)
	}
	patterns[text] = d.Line()
	p.route.Model = text
	for d.NextArg() {
		if err := p.addTarget(d); err != nil {
			return nil, err
		}
	}
	if len(p.targets) == 0 {
		return nil, d.Errf("route %q leads nowhere: expected %s", text, aTarget)
	}
	return p, parseBlock(d, subdirectives{
		"policy":   {parse: p.parsePolicy},
		"attempts": {parse: p.parseAttempts},
	}, nil)
}

func (p *routeParser) addTarget(d *caddyfile.Dispenser) error {
	name, model, cut := strings.Cut(d.Val(), "/")
	if cut {
		if err := aPattern(model); err != nil || strings.Contains(model, "*") {
			return d.Errf("route: %q: %q is no name of a model: expected one without white space and '*'", d.Val(), model)
		}
	}
	target := config.RouteTarget{Backend: name, Model: model}
	for _, other := range p.route.Backends {
		if other == target {
			return d.Errf("route: %q stands here already", d.Val())
		}
	}
	p.route.Backends = append(p.route.Backends, target)
	p.targets = append(p.targets, *d)
	return nil
}

// check returns an error if one of the route's backends is not defined.
func (p *routeParser) check(backends definitions) error {
	for i, target := range p.route.Backends {
		if _, ok := backends[target.Backend]; !ok {
			return p.targets[i].Errf("route %q: there is no backend %q: expected one of %s", p.route.Model, target.Backend, backends)
		}
	}
	return nil
}

func (p *routeParser) parsePolicy(d *caddyfile.Dispenser) error {
	const expected = "first, round_robin, weighted <n>..., least_inflight, lowest_latency or sticky [conversation|key]"
	policy, err := argument(d, expected)
	if err != nil {
		return err
	}
	switch policy {
	case "first", "round_robin", "least_inflight", "lowest_latency":
	case "weighted":
		if err := p.parseWeights(d); err != nil {
			return err
		}
	case "sticky":
		if !d.NextArg() {
			break
		}
		if p.route.StickyBy = d.Val(); p.route.StickyBy != "conversation" && p.route.StickyBy != "key" {
			return d.Errf("policy: unknown word %q after sticky: expected conversation or key", d.Val())
		}
	default:
		return d.Errf("policy: unknown word %q: expected %s", policy, expected)
	}
	p.route.Policy = policy
	return nil
}

func (p *routeParser) parseWeights(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) != len(p.route.Backends) {
		return d.Errf("policy: %d weights for %d backends: expected weighted and a whole number for each backend, as in weighted 3 1", len(args), len(p.route.Backends))
	}
	for i, arg := range args {
		weight, err := parseCount(arg)
		if err != nil || weight > config.MaxWeight {
			return d.Errf("policy: %q is no weight: expected a whole number from 1 to %d", arg, config.MaxWeight)
		}
		p.route.Backends[i].Weight = weight
	}
	return nil
}

func (p *routeParser) parseAttempts(d *caddyfile.Dispenser) error {
	arg, err := argument(d, "how many backends a request is tried at")
	if err != nil {
		return err
	}
	n, err := parseCount(arg)
	if err != nil || n > config.MaxAttempts {
		return d.Errf("attempts: %q is no number of backends: expected a whole number from 1 to %d", arg, config.MaxAttempts)
	}
	p.route.Attempts = int(n)
	return nil
}
