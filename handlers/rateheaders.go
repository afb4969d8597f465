package handlers

import (
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/amanycodes/pine-gate/internal/wire"
	"github.com/amanycodes/pine-gate/limiter"
)

// setRateHeaders tells what is left, by the headers that each dialect's SDKs
// read. Of several limits of one kind, that which binds next is told.
func setRateHeaders(h http.Header, d wire.Dialect, states []limiter.State, now time.Time) {
	requests := tightest(states, limiter.Requests)
	tokens := tightest(states, limiter.Tokens)
	if d == wire.Anthropic {
		anthropicRequests.set(h, requests, anthropicReset(requests, now))
		anthropicTokens.set(h, tokens, anthropicReset(tokens, now))
		input, output := tightest(states, limiter.InputTokens), tightest(states, limiter.OutputTokens)
		anthropicInput.set(h, input, anthropicReset(input, now))
		anthropicOutput.set(h, output, anthropicReset(output, now))
		return
	}
	openaiRequests.set(h, requests, openaiReset(requests))
	openaiTokens.set(h, tokens, openaiReset(tokens))
}

// rateNames are the canonical names of the headers that tell of one limit.
type rateNames struct{ limit, remaining, reset string }

var (
	openaiRequests = rateNames{"X-Ratelimit-Limit-Requests", "X-Ratelimit-Remaining-Requests", "X-Ratelimit-Reset-Requests"}
	openaiTokens   = rateNames{"X-Ratelimit-Limit-Tokens", "X-Ratelimit-Remaining-Tokens", "X-Ratelimit-Reset-Tokens"}

	anthropicRequests = newAnthropicNames("Requests")
	anthropicTokens   = newAnthropicNames("Tokens")
	anthropicInput    = newAnthropicNames("Input-Tokens")
	anthropicOutput   = newAnthropicNames("Output-Tokens")
)

func newAnthropicNames(what string) rateNames {
	prefix := "Anthropic-Ratelimit-" + what
	return rateNames{prefix + "-Limit", prefix + "-Remaining", prefix + "-Reset"}
}

// set tells of a limit; of none where s is nil.
func (n *rateNames) set(h http.Header, s *limiter.State, reset string) {
	if s == nil {
		return
	}
	// One text and one array for the three of them: they are set on all answers.
	var space [64]byte
	digits := strconv.AppendInt(space[:0], s.Limit, 10)
	end := len(digits)
	digits = append(strconv.AppendInt(digits, s.Remaining, 10), reset...)
	text := string(digits)
	values := &[3]string{text[:end], text[end : len(text)-len(reset)], text[len(text)-len(reset):]}
	h[n.limit] = values[0:1:1]
	h[n.remaining] = values[1:2:2]
	h[n.reset] = values[2:3:3]
}

func openaiReset(s *limiter.State) string {
	if s == nil {
		return ""
	}
	return resetText(s.Reset)
}

func anthropicReset(s *limiter.State, now time.Time) string {
	if s == nil {
		return ""
	}
	return s.ResetAt(now).Format(time.RFC3339)
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
