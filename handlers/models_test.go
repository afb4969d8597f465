package handlers

import (
	"testing"

	"github.com/amanycodes/pine-gate/handlers/routing"
	"github.com/amanycodes/pine-gate/internal/backends/discovery"
	"github.com/amanycodes/pine-gate/internal/backends/health"
	"github.com/amanycodes/pine-gate/internal/pattern"
	"github.com/amanycodes/pine-gate/internal/wire"
)

// serving is a backend of the name that serves the patterns.
func serving(t testing.TB, name string, patterns ...string) *routing.Backend {
	t.Helper()
	models, err := pattern.ParseList(patterns)
	if err != nil {
		t.Fatal(err)
	}
	return &routing.Backend{Name: name, Models: models, State: new(health.BackendState)}
}

// listing sets the models that a backend lists. Without models, it was polled
// and has not answered.
func listing(b *routing.Backend, models ...string) *routing.Backend {
	b.Catalog = new(discovery.Catalog)
	if len(models) > 0 {
		var list []wire.Model
		for _, id := range models {
			list = append(list, wire.Model{ID: id})
		}
		b.Catalog.Set(list)
	}
	return b
}

func TestDiscoveredModelsAreListedBehindTheConfigured(t *testing.T) {
	a := listing(serving(t, "a", "*"), "x", "configured", "both")
	b := listing(serving(t, "b", "gpt-*", "both"), "both", "gpt-5", "not-served")
	configured := append(make([]wire.Model, 0, 8), wire.Model{ID: "configured", OwnedBy: "c"})
	g := &Gateway{Backends: []*routing.Backend{a, b, serving(t, "c", "*")}, Models: configured}
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
	names := new(discovery.Names)
	names.Add([]wire.Model{{ID: "gpt-5"}, {ID: "llama3:latest"}})
	p := &Policy{Names: []pattern.Pattern{patternOf(t, "gpt-*")}, Discovered: names}
	for model, want := range map[string]string{"gpt-5": "gpt-*", "llama3:latest": "llama3:latest", "llama3": "llama3:latest", "made-up": OtherModel} {
		if got := p.ModelLabel(model); got != want {
			t.Errorf("%s is told as %s, want %s", model, got, want)
		}
	}
}
