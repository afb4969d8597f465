package backends

import (
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// tries is what came of what was sent to a backend, for those who operate it:
// nothing is decided by it. The zero value is ready to use.
type tries struct {
	attempts, failures atomic.Int64

	// How long it takes to the first token, in nanoseconds: of answers that come
	// whole, and of those that stream. 0: there was none yet.
	first [2]atomic.Int64
}

// firstWeight is the part that the last answer has in the mean time to the first
// token.
const firstWeight = 10

// NoteFirst notes how long an answer took to its first token. Of two that come at
// the same time one may be lost: a lock would cost more than it is worth.
func (l *Live) NoteFirst(stream bool, took time.Duration) {
	mean := &l.tries.first[0]
	if stream {
		mean = &l.tries.first[1]
	}
	before := mean.Load()
	if before == 0 {
		before = int64(took)
	}
	mean.Store(max(before+(int64(took)-before)/firstWeight, 1))
}

// LiveState is what is known of a backend at one time.
type LiveState struct {
	InFlight int64 // requests with it, of this gate
	Waiting  int   // for their turn
	Capacity Capacity

	// Attempts are the round trips since the process began that showed whether the
	// backend works, Failures those that showed that it, or a model of it, does not:
	// no answer, or one of a status that another backend is tried for.
	Attempts, Failures int64

	// FirstToken is the mean time to the first token, in which the last answer
	// counts a tenth: of those that stream, and where none has, of the others, whose
	// first token comes with the last. 0: there was none yet.
	FirstToken time.Duration

	Cooldowns []Cooldown // the whole backend first, then models by name
}

// Cooldown is until when a backend, or a model of it, is left alone.
type Cooldown struct {
	Model   string // the backend's name of it; "": the whole backend
	Until   time.Time
	Limited bool // by 429
}

// State looks at a backend.
func (l *Live) State(now time.Time) LiveState {
	s := LiveState{
		InFlight: l.inflight.Load(),
		Failures: l.tries.failures.Load(), // first: there are never more than attempts
		Attempts: l.tries.attempts.Load(),
	}
	s.FirstToken = time.Duration(l.tries.first[1].Load())
	if s.FirstToken == 0 {
		s.FirstToken = time.Duration(l.tries.first[0].Load())
	}
	l.queue.mu.Lock()
	s.Waiting, s.Capacity = l.queue.waiting, l.queue.capacity
	l.queue.mu.Unlock()
	s.Cooldowns = l.cooldowns.now(now)
	return s
}

// now lists what is left alone at a time.
func (c *cooldowns) now(now time.Time) (all []Cooldown) {
	if !c.some.Load() {
		return nil
	}
	c.mu.Lock()
	for model, cool := range c.each {
		until := cool.asked
		if cool.resting.After(until) {
			until = cool.resting
		}
		if until.After(now) {
			all = append(all, Cooldown{model, until, cool.limited})
		}
	}
	c.mu.Unlock()
	slices.SortFunc(all, func(a, b Cooldown) int { return strings.Compare(a.Model, b.Model) })
	return all
}

// Credentials are how many keys the backend is sent, and how many of them rest.
func (t *Transport) Credentials(now time.Time) (total, resting int) {
	rests := t.keys.rests.Load()
	for _, c := range t.keys.keys {
		if rests.wait(c.get(now).id, now) > 0 {
			resting++
		}
	}
	return len(t.keys.keys), resting
}
