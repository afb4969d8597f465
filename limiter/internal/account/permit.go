package account

import (
	"time"

	"github.com/amanycodes/pine-gate/limiter"
)

// Permits is the counter of a concurrent limit: the number of unsettled reservations. In one process
// that is sufficient: a reservation can't outlive the process, and it is settled once, so that the
// number is never below zero and a permit is never returned twice.
type Permits struct {
	named
	inUse int64
	limit int64
}

func (c *Permits) Touch(_ Instant, l limiter.Limit) { c.limit = l.Amount }

func (c *Permits) Room() (n, mark int64) { return c.limit - c.inUse, 0 }

func (c *Permits) Wait(Instant, int64) (time.Duration, bool) { return inFlightRetry, false }

func (c *Permits) Take(n int64) { c.inUse += n }

func (c *Permits) Settle(_ Instant, n, _, _ int64) { c.inUse -= n }

func (c *Permits) Idle(Instant) bool { return c.inUse == 0 }
