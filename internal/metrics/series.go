package metrics

import (
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// seriesKey identifies the series of a request. There are as many keys as series
// of requests_total, whose number is bounded.
type seriesKey struct {
	endpoint, backend, model, key string
	status                        int
}

// series holds the collectors for one combination of labels, which are looked up
// once: looking them up by label costs more than counting.
type series struct {
	requests prometheus.Counter
	overhead prometheus.Observer
	duration prometheus.Observer
	// Collectors that most combinations never need are created on first use: an
	// empty series would be misleading.
	tokens    [tokenTypes]lazyCounter
	cost      lazyCounter
	estimated lazyCounter
	unpriced  lazyCounter

	firstToken, interToken lazyObserver
}

// The types of tokens, in the order of their names.
const (
	input = iota
	output
	cacheRead
	cacheWrite
	reasoning
	tokenTypes
)

var tokenNames = [tokenTypes]string{"input", "output", "cache_read", "cache_write", "reasoning"}

// lazyCounter is a counter that is looked up when it is first needed.
type lazyCounter struct {
	found atomic.Pointer[prometheus.Counter]
}

// add counts n if the counter was looked up before, and reports whether it was.
func (l *lazyCounter) add(n float64) bool {
	counter := l.found.Load()
	if counter == nil {
		return false
	}
	(*counter).Add(n)
	return true
}

// find stores the counter and counts n.
func (l *lazyCounter) find(counter prometheus.Counter, n float64) {
	l.found.Store(&counter)
	counter.Add(n)
}

// lazyObserver is a histogram that is looked up when it is first needed.
type lazyObserver struct {
	found atomic.Pointer[prometheus.Observer]
}

// observe records a duration of the request's endpoint and backend.
func (l *lazyObserver) observe(in *prometheus.HistogramVec, r Request, d time.Duration) {
	histogram := l.found.Load()
	if histogram == nil {
		found := in.WithLabelValues(r.Endpoint, r.Backend)
		histogram = &found
		l.found.Store(histogram)
	}
	(*histogram).Observe(d.Seconds())
}

// Observe counts one request.
func (m *Metrics) Observe(r Request) {
	s := m.seriesOf(r)
	s.requests.Inc()
	for i, n := range [tokenTypes]int64{r.Input, r.Output, r.CacheRead, r.CacheWrite, r.Reasoning} {
		if n > 0 && !s.tokens[i].add(float64(n)) {
			s.tokens[i].find(m.tokens.WithLabelValues(m.labels(r.Key, r.Backend, r.Model, tokenNames[i])...), float64(n))
		}
	}
	if r.CostUSD > 0 && !s.cost.add(r.CostUSD) {
		s.cost.find(m.cost.WithLabelValues(m.labels(r.Key, r.Backend, r.Model)...), r.CostUSD)
	}
	if r.Estimated && !s.estimated.add(1) {
		s.estimated.find(m.estimated.WithLabelValues(r.Backend, r.Model), 1)
	}
	if r.Unpriced && !s.unpriced.add(1) {
		s.unpriced.find(m.unpriced.WithLabelValues(r.Backend, r.Model), 1)
	}
	s.overhead.Observe(r.Overhead.Seconds())
	s.duration.Observe(r.Duration.Seconds())
	if r.FirstToken > 0 {
		s.firstToken.observe(m.firstToken, r, r.FirstToken)
	}
	if r.InterToken > 0 {
		s.interToken.observe(m.interToken, r, r.InterToken)
	}
}

func (m *Metrics) seriesOf(r Request) *series {
	key := seriesKey{endpoint: r.Endpoint, backend: r.Backend, model: r.Model, status: r.Status}
	if m.perKey {
		key.key = r.Key
	}
	m.mu.RLock()
	s := m.series[key]
	m.mu.RUnlock()
	if s != nil {
		return s
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if s := m.series[key]; s != nil {
		return s
	}
	s = &series{
		requests: m.requests.WithLabelValues(m.labels(r.Key, r.Endpoint, r.Backend, r.Model, strconv.Itoa(r.Status))...),
		overhead: m.overhead.WithLabelValues(r.Endpoint),
		duration: m.duration.WithLabelValues(r.Endpoint, r.Backend),
	}
	m.series[key] = s
	return s
}

func (m *Metrics) labels(key string, labels ...string) []string {
	if m.perKey {
		labels = append(labels, key)
	}
	return labels
}
