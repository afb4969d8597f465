package pinegate

import (
	"fmt"
	"math"
	"math/big"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/dustin/go-humanize"
)

// What the values are called in messages.
const (
	aCount    = "a number, as in 4096, 100k or 1.5M"
	aSize     = "a size, as in 10MB or 512KiB"
	aDuration = "a duration, as in 30m or 400d"
)

// parseCount reads a positive number, which may end in k, M or G.
func parseCount(text string) (int64, error) {
	digits, factor := text, int64(1)
	for suffix, times := range map[string]int64{"k": 1e3, "M": 1e6, "G": 1e9} {
		if rest, ok := strings.CutSuffix(text, suffix); ok {
			digits, factor = rest, times
		}
	}
	// big.Rat also reads signs, fractions and exponents, which nobody means.
	if digits == "" || strings.Trim(digits, "0123456789.") != "" {
		return 0, fmt.Errorf("%q is no positive number", text)
	}
	n, ok := new(big.Rat).SetString(digits)
	if !ok {
		return 0, fmt.Errorf("%q is no positive number", text)
	}
	n.Mul(n, new(big.Rat).SetInt64(factor))
	switch {
	case !n.IsInt():
		return 0, fmt.Errorf("%q is no whole number", text)
	case !n.Num().IsInt64():
		return 0, fmt.Errorf("%q is too large", text)
	case n.Sign() == 0:
		return 0, fmt.Errorf("%q is not positive", text)
	}
	return n.Num().Int64(), nil
}

// parseSize reads a positive number of bytes with or without a unit.
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

// parseDuration reads a positive duration as Caddy writes them, days included.
func parseDuration(text string) (caddy.Duration, error) {
	d, err := caddy.ParseDuration(text)
	if err != nil || d <= 0 {
		return 0, fmt.Errorf("%q is no positive duration", text)
	}
	return caddy.Duration(d), nil
}
