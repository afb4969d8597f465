package discovery

import (
	"fmt"
	"testing"
	"time"

	"github.com/amanycodes/pine-gate/internal/wire"
)

func TestTheCatalogKnowsWhenItWasUpdated(t *testing.T) {
	c := new(Catalog)
	if !c.Updated().IsZero() {
		t.Error("it has never come")
	}
	before := time.Now().Truncate(time.Second)
	c.Set(nil)
	c.updated.Store(1)
	c.Set(nil) // no change
	if c.Updated().Before(before) {
		t.Errorf("it came at %v, of %v", c.Updated(), before)
	}
	var none *Catalog
	if !none.Updated().IsZero() {
		t.Error("a catalog that is none has come")
	}
}

// TestNamesAreBounded: a backend may list any number of names over the life of a
// process.
func TestNamesAreBounded(t *testing.T) {
	var names Names
	for i := range 20 {
		var models []wire.Model
		for j := range 100 {
			models = append(models, wire.Model{ID: fmt.Sprintf("m-%d-%d", i, j)})
		}
		names.Add(models)
	}
	if n := len(*names.known.Load()); n != MaxModels {
		t.Errorf("%d names", n)
	}
	if _, ok := names.Label("m-0-0"); !ok {
		t.Error("an early name is gone")
	}
}
