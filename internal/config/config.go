// Package config holds the configuration of the gate as Caddy's JSON has it, and
// checks it. The Caddy modules of the root package embed its types; the package
// caddyfile fills them from a Caddyfile.
package config

import (
	"encoding/json"

	"github.com/caddyserver/caddy/v2"

	"github.com/amanycodes/pine-gate/internal/keys"
	"github.com/amanycodes/pine-gate/limiter"
	"github.com/amanycodes/pine-gate/usage/pricing"
)

// App configures the pinegate app: the state that all gates of one Caddy share.
type App struct {
	// The store of usage, from which quotas are also seeded. Default: the
	// embedded store in Caddy's data directory.
	Store *Store `json:"store,omitempty"`

	// Price files in the format of model_prices_and_context_window.json: the
	// prices of models for which no `model` block has one. If several files
	// have a price for a model, that of the last file applies. The files are
	// read again within seconds of a change; a file that cannot be parsed keeps
	// the previous prices. Default: none, so that the cost of such models is
	// unknown.
	Prices []string `json:"prices,omitempty"`

	// Additional labels of the metrics.
	Metrics *Metrics `json:"metrics,omitempty"`

	// The webhook to which the alerts of all gates are sent, besides the log
	// and the metrics. Default: none.
	Webhook *Webhook `json:"webhook,omitempty"`
}

// Store configures the store of limits and usage.
type Store struct {
	// `file` (the default): embedded and durable. `memory`: nothing survives
	// the process. `redis`: all gates of one Redis share limits and usage; each
	// gate also keeps what it records, as with `file`.
	Type string `json:"type,omitempty"`

	// The directory of the embedded store, or of a gate's own journal with
	// `redis`. One process at a time can use it. Default: `pinegate` in Caddy's
	// data directory.
	Dir string `json:"dir,omitempty"`

	// The Redis of the type `redis`.
	Redis *Redis `json:"redis,omitempty"`

	// How often the embedded store syncs its journal to the disk, and so how
	// much usage a power failure may lose; a killed process loses nothing.
	// Default: 1s. Zero means the default. A reload can change it.
	Sync caddy.Duration `json:"sync,omitempty"`

	// Holds back the end of an answer until its record is synced to the disk,
	// so that not even a power failure loses usage. Each request then takes as
	// long as a sync; concurrent requests share one. It excludes sync. Default:
	// false.
	SyncAlways bool `json:"sync_always,omitempty"`

	// How long usage by day is kept: at least 31 days, because monthly quotas
	// are seeded from it after a restart. Default: 400 days. Zero means the
	// default. A reload can change it; a shorter retention deletes usage for
	// good. Usage by minute and hour is kept for less: see the documentation of
	// the usage package.
	Retention caddy.Duration `json:"retention,omitempty"`
}

// Metrics configures the labels of the metrics.
type Metrics struct {
	// Adds the label `key`, the id of the key, to the counts of requests,
	// tokens and cost. Off by default: it multiplies the number of series by
	// the number of keys.
	PerKey bool `json:"per_key,omitempty"`

	// Uses one series for all models, and leaves model names out of spans, log
	// fields and the list of requests in flight. Off by default.
	HideModels bool `json:"hide_models,omitempty"`
}

