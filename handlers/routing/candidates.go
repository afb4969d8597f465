package routing

import (
	"cmp"
	"slices"
	"time"

	"github.com/amanycodes/pine-gate/internal/backends/health"
	"github.com/amanycodes/pine-gate/internal/wire/request"
	"github.com/amanycodes/pine-gate/usage/pricing"
)

// Candidate is a backend that may answer a request.
type Candidate struct {
	*Backend
	Model string         // the backend's own name of the model
	Price *pricing.Price // what it costs there, as found at admission; nil: unknown

	target *Target // of the request's route
	tier   tier
	rank   int64 // sort key of the policy, lowest first
}

// tier is a group of candidates, all of which are tried before those of the
// next tier.
type tier uint8

const (
	tierFree   tier = iota
	tierLast        // others are preferred: see health.Backoff
	tierQueues      // full, with a queue
	tierFull
)

// Request holds what a policy uses of a request.
type Request struct {
	*request.Request
	Body  []byte
	Key   string // its id
	Start time.Time
}

// Order removes the candidates that are cooling down and sorts the others by
// the route's policy: first those with room, then those to which others are
// preferred, then those that are full. If all are cooling down, it returns one for
// which it is time for a request all the same, or else none, and the cooldown that
// ends first.
//
// A request with one candidate is always sent: to the caller it makes no
// difference who refuses it, the backend may have recovered, and its refusal of
// another caller may not apply to this one, as with a prompt larger than what
// was left of a limit.
func (r *Route) Order(candidates []Candidate, q *Request) ([]Candidate, health.Backoff) {
	if r.implicit {
		candidates = withModel(candidates, q.Model)
	}
	if len(candidates) == 1 {
		return candidates, health.Backoff{}
	}
	var soonest health.Backoff
	ready, mixed := 0, false
	for i := range candidates {
		c := candidates[i]
		cooling := c.State.Backoff(c.Model, q.Key, q.Start)
		if cooling.Whole {
			c.Metrics.Reached(false)
		}
		if cooling.Wait > 0 {
			if soonest.Wait == 0 || cooling.Wait < soonest.Wait {
				soonest = cooling
			}
			continue
		}
		c.tier = tierOf(c.State, cooling)
		candidates[ready] = c
		mixed = mixed || c.tier != candidates[0].tier
		ready++
	}
	if ready == 0 {
		return paced(candidates, q), soonest
	}
	candidates = candidates[:ready]
	if mixed {
		r.sortTiers(candidates, q)
	} else {
		r.sort(candidates, q)
	}
	return candidates, soonest
}

// paced returns the first candidate to which a request may be sent although all
// cool down.
func paced(candidates []Candidate, q *Request) []Candidate {
	for i, c := range candidates {
		if c.State.Pace(c.Model, q.Key, q.Start) {
			return candidates[i : i+1]
		}
	}
	return nil
}

// sortTiers sorts candidates by tier, and those of each tier by the policy.
func (r *Route) sortTiers(candidates []Candidate, q *Request) {
	slices.SortStableFunc(candidates, func(a, b Candidate) int { return cmp.Compare(a.tier, b.tier) })
	for len(candidates) > 0 {
		n := 1
		for n < len(candidates) && candidates[n].tier == candidates[0].tier {
			n++
		}
		r.sort(candidates[:n], q)
		candidates = candidates[n:]
	}
}

// tierOf returns the tier of a candidate that is not cooling down.
func tierOf(state *health.BackendState, cooling health.Backoff) tier {
	switch full, queues := state.Full(); {
	case full && queues:
		return tierQueues
	case full:
		return tierFull
	case cooling.Last:
		return tierLast
	}
	return tierFree
}

// withModel removes the candidates whose own list lacks the model, if another
// candidate has it by its list or by the configuration. If none has it, all
// stay: a list may be outdated, and a model may have several names.
func withModel(candidates []Candidate, model string) []Candidate {
	if len(candidates) < 2 {
		return candidates
	}
	lacks := func(c Candidate) bool {
		return c.Catalog.Known() && !c.Catalog.Has(c.Model) && !c.declares(model)
	}
	if !slices.ContainsFunc(candidates, lacks) || !slices.ContainsFunc(candidates, func(c Candidate) bool {
		return c.Catalog.Has(c.Model) || c.declares(model)
	}) {
		return candidates
	}
	return slices.DeleteFunc(candidates, lacks)
}
