// Package memory implements the limiter for a single process.
package memory

import (
	"context"
	"sync"
	"time"

	"github.com/amanycodes/pine-gate/limiter"
	"github.com/amanycodes/pine-gate/limiter/internal/account"
)

// defaultSweep is how often idle counters are dropped by default.
const defaultSweep = time.Minute

// Options are the options of [New]. The zero value is useful.
type Options struct {
	// Now returns the time. Rates use its monotonic reading if it has one, quotas its wall clock.
	// Default: time.Now.
	Now func() time.Time

	// Seed is called once for each counter and window, before the first request is checked against
	// the counter; that request waits for the result. It is called again for a counter that was
	// dropped because nothing was used. Default: nothing was used.
	Seed limiter.Seed

	// Sweep is the interval at which full or unused counters are dropped. Default: 1 minute.
	// Negative: never.
	Sweep time.Duration
}

// Store is the limiter.Limiter for a single process. Its counts are lost with the process, except for
// quotas that are seeded. Counters are identified by the names of rules, so that a Store which is kept
// across a reload loses nothing.
type Store struct {
	now   func() time.Time
	start time.Time
	seed  limiter.Seed

	shards [shardCount]shard
	spare  sync.Pool // of admissions

	closing sync.Once
	done    chan struct{} // closed by Close
	swept   chan struct{} // closed when the sweeper has ended
}

// New returns an empty store, which drops idle counters in the background until it is closed.
func New(opts Options) *Store {
	m := &Store{now: opts.Now, seed: opts.Seed, done: make(chan struct{}), swept: make(chan struct{})}
	if m.now == nil {
		m.now = time.Now
	}
	m.start = m.now()
	for i := range m.shards {
		m.shards[i].seeding = account.NewSeedTurn()
	}
	if opts.Sweep == 0 {
		opts.Sweep = defaultSweep
	}
	if opts.Sweep < 0 {
		close(m.swept)
	} else {
		go m.sweepEvery(opts.Sweep)
	}
	return m
}

// instant returns the time of both clocks.
func (m *Store) instant() account.Instant {
	now := m.now()
	return account.Instant{Mono: int64(now.Sub(m.start)), Wall: now.UnixNano()}
}

// Reserve implements [limiter.Limiter]. It waits only for a Seed; if that fails, the error is
// ErrUnavailable.
func (m *Store) Reserve(ctx context.Context, req limiter.Request) (limiter.Reservation, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	a := m.newAdmission(req)
	candidate, err := a.reserve(ctx)
	if err != nil {
		a.release()
		return nil, err
	}
	return &Reservation{admission: a, candidate: candidate, cap: a.out.Cap}, nil
}

// Peek implements [limiter.Limiter].
func (m *Store) Peek(ctx context.Context, rules []*limiter.Rule) ([]limiter.State, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	out := make([]limiter.State, 0, len(rules))
	for i := range rules {
		var locks shardSet
		locks.add(rules[i])
		var h [1]account.Hold
		at, err := m.whileLocked(ctx, &locks, func(at account.Instant) (unseeded *limiter.Rule) {
			_, unseeded = m.enlist(h[:0], nil, rules[i:i+1], at)
			return unseeded
		})
		if err != nil {
			return nil, err
		}
		out = account.States(out, h[:], at)
	}
	return out, nil
}

// Close stops the sweeper. It may be called more than once.
func (m *Store) Close() error {
	m.closing.Do(func() { close(m.done) })
	<-m.swept
	return nil
}

// whileLocked calls f with the shards locked. If f finds a quota that is not seeded, it must change
// nothing and return the quota's rule; f is called again once the quota is seeded. whileLocked returns
// the time of the last call. The error is that of a Seed, or of ctx while waiting for one.
func (m *Store) whileLocked(ctx context.Context, locks *shardSet, f func(at account.Instant) (unseeded *limiter.Rule)) (account.Instant, error) {
	for {
		at := m.instant()
		m.lock(locks)
		unseeded := f(at)
		m.unlock(locks)
		if unseeded == nil {
			return at, nil
		}
		if err := m.askSeed(ctx, unseeded); err != nil {
			return at, err
		}
	}
}

// enlist appends a hold for each rule to dst, with the room of its counter, and takes nothing. It skips
// counters that are already in dst or seen, so that they count a request once. It stops at a quota that
// is not seeded. The shards of rules must be locked.
func (m *Store) enlist(dst, seen []account.Hold, rules []*limiter.Rule, at account.Instant) (holds []account.Hold, unseeded *limiter.Rule) {
next:
	for _, r := range rules {
		c := m.shard(r).get(r, at)
		for i := range dst {
			if dst[i].Counter == c {
				continue next
			}
		}
		for i := range seen {
			if seen[i].Counter == c {
				continue next
			}
		}
		if q, ok := c.(*account.Quota); ok && !q.Seeded && m.seed != nil {
			return dst, r
		}
		dst = append(dst, account.Hold{Rule: r, Counter: c})
		dst[len(dst)-1].Look()
	}
	return dst, nil
}

// askSeed seeds a rule's quota. During the call of the Seed it holds no lock that requests for other
// counters need, and concurrent requests for one quota share one call.
func (m *Store) askSeed(ctx context.Context, r *limiter.Rule) error {
	s := m.shard(r)
	if err := s.seeding.Take(ctx, r); err != nil {
		return err
	}
	defer s.seeding.Leave()

	s.mu.Lock()
	q := s.get(r, m.instant()).(*account.Quota)
	start, seeded := q.Start, q.Seeded
	s.mu.Unlock()
	if seeded {
		return nil
	}
	used, err := m.seed(r, time.Unix(0, start).UTC())
	if err != nil {
		return s.seeding.Fail(r, err)
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	s.get(r, m.instant()).(*account.Quota).Seed(start, used)
	return nil
}

var _ limiter.Limiter = (*Store)(nil)

// SetLevel sets the level of a rate that has not been used yet.
func (m *Store) SetLevel(r *limiter.Rule, level int64) {
	var locks shardSet
	locks.add(r)
	now := m.instant()
	m.lock(&locks)
	defer m.unlock(&locks)
	b := m.shard(r).get(r, now).(*account.Bucket)
	b.Level, b.Fraction = min(level, b.Capacity), 0
}
