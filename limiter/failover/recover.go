package failover

import (
	"context"
	"time"
)

const (
	// peersMost is how long a gate waits for the gates that were counted before an outage, and
	// peersEvery the polling interval.
	peersMost, peersEvery = 3 * time.Second, 100 * time.Millisecond

	// seedableMost is how long a gate waits until quotas can be seeded.
	seedableMost = 3 * time.Second

	// gatesForgotten is how long after an outage the number of gates is assumed to be at least that
	// before it: each gate is counted again within a few seconds.
	gatesForgotten = 15 * time.Second

	// flushMost is how long a gate waits until Redis is charged for what was admitted without it.
	flushMost = time.Second

	// peekMost is the maximum number of quotas in one call of Peek.
	peekMost = 100
)

// probe checks the store until it is available again and reconciled, or the limiter is closed.
func (g *Limiter) probe(away *outage) {
	if away.flapping {
		g.announce(away)
	}
	var delay time.Duration
	for g.wait(delay) {
		err := g.primary.Ping(g.ctx)
		if err == nil {
			err = g.reconcile(away)
		}
		if err == nil {
			g.restore(away)
			return
		}
		if g.ctx.Err() != nil {
			return
		}
		g.announce(away)
		delay = min(max(2*delay, probeFirst), probeMost)
	}
}

// wait waits for d. It returns false if the limiter is closed.
func (g *Limiter) wait(d time.Duration) bool {
	if d <= 0 {
		return g.ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-g.ctx.Done():
		return false
	}
}

// reconcile charges Redis, before it decides again, for what was admitted without it: first what was
// used, then, once the quotas that Redis did not have are seeded, what is still reserved. Other gates seed
// once this one is counted, so usage must be charged before: otherwise it is charged on top of the seed.
func (g *Limiter) reconcile(away *outage) (err error) {
	if err := g.flush(); err != nil {
		return err
	}
	g.primary.SetUncharged(false)
	defer func() {
		if err != nil {
			g.primary.SetUncharged(true)
		}
	}()
	if err := g.primary.Ping(g.ctx); err != nil {
		return err
	}
	if err := g.waitForSeed(); err != nil {
		return err
	}
	if err := g.waitForPeers(away); err != nil {
		return err
	}
	open := g.open.list()
	for _, res := range open {
		away.local.addCharged(res.holds()) // a hold on a quota that Redis does not have would be lost
	}
	quotas := away.local.chargedQuotas()
	for len(quotas) > 0 {
		n := min(len(quotas), peekMost)
		if _, err := g.primary.Peek(g.ctx, quotas[:n]); err != nil {
			return err
		}
		quotas = quotas[n:]
	}
	for _, res := range open {
		res.holdInRedis()
	}
	return g.flush()
}

// waitForSeed waits until Seed works again, for at most 3 seconds: if Redis has lost quotas, the next
// requests need it.
func (g *Limiter) waitForSeed() error {
	if g.opts.Seedable == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(g.ctx, seedableMost)
	defer cancel()
	for g.opts.Seedable(ctx) != nil && ctx.Err() == nil {
		g.wait(peersEvery)
	}
	return g.ctx.Err()
}

// flush waits until all settlements are delivered.
func (g *Limiter) flush() error {
	ctx, cancel := context.WithTimeout(g.ctx, flushMost)
	defer cancel()
	return g.primary.Flush(ctx)
}

// waitForPeers waits for the gates that were counted before an outage, or for Options.Replicas, each of
// which has shares to charge. It assumes that a gate which does not return within 3 seconds is dead. If
// Redis was only slow once, it does not wait for Replicas, because most gates have not noticed.
func (g *Limiter) waitForPeers(away *outage) error {
	if away.mode != Local {
		return nil
	}
	gates := away.gates
	if g.announced.Load() == away {
		gates = max(gates, g.opts.Replicas)
	}
	for waited := time.Duration(0); g.primary.Replicas() < gates && waited < peersMost; waited += peersEvery {
		if !g.wait(peersEvery) {
			return g.ctx.Err()
		}
		if err := g.primary.Ping(g.ctx); err != nil {
			return err
		}
		if g.primary.Replicas() >= gates {
			g.wait(peersEvery) // the last gate may still be charging what it admitted since its flush
		}
	}
	return nil
}
