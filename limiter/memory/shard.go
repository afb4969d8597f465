package memory

import (
	"math/bits"
	"sync"

	"github.com/amanycodes/pine-gate/limiter"
	"github.com/amanycodes/pine-gate/limiter/internal/account"
)

// shardCount is the number of shards: enough that requests of different keys seldom meet on one,
// with any number of cores that a gate has.
const shardCount = 256

// recentCount is the number of counters that each shard finds without its map.
const recentCount = 32

// shard is a part of the counters, chosen by the hash of the name.
type shard struct {
	mu sync.Mutex

	// recent has counters that were used lately, each in the place that its hash says. With a million
	// keys present, each look into the map waits for memory several times; what is here is in the
	// processor's cache as long as no more than a few thousand keys are busy. None is here that is not
	// in the maps too. Guarded by mu.
	recent [recentCount]recentCounter

	// counters are by the hash of their names, which each rule knows: the names themselves lie
	// elsewhere in memory, and to read them would cost more than all the arithmetic. Guarded by mu.
	counters map[uint64]account.Counter

	// collided has those whose place in counters another name has. It is as good as always empty.
	// Guarded by mu.
	collided map[string]account.Counter

	peak int // most counters since the map was made; guarded by mu

	seeding account.SeedTurn // taken while a seed is asked for, before mu

	_ [64]byte // keeps the locks of two shards off one cache line
}

// recentCounter is a counter, and the hash of its name.
type recentCounter struct {
	hash    uint64
	counter account.Counter // nil: none
}

// get returns the counter of a rule, brought to now. It makes one where there is none, so that the
// next request finds it. It must be called with the shard locked.
func (s *shard) get(r *limiter.Rule, now account.Instant) account.Counter {
	recent := s.place(r.Hash())
	if recent.hash != r.Hash() || recent.counter == nil || recent.counter.Name() != r.Name() {
		*recent = recentCounter{r.Hash(), s.find(r, now)}
	}
	recent.counter.Touch(now, r.Limit)
	return recent.counter
}

// place is where a counter stands among the recent ones; the hash's low bits choose the shard.
func (s *shard) place(hash uint64) *recentCounter { return &s.recent[hash/shardCount%recentCount] }

// find is get where the counter is not among the recent ones.
func (s *shard) find(r *limiter.Rule, now account.Instant) account.Counter {
	c, taken := s.counters[r.Hash()]
	if !taken || c.Name() != r.Name() {
		c = s.findRare(r, now, taken)
	}
	return c
}

// findRare is find where the counter is not in its place.
func (s *shard) findRare(r *limiter.Rule, now account.Instant, taken bool) account.Counter {
	if c, ok := s.collided[r.Name()]; ok {
		return c
	}
	c := account.NewCounter(now, r)
	switch {
	case taken:
		if s.collided == nil {
			s.collided = make(map[string]account.Counter)
		}
		s.collided[r.Name()] = c
	default:
		if s.counters == nil {
			s.counters = make(map[uint64]account.Counter)
		}
		s.counters[r.Hash()] = c
		s.peak = max(s.peak, len(s.counters))
	}
	return c
}

// shardSet is a set of shards. They are locked in the order of their numbers, so that two requests
// that need the same shards can't wait for each other.
type shardSet [shardCount / 64]uint64

func (s *shardSet) add(r *limiter.Rule) {
	i := r.Hash() % shardCount
	s[i/64] |= 1 << (i % 64)
}

func (s *shardSet) addRules(rules []*limiter.Rule) {
	for _, r := range rules {
		s.add(r)
	}
}

func (s *shardSet) addHolds(holds []account.Hold) {
	for i := range holds {
		s.add(holds[i].Rule)
	}
}

// lock locks the shards of a set; nothing but counters may be used until unlock.
func (m *Store) lock(s *shardSet) {
	for i, word := range s {
		for ; word != 0; word &= word - 1 {
			m.shards[i*64+bits.TrailingZeros64(word)].mu.Lock()
		}
	}
}

func (m *Store) unlock(s *shardSet) {
	for i, word := range s {
		for ; word != 0; word &= word - 1 {
			m.shards[i*64+bits.TrailingZeros64(word)].mu.Unlock()
		}
	}
}

func (m *Store) shard(r *limiter.Rule) *shard { return &m.shards[r.Hash()%shardCount] }
