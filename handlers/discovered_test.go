package handlers

import (
	"testing"

	"github.com/amanycodes/pine-gate/internal/backends"
	"github.com/amanycodes/pine-gate/internal/pattern"
	"github.com/amanycodes/pine-gate/internal/wire"
)

// telling makes a backend tell its models; none at all: it was asked and has
// not answered.
func telling(b *Backend, models ...string) *Backend {
	b.Catalog = new(backends.Catalog)
	if len(models) > 0 {
		var list []wire.Model
		for _, id := range models {
			list = append(list, wire.Model{ID: id})
		}
		b.Catalog.Set(list)
	}
	return b
}

func TestModelGoesToThoseThatHaveIt(t *testing.T) {
	a := telling(serving(t, "a", "*"), "llama3:latest", "both", "org/renamed")
	a.Rename = map[string]string{"public": "org/renamed"}
	b := telling(serving(t, "b", "*"), "both", "only-b")
	silent := telling(serving(t, "silent", "*"))
	unasked := serving(t, "unasked", "*")
	declared := serving(t, "declared", "gpt-*", "*")
	for _, c := range []struct {
		name     string
		backends []*Backend
		model    string
		want     string
	}{
		{"one has it", []*Backend{b, a}, "only-b", "b/only-b"},
		{"the other has it", []*Backend{b, a}, "llama3", "a/llama3"},
		{"both", []*Backend{b, a}, "both", "b/both a/both"},
		{"nobody: all, as without lists", []*Backend{b, a}, "unknown", "b/unknown a/unknown"},
		{"by the backend's own name", []*Backend{b, a}, "public", "a/org/renamed"},
		{"one that has not answered may have it", []*Backend{silent, b, a}, "only-b", "silent/only-b b/only-b"},
		{"one that is not asked may have it", []*Backend{a, unasked, b}, "only-b", "unasked/only-b b/only-b"},
		{"the configuration says who has it", []*Backend{a, declared}, "gpt-5", "declared/gpt-5"},
		{"a pattern of everything says nothing", []*Backend{a, declared}, "unknown", "a/unknown declared/unknown"},
		{"alone", []*Backend{a}, "unknown", "a/unknown"},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := &Gateway{Backends: c.backends, Router: NewRouter(c.backends, nil)}
			if got := routedTo(g, wire.Chat, c.model); got != c.want {
				t.Errorf("%s goes to %q, want %q", c.model, got, c.want)
			}
		})
	}
	all := []*Backend{a, b}
	g := &Gateway{Backends: all, Router: NewRouter(all, []*Route{routeTo(t, "only-*", PolicyFirst, &Target{Backend: a}, &Target{Backend: b})})}
	if got := routedTo(g, wire.Chat, "only-b"); got != "a/only-b b/only-b" {
		t.Errorf("a route that was written goes to %q", got)
	}
}

func TestDiscoveredModelsAreListedBehindTheConfigured(t *testing.T) {
	a := telling(serving(t, "a", "*"), "x", "configured", "both")
	b := telling(serving(t, "b", "gpt-*", "both"), "both", "gpt-5", "not-served")
	configured := append(make([]wire.Model, 0, 8), wire.Model{ID: "configured", OwnedBy: "c"})
	g := &Gateway{Backends: []*Backend{a, b, serving(t, "c", "*")}, Models: configured}
	for range 2 { // the list of the configuration must stay as it is
		var got string
		for _, m := range g.models() {
			got += m.OwnedBy + "/" + m.ID + " "
		}
		if want := "c/configured a/x a/both b/gpt-5 "; got != want {
			t.Errorf("listed %s, want %s", got, want)
		}
	}
	if got := configured[:2][1].ID; got != "" {
		t.Errorf("%q was written behind the configured list", got)
	}
}

func TestDiscoveredNamesAreLabelsWhereTheConfigurationHasNone(t *testing.T) {
	names := new(backends.Names)
	names.Add([]wire.Model{{ID: "gpt-5"}, {ID: "llama3:latest"}})
	p := &Policy{Names: []pattern.Pattern{patternOf(t, "gpt-*")}, Discovered: names}
	for model, want := range map[string]string{"gpt-5": "gpt-*", "llama3:latest": "llama3:latest", "llama3": "llama3:latest", "made-up": OtherModel} {
		if got := p.ModelLabel(model); got != want {
			t.Errorf("%s is told as %s, want %s", model, got, want)
		}
	}
}