// Gate configures a gate, the handler `http.handlers.pinegate`.
//
// A secret is written as `sha256:<64 hex digits>` or as a placeholder,
// `{env.NAME}` or `{file./path}`; a file is read again when it changes. Secrets
// in clear text are refused, because Caddy shows its JSON configuration to
// everyone who can reach its admin endpoint.
type Gate struct {
	// Secrets that authorize `GET /v1/usage`, which does not exist without one.
	AdminKeys []string `json:"admin_keys,omitempty"`

	// The callers' keys.
	Keys []keys.Config `json:"keys,omitempty"`

	// Files with keys, as a JSON array of the same objects. They are read again
	// when they change; a file that cannot be parsed keeps its previous keys.
	KeyFiles []string `json:"key_files,omitempty"`

	// Also accepts keys that are created at runtime: by `caddy pinegate key`,
	// the dashboard or the control API. They are kept in the store; with
	// `redis` all gates share them. A change applies to all gates within a
	// second. While the store is unavailable they work for 5 more minutes, and
	// are then refused with 503. Default: false.
	KeyStore bool `json:"key_store,omitempty"`

	// Teams, whose keys share limits. A team that a key names and that is not
	// declared here has no limits.
	Teams []Team `json:"teams,omitempty"`

	// Limits and prices by model. All entries that match a request's model
	// apply, each with its own counter; the price is that of the longest
	// literal prefix.
	Models []Model `json:"models,omitempty"`

	// Limits of each key that has no limit of the same unit and window itself,
	// as in `60 requests/minute burst 10`.
	Limits []limiter.Limit `json:"limits,omitempty"`

	// Percentages, from 1 to 100, of quotas and budgets at which an alert is
	// raised: in the log, in the metrics, and at the webhook if there is one.
	// They apply to every limit by day, week or month that applies to a
	// request; each is raised once in each window. Default: none.
	Alert []int `json:"alert,omitempty"`

	// The throttle of client addresses, which is checked before keys are looked
	// up. Default: 5 failures a second, with bursts of 100.
	Throttle *Throttle `json:"throttle,omitempty"`

	// The model servers, in the order in which they are tried.
	Backends []*Backend `json:"backends"`

	// The backends of a model, if not every backend that serves it should
	// answer, in the order in which they are tried. If several routes match a
	// model, the most specific one applies: a plain name before any pattern,
	// then the pattern with the longest text before its first `*`, then the
	// first one. A name that no backend lists exists through its route.
	Routes []Route `json:"routes,omitempty"`

	// The maximum size of a request body in bytes. Default: 32 MB. Zero means
	// the default.
	MaxBody int64 `json:"max_body,omitempty"`

	// The maximum duration of one answer, which is then ended as its dialect
	// ends an error. Default: 30m. Zero means the default.
	MaxStream caddy.Duration `json:"max_stream,omitempty"`

	// How long a stream may be silent before the caller gets a keep-alive in
	// its dialect, so that no proxy closes the connection: between two events,
	// and again after each such time. Nothing is sent before the first byte of
	// the answer, because that would fix its status. Silence is checked four
	// times a second. Default: 15s. Zero means the default; if negative,
	// nothing is sent.
	KeepAlive caddy.Duration `json:"keepalive,omitempty"`

	// The maximum number of output tokens of one answer: it is added to
	// requests without a cap, and lowers higher ones. Images and audio have no
	// cap. Zero, the default: none.
	MaxOutputTokens int64 `json:"max_output_tokens,omitempty"`

	// The number of output tokens that rates reserve for a request without a
	// cap. For an answer that cannot be capped, such as an image or audio,
	// quotas and budgets must have as much room, or the request is refused;
	// usage beyond it is charged. Default: 4096. Zero means the default.
	ReserveOutputTokens int64 `json:"reserve_output_tokens,omitempty"`

	// How tokens are estimated: the input before a request is admitted, and
	// input and output if an answer ends without its usage. `characters` uses a
	// quarter of the bytes, and more outside ASCII. `tokens` counts with
	// OpenAI's vocabulary o200k_base, which takes a millisecond for 1,000
	// tokens, and 30 ms for the longest text that is counted, 128 KiB; longer
	// texts are estimated by characters. docs/estimates.md has the error of
	// both by language. Default: `characters`.
	Estimate string `json:"estimate,omitempty"`
}

// Team configures a team: a set of keys with shared limits.
type Team struct {
	// The id: letters, digits, `.`, `_` and `-`.
	ID string `json:"id"`

	// Patterns of the models that its keys may use; a key's own patterns narrow
	// them further. Default: every configured model.
	Models []string `json:"models,omitempty"`

	// Limits shared by all keys of the team.
	Limits []limiter.Limit `json:"limits,omitempty"`
}

