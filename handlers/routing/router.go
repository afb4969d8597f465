package routing

import "sync"

// Router finds the route of a model. It is built once for a configuration; its
// methods are safe for concurrent use.
type Router struct {
	// exact holds the routes of the names in the configuration, resolved before
	// the first request.
	exact map[string]*Route

	routes    []*Route // with wildcard patterns, the most specific first
	served    []*Target
	literals  map[string][]int // the backends that list a name, as indexes of served
	patterned []int            // the backends with a wildcard pattern, as indexes of served

	// A cache of two generations for all other names, which callers choose: a
	// full young generation replaces the old one.
	mu         sync.RWMutex
	young, old map[string]*Route
}

// generationSize is the most entries in a generation of the cache. An entry
// takes the bytes of its name and a pointer for each backend.
const generationSize = 1024

// NewRouter returns a router. If several routes match a model, it takes the
// most specific one: a plain name before any pattern, of patterns the one with
// the longest text before its first star, of those the one written first. A
// model that no route matches takes all backends that serve it, in their order.
func NewRouter(backends []*Backend, routes []*Route) *Router {
	r := &Router{exact: make(map[string]*Route), literals: make(map[string][]int), young: make(map[string]*Route)}
	for i, b := range backends {
		r.served = append(r.served, &Target{Backend: b})
		r.addServed(i, b)
	}
	for _, route := range routes {
		route.prepare()
		if route.Pattern.Literal() {
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

// addServed indexes the models of backend i.
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

// Find returns the route of a model, nil if no backend serves it.
func (r *Router) Find(model string) *Route {
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
	return r.promote(model)
}

// promote returns the route of a model that is not in the young generation, and
// adds it there.
func (r *Router) promote(model string) *Route {
	r.mu.Lock()
	defer r.mu.Unlock()
	route, ok := r.old[model]
	if !ok {
		route = r.search(model)
	}
	if len(r.young) >= generationSize {
		r.old, r.young = r.young, make(map[string]*Route)
	}
	r.young[model] = route
	return route
}

// search returns the route of a model without a route of exactly its name, nil
// if no backend serves it.
func (r *Router) search(model string) *Route {
	for _, route := range r.routes {
		if route.Pattern.Match(model) {
			return route
		}
	}
	listed, targets := r.literals[model], []*Target(nil)
	take := func(until int) { // adds the backends that list the name, up to an index
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
	return &Route{Targets: targets, Attempts: DefaultAttempts, implicit: true}
}
