package handlers

import (
	"errors"
	"math"
	"time"

	"github.com/amanycodes/pine-gate/handlers/routing"
	"github.com/amanycodes/pine-gate/internal/wire"
	"github.com/amanycodes/pine-gate/limiter"
	"github.com/amanycodes/pine-gate/usage"
	"github.com/amanycodes/pine-gate/usage/pricing"
)

// admit asks for room under every limit that applies, in one step: of the key,
// its team, the model, and the first candidate with room.
func (c *call) admit() *wire.Error {
	c.models = c.g.Policy.model(c.request.Model)
	for i := range c.candidates {
		candidate := &c.candidates[i]
		candidate.Price = c.g.Policy.price(&c.models, c.request.Model, candidate)
	}
	request, priced := c.limits()
	if !priced {
		return wire.Errorf(wire.KindNotPriced, "")
	}
	reservation, err := c.g.Shared.Limiter().Reserve(c.r.Context(), request)
	if err == nil {
		c.reservation = reservation
		return nil
	}
	var refusal *limiter.Refusal
	if errors.As(err, &refusal) {
		c.answer.states = refusal.States
		c.noteUsed(refusal.States, nil)
		c.answer.scope = refusal.Rule.Kind.String()
		setRateHeaders(c.w.Header(), c.dialect, refusal.States, time.Now())
		return refusalError(refusal, c.request.Model)
	}
	c.limiterFailed(err)
	return wire.Errorf(wire.KindOverloaded, "")
}

// limits returns what the request may use, for the limiter. It reports whether
// each candidate to which a budget applies has a price for all that is asked for:
// to leave out one without would be a silent change of route.
func (c *call) limits() (request limiter.Request, priced bool) {
	c.input = c.estimateInput()
	request = limiter.Request{
		ID:        c.id,
		Rules:     joined(c.rules[:0], c.grants.rules, c.models.rules),
		Input:     c.input,
		MaxOutput: -1,
		N:         c.request.N,
	}
	request.Candidates = c.rulesOf[:0]
	for i := range c.candidates {
		request.Candidates = append(request.Candidates, c.candidates[i].Rules)
	}
	switch {
	case !c.endpoint.Generates():
		request.MaxOutput = 0
	case !c.endpoint.Capped():
		request.Uncapped = true
		request.Output = times(c.g.ReserveOutput, c.request.N)
	default:
		answer := c.g.ReserveOutput
		if cap := c.outputCap(); cap >= 0 {
			answer = min(answer, cap)
			request.MaxOutput = times(cap, c.request.N)
		}
		request.Output = times(answer, c.request.N)
	}
	budget := hasUnit(request.Rules, limiter.USD)
	priced = true
	for i := range c.candidates {
		known := false
		if price := c.candidates[i].Price; price != nil {
			var cost, rate int64
			cost, rate, known = price.Most(c.asked())
			// One reservation holds for all candidates: the dearest one's.
			request.InputCost = max(request.InputCost, cost)
			request.OutputPrice = max(request.OutputPrice, rate)
		}
		if !known && (budget || hasUnit(request.Candidates[i], limiter.USD)) {
			priced = false
		}
	}
	return request, priced
}

// soundRate is how many bytes a second of sound takes that is to be
// transcribed, at least: 16 kbit/s, the least that speech is usually sent at.
// The gate does not decode what is uploaded, so that this bounds how long it
// may be.
const soundRate = 2000

// asked is what the request asks for, as far as it has a price.
func (c *call) asked() pricing.Asked {
	asked := pricing.Asked{Input: c.input, Media: c.request.Images > 0, Tier: c.request.Tier}
	if c.endpoint == wire.Transcriptions || c.endpoint == wire.Translations {
		asked.Seconds = math.Ceil(float64(c.request.FileBytes) / soundRate)
	}
	return asked
}

// assumedCost is what budgets take for an answer whose price turned out not to
// be known, in nano-USD: by the dearest rates that are. It must not pass for
// nothing.
func (c *call) assumedCost(chosen *routing.Candidate, t wire.Tokens) int64 {
	if chosen.Price == nil {
		return 0 // then no budget applies
	}
	asked := c.asked()
	asked.Input, asked.Media = max(asked.Input, t.Input), true
	cost, rate, _ := chosen.Price.Most(asked)
	return min(cost+times(rate, t.Output)/1000+1, usage.MaxCost)
}

// estimateInput estimates the tokens of the input before a backend counts them.
func (c *call) estimateInput() int64 {
	if c.g.CountTokens == nil {
		return c.request.EstimateInput()
	}
	return c.request.CountInput(c.endpoint, c.body, c.g.CountTokens)
}

// joined returns both sets of rules, which it appends to space. Neither is changed;
// where one is empty the other is not copied.
func joined(space, a, b []*limiter.Rule) []*limiter.Rule {
	switch {
	case len(b) == 0:
		return a
	case len(a) == 0:
		return b
	}
	return append(append(space, a...), b...)
}

// outputCap is the cap of one answer that the request and the gate agree on,
// -1 where neither has one.
func (c *call) outputCap() int64 {
	if !c.endpoint.Capped() {
		return c.request.Cap // which means nothing there, and is left as it is
	}
	if c.g.MaxOutput > 0 && (c.request.Cap < 0 || c.request.Cap > c.g.MaxOutput) {
		return c.g.MaxOutput
	}
	return c.request.Cap
}

func hasUnit(rules []*limiter.Rule, unit limiter.Unit) bool {
	for _, rule := range rules {
		if rule.Limit.Unit == unit {
			return true
		}
	}
	return false
}

// times multiplies two amounts that are not negative, up to the largest there
// is: an overflow must never look small.
func times(a, b int64) int64 {
	const most = 1 << 60
	if b > 0 && a > most/b {
		return most
	}
	return a * b
}

// refusalError tells a caller which limit refused, in its dialect's words.
func refusalError(r *limiter.Refusal, model string) *wire.Error {
	kind := wire.KindRateLimited
	limit := r.Rule.Limit
	switch {
	case limit.Unit == limiter.Concurrent, r.Reserved:
		kind = wire.KindSlowDown
	case limit.Window.Quota():
		kind = wire.KindQuota
	}
	err := wire.Errorf(kind, "%s", r.Message(model))
	err.RetryAfter = r.RetryAfter
	err.Unit = "tokens"
	if limit.Unit == limiter.Requests {
		err.Unit = "requests"
	}
	err.Spend = limit.Unit == limiter.USD
	if r.TooLarge {
		err.NoRetry, err.RetryAfter = true, 0
	}
	return err
}
