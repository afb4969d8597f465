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
func (c *call) route() *wire.Error {
	c.routed = c.g.Router.Find(c.request.Model)
	if c.routed != nil {
		c.candidates = c.routed.Candidates(c.few[:0], c.endpoint, c.request.Model)
	}
	if len(c.candidates) == 0 {
		return wire.Errorf(wire.KindModelNotFound, "The model does not exist or can't be used with this endpoint.")
	}
	if c.request.PreviousResponse != "" {
		if err := c.followConversation(); err != nil {
			return err
		}
	}
	var soonest health.Backoff
	c.candidates, soonest = c.routed.Order(c.candidates, &routing.Request{Request: c.request, Body: c.body, Key: c.key.ID, Start: c.start})
	if len(c.candidates) == 0 {
		return c.allCool(soonest)
	}
	return nil
}

// allCool returns the refusal of a request whose candidates all cool down, with
// the time until the first of them may be asked again.
func (c *call) allCool(soonest health.Backoff) *wire.Error {
	kind := wire.KindOverloaded
	if soonest.Limited {
		kind = wire.KindSlowDown
	}
	refusal := wire.Errorf(kind, "")
	refusal.RetryAfter = soonest.Wait
	c.answer.scope = limiter.ScopeBackend.String()
	return refusal
}

// followConversation narrows the candidates of a request that continues a stored
// response to the backend that stored it. It refuses responses of other keys: all
// callers share the backend's account, which would return them.
func (c *call) followConversation() *wire.Error {
	backend, ok, err := c.g.Shared.Responses().Find(c.r.Context(), c.request.PreviousResponse, c.key.ID)
	if err != nil {
		return responsesUnavailable()
	}
	if ok {
		isIt := func(candidate routing.Candidate) bool { return candidate.Name == backend }
		if i := slices.IndexFunc(c.candidates, isIt); i >= 0 {
			c.candidates = c.candidates[i : i+1]
			return nil
		}
	}
	refusal := wire.Errorf(wire.KindBadRequest, "The previous response was not found.")
	refusal.Param = "previous_response_id"
	refusal.Code = "previous_response_not_found"
	return refusal
}

// responsesUnavailable returns a refusal to be retried: a response that another
// gate may have made must not be called unknown.
func responsesUnavailable() *wire.Error {
	err := wire.Errorf(wire.KindOverloaded, "")
	err.RetryAfter = stored.Backoff
	return err
}
