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

// App configures the pinegate app: what all gates of one Caddy share.
type App struct {
	// Where usage is kept, and with it what quotas have used. Default: the
	// embedded store in Caddy's data directory.
	Store *Store `json:"store,omitempty"`

	// Price files in the format of model_prices_and_context_window.json: what
	// tokens cost at models for which no `model` block has a price. Of a model
	// that several files name, the last one's price counts. They are read again
	// within seconds of a change; a broken one keeps the prices that were there.
	// Default: none, so that the cost of such models is unknown.
	Prices []string `json:"prices,omitempty"`

	// Labels of the metrics beside the defaults.
	Metrics *Metrics `json:"metrics,omitempty"`

	// Where the alerts of all gates are sent, beside the log and the metrics.
	// Default: nowhere.
	Webhook *Webhook `json:"webhook,omitempty"`
}

// Store says where usage is kept.
type Store struct {
	// `file` (the default): embedded and durable. `memory`: nothing survives
	// the process. `redis`: limits and usage are shared by all gates of one Redis;
	// each keeps what it records as with `file` too.
	Type string `json:"type,omitempty"`

	// The directory of the embedded store, and of a gate's own journal with
	// `redis`; it belongs to one process. Default: `pinegate` in Caddy's data
	// directory.
	Dir string `json:"dir,omitempty"`

	// Where the shared limits and usage are; with type `redis` only.
	Redis *Redis `json:"redis,omitempty"`

	// How often the embedded store brings its journal to the disk, and so how
	// much usage a loss of power may lose; a process that is killed loses
	// nothing. Default: 1s. Zero means the default. A reload can change it.
	Sync caddy.Duration `json:"sync,omitempty"`

	// The end of an answer waits until the disk has its record, so that not
	// even a loss of power loses usage: each request takes as long as the disk
	// takes to sync, and requests that come at the same time share one. Not
	// together with sync. Default: false.
	SyncAlways bool `json:"sync_always,omitempty"`

	// How long usage by the day is kept: at least 31 days whatever is said, since
	// quotas by the month are counted from it after a restart. Default: 400 days.
	// Zero means the default. A reload can change it; what a shorter one deletes is gone.
	// Minutes and hours are kept for less: see the documentation of the usage
	// package.
	Retention caddy.Duration `json:"retention,omitempty"`
}

// Metrics configures the labels of the metrics.
type Metrics struct {
	// Adds the label `key`, the id of the key, to the counts of requests,
	// tokens and cost. Off by default: it multiplies the number of series by
	// that of the keys.
	PerKey bool `json:"per_key,omitempty"`

	// One series for all models, and no model names in spans, log fields and the
	// list of requests in flight either. Off by default.
	HideModels bool `json:"hide_models,omitempty"`
}

// Gate configures a gate, the handler `http.handlers.pinegate`.
//
// A secret is written as `sha256:<64 hex digits>` or as a placeholder,
// `{env.NAME}` or `{file./path}`; a file is read again when it changes. A clear
// secret is refused here: Caddy shows its JSON config to whoever asks its admin
// endpoint.
type Gate struct {
	// Secrets that open `GET /v1/usage`; it does not exist without one.
	AdminKeys []string `json:"admin_keys,omitempty"`

	// The callers' keys.
	Keys []keys.Config `json:"keys,omitempty"`

	// Files that hold keys as a JSON array of the same objects. They are read
	// again when they change; a broken one keeps the keys that were there.
	KeyFiles []string `json:"key_files,omitempty"`

	// Takes also the keys that are made while the gate runs: by `caddy pinegate
	// key`, by the dashboard or by the control plane's API. They are kept in the
	// store, with `redis` for all of its gates; a change holds everywhere within a
	// second. While the store is away they work for 5 minutes more, then they are
	// refused with 503. Default: false.
	KeyStore bool `json:"key_store,omitempty"`

	// Teams, whose limits their keys share. A team that is named by a key but
	// not declared here has no limits.
	Teams []Team `json:"teams,omitempty"`

	// Limits and prices by model. All that match a request's model apply, each
	// with a counter of its own; the price is that of the longest literal
	// prefix.
	Models []Model `json:"models,omitempty"`

	// Limits of each key that sets none of the same unit and window itself,
	// as in `60 requests/minute burst 10`.
	Limits []limiter.Limit `json:"limits,omitempty"`

	// Percentages, from 1 to 100, of quotas and budgets at whose use an alert is
	// raised: by a line in the log, in the metrics, and at the webhook if there is
	// one. They hold for every limit by the day, week or month that applies to a
	// request; each is raised once in each window. Default: none.
	Alert []int `json:"alert,omitempty"`

	// How many requests a client address may make before its keys are not even
	// looked at. Default: 5 failures a second, with bursts of 100.
	Throttle *Throttle `json:"throttle,omitempty"`

	// The model servers, in the order in which they are tried.
	Backends []*Backend `json:"backends"`

	// Which backends answer for which models, where that is not every backend
	// that serves the model, in the order written. Of several routes that match a
	// model the most specific one counts: a plain name before any pattern, of
	// patterns the one with the longest text before its first `*`, of those the
	// first. A name that no backend lists exists by its route.
	Routes []Route `json:"routes,omitempty"`

	// The largest request body in bytes. Default: 32 MB. Zero means the default.
	MaxBody int64 `json:"max_body,omitempty"`

	// How long one answer may take; then it is ended in its dialect.
	// Default: 30m. Zero means the default.
	MaxStream caddy.Duration `json:"max_stream,omitempty"`

	// How long a stream may be silent before the caller is sent a keep-alive in
	// its dialect, so that nothing on the way takes it for dead: between two
	// events, and again after each such time. Nothing is sent before the first
	// byte of the answer, since that would fix its status. Silence is looked for
	// four times a second. Default: 15s. Zero means the default; less than zero:
	// nothing is sent.
	KeepAlive caddy.Duration `json:"keepalive,omitempty"`

	// The most output tokens of one answer: put into requests that name no cap
	// and lowered where they name more. Pictures and sounds have no cap. Zero,
	// the default: none.
	MaxOutputTokens int64 `json:"max_output_tokens,omitempty"`

	// What one answer is expected to be at most, in output tokens: what rates
	// reserve for a request without a cap. Of an answer that can't be capped, a
	// picture or a sound, quotas and budgets must have room for as much, or the
	// request is refused; what such an answer uses beyond is charged. Default:
	// 4096. Zero means the default.
	ReserveOutputTokens int64 `json:"reserve_output_tokens,omitempty"`

	// How tokens are estimated: those of the input before a request is admitted,
	// and of both where an answer ends without its usage. `characters` takes a
	// quarter of the bytes, and more outside ASCII. `tokens` counts them with
	// OpenAI's vocabulary o200k_base, which takes a millisecond for 1,000
	// tokens, and 30 ms for the longest text that is counted, 128 KiB;
	// longer ones are estimated by characters. How far either is off by language
	// is in docs/estimates.md. Default: `characters`.
	Estimate string `json:"estimate,omitempty"`
}

