package handlers

import (
	"time"

	"github.com/amanycodes/pine-gate/internal/backends"
	"github.com/amanycodes/pine-gate/internal/metrics"
	"github.com/amanycodes/pine-gate/internal/pattern"
	"github.com/amanycodes/pine-gate/internal/wire"
	"github.com/amanycodes/pine-gate/limiter"
)

// Backend is a model server as the gate sees it.
type Backend struct {
	Name   string
	API    string // openai, anthropic, echo
	Models pattern.List
	Rename map[string]string // public name → the backend's
	Rules  []*limiter.Rule   // its own capacity

	IncludeUsage    bool
	ContinuousUsage bool

	// Drain is how long the backend is read on when the caller has left, to
	// learn its usage. Zero: not at all.
	Drain time.Duration

	// FirstToken is how long the backend may take to the beginning of an answer,
	// and Idle to each further part of it. Zero: as long as it likes.
	FirstToken, Idle time.Duration

	// CompletionCap says that chats cap their answers by
	// max_completion_tokens: OpenAI and Azure; others know max_tokens.
	CompletionCap bool

	Forwarder backends.Forwarder
	Metrics   metrics.Backend
	Live      *backends.Live // over reloads

	// Catalog is what the backend says that it has; nil: it is not asked.
	Catalog *backends.Catalog
}

// speaks tells whether the backend's API has the endpoint.
func (b *Backend) speaks(e wire.Endpoint) bool {
	switch b.API {
	case "anthropic":
		return e.Dialect() == wire.Anthropic
	case "echo":
		switch e {
		case wire.Chat, wire.Completions, wire.Responses, wire.Embeddings, wire.Messages, wire.CountTokens:
			return true
		}
		return false
	default:
		return e.Dialect() == wire.OpenAI
	}
}

// declares tells whether the configuration names a model for the backend, by
// more than the pattern of everything.
func (b *Backend) declares(model string) bool {
	for _, p := range b.Models {
		if p.String() != "*" && p.Match(model) {
			return true
		}
	}
	_, renamed := b.Rename[model]
	return renamed
}

// upstreamModel returns what the backend calls a model.
func (b *Backend) upstreamModel(public string) string {
	if name, ok := b.Rename[public]; ok {
		return name
	}
	return public
}

// capName is the field by which the backend caps an answer, for a request that
// names none.
func (b *Backend) capName(e wire.Endpoint) string {
	switch {
	case e == wire.Responses:
		return "max_output_tokens"
	case e == wire.Chat && b.CompletionCap:
		return "max_completion_tokens"
	case e == wire.Chat, e == wire.Completions, e == wire.Messages:
		return "max_tokens"
	}
	return "" // images, audio: no such field
}
