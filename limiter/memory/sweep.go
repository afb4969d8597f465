package memory

import (
	"maps"
	"time"

	"github.com/amanycodes/pine-gate/limiter/internal/account"
)

// sweepBatch is the number of counters that sweep checks before it releases the lock for requests.
const sweepBatch = 256

// sweepEvery drops idle counters until the store is closed.
func (m *Store) sweepEvery(interval time.Duration) {
	defer close(m.swept)
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-m.done:
			return
		case <-ticker.C:
			m.sweep()
		}
	}
}

// sweep drops every idle counter: a full bucket, a quota that is unused or whose window has ended, a
// concurrent limit without requests in flight. It returns early when the store is closed.
func (m *Store) sweep() {
	for i := range m.shards {
		select {
		case <-m.done:
			return
		default:
			m.shards[i].sweep(m.instant())
		}
	}
}

func (s *shard) sweep(now account.Instant) {
	s.mu.Lock()
	defer s.mu.Unlock()
	seen := 0
	for hash, c := range s.counters {
		if c.Idle(now) {
			delete(s.counters, hash)
			*s.place(hash) = recentCounter{}
		}
		// A map may be changed during a range loop, so the lock may be released between two steps.
		if seen++; seen%sweepBatch == 0 {
			s.mu.Unlock()
			s.mu.Lock()
		}
	}
	for name, c := range s.collided {
		if c.Idle(now) {
			delete(s.collided, name)
			s.recent = [recentCount]recentCounter{}
		}
	}
	s.shrink()
}

// shrink replaces a map that is mostly empty, because a map never frees memory.
func (s *shard) shrink() {
	if s.peak < 64 || len(s.counters) > s.peak/4 {
		return
	}
	s.counters = maps.Collect(maps.All(s.counters))
	s.peak = len(s.counters)
}
