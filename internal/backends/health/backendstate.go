// Package health holds the state of backends as one gate sees it: failures,
// cooldowns, latencies, and requests in flight.
package health

import (
	"sync"
	"sync/atomic"

	"github.com/amanycodes/pine-gate/internal/backends/discovery"
	"github.com/amanycodes/pine-gate/internal/backends/queue"
)

// BackendState is the state of a backend as this gate sees it, and its requests
// in flight there. It belongs to the backend's name and outlives configurations:
// a reload must neither reset the failures of a backend nor exceed its capacity.
// The zero value is ready to use, and all methods are safe for concurrent use.
type BackendState struct {
	queue.Queue // requests in flight and waiting

	stats     stats
	latencies latencies
	keys      KeyBackoffs
	catalog   discovery.Catalog
	cooldowns cooldowns

	name string
	set  *Set // nil: the state is in no set
}

// Catalog returns the models that the backend has listed.
func (b *BackendState) Catalog() *discovery.Catalog { return &b.catalog }

// Keys returns the backoffs of the backend's API keys.
func (b *BackendState) Keys() *KeyBackoffs { return &b.keys }

// Set holds the states of backends by name. The zero value is ready to use.
type Set struct {
	mu     sync.Mutex
	byName map[string]*BackendState
	names  discovery.Names
	shared atomic.Pointer[SharedCooldowns] // nil: cooldowns are not shared
}

// Names returns the names of all models that backends have listed.
func (s *Set) Names() *discovery.Names { return &s.names }

// Get returns the state of a backend and creates it if there is none.
func (s *Set) Get(name string) *BackendState {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byName == nil {
		s.byName = make(map[string]*BackendState)
	}
	state := s.byName[name]
	if state == nil {
		state = &BackendState{name: name, set: s}
		s.byName[name] = state
	}
	return state
}

// lookup returns the state of a backend, or nil if there is none.
func (s *Set) lookup(name string) *BackendState {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.byName[name]
}
