package backends

import (
	"sync"
	"sync/atomic"
)

// Live is what a gate has learnt of a backend while using it, and what it is
// doing with it just now. It goes by the backend's name and outlives the
// configurations that name it: a reload must neither forget that a backend is
// failing nor let more requests to it than it takes. All methods may be called
// by several goroutines.
type Live struct {
	inflight  atomic.Int64
	tries     tries
	latencies latencies
	rests     keyRests
	catalog   Catalog
	cooldowns cooldowns
	queue     queue

	name string
	set  *LiveSet // nil: it belongs to none
}

// InFlight is how many requests are with the backend, of this gate.
func (l *Live) InFlight() int64 { return l.inflight.Load() }

// Catalog is what the backend says that it has.
func (l *Live) Catalog() *Catalog { return &l.catalog }

// LiveSet holds what is known of backends by their names. The zero value is
// ready to use.
type LiveSet struct {
	mu     sync.Mutex
	byName map[string]*Live
	names  Names
	shared atomic.Pointer[SharedCooldowns] // nil: with nobody
}

// Names are those of the models that all backends have told.
func (s *LiveSet) Names() *Names { return &s.names }

// Get returns what is known of a backend, begun where nothing is.
func (s *LiveSet) Get(name string) *Live {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byName == nil {
		s.byName = make(map[string]*Live)
	}
	live := s.byName[name]
	if live == nil {
		live = &Live{name: name, set: s}
		s.byName[name] = live
	}
	return live
}

// known returns what is known of a backend, nil where nothing is.
func (s *LiveSet) known(name string) *Live {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.byName[name]
}
