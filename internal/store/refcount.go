package store

import "sync"

// refCount lets all requests in flight share one caddy.UsagePool reference, so that a
// request does not take the pool's locks.
type refCount struct {
	mu sync.Mutex
	n  int64 // guarded by mu
}

// acquire adds a holder. The first one calls take, before any other call
// returns.
func (r *refCount) acquire(take func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.n++; r.n == 1 {
		take()
	}
}

// release removes a holder. The last one calls drop. A holder that is added
// meanwhile takes a reference of its own, so the order of take and drop does
// not matter.
func (r *refCount) release(drop func()) {
	r.mu.Lock()
	r.n--
	last := r.n == 0
	r.mu.Unlock()
	if last {
		drop()
	}
}

// count returns the number of holders.
func (r *refCount) count() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.n
}
