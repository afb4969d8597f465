package pinegate

import (
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"

	"github.com/amanycodes/pine-gate/handlers"
	"github.com/amanycodes/pine-gate/handlers/routing"
	"github.com/amanycodes/pine-gate/internal/keys"
	"github.com/amanycodes/pine-gate/internal/pattern"
	"github.com/amanycodes/pine-gate/limiter"
)

// gatewayOf is a gate with keys and the limits that each of them has by default.
func gatewayOf(t *testing.T, defaults []string, configs ...keys.Config) *handlers.Gateway {
	t.Helper()
	for i := range configs {
		configs[i].Secrets = []string{keys.HashSecret(fmt.Sprintf("the secret of the key %s", configs[i].ID)).String()}
	}
	store, err := keys.NewStore(keys.StoreConfig{Keys: configs, AllowEmpty: true})
	if err != nil {
		t.Fatal(err)
	}
	return &handlers.Gateway{Keys: store, Policy: &handlers.Policy{Defaults: limitsOf(t, defaults...), Teams: make(map[string]*handlers.Team)}}
}

func limitsOf(t *testing.T, texts ...string) (limits []limiter.Limit) {
	t.Helper()
	for _, text := range texts {
		limit, err := limiter.ParseLimit(strings.Fields(text))
		if err != nil {
			t.Fatal(err)
		}
		limits = append(limits, limit)
	}
	return limits
}

func planeOf(gateways ...*handlers.Gateway) controlPlane {
	app := new(App)
	app.gateways = gateways
	return controlPlane{app}
}

// texts names the rules that are yielded, n at most.
func texts(rules iter.Seq[*limiter.Rule], n int) (all []string) {
	for rule := range rules {
		if all = append(all, rule.ID+" "+rule.Limit.String()); len(all) == n {
			break
		}
	}
	return all
}

func TestAKeyOfSeveralGatesHasTheLimitsOfAll(t *testing.T) {
	own := limitsOf(t, "5 requests/minute")
	east := gatewayOf(t, []string{"60 requests/minute"}, keys.Config{ID: "both", Spec: keys.Spec{Limits: own}}, keys.Config{ID: "east"})
	west := gatewayOf(t, []string{"9 requests/minute", "1 usd/day"}, keys.Config{ID: "both", Spec: keys.Spec{Limits: own}}, keys.Config{ID: "west", Spec: keys.Spec{Team: "red"}})
	a := planeOf(east, west)
	want := []string{"both 5 requests/minute", "both 1 usd/day", "east 60 requests/minute", "west 9 requests/minute", "west 1 usd/day"}
	if got := texts(a.Rules(limiter.ScopeKey, ""), 99); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if got := texts(a.Rules(limiter.ScopeKey, "c"), 1); !slices.Equal(got, want[2:3]) {
		t.Errorf("from c on: %q", got)
	}
	if n := a.countKeys(); n != 3 {
		t.Errorf("%d keys", n)
	}
}

func TestLimitsOfTeamsModelsAndBackendsComeInTheOrderOfTheirNames(t *testing.T) {
	rule := func(kind limiter.ScopeKind, id, text string) []*limiter.Rule {
		return []*limiter.Rule{limiter.NewRule(kind, id, limitsOf(t, text)[0])}
	}
	g := gatewayOf(t, nil)
	g.Policy.Teams["red"] = &handlers.Team{Rules: rule(limiter.ScopeTeam, "red", "1 concurrent")}
	g.Policy.Teams["blue"] = &handlers.Team{Rules: rule(limiter.ScopeTeam, "blue", "2 concurrent")}
	for _, text := range []string{"org/*", "gpt-*"} {
		p, err := pattern.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		g.Policy.Models = append(g.Policy.Models, &handlers.Model{Pattern: p, Rules: rule(limiter.ScopeModel, text, "3 concurrent")})
	}
	a := planeOf(g)
	for _, name := range []string{"west", "east", "west"} {
		a.addBackend(&backendInfo{Backend: &routing.Backend{Name: name, Rules: rule(limiter.ScopeBackend, name, "4 concurrent")}})
	}
	for kind, want := range map[limiter.ScopeKind][]string{
		limiter.ScopeTeam:    {"blue 2 concurrent", "red 1 concurrent"},
		limiter.ScopeModel:   {"gpt-* 3 concurrent", "org/* 3 concurrent"},
		limiter.ScopeBackend: {"east 4 concurrent", "west 4 concurrent"},
	} {
		if got := texts(a.Rules(kind, ""), 99); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", kind, got, want)
		}
		if got := texts(a.Rules(kind, "p"), 99); !slices.Equal(got, slices.DeleteFunc(slices.Clone(want), func(s string) bool { return s < "p" })) {
			t.Errorf("%s from p on: %q", kind, got)
		}
	}
}

// The cost of a page of the limits of many keys depends on its length alone.
func TestAPageOfManyKeysMakesNoRulesOfOthers(t *testing.T) {
	const many = 20_000
	configs := make([]keys.Config, many)
	for i := range configs {
		configs[i].ID = fmt.Sprintf("k%06d", i)
	}
	a := planeOf(gatewayOf(t, []string{"60 requests/minute"}, configs...))
	for _, from := range []string{"", "k010000", "k019899"} {
		allocs := testing.AllocsPerRun(5, func() {
			if got := texts(a.Rules(limiter.ScopeKey, from), 100); len(got) != 100 {
				t.Errorf("%d rules from %q on", len(got), from)
			}
		})
		if allocs > 100*50 {
			t.Errorf("%v allocations for a page from %q on", allocs, from)
		}
	}
}
