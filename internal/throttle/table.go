package throttle

import (
	"container/heap"
	"sync"
	"time"
)

// bucket is the token bucket of one address, kept as the one time at which it
// is full again (the generic cell rate algorithm, ITU-T I.371): what is missing
// from it is that time minus now. A bucket that is full need not be kept.
type bucket struct {
	address address
	full    int64 // nanoseconds since the throttle's epoch
	index   int   // in the heap
}

// tableShard holds a share of the buckets.
//
// When it is full, the bucket that is nearest to full makes room, and the new
// one inherits what was missing from it (as in the Space-Saving algorithm of
// Metwally, Agrawal and El Abbadi, 2005). So a bucket is never fuller than
// what its address did would leave it: who comes from many addresses can't wash
// out the bucket of one that is guessing, but only empties the buckets of those
// who come new. An address without a bucket is always let through once; so
// while the table is flooded a guesser has one guess for each new address, which
// is no more than the addresses would have had alone.
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

// allow judges a request, and where every request counts, counts it.
func (s *tableShard) allow(t *Throttle, a address) (bool, time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.buckets[a]
	if b == nil && !t.all {
		return true, 0 // good callers don't even cost a look at the clock
	}
	now := t.elapsed()
	if b != nil {
		// One token is there once no more than the others are missing.
		if wait := b.full - now - (t.burst - t.interval); wait > 0 {
			return false, time.Duration(wait)
		}
	}
	if t.all {
		s.take(t, a, now)
	}
	return true, 0
}

// failed takes a token. Requests that were let through at once may take more
// than there are: that is made up for later, up to one more burst.
func (s *tableShard) failed(t *Throttle, a address) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.take(t, a, t.elapsed())
}

// take takes a token from an address. It must be called with the lock held.
func (s *tableShard) take(t *Throttle, a address, now int64) {
	// Two full ones at most are dropped, so that no request pays for a flood
	// that is over; yet the table shrinks faster than it grows.
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

// drop forgets the fullest bucket and returns when it would have been full. It
// must be called with the lock held.
func (s *tableShard) drop() int64 {
	b := heap.Pop(&s.order).(*bucket)
	delete(s.buckets, b.address)
	return b.full
}

// taken returns when a bucket is full again after one more token was taken.
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
