package handlers

import "sync"

// Conversations remembers which key made a response that a backend stores, and
// where it is. It holds a bounded number: the oldest are forgotten, as all are
// when the process ends; a forgotten one is answered as not found.
type Conversations struct {
	mu    sync.Mutex
	byID  map[string]conversation
	order []string // a ring of the ids, oldest at next
	next  int
}

type conversation struct{ key, backend string }

// NewConversations remembers up to size responses.
func NewConversations(size int) *Conversations {
	return &Conversations{byID: make(map[string]conversation), order: make([]string, size)}
}

// Remember notes who made a response and which backend stores it.
func (c *Conversations) Remember(id, key, backend string) {
	if id == "" || len(id) > maxResponseID {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.byID[id]; ok {
		return // the first one owns it: a backend that repeats ids gives nothing away
	}
	delete(c.byID, c.order[c.next])
	c.order[c.next] = id
	c.next = (c.next + 1) % len(c.order)
	c.byID[id] = conversation{key, backend}
}

// maxResponseID bounds in bytes what a backend can make us remember.
const maxResponseID = 128

// Find returns the backend that stores a response of the key.
func (c *Conversations) Find(id, key string) (backend string, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	found, ok := c.byID[id]
	if !ok || found.key != key {
		return "", false
	}
	return found.backend, true
}
