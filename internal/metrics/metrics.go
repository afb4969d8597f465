// Package metrics holds the gate's Prometheus metrics. The configuration bounds
// the number of their series, whatever callers send: labels are names that an
// operator wrote, or fixed words.
package metrics

import (
	"errors"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics holds the collectors of a process. Caddy makes a registry for each
// configuration; the collectors are kept, so that a reload resets no counter.
type Metrics struct {
	perKey bool
	since  time.Time

	requests  *prometheus.CounterVec
	tokens    *prometheus.CounterVec
	cost      *prometheus.CounterVec
	rejected  *prometheus.CounterVec
	estimated *prometheus.CounterVec
	unpriced  *prometheus.CounterVec
	alerts    *prometheus.CounterVec
	webhook   *prometheus.CounterVec

	duration   *prometheus.HistogramVec
	firstToken *prometheus.HistogramVec
	interToken *prometheus.HistogramVec
	overhead   *prometheus.HistogramVec

	inflight    *prometheus.GaugeVec
	waiting     *prometheus.GaugeVec
	waited      *prometheus.HistogramVec
	storeUp     *prometheus.GaugeVec
	storeErrors *prometheus.CounterVec
	backendUp   *prometheus.GaugeVec

	mu     sync.RWMutex
	series map[seriesKey]*series // guarded by mu
}

// seconds are the bucket bounds of durations up to that of an answer.
var seconds = []float64{.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600}

// fineSeconds are the bucket bounds of short durations.
var fineSeconds = []float64{.00005, .0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .5, 1}

var (
	processMu sync.Mutex
	byPerKey  = map[bool]*Metrics{} // guarded by processMu
)

const namespace = "pinegate"

// For returns the process's collectors, with the label `key` if perKey is set, and
// registers them. Each variant has its own collectors: a label can't be added or
// removed.
func For(registry prometheus.Registerer, perKey bool) (*Metrics, error) {
	processMu.Lock()
	defer processMu.Unlock()
	m := byPerKey[perKey]
	if m == nil {
		m = newMetrics(perKey)
		byPerKey[perKey] = m
	}
	for _, c := range m.collectors() {
		var already prometheus.AlreadyRegisteredError
		if err := registry.Register(c); err != nil && !errors.As(err, &already) {
			return nil, err
		}
	}
	return m, nil
}

func newMetrics(perKey bool) *Metrics {
	withKey := func(labels ...string) []string {
		if perKey {
			labels = append(labels, "key")
		}
		return labels
	}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help}, labels)
	}
	gauge := func(name, help string, labels ...string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help}, labels)
	}
	histogram := func(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: namespace, Name: name, Help: help, Buckets: buckets}, labels)
	}
	return &Metrics{
		perKey:    perKey,
		since:     time.Now(),
		series:    make(map[seriesKey]*series),
		requests:  counter("requests_total", "Requests that reached a backend, by the status the caller got.", withKey("endpoint", "backend", "model", "status")...),
		tokens:    counter("tokens_total", "Tokens by type; cache_read and cache_write are parts of input, reasoning is a part of output.", withKey("backend", "model", "type")...),
		cost:      counter("cost_usd_total", "Cost in USD of what has a price.", withKey("backend", "model")...),
		rejected:  counter("rejected_total", "Requests that the gate refused, by reason and scope.", "reason", "scope"),
		estimated: counter("usage_estimated_total", "Records whose tokens were estimated, since the backend did not report them.", "backend", "model"),
		unpriced:  counter("unpriced_total", "Records whose cost is unknown, since the model has no price.", "backend", "model"),

		alerts:  counter("alerts_total", "Quotas and budgets that passed a percentage of which an alert is sent, by scope.", "scope", "unit", "window", "percent"),
		webhook: counter("webhook_total", "Attempts to send an alert to the webhook and alerts that were dropped, by outcome.", "outcome"),

		duration:   histogram("request_duration_seconds", "Time from a request's arrival to the last byte of its answer.", seconds, "endpoint", "backend"),
		firstToken: histogram("time_to_first_token_seconds", "Time from a request's arrival to the first content of its answer, without waiting for its turn at the backend.", seconds, "endpoint", "backend"),
		interToken: histogram("inter_token_seconds", "Mean time between two events of a stream.", seconds, "endpoint", "backend"),
		overhead:   histogram("overhead_seconds", "Time that the gate itself added before it forwarded a request, without waiting for its body.", fineSeconds, "endpoint"),

		inflight:    gauge("inflight_requests", "Requests that are being answered by a backend now.", "backend"),
		waiting:     gauge("queue_waiting", "Requests that wait for their turn at a backend now.", "backend"),
		waited:      histogram("queue_wait_seconds", "Time that a request waited for its turn at a backend, whether it came or not.", seconds, "backend"),
		storeUp:     gauge("store_up", "Whether the store answers (1) or not (0).", "store"),
		storeErrors: counter("store_errors_total", "Operations that the store failed.", "store"),
		backendUp:   gauge("backend_up", "Whether the last attempt at a backend reached it (1) or not (0).", "backend"),
	}
}

