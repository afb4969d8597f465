package pinegate

import "sync"

// leases counts who holds something that is shared in a caddy.UsagePool. They
// hold one reference together, as long as there is any of them: one each would
// cost every request the locks of the pool, twice.
type leases struct {
	mu sync.Mutex
	n  int64 // guarded by mu
}

// acquire counts one more. The first one has the reference taken, before any
// other one goes on.
func (l *leases) acquire(take func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.n++; l.n == 1 {
		take()
	}
}

// release counts one less. The last one has the reference given back. Who comes
// meanwhile takes one of its own, so that the order of the two does not matter.
func (l *leases) release(drop func()) {
	l.mu.Lock()
	l.n--
	last := l.n == 0
	l.mu.Unlock()
	if last {
		drop()
	}
}

// count tells how many there are.
func (l *leases) count() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.n
}
