package pinegate

import (
	"testing"

	"github.com/amanycodes/pine-gate/handlers/routing"
)

// A JSON config has not passed the parser of the Caddyfile.
func TestRoutesThatMakeNoSenseAreRefused(t *testing.T) {
	h := func(routes ...RouteConfig) *Handler { return &Handler{Routes: routes} }
	to := func(targets ...RouteTargetConfig) []RouteTargetConfig { return targets }
	east := RouteTargetConfig{Backend: "east"}
	for _, c := range []struct {
		want    string
		handler *Handler
	}{
		{`route "": empty pattern`, h(RouteConfig{Backends: to(east)})},
		{`route "m" stands twice`, h(RouteConfig{Model: "m", Backends: to(east)}, RouteConfig{Model: "m", Backends: to(east)})},
		{`route "m": it leads nowhere: expected backends`, h(RouteConfig{Model: "m"})},
		{`route "m": there is no backend "north"`, h(RouteConfig{Model: "m", Backends: to(RouteTargetConfig{Backend: "north"})})},
		{`route "m": the backend "east" stands twice with one model`, h(RouteConfig{Model: "m", Backends: to(east, east)})},
		{`route "m": backend "east": "a b" is no name of a model: expected one without white space and '*'`, h(RouteConfig{Model: "m", Backends: to(RouteTargetConfig{Backend: "east", Model: "a b"})})},
		{`route "m": attempts is -1: expected a number from 1 to 1000`, h(RouteConfig{Model: "m", Backends: to(east), Attempts: -1})},
		{`route "m": policy: unknown word "random": expected first, round_robin, weighted, least_inflight, lowest_latency or sticky`, h(RouteConfig{Model: "m", Backends: to(east), Policy: "random"})},
		{`route "m": policy: sticky by key, and its policy is not sticky`, h(RouteConfig{Model: "m", Backends: to(east), StickyBy: "key"})},
		{`route "m": policy: unknown word "user": expected sticky, sticky conversation or sticky key`, h(RouteConfig{Model: "m", Backends: to(east), Policy: "sticky", StickyBy: "user"})},
		{`route "m": backend "east": weight is 0: expected a number from 1 to 1000000`, h(RouteConfig{Model: "m", Backends: to(east), Policy: "weighted"})},
		{`route "m": backend "east" has a weight, and the policy is not weighted`, h(RouteConfig{Model: "m", Backends: to(RouteTargetConfig{Backend: "east", Weight: 1})})},
	} {
		_, err := c.handler.routes([]*routing.Backend{{Name: "east"}})
		if err == nil || err.Error() != c.want {
			t.Errorf("got %v, want %s", err, c.want)
		}
	}
}
