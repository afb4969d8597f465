// Package stored records which key created a response that a backend stores,
// and which backend that is, so that a caller gets its own responses and no
// others: all callers share the backend's account.
package stored

import (
	"context"
	"sync"
)

// Responses holds the owners of a bounded number of responses. The oldest are
// evicted first, and all are lost when the process ends, unless they are shared
// with other gates. An evicted response is answered as not found. All methods
// are safe for concurrent use.
type Responses struct {
	*recent
	shared *Shared // nil: not shared
}

// recent holds the owners that this gate has recorded.
type recent struct {
	mu    sync.Mutex
	byID  map[string]owner
	order []string // a ring of the ids, the oldest at next
	next  int
}

// owner is the key that created a response and the backend that stores it.
type owner struct{ key, backend string }

// NewResponses returns an empty set that holds up to size responses.
func NewResponses(size int) *Responses {
	return &Responses{recent: &recent{byID: make(map[string]owner), order: make([]string, size)}}
}

// With returns the same responses, shared with other gates.
func (r *Responses) With(shared *Shared) *Responses {
	return &Responses{r.recent, shared}
}

// maxID bounds in bytes the ids that are recorded: backends choose them.
const maxID = 128

// Add records which key created a response and which backend stores it. It
// ignores ids that are empty or too long, and those that have an owner.
func (r *Responses) Add(id, key, backend string) {
	if id == "" || len(id) > maxID {
		return
	}
	made := owner{key, backend}
	if r.add(id, made) && r.shared != nil {
		r.shared.add(id, made)
	}
}

// add records the owner of a response, and reports whether the response is new.
// The first owner stays, so that a backend that repeats ids reveals nothing.
func (r *recent) add(id string, made owner) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.byID[id]; ok {
		return false
	}
	delete(r.byID, r.order[r.next])
	r.order[r.next] = id
	r.next = (r.next + 1) % len(r.order)
	r.byID[id] = made
	return true
}

// Find returns the backend that stores a response of the key. The error is
// ErrUnavailable if only other gates could know the response and Redis does not
// answer: the response may exist.
func (r *Responses) Find(ctx context.Context, id, key string) (backend string, ok bool, err error) {
	r.mu.Lock()
	found, ok := r.byID[id]
	r.mu.Unlock()
	if !ok && r.shared != nil && id != "" && len(id) <= maxID {
		if found, ok, err = r.shared.find(ctx, id); err != nil {
			return "", false, err
		}
		if ok {
			r.add(id, found)
		}
	}
	if !ok || found.key != key {
		return "", false, nil
	}
	return found.backend, true, nil
}
