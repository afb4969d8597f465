package pinegate

import (
	"errors"
	"fmt"
	"strings"

	"github.com/amanycodes/pine-gate/handlers/routing"
	"github.com/amanycodes/pine-gate/internal/config"
	"github.com/amanycodes/pine-gate/internal/pattern"
)

// routes returns the routes of the gate. backends must have been provisioned.
func (h *Handler) routes(backends []*routing.Backend) ([]*routing.Route, error) {
	byName := make(map[string]*routing.Backend, len(backends))
	for _, b := range backends {
		byName[b.Name] = b
	}
	seen := make(map[string]bool, len(h.Routes))
	routes := make([]*routing.Route, 0, len(h.Routes))
	for _, c := range h.Routes {
		if seen[c.Model] {
			return nil, fmt.Errorf("route %q stands twice", c.Model)
		}
		seen[c.Model] = true
		route, err := provisionRoute(c, byName)
		if err != nil {
			return nil, fmt.Errorf("route %q: %w", c.Model, err)
		}
		routes = append(routes, route)
	}
	return routes, nil
}

// provisionRoute checks a route and resolves its backends.
func provisionRoute(c config.Route, backends map[string]*routing.Backend) (*routing.Route, error) {
	route := &routing.Route{Attempts: c.Attempts}
	var err error
	if route.Pattern, err = pattern.Parse(c.Model); err != nil {
		return nil, err
	}
	if route.Policy, err = routing.ParsePolicy(c.Policy, c.StickyBy); err != nil {
		return nil, fmt.Errorf("policy: %w", err)
	}
	switch {
	case len(c.Backends) == 0:
		return nil, errors.New("it leads nowhere: expected backends")
	case c.Attempts < 0 || c.Attempts > config.MaxAttempts:
		return nil, fmt.Errorf("attempts is %d: expected a number from 1 to %d", c.Attempts, config.MaxAttempts)
	}
	seen := make(map[config.RouteTarget]bool, len(c.Backends))
	for _, target := range c.Backends {
		weighted := route.Policy == routing.PolicyWeighted
		same := config.RouteTarget{Backend: target.Backend, Model: target.Model}
		switch backend := backends[target.Backend]; {
		case backend == nil:
			return nil, fmt.Errorf("there is no backend %q", target.Backend)
		case seen[same]:
			return nil, fmt.Errorf("the backend %q stands twice with one model", target.Backend)
		case !isName(target.Model):
			return nil, fmt.Errorf("backend %q: %q is no name of a model: expected one without white space and '*'", target.Backend, target.Model)
		case weighted && (target.Weight < 1 || target.Weight > config.MaxWeight):
			return nil, fmt.Errorf("backend %q: weight is %d: expected a number from 1 to %d", target.Backend, target.Weight, config.MaxWeight)
		case !weighted && target.Weight != 0:
			return nil, fmt.Errorf("backend %q has a weight, and the policy is not weighted", target.Backend)
		default:
			route.Targets = append(route.Targets, &routing.Target{Backend: backend, Model: target.Model, Weight: target.Weight})
		}
		seen[same] = true
	}
	return route, nil
}

// isName reports whether the text is empty or can be a model's name.
func isName(text string) bool {
	if text == "" {
		return true
	}
	_, err := pattern.Parse(text)
	return err == nil && !strings.Contains(text, "*")
}
