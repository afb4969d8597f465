package throttle

import (
	"sync"
	"time"
)

// remembered is how long a key stays accepted from an address.
const remembered = int64(time.Hour)

// acceptedShard holds a part of the pairs of address and key that were
// accepted. It has two generations, each of half the capacity: when the newer
// one is full, it drops the older one. So it evicts the least recently used
// half without an ordered list. Only the holder of a valid key can fill it.
// All that the others lose by that is the right to pass while a client behind
// the same address is guessing.
type acceptedShard struct {
	mu           sync.Mutex
	newer, older map[uint64]int64 // time of the last acceptance, by tag
	capacity     int              // of one generation
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
