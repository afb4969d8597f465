package memory

import (
	"math/bits"
	"sync"

	"github.com/amanycodes/pine-gate/limiter"
	"github.com/amanycodes/pine-gate/limiter/internal/account"
)

// shardCount is the number of shards: enough that requests of different keys seldom contend for one,
// with any number of cores that a gate has.
const shardCount = 256

// recentCount is the number of counters that each shard caches in front of its map.
const recentCount = 32

// shard is a part of the counters, chosen by the hash of the name.
type shard struct {
	mu sync.Mutex

	// recent caches recently used counters, each in the slot given by its hash. With a million keys
	// present, a map lookup waits for memory several times; recent stays in the processor's cache as
	// long as no more than a few thousand keys are busy. Every counter in recent is in the maps too.
	// Guarded by mu.
	recent [recentCount]recentCounter

	// counters maps the hash of a name, which each rule stores, to its counter. The names themselves
	// are elsewhere in memory, and reading them would cost more than all the arithmetic. Guarded by mu.
	counters map[uint64]account.Counter

	// collided has the counters whose hash another name has in counters. It is almost always empty.
	// Guarded by mu.
	collided map[string]account.Counter

	peak int // most counters since the map was made; guarded by mu

	seeding account.SeedTurn // held during a call of the Seed; taken before mu

	_ [64]byte // keeps the locks of two shards on different cache lines
}

// recentCounter is a counter, and the hash of its name.
type recentCounter struct {
	hash    uint64
	counter account.Counter // nil: none
}

// get returns the counter of a rule, advanced to now, and creates it if there is none. The shard must be
// locked.
func (s *shard) get(r *limiter.Rule, now account.Instant) account.Counter {
	recent := s.place(r.Hash())
	if recent.hash != r.Hash() || recent.counter == nil || recent.counter.Name() != r.Name() {
		*recent = recentCounter{r.Hash(), s.find(r, now)}
	}
	recent.counter.Touch(now, r.Limit)
	return recent.counter
}

// place returns a counter's slot in recent. The low bits of the hash choose the shard.
func (s *shard) place(hash uint64) *recentCounter { return &s.recent[hash/shardCount%recentCount] }

// find returns the counter of a rule from the maps, and creates it if there is none.
func (s *shard) find(r *limiter.Rule, now account.Instant) account.Counter {
	c, taken := s.counters[r.Hash()]
	if !taken || c.Name() != r.Name() {
		c = s.findRare(r, now, taken)
	}
	return c
}

// findRare is the slow path of find: the counter is new, or another name has its hash (taken).
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
// that need the same shards can't deadlock.
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

// lock locks the shards of a set. Until unlock, the caller may use only counters.
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
