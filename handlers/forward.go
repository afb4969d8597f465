package handlers

import (
	"context"
	"time"

	"github.com/amanycodes/pine-gate/handlers/inflight"
)

// forward sends an admitted request to its candidates until one of them
// answers, and settles it in every case: reverse_proxy panics if an answer
// breaks off midway.
func (s *settlement) forward() {
	ctx, cancel := context.WithCancelCause(s.r.Context())
	defer func() {
		cancel(nil)
		panicked := recover()
		s.finish(ctx, panicked != nil)
		s.forgive()
		if panicked != nil {
			panic(panicked)
		}
	}()
	s.track(cancel)
	defer s.g.Shared.InFlight().Remove(&s.entry)
	setRateHeaders(s.w.Header(), s.dialect, s.states, s.start)
	s.overhead = time.Since(s.start) - s.bodyTime
	s.current = s.reservation.Candidate()
	if err := s.takeTurn(ctx, s.current); err != nil {
		s.refuseTurn(ctx, err)
		return
	}
	for {
		err := s.attempt(ctx)
		if err == nil {
			return
		}
		s.failure = err
		if ctx.Err() != nil || !s.nextCandidate(ctx) {
			s.fail(ctx, err)
			return
		}
	}
}

// track adds the request to those in flight.
func (s *settlement) track(cancel context.CancelCauseFunc) {
	g, e := s.g, &s.entry
	e.Request, e.Cancel = s.request, cancel
	e.MaxStream, e.Stream, e.HideModel = g.MaxStream, s.parsed.Stream, g.HideModels
	if e.Stream && g.KeepAlive > 0 {
		e.KeepAlive = inflight.NewKeepAlive(s.w, s.dialect, g.KeepAlive)
	}
	g.Shared.InFlight().Add(e)
}

// hasNext reports whether another candidate is left that may be tried.
func (s *settlement) hasNext() bool {
	return s.attempts < s.routed.Attempts && s.current+1 < len(s.candidates)
}

// nextCandidate takes a turn at the next candidate with room, and reports whether
// there was one.
func (s *settlement) nextCandidate(ctx context.Context) bool {
	return s.attempts < s.routed.Attempts && s.takeTurn(ctx, s.current+1) == nil
}

// fail settles the usage, and then answers that no backend has answered.
func (s *settlement) fail(ctx context.Context, err error) {
	if s.r.Context().Err() != nil {
		s.finish(ctx, false)
		s.w.WriteHeader(statusClientClosed) // for the access log; nobody reads it
		return
	}
	s.refusal = failureError(ctx, err)
	s.finish(ctx, false)
	if !s.dispatched {
		s.countRefusal(s.refusal, "")
	}
	s.refusal.Write(s.w, s.dialect, s.id)
}
