package caddyfile

import (
	"fmt"
	"math"

	"github.com/caddyserver/caddy/v2"
	"github.com/dustin/go-humanize"

	"github.com/amanycodes/pine-gate/limiter"
)

// Descriptions of values in error messages.
const (
	aCount    = "a number, as in 4096, 100k or 1.5M"
	aSize     = "a size, as in 10MB or 512KiB"
	aDuration = "a duration, as in 30m or 400d"
)

// parseCount parses a positive number, which may end in k, M or G, as limits do.
func parseCount(text string) (int64, error) {
	limit, err := limiter.ParseLimit([]string{text, limiter.Concurrent.String()})
	if err != nil {
		// The error of ParseLimit refers to a limit.
		return 0, fmt.Errorf("%q is no positive whole number", text)
	}
	return limit.Amount, nil
}

// parseSize parses a positive number of bytes with or without a unit.
func parseSize(text string) (int64, error) {
	n, err := humanize.ParseBytes(text)
	switch {
	case err != nil:
		return 0, fmt.Errorf("%q is no size", text)
	case n == 0:
		return 0, fmt.Errorf("%q is not positive", text)
	case n > math.MaxInt64:
		return 0, fmt.Errorf("%q is too large", text)
	}
	return int64(n), nil
}

// parseKeepAlive parses a positive duration, or off.
func parseKeepAlive(text string) (caddy.Duration, error) {
	if text == "off" {
		return -1, nil
	}
	return parseDuration(text)
}

// parseDuration parses a positive duration in Caddy's syntax, with days.
func parseDuration(text string) (caddy.Duration, error) {
	d, err := caddy.ParseDuration(text)
	if err != nil || d <= 0 {
		return 0, fmt.Errorf("%q is no positive duration", text)
	}
	return caddy.Duration(d), nil
}
