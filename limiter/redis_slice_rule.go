package limiter

import (
	"sync"
	"time"
)

// sharedRule is what this gate knows of a limit that has slices: what Redis said last, and what the gate's
// slices have of it beside that. What other gates do meanwhile is not in it.
type sharedRule struct {
	paths map[*hotPath]struct{} // that have the rule; guarded by hotKeys
	quota bool

	expired time.Time // when what is over was ended last; guarded by hotKeys

	mu      sync.Mutex // guards what follows
	unspent int64      // in slices; of a concurrent limit the places that are free
	untold  int64      // that came back from slices, and Redis does not know yet
	seen    bool
	room    int64 // that Redis has, of a rate at filled
	mark    int64
	used    int64 // of a quota
	filled  time.Time
}

// see notes what Redis has said.
func (r *sharedRule) see(h *hold, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seen, r.room, r.mark, r.used, r.filled = true, h.room, h.mark, h.used, now
}

// fill adds what has come in of a rate. The lock must be held.
func (r *sharedRule) fill(l Limit, now time.Time) {
	elapsed := int64(now.Sub(r.filled))
	if !l.Window.Rate() || elapsed <= 0 {
		return
	}
	b := bucket{level: r.room, fraction: r.mark, amount: l.Amount, capacity: l.Capacity() - r.unspent, window: l.Window}
	b.fill(instant{mono: elapsed})
	r.room, r.mark, r.filled = b.level, b.fraction, now
}

// part is how much more a slice may take, of limits that so many share.
func (r *sharedRule) part(l Limit, now time.Time, share int64) int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.seen {
		return 0
	}
	r.fill(l, now)
	return (r.room+r.unspent)/share - r.unspent
}

// take takes n of what is in a slice, and looks at what is left into h.
func (r *sharedRule) take(h *hold, n int64, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fill(h.rule.Limit, now)
	r.unspent -= n
	h.amount, h.room, h.mark, h.used = n, r.room+r.unspent, r.mark, r.used
}

// add adds to what is in slices.
func (r *sharedRule) add(n int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.unspent += n
}

// settle notes what of a reservation comes back to Redis, and what of a quota was used in the window that is
// its mark.
func (r *sharedRule) settle(back, used, mark int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.untold += back
	if !r.quota || r.mark == mark {
		r.room += back
		r.used += used
	}
}

// owes reports whether Redis has less than nothing of the limit, as far as this gate knows.
func (r *sharedRule) owes() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.seen && r.room < 0
}

// owe notes that more was used of a reservation that Redis has than was reserved.
func (r *sharedRule) owe(n int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.room -= n
}

// giveBack gives back to Redis what was in a slice.
func (r *sharedRule) giveBack(n, mark int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.unspent -= n
	r.untold += n
	if !r.quota || r.mark == mark {
		r.room += n
	}
}

// tell notes that Redis knows of so much that came back.
func (r *sharedRule) tell(n int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.untold -= n
}

// holds reports whether slices have something of the limit that Redis takes for taken.
func (r *sharedRule) holds() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.unspent > 0 || r.untold > 0
}

// add adds to what a hold has seen: what the gate has in slices is its own.
func (h *hold) add(n int64) {
	h.room += n
	switch c := h.counter.(type) {
	case *bucket:
		c.level += n
	case *quota:
		c.reserved -= n
	case *leases:
		c.inUse -= n
	}
}
