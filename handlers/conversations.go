package handlers

import (
	"context"
	"sync"
)

// Conversations remembers which key made a response that a backend stores, and
// where it is. It holds a bounded number: the oldest are forgotten, as all are
// when the process ends, unless they are shared with other gates; a forgotten one
// is answered as not found.
type Conversations struct {
	*recentResponses
	shared *SharedResponses // nil: with nobody
}

// recentResponses are those of this gate.
type recentResponses struct {
	mu    sync.Mutex
	byID  map[string]conversation
	order []string // a ring of the ids, oldest at next
	next  int
}

type conversation struct{ key, backend string }

// NewConversations remembers up to size responses.
func NewConversations(size int) *Conversations {
	return &Conversations{recentResponses: &recentResponses{byID: make(map[string]conversation), order: make([]string, size)}}
}

// With returns the same memory, shared with other gates.
func (c *Conversations) With(shared *SharedResponses) *Conversations {
	return &Conversations{c.recentResponses, shared}
}

// Remember notes who made a response and which backend stores it.
func (c *Conversations) Remember(id, key, backend string) {
	if id == "" || len(id) > maxResponseID {
		return
	}
	made := conversation{key, backend}
	if c.add(id, made) && c.shared != nil {
		c.shared.tell(id, made)
	}
}

// add tells whether the response is new: the first one owns it, so that a backend
// that repeats ids gives nothing away.
func (r *recentResponses) add(id string, made conversation) bool {
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

// maxResponseID bounds in bytes what a backend can make us remember.
const maxResponseID = 128

// Find returns the backend that stores a response of the key. The error is that
// of what other gates know and can't be asked just now: the response may exist.
func (c *Conversations) Find(ctx context.Context, id, key string) (backend string, ok bool, err error) {
	c.mu.Lock()
	found, ok := c.byID[id]
	c.mu.Unlock()
	if !ok && c.shared != nil && id != "" && len(id) <= maxResponseID {
		if found, ok, err = c.shared.find(ctx, id); err != nil {
			return "", false, err
		}
		if ok {
			c.add(id, found)
		}
	}
	if !ok || found.key != key {
		return "", false, nil
	}
	return found.backend, true, nil
}
