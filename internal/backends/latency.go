package backends

import (
	"math"
	"sync"
	"time"
)

// latencies is how long a backend takes to its first token, by its own names of
// models; answers that stream and those that come whole are apart, since of the
// latter the first token is the last one. The zero value is ready to use.
type latencies struct {
	mu   sync.Mutex
	each map[latencyKey]*latency
}

type latencyKey struct {
	model  string
	stream bool
}

// latency is an average over time (EWMA). What was seen a while ago counts for
// less, so that a backend which recovers is soon known for it.
type latency struct {
	mean time.Duration // 0: nothing was seen yet
	seen time.Time     // when mean was last changed
	sent time.Time     // when it was last explored
}

const (
	// latencyMemory is the time constant: an answer counts for a third of
	// what one counts that came so much later.
	latencyMemory = 10 * time.Second

	// leastShare is the share of each answer in the mean: that of one that
	// follows upon another would be almost none.
	leastShare = 0.1

	// staleAfter is when what was seen may not hold any more.
	staleAfter = 10 * time.Second

	// latenciesKept bounds how many models of one backend are known: callers
	// may choose their names.
	latenciesKept = 1000
)

// Answered notes how long an answer took from the request to its first token, by
// the backend's name of the model.
func (l *Live) Answered(model string, stream bool, took time.Duration, now time.Time) {
	l.latencies.mu.Lock()
	defer l.latencies.mu.Unlock()
	known := l.latencies.get(model, stream)
	if known.mean == 0 {
		known.mean = took
	} else {
		share := max(leastShare, 1-math.Exp(-float64(now.Sub(known.seen))/float64(latencyMemory)))
		known.mean += time.Duration(share * float64(took-known.mean))
	}
	known.mean, known.seen = max(known.mean, 1), now
}

// Latency returns the mean time to the first token, 0 where nothing was seen
// yet, and whether that is too long ago to rely on.
func (l *Live) Latency(model string, stream bool, now time.Time) (mean time.Duration, stale bool) {
	l.latencies.mu.Lock()
	defer l.latencies.mu.Unlock()
	known := l.latencies.each[latencyKey{model, stream}]
	if known == nil {
		return 0, true
	}
	return known.mean, known.mean == 0 || now.Sub(known.seen) >= staleAfter
}

// Explore tells whether a request may be sent in order to learn the latency: one
// in 10 seconds.
func (l *Live) Explore(model string, stream bool, now time.Time) bool {
	l.latencies.mu.Lock()
	defer l.latencies.mu.Unlock()
	known := l.latencies.get(model, stream)
	if now.Sub(known.sent) < staleAfter {
		return false
	}
	known.sent = now
	return true
}

// get returns what is known of a model, begun where nothing is. It must be called
// with l.mu held.
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
