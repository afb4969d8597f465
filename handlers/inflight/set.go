// Package inflight holds the requests that are with a backend, or wait for their
// turn at one. While they are there, one goroutine of the [Set]
//
//   - records every second what each of them has used so far, so that a process
//     that is killed loses a second of it (checkpoint.go),
//   - ends those that take too long, and the attempts whose backends stall, and
//     keeps silent streams alive (sweep.go, keepalive.go),
//
// and the others end them when the process stops, and list them (running.go).
// Most requests end before anybody looks at them: they cost a place in a list, and
// no timer.
package inflight

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/amanycodes/pine-gate/internal/backends"
	"github.com/amanycodes/pine-gate/internal/wire"
	"github.com/amanycodes/pine-gate/internal/wire/meter"
	"github.com/amanycodes/pine-gate/usage"
)

// Causes with which requests are cancelled.
var (
	ErrShutdown  = errors.New("the gate is shutting down")
	ErrMaxStream = errors.New("the answer took longer than max_stream")
)

// Set holds requests in flight. The zero value is ready to use.
type Set struct {
	mu          sync.Mutex
	first, last *Entry // a list, the oldest first
	n           int
	ended       error // the cause with which all were ended; nil: they were not
}

// Entry is a request in a Set. It must not be copied.
type Entry struct {
	Request   Request
	Cancel    context.CancelCauseFunc // ends the request; it is set before Add
	MaxStream time.Duration           // after which it is ended; time that it waits does not count
	KeepAlive *KeepAlive              // nil: it is sent none
	Uncharged bool                    // it has no checkpoints
	Stream    bool
	HideModel bool // from List

	mu      sync.Mutex
	attempt Attempt // the last one begun

	// Guarded by Set.mu.
	next, previous *Entry
	added          bool
	since          time.Time // when it was added, later by the time that it has waited
	waiting        time.Time // since when it waits for its turn; zero: it does not
	waitingAt      int       // the candidate
	checkpointed   bool      // there may be a checkpoint of it
	settled        bool      // there will be no further one

	// Of the last checkpoint; used by Set.checkpoint alone.
	tokens   wire.Tokens
	attempts int
}

// Request is the request of an entry. Its methods use what is fixed after
// admission, and may be called by any goroutine.
type Request interface {
	// Record returns the usage record of the request as if it ended now, at a
	// candidate (-1: none yet), in so many attempts, with the result so far.
	Record(candidate, attempts int, result *meter.Result) usage.Record
}

// Attempt is one attempt at a backend, as the Set watches it.
type Attempt struct {
	Candidate int
	N         int          // of the request, from 1
	Meter     *meter.Meter // nil: it is not metered

	Watchdog         *backends.Watchdog // nil: it is not watched
	FirstToken, Idle time.Duration      // of its backend; 0: no limit
	End              context.CancelCauseFunc
}

// Begin sets the attempt that is watched from now on.
func (e *Entry) Begin(a Attempt) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.attempt = a
}

// current returns the attempt last begun.
func (e *Entry) current() Attempt {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.attempt
}

// Add adds a request, and cancels it if the Set was ended.
func (s *Set) Add(e *Entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended != nil {
		e.Cancel(s.ended)
	}
	e.since = time.Now()
	e.added = true
	e.previous = s.last
	if s.last != nil {
		s.last.next = e
	} else {
		s.first = e
	}
	s.last = e
	s.n++
}

// Remove removes a request that is over.
func (s *Set) Remove(e *Entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !e.added {
		return
	}
	if e.previous != nil {
		e.previous.next = e.next
	} else {
		s.first = e.next
	}
	if e.next != nil {
		e.next.previous = e.previous
	} else {
		s.last = e.previous
	}
	e.next, e.previous, e.added = nil, nil, false
	s.n--
}

// Len returns the number of requests in flight.
func (s *Set) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.n
}

// End cancels all requests with a cause, and those that are added later.
func (s *Set) End(cause error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = cause
	for e := s.first; e != nil; e = e.next {
		e.Cancel(cause)
	}
}

// Wait records that a request waits for its turn at a candidate, until Resume.
func (s *Set) Wait(e *Entry, candidate int, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e.waiting, e.waitingAt = now, candidate
}

// Resume ends the wait of a request and returns how long it was.
func (s *Set) Resume(e *Entry, now time.Time) (waited time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	waited = now.Sub(e.waiting)
	e.since, e.waiting = e.since.Add(waited), time.Time{}
	return waited
}

// Settle ends the checkpoints of a request and reports whether there may be one.
// The request stays in flight: what a backend sends behind its usage must end in
// time, too.
func (s *Set) Settle(e *Entry) (checkpointed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e.settled = true
	return e.checkpointed
}
