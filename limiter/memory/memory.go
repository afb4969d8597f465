// Package memory is the limiter of a single process.
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
	// Now returns the time. Rates follow its monotonic reading where it has one, quotas its wall
	// clock. Default: time.Now.
	Now func() time.Time

	// Seed is asked once for each counter and window, before the first request is checked against
	// it; that request waits for the answer. A counter that was dropped because nothing was used is
	// asked for again. Default: nothing was used.
	Seed limiter.Seed

	// Sweep is how often counters are dropped that are full or unused. Default: 1 minute. Negative:
	// never.
	Sweep time.Duration
}

// Store is the limiter.Limiter of a single process. What it has counted is lost with the process, but for
// quotas that are seeded. Counters follow the names of rules, so that a Memory which is kept over a
// reload forgets nothing.
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

// New returns an empty store. It sweeps in the background until it is closed.
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

// instant reads the clocks.
func (m *Store) instant() account.Instant {
	now := m.now()
	return account.Instant{Mono: int64(now.Sub(m.start)), Wall: now.UnixNano()}
}

// Reserve implements [limiter.Limiter]. It does not wait, but for a seed; where that fails, the error is
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

// Close ends the sweeping. It may be called more than once.
func (m *Store) Close() error {
	m.closing.Do(func() { close(m.done) })
	<-m.swept
	return nil
}

// whileLocked calls f with the shards locked. Where f finds a quota that is not seeded, it must
// change nothing and return its rule: then f is called again when that is done. It returns the time
// of the last call. The error is that of a seed, or of ctx while it waits for one.
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

// enlist appends a hold for each rule to dst, with what its counter has room for, and takes nothing.
// A counter that is in dst or seen already is left out: it counts a request once. Its shards must be
// locked. It stops at a quota that is not seeded.
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

// askSeed asks for what a rule's quota has used. It holds no lock that requests for other counters
// need while the answer is made, and asks once where many requests come at the same time.
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

// SetLevel sets the level of a rate that was not used yet.
func (m *Store) SetLevel(r *limiter.Rule, level int64) {
	var locks shardSet
	locks.add(r)
	now := m.instant()
	m.lock(&locks)
	defer m.unlock(&locks)
	b := m.shard(r).get(r, now).(*account.Bucket)
	b.Level, b.Fraction = min(level, b.Capacity), 0
}
