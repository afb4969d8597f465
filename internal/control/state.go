package control

import (
	"context"
	"encoding/json"
	"iter"
	"net/http"
	"strconv"
	"time"

	"github.com/amanycodes/pine-gate/limiter"
)

// State is the state of a running gate. All of it is read on demand.
type State interface {
	// Rules yields the limits of a scope, in the order of their ids and beginning
	// at from; those of one id are adjacent. It does not read their states.
	Rules(kind limiter.ScopeKind, from string) iter.Seq[*limiter.Rule]

	// Peek returns the states of rules, in their order. own is true if the shared
	// store is unavailable, and the states are those of this gate.
	Peek(ctx context.Context, rules []*limiter.Rule) (states []limiter.State, own bool, err error)

	// Backends returns the backends in the order of the configuration.
	Backends(now time.Time) []Backend

	// Requests returns the requests in flight, the oldest first, at most n.
	Requests(n int, now time.Time) RequestList

	// Rejections returns the counts of refused requests since the process began.
	Rejections() RejectionList

	// Status returns the status of the gate and its store.
	Status(ctx context.Context) Status
}

// Backend is a backend and its state as this gate sees it.
type Backend struct {
	Name      string   `json:"name"`
	API       string   `json:"api"`
	Upstreams []string `json:"upstreams"` // as configured; placeholders are not resolved
	Models    []string `json:"models"`    // patterns

	Proxy       string  `json:"proxy"`        // direct or reverse_proxy
	ProxyReason *string `json:"proxy_reason"` // what needs reverse_proxy; null: direct

	// Whether the last attempt reached it; null before the first attempt.
	Up *bool `json:"up"`

	Inflight    int64  `json:"inflight"`
	Waiting     int    `json:"waiting"`
	MaxInflight *int64 `json:"max_inflight"` // null: no bound
	Queue       *int   `json:"queue"`        // null: no queue

	// A moving mean; null before the first answer.
	FirstTokenSeconds *float64 `json:"first_token_seconds"`

	// Since the process began.
	Attempts int64 `json:"attempts"`
	Failures int64 `json:"failures"`

	Cooldowns   []Cooldown  `json:"cooldowns"`
	Credentials Credentials `json:"credentials"`

	// The models that it listed; null if it was not polled, or has not answered.
	Discovered   []string `json:"discovered"`
	DiscoveredAt *int64   `json:"discovered_at"`
}

// Cooldown is the cooldown of a backend, or of one of its models, for one key or for
// all.
type Cooldown struct {
	Model  *string `json:"model"` // the backend's name of the model; null: the whole backend
	Key    *string `json:"key"`   // the key whose requests are not sent; null: nobody's are
	Until  int64   `json:"until"`
	Reason string  `json:"reason"` // rate_limited or failed
}

// The reasons of cooldowns.
const (
	RateLimited = "rate_limited"
	Failed      = "failed"
)

// Credentials is the number of credentials of a backend, and how many of them
// are cooling down.
type Credentials struct {
	Total   int `json:"total"`
	Cooling int `json:"cooling"`
}

// BackendList is the answer to GET backends.
type BackendList struct {
	Data []Backend `json:"data"`
}

// Request is a request in flight. It contains nothing of the prompt or the
// answer.
type Request struct {
	ID       string  `json:"id"`
	Key      string  `json:"key"`
	Team     *string `json:"team"`
	Endpoint string  `json:"endpoint"`
	Model    string  `json:"model"` // "*" where models are hidden
	Backend  *string `json:"backend"`
	Stream   bool    `json:"stream"`
	State    string  `json:"state"` // waiting, sent or answering

	StartedAt    int64   `json:"started_at"`
	Seconds      float64 `json:"seconds"`
	InputTokens  int64   `json:"input_tokens"` // so far; estimated if nothing was reported
	OutputTokens int64   `json:"output_tokens"`
}

// RequestList is the answer to GET requests.
type RequestList struct {
	Data  []Request `json:"data"`
	Total int       `json:"total"` // including those that are not in the list
}

// Rejection is the number of requests refused for a reason.
type Rejection struct {
	Reason string `json:"reason"`
	Scope  string `json:"scope"`
	Count  int64  `json:"count"`
}

// RejectionList is the answer to GET rejections.
type RejectionList struct {
	Since int64       `json:"since"`
	Data  []Rejection `json:"data"`
}

// Status is the answer to GET status.
type Status struct {
	Version   string `json:"version"`
	StartedAt int64  `json:"started_at"`
	Store     Store  `json:"store"`

	// The number of gates that share the limits, as last counted.
	Gates    int `json:"gates"`
	Inflight int `json:"inflight"`
	Keys     int `json:"keys"`
	Teams    int `json:"teams"` // those that are declared

	RuntimeKeys bool `json:"runtime_keys"` // whether runtime keys can be created
	HideModels  bool `json:"hide_models"`

	// A request had X-Forwarded-For, and its sender is not among trusted_proxies.
	UntrustedProxy bool `json:"untrusted_proxy"`
}

// Store is the state of the store of limits and usage.
type Store struct {
	Type string `json:"type"` // file, memory or redis
	Up   bool   `json:"up"`
	// How limits behave while it is unavailable: local, deny or allow; null if it
	// is available.
	Mode *string `json:"mode"`

	// The maxmemory-policy of Redis, and whether it keeps an append-only file.
	// Null for other stores, and if Redis does not return them.
	Eviction   *string `json:"eviction"`
	AppendOnly *bool   `json:"append_only"`
}

func (c *call) listBackends() *Problem {
	state, problem := c.gate.State()
	if problem != nil {
		return problem
	}
	return c.answer(http.StatusOK, BackendList{state.Backends(time.Now())})
}

func (c *call) listRequests() *Problem {
	state, problem := c.gate.State()
	if problem != nil {
		return problem
	}
	n, problem := c.pageLength()
	if problem != nil {
		return problem
	}
	return c.answer(http.StatusOK, state.Requests(n, time.Now()))
}

func (c *call) listRejections() *Problem {
	state, problem := c.gate.State()
	if problem != nil {
		return problem
	}
	return c.answer(http.StatusOK, state.Rejections())
}

func (c *call) showStatus() *Problem {
	state, problem := c.gate.State()
	if problem != nil {
		return problem
	}
	return c.answer(http.StatusOK, state.Status(c.r.Context()))
}

// pageLength returns the length of a page, by the parameter limit.
func (c *call) pageLength() (int, *Problem) {
	text := c.r.URL.Query().Get("limit")
	if text == "" {
		return defaultPage, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > maxPage {
		return 0, problemf(http.StatusBadRequest, "limit: expected a number from 1 to %d", maxPage)
	}
	return n, nil
}

// amount returns a count, or money in USD, as a JSON number.
func amount(unit limiter.Unit, n int64) json.Number {
	if unit == limiter.USD {
		return json.Number(limiter.FormatUSD(n))
	}
	return json.Number(strconv.FormatInt(n, 10))
}