// Model configures the models that match a pattern.
type Model struct {
	// The pattern; `*` matches any characters.
	Pattern string `json:"pattern"`

	// Limits shared by all keys, with one counter for all matching models.
	Limits []limiter.Limit `json:"limits,omitempty"`

	// The price of tokens in USD per million, as in `input 2.50 output 10
	// cached 1.25 cache_write 3.75`, for every kind of token and every service
	// tier. It takes precedence over the cost that a backend reports, as
	// OpenRouter does, and over the price files. Default: those two, in that
	// order; if neither has it the cost is unknown, which is reported as null
	// and never as zero. Zero is free. See docs/prices.md.
	Price *pricing.Price `json:"price,omitempty"`
}

// Throttle limits the requests of a client address before its key is looked up.
// IPv6 addresses are counted by /64.
type Throttle struct {
	// Turns the throttle off. Then only the length of the secrets protects
	// against guessing.
	Off bool `json:"off,omitempty"`

	// Counts every request, not only those that fail authentication.
	All bool `json:"all,omitempty"`

	// The number of requests that pass in each window. Default: 5. Zero means
	// the default.
	Amount int64 `json:"amount,omitempty"`

	// The window: `second`, `minute` or `hour`. Default: second.
	Window limiter.Window `json:"window,omitempty"`

	// The maximum number of requests at once. Default: 100 if the amount is the
	// default, else the amount.
	Burst int64 `json:"burst,omitempty"`
}

// Backend configures one model server, or a pool of equal ones.
type Backend struct {
	// The name: a label in metrics, logs and usage.
	Name string `json:"name"`

	// Patterns of the models that it serves, by their public names. Default:
	// `*`.
	Models []string `json:"models,omitempty"`

	// How often the backend is asked for its models (`GET /v1/models`), so that
	// `/v1/models` lists them, metrics name them, and a model that some backend
	// lists is not sent to one that only serves `*` and lacks it. If a backend
	// does not answer, its last list stays, and it is asked again after five
	// seconds, then with a backoff that doubles up to this. At least a second.
	// Zero means the default: 10 minutes if models holds `*`, else never. Echo
	// is never asked, nor is Azure, which lists what could be deployed.
	Discover caddy.Duration `json:"discover,omitempty"`

	// Never asks for models. Default: false.
	DiscoverOff bool `json:"discover_off,omitempty"`

	// Public model names, and the backend's names for them.
	Rename map[string]string `json:"rename,omitempty"`

	// The backend's own limits, shared by all callers.
	Limits []limiter.Limit `json:"limits,omitempty"`

	// The maximum number of requests at the backend at once, over all keys and
	// models, as this gate counts. Further requests go to another backend of
	// their route, or wait if there is a queue, or get a 429. Unlike a
	// `concurrent` limit it is never shared with other gates. Default: no
	// maximum. Zero means the default.
	MaxInflight int64 `json:"max_inflight,omitempty"`

	// How many requests may wait while max_inflight are at the backend, in
	// memory with their bodies, which may take a tenth of max_body on average
	// (or one max_body in total, if that is more). The keys take turns, each
	// with its oldest request; if the queue is full, the key with the most
	// requests in it gives way to one with fewer. Further requests get a 429.
	// It requires max_inflight. Default: none wait. Zero means the default. At
	// most 100,000.
	Queue int64 `json:"queue,omitempty"`

	// How long a request may wait for its turn; then the caller gets a 429.
	// Other timeouts start after it. Default: 30s. Zero means the default.
	QueueTimeout caddy.Duration `json:"queue_timeout,omitempty"`

	// Requests usage in streams, and hides it from callers that did not ask for
	// it. Default: true.
	IncludeUsage *bool `json:"include_usage,omitempty"`

	// Requests usage in every chunk from vLLM, so that streams which end early
	// are metered exactly. Default: false.
	ContinuousUsage bool `json:"continuous_usage,omitempty"`

	// How long the backend may take to begin its answer: until the first byte
	// of a stream, or the header of any other answer. Then the next backend is
	// tried, or the caller gets a 504. It is noticed up to half a second late.
	// The timeout of connecting is dial_timeout of the proxy's transport
	// (default 3s). Default: 5m. Zero means the default.
	FirstTokenTimeout caddy.Duration `json:"first_token_timeout,omitempty"`

	// How long the backend may be silent once an answer has begun. Then the
	// backend is cancelled and the answer ended: a stream by an error event of
	// its dialect, any other answer by closing the connection. Time that the
	// caller takes to read does not count. It is noticed up to half a second
	// late. Default: 2m. Zero means the default.
	IdleTimeout caddy.Duration `json:"idle_timeout,omitempty"`

	// How long the backend is read after a caller has left, so that its own
	// usage is recorded instead of an estimate. Until then the request keeps
	// its reservation. At most 16 MiB are read, and nothing once the process
	// stops. Default: the backend is cancelled at once. Zero means the default.
	Drain caddy.Duration `json:"drain,omitempty"`

	// How requests are forwarded: `direct`, without reverse_proxy, which uses
	// less CPU, or by `reverse_proxy`. Default: direct if nothing in `proxy`
	// requires reverse_proxy.
	Forward string `json:"forward,omitempty"`

	// The `http.handlers.reverse_proxy` that forwards to the backend. Its
	// transport is `pinegate`, which has the dialect, the credential and the
	// addresses that may be dialled.
	ProxyRaw json.RawMessage `json:"proxy" caddy:"namespace=http.handlers inline_key=handler"`
}

