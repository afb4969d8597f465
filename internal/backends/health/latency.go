package health

import (
	"math"
	"sync"
	"time"
)

// latencies holds a backend's time to the first token by its own names of
// models. Streams and whole responses are kept apart, since the first token of a
// whole response comes with the last. The zero value is ready to use.
type latencies struct {
	mu   sync.Mutex
	each map[latencyKey]*latency
}

type latencyKey struct {
	model  string
	stream bool
}

// latency is an exponentially weighted moving average. Older samples count for
// less, so that a recovery shows soon.
type latency struct {
	mean time.Duration // 0: no sample yet
	seen time.Time     // when mean was last changed
	sent time.Time     // when it was last explored
}

const (
	// latencyMemory is the time constant: a sample counts a third of one that is
	// this much younger.
	latencyMemory = 10 * time.Second

	// leastShare is the least weight of a sample: weighted by time alone, one
	// that closely follows another would have almost none.
	leastShare = 0.1

	// staleAfter is the age from which a mean is too old to rely on.
	staleAfter = 10 * time.Second

	// latenciesKept bounds the models per backend: callers may invent names.
	latenciesKept = 1000
)

// RecordLatency records how long a response took from the request to its first
// token, under the backend's own name of the model.
func (b *BackendState) RecordLatency(model string, stream bool, took time.Duration, now time.Time) {
	b.latencies.mu.Lock()
	defer b.latencies.mu.Unlock()
	known := b.latencies.get(model, stream)
	if known.mean == 0 {
		known.mean = took
	} else {
		share := max(leastShare, 1-math.Exp(-float64(now.Sub(known.seen))/float64(latencyMemory)))
		known.mean += time.Duration(share * float64(took-known.mean))
	}
	known.mean, known.seen = max(known.mean, 1), now
}

// Latency returns the mean time to the first token, 0 if there is none yet, and
// whether it is too old to rely on.
func (b *BackendState) Latency(model string, stream bool, now time.Time) (mean time.Duration, stale bool) {
	b.latencies.mu.Lock()
	defer b.latencies.mu.Unlock()
	known := b.latencies.each[latencyKey{model, stream}]
	if known == nil {
		return 0, true
	}
	return known.mean, known.mean == 0 || now.Sub(known.seen) >= staleAfter
}

// Explore reports whether a request may be sent in order to measure the latency:
// one in 10 seconds.
func (b *BackendState) Explore(model string, stream bool, now time.Time) bool {
	b.latencies.mu.Lock()
	defer b.latencies.mu.Unlock()
	known := b.latencies.get(model, stream)
	if now.Sub(known.sent) < staleAfter {
		return false
	}
	known.sent = now
	return true
}

// get returns the entry of a model and creates it if there is none. l.mu must be
// held.
func (l *latencies) get(model string, stream bool) *latency {
	key := latencyKey{model, stream}
	known := l.each[key]
	if known != nil {
		return known
	}
	if l.each == nil {
		l.each = make(map[latencyKey]*latency)
	}
	if len(l.each) >= latenciesKept {
		for other := range l.each { // any
			delete(l.each, other)
			break
		}
	}
	known = new(latency)
	l.each[key] = known
	return known
}