// Team is a team: a set of keys with limits in common.
type Team struct {
	// Its id: letters, digits, `.`, `_` and `-`.
	ID string `json:"id"`

	// Patterns of the models that its keys may use. A key's own patterns
	// narrow them further. Default: every model that is configured.
	Models []string `json:"models,omitempty"`

	// Limits shared by all keys of the team.
	Limits []limiter.Limit `json:"limits,omitempty"`
}

// Model is what holds for the models that match a pattern.
type Model struct {
	// The pattern; `*` stands for any run of characters.
	Pattern string `json:"pattern"`

	// Limits shared by all keys; one counter for all models that match.
	Limits []limiter.Limit `json:"limits,omitempty"`

	// What tokens cost, in USD per million of them, as in
	// `input 2.50 output 10 cached 1.25 cache_write 3.75`: of every kind, and in
	// every service tier. It counts before what a backend itself says that an
	// answer cost, as OpenRouter does, and before the price files. Default: those
	// two, in that order; where neither knows it the cost is unknown, which is
	// reported as null and never as zero. Zero is free. See docs/prices.md.
	Price *pricing.Price `json:"price,omitempty"`
}

// Throttle bounds what one client address may do before its key is
// looked at. IPv6 addresses count by their /64.
type Throttle struct {
	// Turns the throttle off. Then nothing but the length of the secrets
	// stands against guessing.
	Off bool `json:"off,omitempty"`

	// Counts every request, not only those that fail authentication.
	All bool `json:"all,omitempty"`

	// How many requests are let through in each window. Default: 5. Zero means
	// the default.
	Amount int64 `json:"amount,omitempty"`

	// The window: `second`, `minute` or `hour`. Default: second.
	Window limiter.Window `json:"window,omitempty"`

	// How many may come at once. Default: 100 where the amount is the default,
	// else the amount.
	Burst int64 `json:"burst,omitempty"`
}

