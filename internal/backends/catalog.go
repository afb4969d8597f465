package backends

import (
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/amanycodes/pine-gate/internal/wire"
)

// maxDiscovered bounds how many models a backend may list, and how many names
// of models that were discovered the metrics tell.
const maxDiscovered = 1000

// Catalog is the list of models that a backend was asked for last. It outlives
// configurations. A nil one, and one that was never filled, knows nothing. All
// methods may be called by several goroutines.
type Catalog struct {
	list  atomic.Pointer[modelList]
	heard atomic.Int64 // when the list came last, in seconds of Unix time
}

type modelList struct {
	models []wire.Model
	names  map[string]bool
}

// Known tells whether the backend has ever said what it has.
func (c *Catalog) Known() bool { return c != nil && c.list.Load() != nil }

// Models returns the list, which must not be changed.
func (c *Catalog) Models() []wire.Model {
	if !c.Known() {
		return nil
	}
	return c.list.Load().models
}

// Has tells whether the backend has listed a model.
func (c *Catalog) Has(model string) bool {
	if !c.Known() {
		return false
	}
	_, has := listedAs(c.list.Load().names, model)
	return has
}

// Heard is when the list came last, changed or not; zero: never.
func (c *Catalog) Heard() time.Time {
	if !c.Known() {
		return time.Time{}
	}
	return time.Unix(c.heard.Load(), 0)
}

// Set replaces the list by one that came just now, and tells whether that changed it.
func (c *Catalog) Set(models []wire.Model) bool {
	c.heard.Store(time.Now().Unix())
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

// listedAs finds the name by which a model is listed. Ollama lists each with its
// tag, of which `latest` may be left out.
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

// Names are those of the models that were discovered, as far as metrics tell
// them: the first maxDiscovered in the life of the process, so that no backend
// can make series without end. A nil one holds none.
type Names struct {
	mu    sync.Mutex // held to change known
	known atomic.Pointer[map[string]bool]
}

// Label returns the name by which metrics tell a model, false where it was not
// discovered.
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

// Add makes the names of models known, as far as there is room.
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
		if len(known) >= maxDiscovered {
			break
		}
		known[m.ID] = true
	}
	n.known.Store(&known)
}
