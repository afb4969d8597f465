package handlers

import (
	"slices"

	"github.com/amanycodes/pine-gate/usage"
	"github.com/amanycodes/pine-gate/wire"
)

// candidate is a backend that could answer a request.
type candidate struct {
	*Backend
	target *Target      // of the request's route
	model  string       // its own name of the model
	price  *usage.Price // nil: unknown
	rank   int64        // by which a policy sorts
	priced bool         // all that the request asks for has a price
}

// route finds the backends that could answer, in the order in which they are
// tried.
func (c *call) route() *wire.Error {
	c.candidates = c.few[:0]
	c.routed = c.g.Router.find(c.request.Model)
	if c.routed != nil {
		for _, t := range c.routed.Targets {
			if t.Backend.speaks(c.endpoint) {
				c.candidates = append(c.candidates, candidate{Backend: t.Backend, target: t, model: t.upstreamModel(c.request.Model)})
			}
		}
	}
	if len(c.candidates) == 0 {
		return wire.Errorf(wire.KindModelNotFound, "The model does not exist or can't be used with this endpoint.")
	}
	if err := c.followConversation(); err != nil {
		return err
	}
	if c.routed.byDefault {
		c.candidates = withModel(c.candidates, c.request.Model)
	}
	c.routed.order(c, c.candidates)
	return nil
}

// withModel leaves out the candidates that say they do not have the model, where
// some other is known to have it: by its own list or by the configuration. Where
// nobody is, all stay: a list may be old, and a model may have more names than
// one.
func withModel(candidates []candidate, model string) []candidate {
	if len(candidates) < 2 {
		return candidates
	}
	lacks := func(c candidate) bool {
		return c.Catalog.Known() && !c.Catalog.Has(c.model) && !c.declares(model)
	}
	if !slices.ContainsFunc(candidates, lacks) || !slices.ContainsFunc(candidates, func(c candidate) bool {
		return c.Catalog.Has(c.model) || c.declares(model)
	}) {
		return candidates
	}
	return slices.DeleteFunc(candidates, lacks)
}

// upstreamModel returns what the target's backend calls a model.
func (t *Target) upstreamModel(public string) string {
	if t.Model != "" {
		return t.Model
	}
	return t.Backend.upstreamModel(public)
}

// followConversation narrows the candidates of a request that continues a
// stored response to the backend that stored it, and refuses those of others:
// all callers share the backend's account, which would hand them out.
func (c *call) followConversation() *wire.Error {
	id := c.request.PreviousResponse
	if id == "" {
		return nil
	}
	backend, ok := c.g.Shared.Conversations().Find(id, c.key.ID)
	if ok {
		for _, candidate := range c.candidates {
			if candidate.Name == backend {
				c.candidates = append(c.candidates[:0], candidate)
				return nil
			}
		}
	}
	err := wire.Errorf(wire.KindBadRequest, "The previous response was not found.")
	err.Param = "previous_response_id"
	err.Code = "previous_response_not_found"
	return err
}
