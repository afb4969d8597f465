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

// Shared is the state that outlives a configuration. A request holds a
// reference to it from before its admission until it has settled, so that a
// reload cannot close it in between.
type Shared interface {
	Acquire()
	Release()
	Limiter() limiter.Limiter
	// Ledger returns an error while the store is unavailable, which is logged.
	Ledger() (usage.Ledger, error)
	Responses() *stored.Responses
	InFlight() *inflight.Set
}

// Gateway serves the data plane. Its fields are set once, before the first
// request.
type Gateway struct {
	Shared   Shared
	Starting func() bool // see [ready]
	Keys     *keys.Store
	Throttle *throttle.Throttle // nil: off
	Alerts   *Alerts            // nil: none
	Metrics  *metrics.Metrics
	Logger   *zap.Logger
	Events   *zap.Logger // receives each usage record: see LogEvent

	Policy   *Policy
	Backends []*routing.Backend
	Router   *routing.Router
	Models   []wire.Model // listed by `/v1/models`, before filtering by key

	MaxBody   int64         // bytes
	MaxStream time.Duration // of one answer
	// KeepAlive is how long a stream may be silent before the caller is sent a
	// keep-alive. Zero disables keep-alives.
	KeepAlive time.Duration
	// MaxOutput caps one answer in tokens; 0: no cap.
	MaxOutput int64
	// ReserveOutput is how many output tokens are expected of one answer, unless
	// its cap is lower.
	ReserveOutput int64
	// CountTokens counts the tokens of prompts before admission, and those of
	// answers without reported usage. If it is nil, both are estimated by
	// characters.
	CountTokens wire.CountFunc
	// HideModels leaves model names out of metrics and log fields.
	HideModels bool

	warnedForwarded atomic.Bool
}

// ServeHTTP answers every request; it refuses unknown paths. It writes refusals
// itself, in the caller's dialect: an error returned to Caddy would go to the
// error log with the request in it.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	now := time.Now()
	q := &request{g: g, w: w, r: r, start: now, id: newRequestID(now)}
	q.endpoint, q.pathID = wire.Match(r.URL.Path)
	q.dialect = q.endpoint.Dialect()
	if q.endpoint == wire.Unknown {
		q.dialect = wire.DialectOf(r.URL.Path)
	}
	if !q.endpoint.Metered() && q.endpoint != wire.GetResponse && q.dialect == wire.OpenAI {
		q.dialect = wire.DialectOfCaller(r.Header) // the path does not decide
	}
	q.setID(w.Header())
	if err := q.serve(); err != nil {
		q.refuse(err, q.scope)
	}
}

// serve runs the steps that all endpoints share, and then the endpoint's own.
func (q *request) serve() *wire.Error {
	if err := q.checkProtocol(); err != nil {
		return err
	}
	switch {
	case q.endpoint == wire.Unknown:
		return wire.UnknownURL(q.r.Method, q.r.URL.Path)
	case q.asksMethods():
		q.serveMethods()
		return nil
	}
	switch q.endpoint {
	case wire.Health, wire.Ready:
		return q.serveHealth()
	case wire.Probe:
		q.servePage()
		return nil
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

// checkProtocol refuses requests with another method than the route's, and
// upgrades, which would open tunnels that are not metered. It ignores offers of
// h2c: Java's client sends one with every plaintext request, and any server may
// ignore it.
//
// A WebSocket handshake gets a 426 before all other checks, that of the method
// included: clients such as Codex open a WebSocket first, and fall back to POST
// on that status only.
func (q *request) checkProtocol() *wire.Error {
	if q.endpoint != wire.Unknown && isWebSocket(q.r) {
		return wire.Errorf(wire.KindUpgrade, "")
	}
	method := q.r.Method
	if method == http.MethodHead || method == http.MethodOptions {
		method = q.endpoint.Method() // HEAD is answered like GET; see also asksMethods
	}
	if q.endpoint != wire.Unknown && method != q.endpoint.Method() {
		return q.endpoint.WrongMethod(q.r.Method)
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
