package handlers

import (
	"net/http"
	"slices"

	"github.com/amanycodes/pine-gate/internal/wire"
)

// models returns the names of the configuration and then, in the order of the
// backends, those that backends have listed. It does not wait for backends.
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
func (q *request) serveModels() *wire.Error {
	var allowed []wire.Model
	for _, m := range q.g.models() {
		if q.grants.allows(m.ID) {
			allowed = append(allowed, m)
		}
	}
	q.writeJSON(wire.Models(wire.DialectOfClient(q.r.Header), allowed))
	return nil
}

// serveModel answers `GET /v1/models/{id}`. A model that the key may not use is
// answered exactly as an unknown one.
func (q *request) serveModel() *wire.Error {
	for _, m := range q.g.models() {
		if m.ID == q.pathID && q.grants.allows(m.ID) {
			q.writeJSON(wire.OneModel(wire.DialectOfClient(q.r.Header), m))
			return nil
		}
	}
	return wire.Errorf(wire.KindModelNotFound, "")
}

func (q *request) writeJSON(body []byte) {
	q.w.Header().Set("Content-Type", "application/json")
	if q.r.Method == http.MethodHead {
		return
	}
	_, _ = q.w.Write(body) // the caller may be gone
}
