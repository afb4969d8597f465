package handlers

import (
	"cmp"
	"slices"

	"github.com/amanycodes/pine-gate/internal/backends"
	"github.com/amanycodes/pine-gate/internal/wire"
	"github.com/amanycodes/pine-gate/limiter"
	"github.com/amanycodes/pine-gate/usage/pricing"
)

// candidate is a backend that could answer a request.
type candidate struct {
	*Backend
	target *Target        // of the request's route
	model  string         // its own name of the model
	price  *pricing.Price // nil: unknown
	rank   int64          // by which a policy sorts
	priced bool           // all that the request asks for has a price
	tier   tier           // those of a lower one are better, if there are any
}

// tier tells candidates apart that are to be tried by themselves before others.
type tier uint8

const (
	tierFree   tier = iota
	tierLast        // of which another one is better: see [backends.Cooling]
	tierQueues      // full, but a request can wait there
	tierFull
)

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
	return c.orderCandidates()
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

// orderCandidates leaves out the candidates that are to be left alone and puts
// the others in the order of the route's policy; those come last to which another
// one is to be preferred, and after them those that are full. Where none is left the caller is told when to come
// back, and nothing is sent.
//
// A request that can go nowhere else is always sent: to its caller it makes no
// difference who refuses it, the backend may work again, and it may have refused
// another caller for what does not hold for this one, such as a prompt that is
// larger than what is left of a limit.
func (c *call) orderCandidates() *wire.Error {
	if len(c.candidates) == 1 {
		return nil
	}
	var soonest backends.Cooling
	ready, mixed := 0, false
	for i := range c.candidates {
		chosen := c.candidates[i]
		cooling := chosen.Live.Cooling(chosen.model, c.start)
		if cooling.Whole {
			chosen.Metrics.Reached(false)
		}
		if cooling.Wait > 0 {
			if soonest.Wait == 0 || cooling.Wait < soonest.Wait {
				soonest = cooling
			}
			continue
		}
		chosen.tier = tierOf(chosen.Live, cooling)
		c.candidates[ready] = chosen
		mixed = mixed || chosen.tier != c.candidates[0].tier
		ready++
	}
	if ready == 0 {
		return c.allCool(soonest)
	}
	c.candidates = c.candidates[:ready]
	if !mixed {
		c.routed.order(c, c.candidates)
		return nil
	}
	slices.SortStableFunc(c.candidates, func(a, b candidate) int { return cmp.Compare(a.tier, b.tier) })
	for begin := 0; begin < ready; {
		end := begin + 1
		for end < ready && c.candidates[end].tier == c.candidates[begin].tier {
			end++
		}
		c.routed.order(c, c.candidates[begin:end])
		begin = end
	}
	return nil
}

// tierOf is the tier of a candidate that is not left alone.
func tierOf(live *backends.Live, cooling backends.Cooling) tier {
	switch full, queues := live.Full(); {
	case full && queues:
		return tierQueues
	case full:
		return tierFull
	case cooling.Last:
		return tierLast
	}
	return tierFree
}

// allCool tells a caller that all candidates are to be left alone, and when the
// first of them can be asked again.
func (c *call) allCool(soonest backends.Cooling) *wire.Error {
	kind := wire.KindOverloaded
	if soonest.Limited {
		kind = wire.KindSlowDown
	}
	refusal := wire.Errorf(kind, "")
	refusal.RetryAfter = soonest.Wait
	c.answer.scope = limiter.ScopeBackend.String()
	return refusal
}

// followConversation narrows the candidates of a request that continues a
// stored response to the backend that stored it, and refuses those of others:
// all callers share the backend's account, which would hand them out.
func (c *call) followConversation() *wire.Error {
	id := c.request.PreviousResponse
	if id == "" {
		return nil
	}
	backend, ok, away := c.g.Shared.Responses().Find(c.r.Context(), id, c.key.ID)
	if away != nil {
		return responsesAway()
	}
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
