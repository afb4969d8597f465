package handlers

import (
	"net/http"
	"slices"

	"github.com/amanycodes/pine-gate/internal/wire"
)

// models lists the names of the configuration and then, in the order of the
// backends, what those have told. No backend is waited for.
func (g *Gateway) models() []wire.Model {
	all := g.Models
	var listed map[string]bool
	for _, b := range g.Backends {
		for _, m := range b.Catalog.Models() {
			if listed == nil {
				listed = make(map[string]bool)
				for _, configured := range g.Models {
					listed[configured.ID] = true
				}
				all = slices.Clip(all) // it is shared
			}
			if !listed[m.ID] && b.Models.Match(m.ID) {
				listed[m.ID] = true
				m.OwnedBy = b.Name
				all = append(all, m)
			}
		}
	}
	return all
}

// serveModels answers `GET /v1/models`: the names that the key may use.
func (c *call) serveModels() *wire.Error {
	var allowed []wire.Model
	for _, m := range c.g.models() {
		if c.grants.allows(m.ID) {
			allowed = append(allowed, m)
		}
	}
	c.writeJSON(wire.Models(wire.DialectOfClient(c.r.Header), allowed))
	return nil
}

// serveModel answers `GET /v1/models/{id}`. A model that the key may not use is
// told apart from an unknown one by nothing.
func (c *call) serveModel() *wire.Error {
	for _, m := range c.g.models() {
		if m.ID == c.pathID && c.grants.allows(m.ID) {
			c.writeJSON(wire.OneModel(wire.DialectOfClient(c.r.Header), m))
			return nil
		}
	}
	return wire.Errorf(wire.KindModelNotFound, "")
}

func (c *call) writeJSON(body []byte) {
	c.w.Header().Set("Content-Type", "application/json")
	if c.r.Method == http.MethodHead {
		return
	}
	_, _ = c.w.Write(body) // the caller may be gone
}
