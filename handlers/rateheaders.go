package handlers

import (
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/amanycodes/pine-gate/internal/wire"
	"github.com/amanycodes/pine-gate/limiter"
)

// limitUnits holds the units of the limits that a dialect has headers for.
var limitUnits = [...]limiter.Unit{
	wire.LimitRequests:     limiter.Requests,
	wire.LimitTokens:       limiter.Tokens,
	wire.LimitInputTokens:  limiter.InputTokens,
	wire.LimitOutputTokens: limiter.OutputTokens,
}

// setRateHeaders sets the headers from which the dialect's SDKs read what is
// left of limits. Of several limits of one unit they show the tightest.
func setRateHeaders(h http.Header, d *wire.Dialect, states []limiter.State, now time.Time) {
	for i := range d.Limits {
		names := &d.Limits[i]
		if names.Limit == "" {
			continue
		}
		if s := tightest(states, limitUnits[i]); s != nil {
			setRateHeader(h, names, s, d.FormatReset(s.Reset, s.ResetAt(now)))
		}
	}
}

// setRateHeader sets the headers of one limit.
func setRateHeader(h http.Header, n *wire.LimitHeader, s *limiter.State, reset string) {
	// One string and one array hold all three: they are set on all answers.
	var space [64]byte
	digits := strconv.AppendInt(space[:0], s.Limit, 10)
	end := len(digits)
	digits = append(strconv.AppendInt(digits, s.Remaining, 10), reset...)
	text := string(digits)
	values := &[3]string{text[:end], text[end : len(text)-len(reset)], text[len(text)-len(reset):]}
	h[n.Limit] = values[0:1:1]
	h[n.Remaining] = values[1:2:2]
	h[n.Reset] = values[2:3:3]
}

// tightest returns the state with the smallest share left among those of a
// unit, nil if there is none. It skips limits of backends, which all callers
// share: callers must not see them.
func tightest(states []limiter.State, unit limiter.Unit) *limiter.State {
	var found *limiter.State
	share := math.Inf(1)
	for i := range states {
		s := &states[i]
		if s.Rule.Limit.Unit != unit || s.Rule.Kind == limiter.ScopeBackend {
			continue
		}
		if left := float64(s.Remaining) / float64(max(s.Limit, 1)); left < share {
			found, share = s, left
		}
	}
	return found
}

// hasCallerLimit reports whether a limit applies that the caller is shown: the
// backend's own figures would contradict it.
func hasCallerLimit(states []limiter.State) bool {
	for _, s := range states {
		if s.Rule.Kind != limiter.ScopeBackend {
			return true
		}
	}
	return false
}
