package store

import (
	"sync"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/amanycodes/pine-gate/internal/metrics"
)

// gateLog returns the logger of what all gates share.
func gateLog() *zap.Logger { return caddy.Log().Named("pinegate") }

// healthReporter reports the health of one part of a store: it sets the metrics,
// and logs once when the part begins to fail, and once when it works again.
type healthReporter struct {
	store        string                           // label in the metrics; empty: not in the metrics
	metrics      *atomic.Pointer[metrics.Metrics] // of the last configuration
	logger       func() *zap.Logger               // nil: gateLog
	fails, works string                           // log messages; empty: not logged
	fields       []zap.Field
	reason       func(error) string // field of a failure; nil: none

	mu      sync.Mutex
	known   bool // the part was used; guarded by mu
	failing bool // guarded by mu
}

// report records the outcome of an attempt, and logs a change.
func (r *healthReporter) report(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	changed := r.failing != (err != nil)
	r.known, r.failing = true, err != nil
	r.setMetric()
	if !changed || r.fails == "" {
		return
	}
	log := gateLog
	if r.logger != nil {
		log = r.logger
	}
	logger := log().With(r.fields...)
	if err == nil {
		logger.Info(r.works)
		return
	}
	if r.reason != nil {
		logger = logger.With(zap.String("reason", r.reason(err)))
	}
	logger.Error(r.fails, zap.Error(err))
}

// show sets the metric of a new configuration.
func (r *healthReporter) show() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.setMetric()
}

// setMetric sets the metric, if the part was used. r.mu must be held.
func (r *healthReporter) setMetric() {
	if m := r.target(); m != nil && r.known {
		m.StoreUp(r.store, !r.failing)
	}
}

// count counts a failed call in the metrics.
func (r *healthReporter) count() {
	if m := r.target(); m != nil {
		m.StoreError(r.store)
	}
}

// target returns the metrics that the part is in; nil if there are none.
func (r *healthReporter) target() *metrics.Metrics {
	if r.store == "" {
		return nil
	}
	return r.metrics.Load()
}
