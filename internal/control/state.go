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

// State is what a gate that runs can be asked of its state. All of it is read on
// demand.
type State interface {
	// Rules yields the limits of a scope: those of one id together, the ids in their
	// order, from one on. Nothing of them is looked at.
	Rules(kind limiter.ScopeKind, from string) iter.Seq[*limiter.Rule]

	// Peek returns the states of rules, in their order. own is true
	// if the shared store is unavailable, and the states are those of this gate.
	Peek(ctx context.Context, rules []*limiter.Rule) (states []limiter.State, own bool, err error)

	// Backends returns the backends in the order of the configuration.
	Backends(now time.Time) []Backend

	// Requests returns what is in flight, the oldest first, at most n.
	Requests(n int, now time.Time) RequestList

	// Rejections returns what was refused since the process began.
	Rejections() RejectionList

	// Status returns what there is, and how it is.
	Status(ctx context.Context) Status
}

// Backend is a backend and how it does, as this gate knows it.
type Backend struct {
	Name      string   `json:"name"`
	API       string   `json:"api"`
	Upstreams []string `json:"upstreams"` // as configured; placeholders are not resolved
	Models    []string `json:"models"`    // patterns

	// Whether the last attempt reached it; null: there was none yet.
	Up *bool `json:"up"`

	Inflight    int64  `json:"inflight"`
	Waiting     int    `json:"waiting"`
	MaxInflight *int64 `json:"max_inflight"` // null: no bound
	Queue       *int   `json:"queue"`        // null: nobody waits

	// A moving mean; null: there was no answer yet.
	FirstTokenSeconds *float64 `json:"first_token_seconds"`

	// Since the process began.
	Attempts int64 `json:"attempts"`
	Failures int64 `json:"failures"`

	Cooldowns   []Cooldown  `json:"cooldowns"`
	Credentials Credentials `json:"credentials"`

	// The models that it said it has; null: it was not asked, or has not answered.
	Discovered   []string `json:"discovered"`
	DiscoveredAt *int64   `json:"discovered_at"`
}

// Cooldown is until when a backend is left alone, or a model of it.
type Cooldown struct {
	Model  *string `json:"model"` // the backend's name of it; null: the whole backend
	Until  int64   `json:"until"`
	Reason string  `json:"reason"` // rate_limited or failed
}

// The reasons of cooldowns.
const (
	RateLimited = "rate_limited"
	Failed      = "failed"
)

// Credentials are how many a backend has, and how many of them rest.
type Credentials struct {
	Total   int `json:"total"`
	Resting int `json:"resting"`
}

// BackendList is the answer to GET backends.
type BackendList struct {
	Data []Backend `json:"data"`
}

// Request is a request in flight. Nothing of what was said is in it.
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
	InputTokens  int64   `json:"input_tokens"` // so far; estimated where nothing was reported
	OutputTokens int64   `json:"output_tokens"`
}

// RequestList is the answer to GET requests.
type RequestList struct {
	Data  []Request `json:"data"`
	Total int       `json:"total"` // also of those that are not in the list
}

// Rejection is how many requests were refused for a reason.
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

	// How many gates share the limits, as they were counted last.
	Gates    int `json:"gates"`
	Inflight int `json:"inflight"`
	Keys     int `json:"keys"`
	Teams    int `json:"teams"` // that are declared

	RuntimeKeys bool `json:"runtime_keys"` // whether keys can be made
	HideModels  bool `json:"hide_models"`

	// A request came with X-Forwarded-For from who is none of trusted_proxies.
	UntrustedProxy bool `json:"untrusted_proxy"`
}

// Store is where limits and usage are.
type Store struct {
	Type string `json:"type"` // file, memory or redis
	Up   bool   `json:"up"`
	// What limits do while it is away: local, deny or allow; null: it is there.
	Mode *string `json:"mode"`

	// Of a Redis: its maxmemory-policy, and whether it keeps an append-only file.
	// Null for others, and where it does not say.
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

// pageLength reads the parameter limit: how many to list.
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

// amount writes a count, and money in USD, as a JSON number.
func amount(unit limiter.Unit, n int64) json.Number {
	if unit == limiter.USD {
		return json.Number(limiter.FormatUSD(n))
	}
	return json.Number(strconv.FormatInt(n, 10))
}
