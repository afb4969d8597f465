// Package routing finds the backends that may answer a request, and the order in
// which they are tried.
//
//	model ── Router.Find ──▶ Route ── Route.Candidates ──▶ those that serve the endpoint
//	                                        │
//	                                   Route.Order ──▶ without those cooling down,
//	                                                   by tier, in each by the route's policy
package routing

import (
	"sync"
	"sync/atomic"

	"github.com/cespare/xxhash/v2"

	"github.com/amanycodes/pine-gate/internal/pattern"
	"github.com/amanycodes/pine-gate/internal/wire"
)

// DefaultAttempts is the number of backends tried for a request whose route
// sets none.
const DefaultAttempts = 3

// Route holds the backends that may answer for the models of a pattern.
type Route struct {
	Pattern  pattern.Pattern
	Targets  []*Target // as written
	Policy   Policy
	Attempts int // backends tried for one request at most; 0: DefaultAttempts

	implicit bool // not configured: all backends that serve the model

	turn     atomic.Uint64 // counts the requests ordered
	balance  sync.Mutex    // guards balances
	balances []int64       // of PolicyWeighted, by target
}

// Target is a backend as one route uses it.
type Target struct {
	Backend *Backend
	Model   string // the backend's own name of the model; "": by Rename, else the public name
	Weight  int64  // its share under PolicyWeighted; else unused

	index int    // in the route
	hash  uint64 // of its name: the same in all gates
}

// prepare sets the defaults and the derived fields.
func (r *Route) prepare() {
	if r.Attempts == 0 {
		r.Attempts = DefaultAttempts
	}
	for i, t := range r.Targets {
		t.index = i
		t.hash = xxhash.Sum64String(t.Backend.Name + "/" + t.Model)
	}
	r.balances = make([]int64, len(r.Targets))
}

// Candidates appends the route's targets that serve the endpoint to space, in the
// order written.
func (r *Route) Candidates(space []Candidate, endpoint wire.Endpoint, model string) []Candidate {
	for _, t := range r.Targets {
		if t.Backend.serves(endpoint) {
			space = append(space, Candidate{Backend: t.Backend, Model: t.upstreamModel(model), target: t})
		}
	}
	return space
}

// upstreamModel returns the target's own name of a model.
func (t *Target) upstreamModel(public string) string {
	if t.Model != "" {
		return t.Model
	}
	return t.Backend.upstreamModel(public)
}
