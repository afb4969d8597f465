package handlers

import (
	"sync"
	"sync/atomic"

	"github.com/cespare/xxhash/v2"

	"github.com/amanycodes/pine-gate/internal/pattern"
)

// DefaultAttempts is at how many backends a request is tried at most, where its
// route does not say.
const DefaultAttempts = 3

// Route says which backends may answer for the models that a pattern matches,
// and in which order they are tried.
type Route struct {
	Pattern  pattern.Pattern
	Targets  []*Target // as written
	Policy   RoutePolicy
	Attempts int // at how many backends a request is tried at most; 0: DefaultAttempts

	byDefault bool // nobody wrote it: all backends that serve the model

	turn     atomic.Uint64 // counts what was ordered
	balance  sync.Mutex    // guards what follows
	balances []int64       // of policy weighted, by target
}

// Target is a backend as one route uses it.
type Target struct {
	Backend *Backend
	Model   string // what the backend calls the model; "": what Rename says, else the public name
	Weight  int64  // its share under policy weighted; else unused

	index int    // in the route
	hash  uint64 // of its name, which is the same in all gates
}

// prepare makes a route ready to be used.
func (r *Route) prepare() *Route {
	if r.Attempts == 0 {
		r.Attempts = DefaultAttempts
	}
	for i, t := range r.Targets {
		t.index = i
		t.hash = xxhash.Sum64String(t.Backend.Name + "/" + t.Model)
	}
	r.balances = make([]int64, len(r.Targets))
	return r
}

// Router finds the route of a model. It is made once for a configuration; all
// its methods may be called by several goroutines.
type Router struct {
	// What is known before the first request: the names that the configuration
	// holds.
	exact map[string]*Route

	routes    []*Route // those of patterns, the most specific one first
	served    []*Target
	literals  map[string][]int // the backends that list a name, by their places in served
	patterned []int            // the backends with a pattern that is no plain name

	// What is found of other names, which callers choose: the younger half, and
	// the older one, which gives way to it when it is full.
	mu         sync.RWMutex
	young, old map[string]*Route
}

// routesKept bounds each half of what is remembered of names that only patterns
// match. A name costs its own bytes and a pointer for each backend.
const routesKept = 1024

// NewRouter makes a router. A model that several routes match goes by the most
// specific one: a plain name before any pattern, of patterns the one with the
// longest text before its first star, of those the one written first. A model
// that none matches goes to all backends that serve it, in their order.
func NewRouter(backends []*Backend, routes []*Route) *Router {
	r := &Router{exact: make(map[string]*Route), literals: make(map[string][]int), young: make(map[string]*Route)}
	for i, b := range backends {
		r.served = append(r.served, &Target{Backend: b})
		r.addServed(i, b)
	}
	for _, route := range routes {
		if route.prepare(); route.Pattern.Literal() {
			r.exact[route.Pattern.String()] = route
			continue
		}
		at := len(r.routes)
		for at > 0 && r.routes[at-1].Pattern.LiteralPrefix() < route.Pattern.LiteralPrefix() {
			at--
		}
		r.routes = append(r.routes[:at], append([]*Route{route}, r.routes[at:]...)...)
	}
	for name := range r.literals {
		if r.exact[name] == nil {
			r.exact[name] = r.search(name)
		}
	}
	for _, b := range backends {
		for public := range b.Rename {
			if route := r.search(public); route != nil && r.exact[public] == nil {
				r.exact[public] = route
			}
		}
	}
	return r
}

// addServed notes what the backend at a place lists.
func (r *Router) addServed(i int, b *Backend) {
	patterned := false
	for _, p := range b.Models {
		if !p.Literal() {
			patterned = true
		} else if listed := r.literals[p.String()]; len(listed) == 0 || listed[len(listed)-1] != i {
			r.literals[p.String()] = append(listed, i)
		}
	}
	if patterned {
		r.patterned = append(r.patterned, i)
	}
}

// find returns the route of a model, nil where no backend serves it.
func (r *Router) find(model string) *Route {
	if route, ok := r.exact[model]; ok {
		return route
	}
	if len(r.routes) == 0 && len(r.patterned) == 0 {
		return nil
	}
	r.mu.RLock()
	route, ok := r.young[model]
	r.mu.RUnlock()
	if ok {
		return route
	}
	return r.remember(model)
}

// remember finds the route of a model that is not among the young ones, and
// makes it one.
func (r *Router) remember(model string) *Route {
	r.mu.Lock()
	defer r.mu.Unlock()
	route, ok := r.old[model]
	if !ok {
		route = r.search(model)
	}
	if len(r.young) >= routesKept {
		r.old, r.young = r.young, make(map[string]*Route)
	}
	r.young[model] = route
	return route
}

// search finds the route of a model that no route names in full.
func (r *Router) search(model string) *Route {
	for _, route := range r.routes {
		if route.Pattern.Match(model) {
			return route
		}
	}
	listed, targets := r.literals[model], []*Target(nil)
	take := func(until int) { // the backends that list the name, up to a place
		for len(listed) > 0 && listed[0] < until {
			targets = append(targets, r.served[listed[0]])
			listed = listed[1:]
		}
	}
	for _, i := range r.patterned {
		take(i)
		if len(listed) > 0 && listed[0] == i {
			take(i + 1)
		} else if r.served[i].Backend.Models.Match(model) {
			targets = append(targets, r.served[i])
		}
	}
	take(len(r.served))
	if len(targets) == 0 {
		return nil
	}
	return &Route{Targets: targets, Attempts: DefaultAttempts, byDefault: true}
}
