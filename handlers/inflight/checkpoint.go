package inflight

import (
	"context"
	"time"

	"github.com/amanycodes/pine-gate/usage"
)

const (
	// checkpointEvery is how often the usage of requests in flight is recorded,
	// of young ones too: a process that is killed loses at most this much of
	// each.
	checkpointEvery = time.Second

	// checkpointGroup bounds the records of one write: the ledger is blocked
	// meanwhile.
	checkpointGroup = 1024
)

// checkpoint writes the records of the requests that have changed since the
// last checkpoint.
func (s *Set) checkpoint(ctx context.Context, ledger usage.Ledger, now time.Time) {
	entries := s.open()
	for len(entries) > 0 {
		group := entries[:min(len(entries), checkpointGroup)]
		entries = entries[len(group):]
		records := make([]usage.Record, 0, len(group))
		for _, e := range group {
			if record, changed := e.checkpoint(now); changed {
				records = append(records, record)
			}
		}
		if len(records) == 0 {
			continue
		}
		if err := ledger.Checkpoint(ctx, records); err != nil {
			for _, e := range group {
				e.attempts = 0 // retry it the next time
			}
		}
	}
}

// open returns the requests that are at a backend and have not settled, and
// marks them as checkpointed.
func (s *Set) open() (entries []*Entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for e := s.first; e != nil; e = e.next {
		if e.Uncharged || e.settled || !e.waiting.IsZero() {
			continue
		}
		e.checkpointed = true
		entries = append(entries, e)
	}
	return entries
}

// checkpoint returns the record that the request would be charged by if it
// ended now, and reports whether it has changed since the last checkpoint.
//
// It is unknown here whether a request without an answer has left the gate: one
// whose connection is still being made is charged its input if the process is
// killed before it ends.
func (e *Entry) checkpoint(now time.Time) (record usage.Record, changed bool) {
	a := e.current()
	if a.Meter == nil {
		return usage.Record{}, false
	}
	result := a.Meter.Result()
	record = e.Request.Record(a.Candidate, a.N, &result)
	if e.attempts == a.N && e.tokens == record.Tokens {
		return usage.Record{}, false
	}
	e.attempts, e.tokens = a.N, record.Tokens
	record.Duration = now.Sub(record.Start)
	return record, true
}
