package limiter

import "time"

// leases is the counter of a concurrent limit: how many reservations are not settled. In one process
// that is all there is to know: a reservation can't outlive the process, and it is settled once, so
// that the number is never below zero and a place is never given back twice.
type leases struct {
	named
	inUse int64
	limit int64
}

func (c *leases) touch(_ instant, l Limit) { c.limit = l.Amount }

func (c *leases) room() (n, mark int64) { return c.limit - c.inUse, 0 }

func (c *leases) wait(instant, int64) (time.Duration, bool) { return inFlightRetry, false }

func (c *leases) take(n int64) { c.inUse += n }

func (c *leases) settle(_ instant, n, _, _ int64) { c.inUse -= n }

func (c *leases) idle(instant) bool { return c.inUse == 0 }
