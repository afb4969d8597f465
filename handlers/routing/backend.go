package routing

import (
	"time"

	"github.com/amanycodes/pine-gate/internal/backends"
	"github.com/amanycodes/pine-gate/internal/backends/discovery"
	"github.com/amanycodes/pine-gate/internal/backends/health"
	"github.com/amanycodes/pine-gate/internal/metrics"
	"github.com/amanycodes/pine-gate/internal/pattern"
	"github.com/amanycodes/pine-gate/internal/wire"
	"github.com/amanycodes/pine-gate/limiter"
)

// Backend is a model server as the gate sees it. Its fields are set once, before
// the first request.
type Backend struct {
	Name   string
	API    string // openai, anthropic, echo
	Models pattern.List
	Rename map[string]string // public name → the backend's
	Rules  []*limiter.Rule   // its own capacity

	IncludeUsage    bool
	ContinuousUsage bool

	// Drain is how long an answer is read on after its caller left, to learn its
	// usage. Zero disables it.
	Drain time.Duration

	// FirstToken is how long the backend may take to begin an answer, and Idle
	// how long to send each further part of it. Zero: no limit.
	FirstToken, Idle time.Duration

	// CompletionCap caps chats by max_completion_tokens (OpenAI and Azure)
	// instead of max_tokens.
	CompletionCap bool

	Forwarder backends.Forwarder
	Metrics   metrics.Backend
	State     *health.BackendState // kept over reloads

	// Catalog lists the models that the backend reports. Nil: it is not polled.
	Catalog *discovery.Catalog
}

// serves reports whether the backend's API has the endpoint.
func (b *Backend) serves(e wire.Endpoint) bool { return backends.Speaks(b.API, e) }

// declares reports whether the configuration names a model for the backend by
// more than the pattern `*`.
func (b *Backend) declares(model string) bool {
	for _, p := range b.Models {
		if p.String() != "*" && p.Match(model) {
			return true
		}
	}
	_, renamed := b.Rename[model]
	return renamed
}

// upstreamModel returns the backend's own name of a model.
func (b *Backend) upstreamModel(public string) string {
	if name, ok := b.Rename[public]; ok {
		return name
	}
	return public
}

// CapName returns the name of the field that caps an answer of the backend, for
// a request without a cap. It is empty for endpoints without such a field.
func (b *Backend) CapName(e wire.Endpoint) string {
	if b.CompletionCap && e == wire.Chat {
		return "max_completion_tokens"
	}
	return e.CapName()
}
