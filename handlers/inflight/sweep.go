package inflight

import (
	"context"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/amanycodes/pine-gate/usage"
)

// sweepEvery is the interval between sweeps. A time limit is exceeded by at
// most this; silence counts from the first sweep that sees it, so what depends
// on it may be late by twice as much.
const sweepEvery = 250 * time.Millisecond

// Run sweeps the requests and writes checkpoints to the ledger, until ctx ends.
// The ledger logs what it can't write.
func (s *Set) Run(ctx context.Context, ledger usage.Ledger) {
	sweep, checkpoint := time.NewTicker(sweepEvery), time.NewTicker(checkpointEvery)
	defer sweep.Stop()
	defer checkpoint.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-sweep.C:
			s.Sweep(now)
		case now := <-checkpoint.C:
			s.checkpoint(ctx, ledger, now)
		}
	}
}

// Sweep cancels the requests that take longer than MaxStream and the attempts
// whose backends stall, and sends keep-alives to silent streams. Run calls it.
func (s *Set) Sweep(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for e := s.first; e != nil; e = e.next {
		switch {
		case !e.waiting.IsZero():
			if caddy.Exiting() {
				e.Cancel(ErrShutdown) // another gate may have room
			}
		case now.Sub(e.since) >= e.MaxStream:
			e.Cancel(ErrMaxStream)
		default:
			e.endStalled(now)
			if e.KeepAlive != nil && e.KeepAlive.due(now) {
				go e.KeepAlive.send() // it may block; silence is rare
			}
		}
	}
}

// endStalled cancels the attempt if its backend takes too long.
func (e *Entry) endStalled(now time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	a := &e.attempt
	if a.Watchdog == nil {
		return
	}
	if err := a.Watchdog.Expired(now, a.FirstToken, a.Idle); err != nil {
		a.End(err)
	}
}
