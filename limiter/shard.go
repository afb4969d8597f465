package limiter

import (
	"math/bits"
	"sync"
)

// shardCount is the number of shards: enough that requests of different keys seldom meet on one,
// with any number of cores that a gate has.
const shardCount = 256

// shard is a part of the counters, chosen by the hash of the name.
type shard struct {
	mu       sync.Mutex
	counters map[string]counter // guarded by mu
	peak     int                // guarded by mu: most counters since the map was made

	seeding sync.Mutex // held while a seed is asked for, before mu; one at a time for each shard

	_ [64]byte // keeps the locks of two shards off one cache line
}

// get returns the counter of a rule, brought to now. It makes one where there is none, so that the
// next request finds it. It must be called with the shard locked.
func (s *shard) get(r *Rule, now instant) counter {
	c, ok := s.counters[r.name]
	if !ok {
		if s.counters == nil {
			s.counters = make(map[string]counter)
		}
		c = newCounter(now, r.Limit)
		s.counters[r.name] = c
		s.peak = max(s.peak, len(s.counters))
	}
	c.touch(now, r.Limit)
	return c
}

// shardSet is a set of shards. They are locked in the order of their numbers, so that two requests
// that need the same shards can't wait for each other.
type shardSet [shardCount / 64]uint64

func (s *shardSet) add(r *Rule) {
	i := r.hash % shardCount
	s[i/64] |= 1 << (i % 64)
}

func (s *shardSet) addRules(rules []*Rule) {
	for _, r := range rules {
		s.add(r)
	}
}

func (s *shardSet) addHolds(holds []hold) {
	for i := range holds {
		s.add(holds[i].rule)
	}
}

// lock locks the shards of a set; nothing but counters may be used until unlock.
func (m *Memory) lock(s *shardSet) {
	for i, word := range s {
		for ; word != 0; word &= word - 1 {
			m.shards[i*64+bits.TrailingZeros64(word)].mu.Lock()
		}
	}
}

func (m *Memory) unlock(s *shardSet) {
	for i, word := range s {
		for ; word != 0; word &= word - 1 {
			m.shards[i*64+bits.TrailingZeros64(word)].mu.Unlock()
		}
	}
}

func (m *Memory) shard(r *Rule) *shard { return &m.shards[r.hash%shardCount] }
