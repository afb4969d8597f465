// Package inflight holds the requests that are at a backend, or wait for their turn
// at one. One goroutine of the [Set]
//
//   - records the usage of each request every second, so that a process that is
//     killed loses at most a second of it (checkpoint.go),
//   - cancels requests that take too long and attempts whose backends stall, and
//     sends keep-alives to silent streams (sweep.go, keepalive.go).
//
// The Set also cancels all requests when the process stops, and lists them
// (running.go). Most requests end before the first sweep: they cost a list entry,
// and no timer.
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
	ended       error // the cause passed to End; nil if it was not called
}

// Entry is a request in a Set. It must not be copied.
type Entry struct {
	Request   Request
	Cancel    context.CancelCauseFunc // cancels the request; set before Add
	MaxStream time.Duration           // after which it is cancelled; time in queues does not count
	KeepAlive *KeepAlive              // nil: no keep-alives
	Uncharged bool                    // no checkpoints
	Stream    bool
	HideModel bool // in List

	mu      sync.Mutex
	attempt Attempt // the last one begun

	// Guarded by Set.mu.
	next, previous *Entry
	added          bool
	since          time.Time // when it was added, plus the time it has waited
	waiting        time.Time // when it began to wait for its turn; zero if it does not wait
	waitingAt      int       // the candidate
	checkpointed   bool      // a checkpoint may have been written
	settled        bool      // no further checkpoints

	// Of the last checkpoint; used by Set.checkpoint alone.
	tokens   wire.Tokens
	attempts int
}

// Request is the request of an entry. Its methods use what is fixed after
// admission, so any goroutine may call them.
type Request interface {
	// Record returns the usage record of the request as if it ended now, at
	// candidate (-1: none yet), after attempts attempts, with the result so far.
	Record(candidate, attempts int, result *meter.Result) usage.Record
}

// Attempt is one attempt at a backend, as the Set watches it.
type Attempt struct {
	Candidate int
	N         int          // number of the attempt, from 1
	Meter     *meter.Meter // nil: not metered

	Watchdog         *backends.Watchdog // nil: not watched
	FirstToken, Idle time.Duration      // of its backend; 0: no limit
	End              context.CancelCauseFunc
}

// Begin sets the attempt that the Set watches from now on.
func (e *Entry) Begin(a Attempt) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.attempt = a
}

// current returns the last attempt begun.
func (e *Entry) current() Attempt {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.attempt
}

// Add adds a request, and cancels it if End was called.
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

// Remove removes a request that has ended.
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

// End cancels all requests, and those added later, with cause.
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

// Settle stops the checkpoints of a request and reports whether one may have
// been written. The request stays in flight: what a backend sends after its
// usage must end in time, too.
func (s *Set) Settle(e *Entry) (checkpointed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e.settled = true
	return e.checkpointed
}
