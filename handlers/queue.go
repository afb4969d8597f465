package handlers

import (
	"context"
	"errors"
	"time"

	"github.com/amanycodes/pine-gate/internal/backends/queue"
	"github.com/amanycodes/pine-gate/internal/wire"
	"github.com/amanycodes/pine-gate/limiter"
)

// errNowhere is returned when no candidate is left and none is full.
var errNowhere = errors.New("no backend may be tried")

// takeTurn takes one of a candidate's slots for concurrent requests and makes
// that candidate the current one: the first from index from on that has room,
// and if all are full the first whose queue admits the request. It returns a
// [*queue.FullError] if there is none.
//
// Candidates that are cooling down are skipped, except the current one. A
// candidate had room before the limits were checked; if it has filled up since,
// the request counts against the capacity of the candidate it leaves, too.
func (s *settlement) takeTurn(ctx context.Context, from int) error {
	full := -1
	for i := from; i < len(s.candidates); i++ {
		switch {
		case i != s.current && s.cooling(i) > 0:
		case !s.candidates[i].State.Begin():
			if full < 0 {
				full = i
			}
		case s.moveTo(i):
			return nil
		default:
			s.candidates[i].State.End(time.Time{})
		}
	}
	if full < 0 {
		return errNowhere
	}
	return s.queueFrom(ctx, full)
}

// queueFrom waits at the first candidate from index full on that has a queue,
// and room for the request under its limits.
func (s *settlement) queueFrom(ctx context.Context, full int) error {
	var err error = &queue.FullError{RetryAfter: s.candidates[full].State.RetryAfter()}
	for i := full; i < len(s.candidates) && ctx.Err() == nil; i++ {
		state := s.candidates[i].State
		if _, queues := state.Full(); !queues || i != s.current && s.cooling(i) > 0 || !s.moveTo(i) {
			continue
		}
		if err = s.waitAt(ctx, i); err != nil {
			return err
		}
		cooling := s.cooling(i)
		if cooling == 0 {
			return nil
		}
		state.End(time.Time{}) // it began to cool down meanwhile
		err = &queue.FullError{RetryAfter: cooling}
	}
	return err
}

// cooling returns how long a candidate is still cooling down. It is 0 for the
// only candidate.
func (s *settlement) cooling(i int) time.Duration {
	if len(s.candidates) == 1 {
		return 0
	}
	chosen := &s.candidates[i]
	return chosen.State.Backoff(chosen.Model, s.key.ID, time.Now()).Wait
}

// moveTo makes a candidate the current one, and reports whether its limits have
// room. Only the backend's part of the reservation moves; without room the
// reservation is unchanged.
func (s *settlement) moveTo(i int) bool {
	if i == s.current {
		return true
	}
	err := s.reservation.Move(s.r.Context(), i)
	if err == nil {
		s.current = i
		return true
	}
	var full *limiter.Refusal
	if !errors.As(err, &full) {
		s.logLimiterError(err)
	}
	return false
}

// waitAt waits for the request's turn at a candidate. The request keeps its
// reservation: a queue must not be a way around a limit.
func (s *settlement) waitAt(ctx context.Context, i int) error {
	chosen, requests := &s.candidates[i], s.g.Shared.InFlight()
	queued := false
	err := chosen.State.Wait(ctx, s.key.ID, int64(len(s.body)), func() {
		queued = true
		requests.Wait(&s.entry, i, time.Now())
		chosen.Metrics.Waits()
	})
	if queued {
		waited := requests.Resume(&s.entry, time.Now())
		s.waited += waited
		chosen.Metrics.Waited(waited)
	}
	return err
}

// refuseTurn answers that no backend had room for the request. It was sent to
// none.
func (s *settlement) refuseTurn(ctx context.Context, err error) {
	var full *queue.FullError
	if ctx.Err() != nil || !errors.As(err, &full) {
		s.failure = err
		s.fail(ctx, err)
		return
	}
	s.settled = true
	s.reservation.Settle(context.WithoutCancel(s.r.Context()), limiter.Usage{})
	s.refuse(fullError(full), limiter.ScopeBackend.String())
}

// fullError returns the error for the caller if no backend had room.
func fullError(full *queue.FullError) *wire.Error {
	message := "The model server has no room for more requests. Please slow down."
	if full.Late {
		message = "The request waited too long for its turn. Please slow down."
	}
	refusal := wire.Errorf(wire.KindSlowDown, "%s", message)
	refusal.RetryAfter = full.RetryAfter
	return refusal
}
