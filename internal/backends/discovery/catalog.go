// Package discovery lists the models that backends serve and stores the lists.
package discovery

import (
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/amanycodes/pine-gate/internal/wire"
)

// MaxModels bounds how many models of a backend are stored, and how many
// discovered names may be metric labels.
const MaxModels = 1000

// Catalog holds the last list of a backend's models. It outlives configurations.
// A nil Catalog, and one that was never set, is empty. All methods are safe for
// concurrent use.
type Catalog struct {
	list    atomic.Pointer[modelList]
	updated atomic.Int64 // when the list was last received, in Unix seconds
}

type modelList struct {
	models []wire.Model
	names  map[string]bool
}

// Known reports whether the backend has ever listed its models.
func (c *Catalog) Known() bool { return c != nil && c.list.Load() != nil }

// Models returns the list. The caller must not modify it.
func (c *Catalog) Models() []wire.Model {
	if !c.Known() {
		return nil
	}
	return c.list.Load().models
}

// Has reports whether the backend has listed a model.
func (c *Catalog) Has(model string) bool {
	if !c.Known() {
		return false
	}
	_, has := listedAs(c.list.Load().names, model)
	return has
}

// Updated returns when the list was last received, changed or not; zero if
// never.
func (c *Catalog) Updated() time.Time {
	if !c.Known() {
		return time.Time{}
	}
	return time.Unix(c.updated.Load(), 0)
}

// Set replaces the list and reports whether it changed.
func (c *Catalog) Set(models []wire.Model) bool {
	c.updated.Store(time.Now().Unix())
	before := c.list.Load()
	if before != nil && slices.EqualFunc(before.models, models, func(a, b wire.Model) bool { return a.ID == b.ID }) {
		return false
	}
	list := &modelList{models: models, names: make(map[string]bool, len(models))}
	for _, m := range models {
		list.names[m.ID] = true
	}
	c.list.Store(list)
	return true
}

// listedAs returns the name under which a model is listed. Ollama lists each
// model with its tag, and callers may omit the tag `latest`.
func listedAs(names map[string]bool, model string) (string, bool) {
	if names[model] {
		return model, true
	}
	if tagged := model + latest; !strings.Contains(model, ":") && names[tagged] {
		return tagged, true
	}
	return "", false
}

const latest = ":latest"

// Names holds the discovered names that may be metric labels: the first
// MaxModels in the life of the process, so that no backend can create an
// unbounded number of metric series. A nil Names is empty.
type Names struct {
	mu    sync.Mutex // held to change known
	known atomic.Pointer[map[string]bool]
}

// Label returns the metric label of a model, and whether the model was discovered.
func (n *Names) Label(model string) (string, bool) {
	if n == nil {
		return "", false
	}
	known := n.known.Load()
	if known == nil {
		return "", false
	}
	return listedAs(*known, model)
}

// Add adds the names of models up to MaxModels in all.
func (n *Names) Add(models []wire.Model) {
	n.mu.Lock()
	defer n.mu.Unlock()
	known := make(map[string]bool)
	if before := n.known.Load(); before != nil {
		for name := range *before {
			known[name] = true
		}
	}
	for _, m := range models {
		if len(known) >= MaxModels {
			break
		}
		known[m.ID] = true
	}
	n.known.Store(&known)
}
