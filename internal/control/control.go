// Package control implements the API that operates a running gate: its keys and
// teams, usage, and the state of limits and backends. Caddy's own admin endpoint and
// the site of `pinegate_admin` both mount one [API]. They authorise requests: the
// API does not.
//
// Answers are JSON; errors are problem details (RFC 9457).
package control

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"mime"
	"net/http"

	"go.uber.org/zap"

	"github.com/amanycodes/pine-gate/internal/keys"
	"github.com/amanycodes/pine-gate/internal/keys/registry"
)

// Base is the prefix of all paths of the API.
const Base = "/pinegate/"

// ReadyPath is the path at which Caddy's admin endpoint answers as `/readyz` does.
const ReadyPath = Base + "ready"

// ErrStarting is returned while no configuration has started.
var ErrStarting = errors.New("starting: no configuration runs yet; try again in a second")

// maxBody bounds a request's body in bytes.
const maxBody = 64 << 10

// Gate is the running configuration that the API operates.
type Gate interface {
	// Registry returns the runtime keys, or an error with advice if no gate takes
	// any.
	Registry() (*registry.Registry, error)

	// Configured returns the keys of the configuration and of keys files, each id
	// once.
	Configured() iter.Seq[*keys.Key]

	// ConfiguredTeam reports whether the configuration has a team with the id.
	ConfiguredTeam(id string) bool

	// ServeUsage answers a query of usage, or returns a problem.
	ServeUsage(w http.ResponseWriter, r *http.Request) *Problem

	// State returns the state of the gate, or a problem if it cannot be read.
	State() (State, *Problem)
}

// API answers everything under [Base].
type API struct {
	// Gate returns the running gate, or an error if none runs.
	Gate func() (Gate, error)

	// Actor returns the name of the client for the audit log.
	Actor func(r *http.Request) string

	Logger *zap.Logger

	mux *http.ServeMux
}

// New returns an API that is ready to serve.
func New(gate func() (Gate, error), actor func(*http.Request) string, logger *zap.Logger) *API {
	a := &API{Gate: gate, Actor: actor, Logger: logger, mux: http.NewServeMux()}
	for _, route := range routes {
		a.mux.HandleFunc(route.Method+" "+Base+route.Path, func(w http.ResponseWriter, r *http.Request) {
			if problem := a.run(route, w, r); problem != nil {
				problem.write(w)
			}
		})
	}
	return a
}

// route is one operation. The OpenAPI description lists each of them.
type route struct {
	Method, Path string
	serve        func(*call) *Problem
}

var routes = []route{
	{"GET", "keys", (*call).listKeys},
	{"POST", "keys", (*call).createKey},
	{"GET", "keys/{id}", (*call).showKey},
	{"PATCH", "keys/{id}", (*call).updateKey},
	{"DELETE", "keys/{id}", (*call).deleteKey},
	{"POST", "keys/{id}/rotate", (*call).rotateKey},
	{"POST", "keys/{id}/revoke", (*call).revokeKey},
	{"GET", "teams", (*call).listTeams},
	{"POST", "teams", (*call).createTeam},
	{"GET", "teams/{id}", (*call).showTeam},
	{"PATCH", "teams/{id}", (*call).updateTeam},
	{"DELETE", "teams/{id}", (*call).deleteTeam},
	{"GET", "usage", (*call).serveUsage},
	{"GET", "limits", (*call).listLimits},
	{"GET", "backends", (*call).listBackends},
	{"GET", "requests", (*call).listRequests},
	{"GET", "rejections", (*call).listRejections},
	{"GET", "status", (*call).showStatus},
	{"GET", "openapi.json", (*call).serveOpenAPI},
}

// call is one request to the API.
type call struct {
	api  *API
	gate Gate
	w    http.ResponseWriter
	r    *http.Request
}

// ServeHTTP answers every request; it refuses unknown paths.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	handler, pattern := a.mux.Handler(r)
	if pattern == "" { // the mux's own answers are not problem details
		status := &statusOnly{header: w.Header()}
		handler.ServeHTTP(status, r)
		w.Header().Del("Content-Length")
		a.unknown(status.code, r).write(w)
		return
	}
	a.mux.ServeHTTP(w, r)
}

