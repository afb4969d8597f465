package handlers

import (
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/amanycodes/pine-gate/limiter"
	"github.com/amanycodes/pine-gate/wire"
)

// setRateHeaders tells what is left, by the headers that each dialect's SDKs
// read. Of several limits of one kind, that which binds next is told.
func setRateHeaders(h http.Header, d wire.Dialect, states []limiter.State, now time.Time) {
	requests := tightest(states, limiter.Requests)
	tokens := tightest(states, limiter.Tokens)
	if d == wire.Anthropic {
		setAnthropicRate(h, "Requests", requests, now)
		setAnthropicRate(h, "Tokens", tokens, now)
		setAnthropicRate(h, "Input-Tokens", tightest(states, limiter.InputTokens), now)
		setAnthropicRate(h, "Output-Tokens", tightest(states, limiter.OutputTokens), now)
		return
	}
	setOpenAIRate(h, "Requests", requests)
	setOpenAIRate(h, "Tokens", tokens)
}

// tightest returns the state with the smallest share left among those of a
// unit, nil where there is none. A backend's capacity is not the caller's to
// know: it is shared by all.
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

// hasCallerLimit tells whether a limit that the caller is told of applies: then
// the backend's own figures would contradict it.
func hasCallerLimit(states []limiter.State) bool {
	for _, s := range states {
		if s.Rule.Kind != limiter.ScopeBackend {
			return true
		}
	}
	return false
}

func setOpenAIRate(h http.Header, name string, s *limiter.State) {
	if s == nil {
		return
	}
	values := &[3]string{strconv.FormatInt(s.Limit, 10), strconv.FormatInt(s.Remaining, 10), resetText(s.Reset)}
	h["X-Ratelimit-Limit-"+name] = values[0:1:1]
	h["X-Ratelimit-Remaining-"+name] = values[1:2:2]
	h["X-Ratelimit-Reset-"+name] = values[2:3:3]
}

func setAnthropicRate(h http.Header, name string, s *limiter.State, now time.Time) {
	if s == nil {
		return
	}
	reset := now.Add(s.Reset).UTC().Format(time.RFC3339)
	values := &[3]string{strconv.FormatInt(s.Limit, 10), strconv.FormatInt(s.Remaining, 10), reset}
	h["Anthropic-Ratelimit-"+name+"-Limit"] = values[0:1:1]
	h["Anthropic-Ratelimit-"+name+"-Remaining"] = values[1:2:2]
	h["Anthropic-Ratelimit-"+name+"-Reset"] = values[2:3:3]
}

// resetText writes a duration as OpenAI does: `12ms`, `1s`, `6m0s`. It is
// rounded up, to milliseconds below a second and to seconds above.
func resetText(d time.Duration) string {
	unit := time.Second
	if d < time.Second {
		unit = time.Millisecond
	}
	if rest := d % unit; rest > 0 {
		d += unit - rest
	}
	return d.String()
}
