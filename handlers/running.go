package handlers

import "time"

// Running is a request that is in flight, as those see it who operate the gate.
type Running struct {
	ID, Key, Team string
	Endpoint      string
	Model         string // as asked for; "*" where models are hidden
	Backend       string // that has it, or at which it waits; "": none yet
	Stream        bool
	State         RunningState
	Start         time.Time

	// What it has used so far, in tokens: as the backend has reported it, else
	// estimated.
	Input, Output int64
}

// RunningState is how far a request in flight is.
type RunningState string

// The states of a request in flight.
const (
	Waiting   RunningState = "waiting"   // for its turn at a backend
	Sent      RunningState = "sent"      // to a backend, of which nothing came yet
	Answering RunningState = "answering" // part of the answer came
)

// Len is how many requests are in flight.
func (f *InFlight) Len() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls.Len()
}

// List returns the requests in flight, those first that have been there longest, n
// at most, and how many there are.
func (f *InFlight) List(n int) (running []Running, total int) {
	type seen struct {
		*call
		waits bool
		at    int
	}
	f.mu.Lock()
	total = f.calls.Len()
	calls := make([]seen, 0, min(n, total))
	for e := f.calls.Front(); e != nil && len(calls) < n; e = e.Next() {
		c := e.Value.(*call)
		calls = append(calls, seen{c, !c.progress.waits.IsZero(), c.progress.waitsAt})
	}
	f.mu.Unlock()
	running = make([]Running, 0, len(calls))
	for _, c := range calls {
		running = append(running, c.running(c.waits, c.at))
	}
	return running, total
}

// running tells how far the request is. Like [call.checkpoint] it is called by
// another goroutine than the request's own.
func (c *call) running(waits bool, at int) Running {
	r := Running{
		ID:       c.id,
		Key:      c.key.ID,
		Team:     c.key.Team,
		Endpoint: c.endpoint.String(),
		Model:    c.request.Model,
		Stream:   c.request.Stream,
		State:    Waiting,
		Start:    c.start,
		Input:    c.input,
	}
	if c.g.HideModels {
		r.Model = "*"
	}
	c.progress.mu.Lock()
	meter, current := c.progress.meter, c.progress.current
	c.progress.mu.Unlock()
	switch {
	case waits:
		r.Backend = c.candidates[at].Name
	case meter != nil:
		r.Backend, r.State = c.candidates[current].Name, Sent
		result := meter.Result()
		if result.Bytes > 0 {
			r.State = Answering
		}
		used := c.soFar(&result)
		r.Input, r.Output = used.Input, used.Output
	}
	return r
}
