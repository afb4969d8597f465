package control

import (
	_ "embed"
	"net/http"
)

// openAPI is the description of the API. A test compares it with the routes.
//
//go:embed openapi.json
var openAPI []byte

func (c *call) serveOpenAPI() *Problem {
	c.w.Header().Set("Content-Type", "application/json")
	c.w.WriteHeader(http.StatusOK)
	_, _ = c.w.Write(openAPI) // the caller may be gone
	return nil
}
