package health

import (
	"cmp"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/amanycodes/pine-gate/internal/backends/queue"
)

// stats counts the outcomes of attempts, for operators only: no decision depends
// on them. The zero value is ready to use.
type stats struct {
	attempts, failures atomic.Int64

	// Mean time to the first token in nanoseconds, of whole responses and of
	// streams. 0: none yet.
	first [2]atomic.Int64
}

// firstWeight is the inverse weight of the last response in the mean time to the
// first token.
const firstWeight = 10

// RecordFirstToken records how long a response took to its first token. Of two
// concurrent calls one may be lost: a lock would cost more than it is worth.
func (b *BackendState) RecordFirstToken(stream bool, took time.Duration) {
	mean := &b.stats.first[0]
	if stream {
		mean = &b.stats.first[1]
	}
	before := mean.Load()
	if before == 0 {
		before = int64(took)
	}
	mean.Store(max(before+(int64(took)-before)/firstWeight, 1))
}

// Snapshot is the state of a backend at one time.
type Snapshot struct {
	InFlight int64 // requests of this gate at the backend
	Waiting  int   // in the queue
	Capacity queue.Capacity

	// Attempts counts the round trips since the process started that showed
	// whether the backend works. Failures counts those that showed that it or
	// one of its models does not: no response, or a status for which another
	// backend is tried.
	Attempts, Failures int64

	// FirstToken is the moving mean time to the first token, with a weight of a
	// tenth for the last response. It covers streams or, if there were none,
	// whole responses, whose first token comes with the last. 0: none yet.
	FirstToken time.Duration

	Cooldowns []Cooldown // the whole backend first, then models by name
}

// Cooldown is until when a backend or one of its models cools down.
type Cooldown struct {
	Model   string // the backend's own name of it; "": the whole backend
	Key     string // whose requests are not sent; "": nobody's
	Until   time.Time
	Limited bool // by 429
}

// Snapshot returns the state of the backend at now.
func (b *BackendState) Snapshot(now time.Time) Snapshot {
	s := Snapshot{
		InFlight: b.InFlight(),
		Failures: b.stats.failures.Load(), // read first, so that it never exceeds Attempts
		Attempts: b.stats.attempts.Load(),
	}
	s.FirstToken = time.Duration(b.stats.first[1].Load())
	if s.FirstToken == 0 {
		s.FirstToken = time.Duration(b.stats.first[0].Load())
	}
	s.Waiting, s.Capacity = b.Waiting(), b.Capacity()
	s.Cooldowns = b.cooldowns.active(now)
	return s
}

// active returns the cooldowns that are active at now.
func (c *cooldowns) active(now time.Time) (all []Cooldown) {
	if !c.some.Load() {
		return nil
	}
	c.mu.Lock()
	for model, m := range c.models {
		of := func(key string, until time.Time, limited bool) {
			if until.After(now) {
				all = append(all, Cooldown{model, key, until, limited})
			}
		}
		if shared := m.latest[1]; shared.until.After(m.all.end()) {
			of("", shared.until, shared.limited)
		} else {
			of("", m.all.end(), m.all.limited)
		}
		for key, cool := range m.keys {
			of(key, cool.end(), cool.limited)
		}
	}
	c.mu.Unlock()
	slices.SortFunc(all, func(a, b Cooldown) int {
		return cmp.Or(strings.Compare(a.Model, b.Model), strings.Compare(a.Key, b.Key))
	})
	return all
}
