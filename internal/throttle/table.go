package throttle

import (
	"container/heap"
	"sync"
	"time"
)

// bucket is the token bucket of one address, stored as the time at which it
// will be full again (the generic cell rate algorithm, ITU-T I.371): its
// deficit is that time minus now. A full bucket need not be stored.
type bucket struct {
	address address
	full    int64 // nanoseconds since the throttle's epoch
	index   int   // in the heap
}

// tableShard holds a part of the buckets.
//
// When it is full, it evicts the bucket that is nearest to full, and the new
// bucket inherits the deficit of the evicted one (as in the Space-Saving
// algorithm of Metwally, Agrawal and El Abbadi, 2005). So a bucket is never
// fuller than the requests of its address would leave it: an attacker with many
// addresses cannot evict the bucket of one that is guessing, but only drains
// the buckets of other new addresses. An address without a bucket is always
// allowed once. So while the table is flooded, a guesser has one guess for each
// new address, which is no more than the addresses would have had by
// themselves.
type tableShard struct {
	mu       sync.Mutex
	buckets  map[address]*bucket
	order    byFull // the fullest first
	capacity int
}

func (s *tableShard) init(capacity int) {
	s.buckets = make(map[address]*bucket)
	s.capacity = max(1, capacity)
}

// allow reports whether a request passes, and counts it if every request
// counts.
func (s *tableShard) allow(t *Throttle, a address) (bool, time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.buckets[a]
	if b == nil && !t.all {
		return true, 0 // requests of well-behaved clients don't even read the clock
	}
	now := t.elapsed()
	if b != nil {
		// A token is available if at most burst-interval is missing.
		if wait := b.full - now - (t.burst - t.interval); wait > 0 {
			return false, time.Duration(wait)
		}
	}
	if t.all {
		s.take(t, a, now)
	}
	return true, 0
}

// failed takes a token. Concurrent requests may take more tokens than are left.
// The deficit is repaid later, up to one more burst.
func (s *tableShard) failed(t *Throttle, a address) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.take(t, a, t.elapsed())
}

// take takes a token from the bucket of an address. s.mu must be held.
func (s *tableShard) take(t *Throttle, a address, now int64) {
	// Drop at most two full buckets, so that no request pays for the clean-up
	// after a flood. The table still shrinks faster than it grows.
	for range 2 {
		if len(s.order) > 0 && s.order[0].full <= now {
			s.drop()
		}
	}
	if b := s.buckets[a]; b != nil {
		b.full = t.taken(b.full, now)
		heap.Fix(&s.order, b.index)
		return
	}
	full := now
	if len(s.order) == s.capacity {
		full = s.drop()
	}
	b := &bucket{address: a, full: t.taken(full, now)}
	s.buckets[a] = b
	heap.Push(&s.order, b)
}

// drop removes the fullest bucket and returns the time at which it would have
// been full. s.mu must be held.
func (s *tableShard) drop() int64 {
	b := heap.Pop(&s.order).(*bucket)
	delete(s.buckets, b.address)
	return b.full
}

// taken returns the time at which a bucket is full again after one more token
// is taken.
func (t *Throttle) taken(full, now int64) int64 {
	return min(max(full, now)+t.interval, now+2*t.burst)
}

// byFull is a heap of buckets.
type byFull []*bucket

func (h byFull) Len() int           { return len(h) }
func (h byFull) Less(i, j int) bool { return h[i].full < h[j].full }
func (h byFull) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

func (h *byFull) Push(x any) {
	b := x.(*bucket)
	b.index = len(*h)
	*h = append(*h, b)
}

func (h *byFull) Pop() any {
	old := *h
	last := len(old) - 1
	b := old[last]
	old[last] = nil
	*h = old[:last]
	return b
}
