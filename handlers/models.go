package handlers

import (
	"net/http"

	"github.com/amanycodes/pine-gate/wire"
)

// serveModels answers `GET /v1/models` from the configuration: the names that
// the key may use, without asking any backend.
func (c *call) serveModels() *wire.Error {
	var allowed []wire.Model
	for _, m := range c.g.Models {
		if c.grants.allows(m.ID) {
			allowed = append(allowed, m)
		}
	}
	c.writeJSON(wire.Models(c.modelsDialect(), allowed))
	return nil
}

// serveModel answers `GET /v1/models/{id}`. A model that the key may not use is
// told apart from an unknown one by nothing.
func (c *call) serveModel() *wire.Error {
	for _, m := range c.g.Models {
		if m.ID == c.pathID && c.grants.allows(m.ID) {
			c.writeJSON(wire.OneModel(c.modelsDialect(), m))
			return nil
		}
	}
	return wire.Errorf(wire.KindModelNotFound, "")
}

// modelsDialect is Anthropic's for its SDKs, which are known by their version
// header: the path is the same for both.
func (c *call) modelsDialect() wire.Dialect {
	if c.r.Header.Get("Anthropic-Version") != "" {
		return wire.Anthropic
	}
	return wire.OpenAI
}

func (c *call) writeJSON(body []byte) {
	c.w.Header().Set("Content-Type", "application/json")
	if c.r.Method == http.MethodHead {
		return
	}
	_, _ = c.w.Write(body) // the caller may be gone
}
