package caddyfile

import (
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/amanycodes/pine-gate/internal/config"
	"github.com/amanycodes/pine-gate/limiter"
)

// limitsOf returns the subdirective `limit`, which may be written once for each unit
// and window: two of a kind would share one counter.
func limitsOf(to *[]limiter.Limit) subdirective {
	return subdirective{repeats: true, parse: func(d *caddyfile.Dispenser) error {
		args, err := arguments(d, "<n> <unit>[/<window>] [burst <n>], as in 60 requests/minute burst 10")
		if err != nil {
			return err
		}
		limit, err := limiter.ParseLimit(args)
		if err != nil {
			return d.WrapErr(err)
		}
		for _, other := range *to {
			if other.Unit == limit.Unit && other.Window == limit.Window {
				return d.Errf("limit: %q limits what %q limits already", limit, other)
			}
		}
		*to = append(*to, limit)
		return nil
	}}
}

// parseThrottle parses the arguments of `throttle`. The rate is written like that of
// a limit of requests, without the unit.
func parseThrottle(d *caddyfile.Dispenser) (*config.Throttle, error) {
	const expected = "off, or [all] <n>/<window> [burst <n>], as in 5/second burst 100"
	args, err := arguments(d, expected)
	if err != nil {
		return nil, err
	}
	if args[0] == "off" {
		if len(args) > 1 {
			return nil, d.Errf("throttle: unexpected argument %q after %q", args[1], "off")
		}
		return &config.Throttle{Off: true}, nil
	}

	t := new(config.Throttle)
	if args[0] == "all" {
		t.All, args = true, args[1:]
	}
	if len(args) == 0 {
		return nil, d.Errf("throttle: %q lacks its rate: expected %s", "all", expected)
	}
	amount, window, ok := strings.Cut(args[0], "/")
	if !ok {
		return nil, d.Errf("throttle: %q is no rate: expected %s", args[0], expected)
	}
	rate, err := limiter.ParseLimit(append([]string{amount, "requests/" + window}, args[1:]...))
	if err != nil {
		return nil, d.Errf("throttle, as a %v", err)
	}
	if !rate.Window.Rate() {
		return nil, d.Errf("throttle: window %q: expected second, minute or hour", window)
	}
	t.Amount, t.Window, t.Burst = rate.Amount, rate.Window, rate.Burst
	return t, nil
}