// Route configures the backends of the models that match a pattern, and the
// order in which they are tried. A backend that does not speak the requested
// endpoint is left out.
type Route struct {
	// The pattern of the models' public names. A plain name that no backend
	// lists is an alias: it exists, and `/v1/models` lists it.
	Model string `json:"model"`

	// The targets of requests, regardless of the models that the backends list.
	Backends []RouteTarget `json:"backends"`

	// The order in which the backends are tried; if one has no room, or fails
	// before any part of its answer was passed on, the next one follows.
	// `first`: as written. `round_robin`: each in turn is first. `weighted`:
	// each is first as often as its weight says. `least_inflight`: the one with
	// the fewest requests of this gate is first. `lowest_latency`: the one with
	// the lowest recent time to the first token is first; one that was not
	// tried for 10 seconds gets one of ten requests, to measure it. `sticky`:
	// requests that belong together go to the same backend, for its caches; if
	// a backend leaves, only its own requests move. Default: `first`.
	Policy string `json:"policy,omitempty"`

	// Which requests belong together under `sticky`: those of a `conversation`
	// of a key, identified by its first message, or all of a `key`. Default:
	// `conversation`.
	StickyBy string `json:"sticky_by,omitempty"`

	// The maximum number of backends that a request is tried at; `max_stream`
	// limits the duration of all attempts together. Default: 3. Zero means the
	// default.
	Attempts int `json:"attempts,omitempty"`
}

// RouteTarget configures a backend of a route.
type RouteTarget struct {
	// The name of a backend.
	Backend string `json:"backend"`

	// The backend's name for the model. Default: the name in its `rename`, else
	// the requested name.
	Model string `json:"model,omitempty"`

	// Its share under `weighted`, from 1 to 1,000,000; otherwise none.
	Weight int64 `json:"weight,omitempty"`
}

// Admin configures the control plane, the handler
// `http.handlers.pinegate_admin`.
type Admin struct {
	// Secrets that authorize requests, written as in [Gate]. At least one is
	// required.
	AdminKeys []string `json:"admin_keys"`
}