func (a *API) unknown(status int, r *http.Request) *Problem {
	if status == http.StatusMethodNotAllowed {
		return problemf(status, "%s is not a method of this path", r.Method)
	}
	return problemf(http.StatusNotFound, "the API has no such path: %sopenapi.json lists what there is", Base)
}

// statusOnly is a ResponseWriter that keeps only the status of an answer.
type statusOnly struct {
	header http.Header
	code   int
}

func (s *statusOnly) Header() http.Header         { return s.header }
func (s *statusOnly) WriteHeader(code int)        { s.code = code }
func (s *statusOnly) Write(p []byte) (int, error) { return len(p), nil }

func (a *API) run(route route, w http.ResponseWriter, r *http.Request) *Problem {
	gate, err := a.Gate()
	if err != nil {
		if errors.Is(err, ErrStarting) {
			w.Header().Set("Retry-After", "1")
		}
		return problemf(http.StatusServiceUnavailable, "%v", err)
	}
	w.Header().Set("Cache-Control", "no-store")
	return route.serve(&call{a, gate, w, r})
}

// registry returns the runtime keys.
func (c *call) registry() (*registry.Registry, *Problem) {
	reg, err := c.gate.Registry()
	if err != nil {
		return nil, problemf(http.StatusConflict, "%v", err)
	}
	return reg, nil
}

func (c *call) actor() string { return c.api.Actor(c.r) }

// answer writes a value as JSON.
func (c *call) answer(status int, value any) *Problem {
	c.w.Header().Set("Content-Type", "application/json")
	c.w.WriteHeader(status)
	_ = json.NewEncoder(c.w).Encode(value) // the caller may be gone
	return nil
}

// body reads the JSON body of the request. An empty one is an empty object.
func (c *call) body() ([]byte, *Problem) {
	if kind := c.r.Header.Get("Content-Type"); kind != "" {
		media, _, err := mime.ParseMediaType(kind)
		if err != nil || media != "application/json" && media != "application/merge-patch+json" {
			return nil, problemf(http.StatusUnsupportedMediaType, "expected a body of application/json")
		}
	}
	text, err := io.ReadAll(http.MaxBytesReader(c.w, c.r.Body, maxBody))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, problemf(http.StatusRequestEntityTooLarge, "the body is larger than %d bytes", maxBody)
	case err != nil:
		return nil, problemf(http.StatusBadRequest, "the body could not be read")
	case len(text) == 0:
		return []byte("{}"), nil
	}
	return text, nil
}

// decode parses the body of the request into a value, strictly.
func decode[T any](c *call) (value T, problem *Problem) {
	text, problem := c.body()
	if problem != nil {
		return value, problem
	}
	value, err := registry.Decode[T](text)
	if err != nil {
		return value, c.problem(err)
	}
	return value, nil
}

// problem returns the problem for an error of the registry.
func (c *call) problem(err error) *Problem {
	var bad *registry.InvalidError
	switch {
	case errors.As(err, &bad):
		return problemf(http.StatusBadRequest, "%s", bad.Message)
	case errors.Is(err, registry.ErrNotFound):
		return problemf(http.StatusNotFound, "%v", err)
	case errors.Is(err, registry.ErrExists), errors.Is(err, registry.ErrRevoked):
		return problemf(http.StatusConflict, "%v", err)
	case errors.Is(err, registry.ErrChanged):
		return problemf(http.StatusPreconditionFailed, "%v: read it again", err)
	case errors.Is(err, registry.ErrUnavailable):
		c.api.Logger.Error("key store failed", zap.Error(err))
		return problemf(http.StatusServiceUnavailable, "the key store is unavailable: the gate's log says why; try again")
	}
	c.api.Logger.Error("a change of keys failed", zap.Error(err))
	return problemf(http.StatusInternalServerError, "it failed: the gate's log says why")
}

// Problem is an error in the format of RFC 9457.
type Problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
}

// NewProblem returns a problem with a status and a detail, which is advice for
// the client.
func NewProblem(status int, detail string) *Problem {
	return &Problem{"about:blank", http.StatusText(status), status, detail}
}

func problemf(status int, format string, args ...any) *Problem {
	return NewProblem(status, fmt.Sprintf(format, args...))
}

func (p *Problem) Error() string { return p.Detail }

func (p *Problem) write(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p) // the caller may be gone
}
