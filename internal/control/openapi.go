package control

import (
	_ "embed"
	"net/http"
)

// The description of the API, which a test holds against the routes.
//
//go:embed openapi.json
var openAPI []byte

func (c *call) serveOpenAPI() *Problem {
	c.w.Header().Set("Content-Type", "application/json")
	c.w.WriteHeader(http.StatusOK)
	_, _ = c.w.Write(openAPI) // the caller may be gone
	return nil
}
