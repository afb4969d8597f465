package failover

import (
	"context"
	"time"
)

const (
	// peersMost is how long a gate waits for those that were counted before an outage, and peersEvery
	// how often it looks.
	peersMost, peersEvery = 3 * time.Second, 100 * time.Millisecond

	// seedableMost is how long a gate waits until quotas can be seeded.
	seedableMost = 3 * time.Second

	// gatesForgotten is for how long after an outage the gates are taken for as many as before it:
	// each is counted again within a few seconds.
	gatesForgotten = 15 * time.Second

	// flushMost is how long a gate waits until Redis has what was admitted without it.
	flushMost = time.Second

	// peekMost is how many quotas are looked at in one call.
	peekMost = 100
)

// probe asks a store that is away until it is back.
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

// wait waits, and is false when the store is closed.
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

// reconcile charges Redis, before it decides again, for what was admitted without it: first what was used,
// then, when quotas that Redis did not know are seeded, what is still reserved. Other gates seed when this
// one is counted: what was used must be charged by then, or it would be charged beside the seed.
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
		away.local.addCharged(res.holds()) // what is held in a quota that Redis does not know is lost
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

// waitForSeed waits until Seed returns again what quotas have used, for 3 seconds at most: where Redis
// has lost them, those who come next need it.
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

// flush waits until all that was settled is delivered.
func (g *Limiter) flush() error {
	ctx, cancel := context.WithTimeout(g.ctx, flushMost)
	defer cancel()
	return g.primary.Flush(ctx)
}

// waitForPeers waits for the gates that were counted before an outage, or are known to be there, each of which
// has shares to charge. One that does not come within 3 seconds is taken for dead. Where Redis was slow once,
// most of them have met nothing.
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
			g.wait(peersEvery) // what the last to come has admitted since it charged is on its way
		}
	}
	return nil
}
