package throttle

import (
	"sync"
	"time"
)

// remembered is how long a key that was good from an address passes.
const remembered = int64(time.Hour)

// acceptedShard remembers a share of the pairs of address and key that were
// good. It has two generations, each of half the capacity: when the newer one
// is full, the older one is forgotten. So it forgets the least recently used
// half without a list to keep in order. Only who holds a key can fill it, and
// who does takes from others no more than the right to pass while a neighbour
// guesses.
type acceptedShard struct {
	mu           sync.Mutex
	newer, older map[uint64]int64 // when it was good last
	capacity     int              // of a generation
}

func (s *acceptedShard) init(capacity int) {
	s.newer, s.older = make(map[uint64]int64), make(map[uint64]int64)
	s.capacity = max(1, capacity/2)
}

func (s *acceptedShard) add(tag uint64, now int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, found := s.newer[tag]; !found && len(s.newer) >= s.capacity {
		s.newer, s.older = s.older, s.newer
		clear(s.newer)
	}
	s.newer[tag] = now
}

func (s *acceptedShard) has(tag uint64, now int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	at, found := s.newer[tag]
	if !found {
		at, found = s.older[tag]
	}
	return found && now-at < remembered
}
