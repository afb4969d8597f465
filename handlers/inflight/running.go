package inflight

import (
	"time"

	"github.com/amanycodes/pine-gate/internal/wire/meter"
)

// Running is a request in flight, for operators.
type Running struct {
	ID, Key, Team string
	Endpoint      string
	Model         string // as asked for; "*" where models are hidden
	Backend       string // that serves it, or at which it waits; "": none yet
	Stream        bool
	State         State
	Start         time.Time

	// Tokens so far: as reported by the backend, else estimated.
	Input, Output int64
}

// State is the progress of a request in flight.
type State string

// The states of a request in flight.
const (
	Waiting   State = "waiting"   // for its turn at a backend
	Sent      State = "sent"      // to a backend, without an answer yet
	Answering State = "answering" // part of the answer has arrived
)

// List returns the n requests that have been in flight longest, the oldest
// first, and the total number in flight.
func (s *Set) List(n int) (running []Running, total int) {
	type seen struct {
		*Entry
		waits bool
		at    int
	}
	s.mu.Lock()
	total = s.n
	entries := make([]seen, 0, min(n, total))
	for e := s.first; e != nil && len(entries) < n; e = e.next {
		entries = append(entries, seen{e, !e.waiting.IsZero(), e.waitingAt})
	}
	s.mu.Unlock()
	running = make([]Running, 0, len(entries))
	for _, e := range entries {
		running = append(running, e.running(e.waits, e.at))
	}
	return running, total
}

// running returns the state of the request. at is the candidate at which it
// waits, if waits is true.
func (e *Entry) running(waits bool, at int) Running {
	candidate, state := -1, Waiting
	var result meter.Result
	switch a := e.current(); {
	case waits:
		candidate = at
	case a.N > 0:
		candidate, state = a.Candidate, Sent
		if a.Meter != nil {
			result = a.Meter.Result()
		}
		if result.Bytes > 0 {
			state = Answering
		}
	}
	record := e.Request.Record(candidate, 0, &result)
	r := Running{
		ID:       record.ID,
		Key:      record.Key,
		Team:     record.Team,
		Endpoint: record.Endpoint,
		Model:    record.Model,
		Backend:  record.Backend,
		Stream:   e.Stream,
		State:    state,
		Start:    record.Start,
		Input:    record.Input,
		Output:   record.Output,
	}
	if e.HideModel {
		r.Model = "*"
	}
	return r
}
