package pinegate

import (
	"testing"

	"github.com/amanycodes/pine-gate/handlers/routing"
	"github.com/amanycodes/pine-gate/internal/config"
)

// A JSON config has not passed the parser of the Caddyfile.
func TestRoutesThatMakeNoSenseAreRefused(t *testing.T) {
	h := func(routes ...config.Route) *Handler { return &Handler{Gate: config.Gate{Routes: routes}} }
	to := func(targets ...config.RouteTarget) []config.RouteTarget { return targets }
	east := config.RouteTarget{Backend: "east"}
	for _, c := range []struct {
		want    string
		handler *Handler
	}{
		{`route "": empty pattern`, h(config.Route{Backends: to(east)})},
		{`route "m" stands twice`, h(config.Route{Model: "m", Backends: to(east)}, config.Route{Model: "m", Backends: to(east)})},
		{`route "m": it leads nowhere: expected backends`, h(config.Route{Model: "m"})},
		{`route "m": there is no backend "north"`, h(config.Route{Model: "m", Backends: to(config.RouteTarget{Backend: "north"})})},
		{`route "m": the backend "east" stands twice with one model`, h(config.Route{Model: "m", Backends: to(east, east)})},
		{`route "m": backend "east": "a b" is no name of a model: expected one without white space and '*'`, h(config.Route{Model: "m", Backends: to(config.RouteTarget{Backend: "east", Model: "a b"})})},
		{`route "m": attempts is -1: expected a number from 1 to 1000`, h(config.Route{Model: "m", Backends: to(east), Attempts: -1})},
		{`route "m": policy: unknown word "random": expected first, round_robin, weighted, least_inflight, lowest_latency or sticky`, h(config.Route{Model: "m", Backends: to(east), Policy: "random"})},
		{`route "m": policy: sticky by key, and its policy is not sticky`, h(config.Route{Model: "m", Backends: to(east), StickyBy: "key"})},
		{`route "m": policy: unknown word "user": expected sticky, sticky conversation or sticky key`, h(config.Route{Model: "m", Backends: to(east), Policy: "sticky", StickyBy: "user"})},
		{`route "m": backend "east": weight is 0: expected a number from 1 to 1000000`, h(config.Route{Model: "m", Backends: to(east), Policy: "weighted"})},
		{`route "m": backend "east" has a weight, and the policy is not weighted`, h(config.Route{Model: "m", Backends: to(config.RouteTarget{Backend: "east", Weight: 1})})},
	} {
		_, err := c.handler.routes([]*routing.Backend{{Name: "east"}})
		if err == nil || err.Error() != c.want {
			t.Errorf("got %v, want %s", err, c.want)
		}
	}
}
