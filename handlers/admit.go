package handlers

import (
	"errors"
	"time"

	"github.com/amanycodes/pine-gate/handlers/routing"
	"github.com/amanycodes/pine-gate/internal/wire"
	"github.com/amanycodes/pine-gate/limiter"
)

// admit reserves room, in one step, under all limits that apply: those of the
// key, its team and the model, and those of the first candidate with room.
func (q *request) admit() *wire.Error {
	q.policy = q.g.Policy.model(q.parsed.Model)
	for i := range q.candidates {
		candidate := &q.candidates[i]
		candidate.Price = q.g.Policy.price(&q.policy, q.parsed.Model, candidate)
	}
	if err := q.checkThinking(); err != nil {
		return err
	}
	q.input = q.estimateInput()
	asks, priced := q.limits()
	if !priced {
		return wire.Errorf(wire.KindNotPriced, "")
	}
	reservation, err := q.g.Shared.Limiter().Reserve(q.r.Context(), asks)
	if err == nil {
		q.reservation, q.states = reservation, reservation.States()
		return q.checkLowered()
	}
	var refusal *limiter.Refusal
	if errors.As(err, &refusal) {
		q.alert(refusal.States, nil)
		q.scope = refusal.Rule.Kind.String()
		setRateHeaders(q.w.Header(), q.dialect, refusal.States, time.Now())
		return refusalError(refusal, q.parsed.Model)
	}
	q.logLimiterError(err)
	return wire.Errorf(wire.KindOverloaded, "")
}

// limits returns the request to the limiter. priced reports whether each
// candidate under a budget has a price for everything that is asked for:
// leaving out one without a price would silently change the route.
func (q *request) limits() (asks limiter.Request, priced bool) {
	asks = limiter.Request{
		ID:         q.id,
		Rules:      joined(q.ruleSpace[:0], q.grants.rules, q.policy.rules),
		Candidates: q.ruleSetSpace[:0],
		Input:      q.input,
		N:          q.parsed.N,
	}
	for i := range q.candidates {
		asks.Candidates = append(asks.Candidates, q.candidates[i].Rules)
	}
	q.setOutput(&asks)
	budget := hasUnit(asks.Rules, limiter.USD)
	priced = true
	for i := range q.candidates {
		known := false
		if price := q.candidates[i].Price; price != nil {
			var cost, rate int64
			cost, rate, known = price.Most(q.priceable())
			// One reservation covers all candidates: it uses the highest price.
			asks.InputCost = max(asks.InputCost, cost)
			asks.OutputPrice = max(asks.OutputPrice, rate)
		}
		known = q.addNamed(&asks, &q.candidates[i]) && known
		if !known && (budget || hasUnit(asks.Candidates[i], limiter.USD)) {
			priced = false
		}
	}
	return asks, priced
}

// addNamed raises the prices to those of the models that the request names in other
// places than model, and reports whether all of them are known.
func (q *request) addNamed(asks *limiter.Request, candidate *routing.Candidate) (known bool) {
	known = true
	for _, named := range q.parsed.NamedModels() {
		policy, priced := q.g.Policy.model(named.Model), false
		at := *candidate
		at.Model = named.Model
		if price := q.g.Policy.price(&policy, named.Model, &at); price != nil {
			var cost, rate int64
			cost, rate, priced = price.Most(q.priceable())
			asks.InputCost = max(asks.InputCost, cost)
			asks.OutputPrice = max(asks.OutputPrice, rate)
		}
		known = known && priced
	}
	return known
}

// setOutput sets the expected output of all answers and its maximum, in tokens.
func (q *request) setOutput(asks *limiter.Request) {
	n, answer := q.parsed.N, q.g.ReserveOutput
	asks.MaxOutput = -1
	switch {
	case !q.endpoint.Generates():
		asks.MaxOutput, answer = 0, 0
	case !q.endpoint.Capped():
		asks.Uncapped = true
	default:
		if limit := q.outputCap(); limit >= 0 {
			answer = min(answer, limit)
			asks.MaxOutput = times(limit, n)
		}
	}
	asks.Output = times(answer, n)
}

// outputCap returns the cap of one answer in tokens, the lower of the request's
// and the gate's; -1 if neither has one.
func (q *request) outputCap() int64 {
	if !q.endpoint.Capped() {
		return q.parsed.Cap // it has no effect there, and stays unchanged
	}
	if q.g.MaxOutput > 0 && (q.parsed.Cap < 0 || q.parsed.Cap > q.g.MaxOutput) {
		return q.g.MaxOutput
	}
	return q.parsed.Cap
}

// estimateInput returns the estimated input in tokens, before a backend counts
// it.
func (q *request) estimateInput() int64 {
	if q.g.CountTokens == nil {
		return q.parsed.EstimateInput()
	}
	return q.parsed.CountInput(q.endpoint, q.body, q.g.CountTokens)
}

// joined returns a and b in one slice, and changes neither. It appends both to
// space if neither is empty.
func joined(space, a, b []*limiter.Rule) []*limiter.Rule {
	switch {
	case len(b) == 0:
		return a
	case len(a) == 0:
		return b
	}
	return append(append(space, a...), b...)
}

func hasUnit(rules []*limiter.Rule, unit limiter.Unit) bool {
	for _, rule := range rules {
		if rule.Limit.Unit == unit {
			return true
		}
	}
	return false
}

// times returns a·b for non-negative amounts, at most 1<<60: an overflow must
// never look small.
func times(a, b int64) int64 {
	const most = 1 << 60
	if b > 0 && a > most/b {
		return most
	}
	return a * b
}

// refusalError returns the caller's error for a refusal by a limit.
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
