package handlers

import (
	"context"
	"errors"
	"time"

	"github.com/amanycodes/pine-gate/internal/backends/queue"
	"github.com/amanycodes/pine-gate/internal/wire"
	"github.com/amanycodes/pine-gate/limiter"
)

// errNowhere is why a request is sent to no further candidate, where none is full.
var errNowhere = errors.New("no backend may be tried")

// takePlace takes a place for the request at a candidate, from a number on, and
// makes that the current one: the first that has one free, and where all are full
// the first at which it comes to be its turn. It returns a [*queue.FullError]
// where it gets none at a full one.
//
// Candidates that are to be left alone are passed over, but for the current one.
// What is free was found so before the limits were asked; where it was taken
// meanwhile, the request counts against the capacity of the one it leaves, too.
func (c *call) takePlace(ctx context.Context, from int) error {
	full := -1
	for i := from; i < len(c.candidates); i++ {
		switch {
		case i != c.answer.current && c.cooling(i) > 0:
		case !c.candidates[i].State.Begin():
			if full < 0 {
				full = i
			}
		case c.moveTo(i):
			return nil
		default:
			c.candidates[i].State.End(time.Time{})
		}
	}
	if full < 0 {
		return errNowhere
	}
	var err error = &queue.FullError{RetryAfter: c.candidates[full].State.RetryAfter()}
	for i := full; i < len(c.candidates) && ctx.Err() == nil; i++ {
		live := c.candidates[i].State
		if _, queues := live.Full(); !queues || i != c.answer.current && c.cooling(i) > 0 || !c.moveTo(i) {
			continue
		}
		if err = c.waitAt(ctx, i); err != nil {
			return err
		}
		cooling := c.cooling(i)
		if cooling == 0 {
			return nil
		}
		live.End(time.Time{}) // it is to be left alone by now
		err = &queue.FullError{RetryAfter: cooling}
	}
	return err
}

// cooling is for how long a candidate is to be left alone. The only one never is.
func (c *call) cooling(i int) time.Duration {
	if len(c.candidates) == 1 {
		return 0
	}
	chosen := &c.candidates[i]
	return chosen.State.Backoff(chosen.Model, time.Now()).Wait
}

// moveTo makes a candidate the current one, if its limits have room. Only the
// backend's part of the reservation moves; where there is no room the old one
// stays taken.
func (c *call) moveTo(i int) bool {
	if i == c.answer.current {
		return true
	}
	err := c.reservation.Move(c.r.Context(), i)
	if err == nil {
		c.answer.current = i
		return true
	}
	var full *limiter.Refusal
	if !errors.As(err, &full) {
		c.limiterFailed(err)
	}
	return false
}

// waitAt waits for the request's turn at a candidate. It keeps what it has
// reserved: to queue must not be a way round a limit.
func (c *call) waitAt(ctx context.Context, i int) error {
	chosen, requests := c.candidates[i], c.g.Shared.InFlight()
	queued := false
	err := chosen.State.Wait(ctx, c.key.ID, int64(len(c.body)), func() {
		queued = true
		requests.wait(c, i, time.Now())
		chosen.Metrics.Waits()
	})
	if queued {
		waited := requests.resume(c, time.Now())
		c.answer.waited += waited
		chosen.Metrics.Waited(waited)
	}
	return err
}

// turnedAway tells a caller that no backend had room for the request, which was
// not sent to any.
func (c *call) turnedAway(ctx context.Context, err error) {
	var full *queue.FullError
	if ctx.Err() != nil || !errors.As(err, &full) {
		c.answer.failure = err
		c.failed(ctx, err)
		return
	}
	c.answer.settled = true
	c.reservation.Settle(context.WithoutCancel(c.r.Context()), limiter.Usage{})
	c.answer.scope = limiter.ScopeBackend.String()
	c.refuse(fullError(full))
}

// fullError tells of a backend that had no room.
func fullError(full *queue.FullError) *wire.Error {
	message := "The model server has no room for more requests. Please slow down."
	if full.Late {
		message = "The request waited too long for its turn. Please slow down."
	}
	refusal := wire.Errorf(wire.KindSlowDown, "%s", message)
	refusal.RetryAfter = full.RetryAfter
	return refusal
}
