package handlers

import (
	"strings"
	"testing"
	"time"

	"github.com/amanycodes/pine-gate/internal/keys"
	"github.com/amanycodes/pine-gate/internal/pattern"
	"github.com/amanycodes/pine-gate/limiter"
	"github.com/amanycodes/pine-gate/usage/pricing"
)

func limit(t *testing.T, words string) limiter.Limit {
	t.Helper()
	l, err := limiter.ParseLimit(strings.Fields(words))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func patternOf(t *testing.T, text string) pattern.Pattern {
	t.Helper()
	p, err := pattern.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestDefaultLimitsHoldForKeysWithoutOneOfTheSameKind(t *testing.T) {
	p := &Policy{Defaults: []limiter.Limit{limit(t, "60 requests/minute"), limit(t, "8 concurrent")}}
	own := limit(t, "5 requests/minute")
	g := p.newGrants(new(keys.Set), &keys.Key{ID: "a", Limits: []limiter.Limit{own}})
	var got []string
	for _, rule := range g.rules {
		got = append(got, rule.Limit.String())
	}
	if want := "5 requests/minute, 8 concurrent"; strings.Join(got, ", ") != want {
		t.Errorf("got %v, want %s", got, want)
	}
}

func TestTeamNarrowsModelsAndSharesItsRules(t *testing.T) {
	rule := limiter.NewRule(limiter.ScopeTeam, "red", limit(t, "10 requests/minute"))
	p := &Policy{Teams: map[string]*Team{"red": {Models: pattern.List{patternOf(t, "gpt-*")}, Rules: []*limiter.Rule{rule}}}}
	g := p.newGrants(new(keys.Set), &keys.Key{ID: "a", Team: "red", Models: pattern.List{patternOf(t, "*-mini")}})
	for model, want := range map[string]bool{"gpt-4o-mini": true, "gpt-4o": false, "llama-mini": false} {
		if got := g.allows(model); got != want {
			t.Errorf("allows(%q) = %t", model, got)
		}
	}
	if len(g.rules) != 1 || g.rules[0] != rule {
		t.Errorf("rules %v: the team's counter is not shared", g.rules)
	}
	if g := p.newGrants(new(keys.Set), &keys.Key{ID: "b", Team: "undeclared"}); !g.allows("anything") || len(g.rules) != 0 {
		t.Error("an undeclared team limits")
	}
}

func TestMostSpecificPatternSetsThePriceAndAllMatchingOnesLimit(t *testing.T) {
	cheap, dear := new(pricing.Price), new(pricing.Price)
	cheap.Input, dear.Input = 1, 2
	p := &Policy{Models: []*Model{
		{Pattern: patternOf(t, "gpt-4*"), Price: dear, Rules: []*limiter.Rule{limiter.NewRule(limiter.ScopeModel, "gpt-4*", limit(t, "1 concurrent"))}},
		{Pattern: patternOf(t, "*"), Price: cheap, Rules: []*limiter.Rule{limiter.NewRule(limiter.ScopeModel, "*", limit(t, "2 concurrent"))}},
		{Pattern: patternOf(t, "gpt-4o*")}, // no price: leaves that of gpt-4*
	}}
	m := p.model("gpt-4o")
	if m.price != dear || len(m.rules) != 2 {
		t.Errorf("price %v, %d rules", m.price, len(m.rules))
	}
	if m := p.model("llama"); m.price != cheap || len(m.rules) != 1 {
		t.Errorf("price %v, %d rules", m.price, len(m.rules))
	}
}

func TestModelLabelsAreConfiguredNames(t *testing.T) {
	p := &Policy{Names: []pattern.Pattern{patternOf(t, "gpt-*"), patternOf(t, "gpt-4o"), patternOf(t, "gpt-4*")}}
	for model, want := range map[string]string{
		"gpt-4o": "gpt-4o", "gpt-4.1": "gpt-4*", "gpt-3.5": "gpt-*", "made-up-1": OtherModel, "": OtherModel,
	} {
		if got := p.ModelLabel(model); got != want {
			t.Errorf("ModelLabel(%q) = %q, want %q", model, got, want)
		}
	}
}

// withTeam is a runtime that holds a team.
type withTeam struct{ team *keys.Team }

func (r withTeam) RuntimeKeys(time.Time) keys.RuntimeKeys {
	return keys.RuntimeKeys{Teams: []*keys.Team{r.team}}
}
func (withTeam) Watch(func()) func() { return func() {} }
func (withTeam) UpToDate() bool      { return true }
func (withTeam) Stale() bool         { return false }

func TestATeamMadeAtRuntimeHoldsUnlessTheConfigurationHasOne(t *testing.T) {
	team := &keys.Team{ID: "red", Models: pattern.List{patternOf(t, "gpt-*")}, Limits: []limiter.Limit{limit(t, "3 requests/hour")}}
	store, err := keys.NewStore(keys.StoreConfig{Runtime: withTeam{team}})
	if err != nil {
		t.Fatal(err)
	}
	alice := &keys.Key{ID: "alice", Team: "red"}
	g := new(Policy).newGrants(store.Current(), alice)
	if !g.allows("gpt-5") || g.allows("o3") || len(g.rules) != 1 || g.rules[0].Kind != limiter.ScopeTeam || g.rules[0].ID != "red" {
		t.Errorf("grants %+v", g)
	}
	configured := &Policy{Teams: map[string]*Team{"red": {}}}
	if g := configured.newGrants(store.Current(), alice); !g.allows("o3") || len(g.rules) != 0 {
		t.Errorf("the configuration's team gives way: %+v", g)
	}
}

func TestNoSpellingOfAModelPassesItsLimit(t *testing.T) {
	block := func(text string) *Model {
		return &Model{Pattern: patternOf(t, text), Rules: []*limiter.Rule{limiter.NewRule(limiter.ScopeModel, text, limit(t, "1 requests/minute"))}}
	}
	for _, c := range []struct {
		pattern string
		names   []string
		others  []string
	}{
		{"llama3", []string{"llama3", "LLAMA3", "Llama3", " llama3", "llama3 ", "llama3:latest", "LLAMA3:LATEST", "\tllama3:Latest "}, []string{"llama3:8b", "llama", "llama33", "llama3:latest:latest"}},
		{"Llama3", []string{"llama3", "LLAMA3", "Llama3:latest"}, []string{"llama"}},
		{"llama3:latest", []string{"llama3", "LLAMA3", "llama3:latest"}, []string{"llama3:8b"}},
		{"Org/Model-*", []string{"org/model-7b", "ORG/MODEL-7B:latest", " Org/Model-"}, []string{"org/other"}},
	} {
		p := &Policy{Models: []*Model{block(c.pattern), block("unrelated:1")}}
		for _, name := range c.names {
			if got := p.model(name).rules; len(got) != 1 || got[0] != p.Models[0].Rules[0] {
				t.Errorf("%q: %q has the rules %v", c.pattern, name, got)
			}
		}
		for _, name := range c.others {
			if got := p.model(name).rules; len(got) != 0 {
				t.Errorf("%q: %q has the rules %v", c.pattern, name, got)
			}
		}
	}
}

func TestAListOfModelsAllowsNoOtherSpelling(t *testing.T) {
	g := (&Policy{}).newGrants(new(keys.Set), &keys.Key{ID: "a", Models: pattern.List{patternOf(t, "llama3")}})
	for _, name := range []string{"LLAMA3", " llama3", "llama3:latest"} {
		if g.allows(name) {
			t.Errorf("%q is allowed", name)
		}
	}
}