// Backend is one model server, or a pool of equal ones.
type Backend struct {
	// Its name: a label in metrics, logs and usage.
	Name string `json:"name"`

	// Patterns of the models that it serves, by their public names.
	// Default: `*`.
	Models []string `json:"models,omitempty"`

	// How often the backend is asked which models it has (`GET /v1/models`), so
	// that `/v1/models` lists them, metrics name them, and a model that
	// some backend has goes to no other that only serves `*` and lacks it. The
	// last list holds while it does not answer; it is asked again after five
	// seconds then, doubled up to this. At least a second. Zero means the
	// default: 10 minutes where models holds `*`, else it is not asked; nor is
	// echo, or Azure, which lists what could be deployed.
	Discover caddy.Duration `json:"discover,omitempty"`

	// Never ask. Default: false.
	DiscoverOff bool `json:"discover_off,omitempty"`

	// Public model names and what the backend calls them.
	Rename map[string]string `json:"rename,omitempty"`

	// The backend's own capacity, shared by all callers.
	Limits []limiter.Limit `json:"limits,omitempty"`

	// How many requests are with the backend at once, at most, over all keys and
	// models, as this gate counts. What is beyond goes to another backend of its
	// route, or waits, where there is a queue, or gets a 429. Unlike a limit of
	// `concurrent` it is never shared with other gates. Default: no bound. Zero
	// means the default.
	MaxInflight int64 `json:"max_inflight,omitempty"`

	// How many requests wait for their turn while max_inflight are with the
	// backend, in memory with their bodies, which may take a tenth of max_body on
	// average (or one max_body in all, where that is more). The keys take turns,
	// each with its oldest request; where the queue is full, the key with the most
	// in it gives way to one that has less. What is beyond gets a 429. It needs
	// max_inflight.
	// Default: nobody waits. Zero means the default. At most 100,000.
	Queue int64 `json:"queue,omitempty"`

	// How long a request waits for its turn, at most; then the caller gets a 429.
	// Other times count from when it is over. Default: 30s. Zero means the
	// default.
	QueueTimeout caddy.Duration `json:"queue_timeout,omitempty"`

	// Whether streams are asked for their usage, which is hidden again from
	// callers who did not ask. Default: true.
	IncludeUsage *bool `json:"include_usage,omitempty"`

	// Asks vLLM for usage on every chunk, so that streams which end early are
	// metered exactly. Default: false.
	ContinuousUsage bool `json:"continuous_usage,omitempty"`

	// How long the backend may take to begin its answer: to the first byte of a
	// stream, to the header of any other answer. Then the next backend is tried,
	// or the caller gets a 504. It is seen up to half a second late. How long it
	// may take to connect is dial_timeout of the proxy's transport (default 3s).
	// Default: 5m. Zero means the default.
	FirstTokenTimeout caddy.Duration `json:"first_token_timeout,omitempty"`

	// How long the backend may be silent once an answer has begun. Then the
	// backend is cancelled and the answer ended: a stream by an error event of
	// its dialect, any other one by a cut. Time that the caller takes to read
	// does not count. It is seen up to half a second late. Default: 2m. Zero
	// means the default.
	IdleTimeout caddy.Duration `json:"idle_timeout,omitempty"`

	// How long the backend is read on after a caller has left, at most, so that
	// its own usage is recorded and not an estimate. Until then the request
	// holds what it has reserved. No more than 16 MiB are read, and nothing once
	// the process stops. Default: the backend is cancelled at once. Zero means
	// the default.
	Drain caddy.Duration `json:"drain,omitempty"`

	// How requests are forwarded: `direct`, past reverse_proxy, which costs less
	// CPU, or by `reverse_proxy`. Default: direct if nothing in `proxy` needs
	// reverse_proxy.
	Forward string `json:"forward,omitempty"`

	// The `http.handlers.reverse_proxy` that forwards to the backend. Its
	// transport is `pinegate`, which holds the dialect, the credential and
	// where may be dialled.
	ProxyRaw json.RawMessage `json:"proxy" caddy:"namespace=http.handlers inline_key=handler"`
}

// Route says which backends answer for the models that a pattern matches,
// and in which order they are tried. A backend that does not speak the endpoint
// which is asked for is left out.
type Route struct {
	// The pattern of the models' public names. A plain name that no backend lists
	// is an alias: it exists, and stands in `/v1/models`.
	Model string `json:"model"`

	// Where requests go, whatever models the backends themselves list.
	Backends []RouteTarget `json:"backends"`

	// The order in which the backends are tried; where one has no room or fails
	// before anything of its answer was passed on, the next one follows.
	// `first`: as written. `round_robin`: each begins in turn. `weighted`: each
	// begins as often as its weight says. `least_inflight`: the one with the fewest
	// requests of this gate. `lowest_latency`: the one that was quickest to the
	// first token lately; one that was not tried for 10 seconds gets one of ten
	// requests, to find out. `sticky`: the same one for what belongs together, so
	// that its caches serve; where a backend leaves, only what was its own moves.
	// Default: `first`.
	Policy string `json:"policy,omitempty"`

	// What belongs together under `sticky`: the requests of a `conversation` of a
	// key, known by its first message, or all of a `key`. Default: `conversation`.
	StickyBy string `json:"sticky_by,omitempty"`

	// At how many backends a request is tried at most; `max_stream` bounds how long
	// all attempts take together. Default: 3. Zero means the default.
	Attempts int `json:"attempts,omitempty"`
}

// RouteTarget is a backend of a route.
type RouteTarget struct {
	// The name of a backend.
	Backend string `json:"backend"`

	// What the backend calls the model. Default: what its `rename` says, else the
	// name that was asked for.
	Model string `json:"model,omitempty"`

	// Its share under `weighted`, from 1 to 1,000,000; otherwise none.
	Weight int64 `json:"weight,omitempty"`
}

// Admin configures the control plane, the handler `http.handlers.pinegate_admin`.
type Admin struct {
	// Secrets that open it, written as in [Gate]. At least one is required.
	AdminKeys []string `json:"admin_keys"`
}
