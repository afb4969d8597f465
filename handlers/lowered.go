package handlers

import (
	"context"
	"time"

	"github.com/amanycodes/pine-gate/internal/wire"
	wirerequest "github.com/amanycodes/pine-gate/internal/wire/request"
	"github.com/amanycodes/pine-gate/limiter"
)

// checkThinking refuses a request whose thinking does not fit under the gate's own
// cap of an answer.
func (q *request) checkThinking() *wire.Error {
	limit := q.outputCap()
	if !q.endpoint.Capped() || limit < 0 || limit == q.parsed.Cap || limit > q.parsed.Thinking(limit) {
		return nil
	}
	refusal := wire.Errorf(wire.KindBadRequest, "This gateway caps answers at %d tokens, which leaves no room for thinking: its budget is at least %d.", limit, wirerequest.MinThinking)
	refusal.Param = "thinking.budget_tokens"
	return refusal
}

// checkLowered refuses a request for which a nearly used up quota leaves a cap that
// the API does not take. The caller would get the backend's 400 at each retry.
func (q *request) checkLowered() *wire.Error {
	limit, lowered := q.outputCap(), q.reservation.Cap()
	least := q.parsed.MinCap(limit)
	if !q.endpoint.Capped() || lowered < 0 || limit >= 0 && lowered >= limit || lowered >= least {
		return nil
	}
	q.reservation.Settle(context.WithoutCancel(q.r.Context()), limiter.Usage{})
	setRateHeaders(q.w.Header(), q.dialect, q.states, time.Now())
	refusal := wire.Errorf(wire.KindQuota, "The quota has room for an answer of %d tokens, and this request needs a cap of at least %d.", lowered, least)
	if state := scarcest(q.states); state != nil {
		q.scope = state.Rule.Kind.String()
		refusal.RetryAfter = state.Reset
		refusal.Spend = state.Rule.Limit.Unit == limiter.USD
	}
	return refusal
}

// scarcest returns the state of the quota of which the smallest share is left; nil
// if there is none.
func scarcest(states []limiter.State) (least *limiter.State) {
	for i := range states {
		state := &states[i]
		if !state.Rule.Limit.Window.Quota() {
			continue
		}
		if least == nil || float64(state.Remaining)*float64(least.Limit) < float64(least.Remaining)*float64(state.Limit) {
			least = state
		}
	}
	return least
}
