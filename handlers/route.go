package handlers

import (
	"slices"

	"github.com/amanycodes/pine-gate/handlers/routing"
	"github.com/amanycodes/pine-gate/handlers/stored"
	"github.com/amanycodes/pine-gate/internal/backends/health"
	"github.com/amanycodes/pine-gate/internal/wire"
	"github.com/amanycodes/pine-gate/limiter"
)

// route finds the backends that may answer, in the order in which they are tried.
func (q *request) route() *wire.Error {
	q.routed = q.g.Router.Find(q.parsed.Model)
	if q.routed != nil {
		q.candidates = q.routed.Candidates(q.candidateSpace[:0], q.endpoint, q.parsed.Model)
	}
	if len(q.candidates) == 0 {
		return wire.Errorf(wire.KindModelNotFound, "The model does not exist or can't be used with this endpoint.")
	}
	if q.parsed.PreviousResponse != "" {
		if err := q.followConversation(); err != nil {
			return err
		}
	}
	var soonest health.Backoff
	q.candidates, soonest = q.routed.Order(q.candidates, &routing.Request{Request: q.parsed, Body: q.body, Key: q.key.ID, Start: q.start})
	if len(q.candidates) == 0 {
		return q.allCool(soonest)
	}
	return nil
}

// allCool returns the refusal of a request whose candidates are all cooling
// down, with the time until the first of them may be tried again.
func (q *request) allCool(soonest health.Backoff) *wire.Error {
	kind := wire.KindOverloaded
	if soonest.Limited {
		kind = wire.KindSlowDown
	}
	refusal := wire.Errorf(kind, "")
	refusal.RetryAfter = soonest.Wait
	q.scope = limiter.ScopeBackend.String()
	return refusal
}

// followConversation narrows the candidates of a request that continues a stored
// response to the backend that stored it. It refuses responses of other keys: all
// callers share the backend's account, which would return them.
func (q *request) followConversation() *wire.Error {
	backend, ok, err := q.g.Shared.Responses().Find(q.r.Context(), q.parsed.PreviousResponse, q.key.ID)
	if err != nil {
		return responsesUnavailable()
	}
	if ok {
		isIt := func(candidate routing.Candidate) bool { return candidate.Name == backend }
		if i := slices.IndexFunc(q.candidates, isIt); i >= 0 {
			q.candidates = q.candidates[i : i+1]
			return nil
		}
	}
	refusal := wire.Errorf(wire.KindBadRequest, "The previous response was not found.")
	refusal.Param = "previous_response_id"
	refusal.Code = "previous_response_not_found"
	return refusal
}

// responsesUnavailable returns a refusal that is worth a retry: a response that
// another gate may have recorded must not be reported as unknown.
func responsesUnavailable() *wire.Error {
	err := wire.Errorf(wire.KindOverloaded, "")
	err.RetryAfter = stored.Backoff
	return err
}
