package handlers

import (
	"net/http"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/amanycodes/pine-gate/handlers/inflight"
	"github.com/amanycodes/pine-gate/handlers/routing"
	"github.com/amanycodes/pine-gate/handlers/stored"
	"github.com/amanycodes/pine-gate/internal/keys"
	"github.com/amanycodes/pine-gate/internal/metrics"
	"github.com/amanycodes/pine-gate/internal/throttle"
	"github.com/amanycodes/pine-gate/internal/wire"
	"github.com/amanycodes/pine-gate/limiter"
	"github.com/amanycodes/pine-gate/usage"
)

// Shared is what outlives a configuration. A request holds it from before its
// admission until it has settled, so that a reload can't close it in between.
type Shared interface {
	Acquire()
	Release()
	Limiter() limiter.Limiter
	// Ledger returns an error while the store is unavailable, which it has logged.
	Ledger() (usage.Ledger, error)
	Responses() *stored.Responses
	InFlight() *inflight.Set
}

// Gateway answers the data plane. Its fields are set once, before the first
// request.
type Gateway struct {
	Shared   Shared
	Starting func() bool // see [ready]
	Keys     *keys.Store
	Throttle *throttle.Throttle // nil: off
	Alerts   *Alerts            // nil: none
	Metrics  *metrics.Metrics
	Logger   *zap.Logger
	Events   *zap.Logger // takes each usage record: see LogEvent

	Policy   *Policy
	Backends []*routing.Backend
	Router   *routing.Router
	Models   []wire.Model // what `/v1/models` lists, before it is filtered by key

	MaxBody   int64         // bytes
	MaxStream time.Duration // of one answer
	// KeepAlive is how long a stream may be silent before the caller is sent a
	// keep-alive. Zero: none is sent.
	KeepAlive time.Duration
	// MaxOutput caps one answer in tokens; 0: no cap.
	MaxOutput int64
	// ReserveOutput is what an answer without a cap is expected to be at most.
	ReserveOutput int64
	// CountTokens counts the tokens of prompts before admission, and those of
	// answers whose usage is missing. Nil: both are estimated by characters.
	CountTokens wire.CountFunc
	// HideModels leaves model names out of metrics and log fields.
	HideModels bool

	warnedForwarded atomic.Bool
}

// ServeHTTP answers every request: what it does not know is refused. Refusals
// are written here, in the caller's dialect, and nil is returned; an error
// would go to Caddy's error log with the request in it.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	now := time.Now()
	q := &request{g: g, w: w, r: r, start: now, id: newRequestID(now)}
	q.endpoint, q.pathID = wire.Match(r.URL.Path)
	q.dialect = q.endpoint.Dialect()
	if q.endpoint == wire.Unknown {
		q.dialect = wire.DialectOf(r.URL.Path)
	}
	q.setID(w.Header())
	if err := q.serve(); err != nil {
		q.refuse(err, q.scope)
	}
}

// serve runs the steps that every endpoint has in common and hands over to the
// endpoint's own.
func (q *request) serve() *wire.Error {
	if err := q.checkProtocol(); err != nil {
		return err
	}
	switch q.endpoint {
	case wire.Unknown:
		return wire.Errorf(wire.KindUnknownURL, "")
	case wire.Health, wire.Ready, wire.Probe:
		return q.serveHealth()
	case wire.Usage:
		return q.serveUsage()
	}
	if err := q.authenticate(); err != nil {
		return err
	}
	switch q.endpoint {
	case wire.Key:
		return q.serveKey()
	case wire.ListModels:
		return q.serveModels()
	case wire.GetModel:
		return q.serveModel()
	case wire.GetResponse:
		return q.serveStored()
	default:
		return q.serveMetered()
	}
}

// checkProtocol refuses what is no plain request to a route: another method,
// and upgrades, which would be tunnels that nobody meters. Java's client offers
// h2c on every plaintext request, which any server may ignore.
//
// A WebSocket gets a 426 before anything else is looked at, its method included:
// clients such as Codex open one first, and take that status, and no other, for
// the word to go on by POST.
func (q *request) checkProtocol() *wire.Error {
	if q.endpoint != wire.Unknown && isWebSocket(q.r) {
		return wire.Errorf(wire.KindUpgrade, "")
	}
	method := q.r.Method
	if method == http.MethodHead && q.endpoint.Method() == http.MethodGet {
		method = http.MethodGet // it is answered as that is
	}
	if q.endpoint != wire.Unknown && method != q.endpoint.Method() {
		err := wire.Errorf(wire.KindMethod, "")
		err.Allow = q.endpoint.Method()
		return err
	}
	if isUpgrade(q.r) {
		return wire.Errorf(wire.KindBadRequest, "Protocol upgrades are not supported.")
	}
	return nil
}

// setID sets the request's id in the headers of the answer.
func (q *request) setID(h http.Header) {
	q.idHeader[0] = q.id
	h["X-Request-Id"] = q.idHeader[:]
	if name := q.dialect.RequestID; name != "" {
		h[name] = q.idHeader[:]
	}
}