func (m *Metrics) collectors() []prometheus.Collector {
	return []prometheus.Collector{
		m.requests, m.tokens, m.cost, m.rejected, m.estimated, m.unpriced, m.alerts, m.webhook,
		m.duration, m.firstToken, m.interToken, m.overhead,
		m.inflight, m.waiting, m.waited, m.storeUp, m.storeErrors, m.backendUp,
	}
}

// Rejected counts a refusal. Both labels are fixed words.
func (m *Metrics) Rejected(reason, scope string) {
	m.rejected.WithLabelValues(reason, scope).Inc()
}

// Alerted counts an alert: usage has reached percent of a quota or budget.
func (m *Metrics) Alerted(scope, unit, window string, percent int) {
	m.alerts.WithLabelValues(scope, unit, window, strconv.Itoa(percent)).Inc()
}

// Webhook counts the outcome of sending or dropping an alert.
func (m *Metrics) Webhook(outcome string) {
	m.webhook.WithLabelValues(outcome).Inc()
}

// Backend holds the metrics of one backend.
type Backend struct {
	Inflight prometheus.Gauge // requests that it is answering

	of   *Metrics
	name string
}

// Backend returns the metrics of the backend. Callers keep the result.
func (m *Metrics) Backend(name string) Backend {
	return Backend{Inflight: m.inflight.WithLabelValues(name), of: m, name: name}
}

// Reached records whether an attempt reached the backend. There is no series
// before the first attempt, so that an unused backend is not shown as down.
func (b Backend) Reached(ok bool) {
	b.of.backendUp.WithLabelValues(b.name).Set(oneIf(ok))
}

// Waits records that a request starts waiting in the queue.
func (b Backend) Waits() { b.of.waiting.WithLabelValues(b.name).Inc() }

// Waited records that a request has waited in the queue for d.
func (b Backend) Waited(d time.Duration) {
	b.of.waiting.WithLabelValues(b.name).Dec()
	b.of.waited.WithLabelValues(b.name).Observe(d.Seconds())
}

// StoreUp records whether the store is available.
func (m *Metrics) StoreUp(store string, up bool) {
	m.storeUp.WithLabelValues(store).Set(oneIf(up))
}

// StoreError counts a failed operation of the store.
func (m *Metrics) StoreError(store string) {
	m.storeErrors.WithLabelValues(store).Inc()
}

// Request holds the measurements of one request that reached a backend.
type Request struct {
	// Labels, each of a bounded set. Key is used if the metrics are per key.
	Endpoint, Backend, Model, Key string
	Status                        int

	Input, CacheRead, CacheWrite, Output, Reasoning int64

	CostUSD   float64 // zero if it is unknown
	Unpriced  bool    // the cost is unknown
	Estimated bool

	Overhead   time.Duration // until the request was forwarded, without the time spent waiting for its body
	Duration   time.Duration
	FirstToken time.Duration // zero: there was none
	InterToken time.Duration // mean; zero: not a stream
}

func oneIf(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
