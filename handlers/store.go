package handlers

import (
	"errors"

	"go.uber.org/zap"

	"github.com/amanycodes/pine-gate/internal/wire"
	"github.com/amanycodes/pine-gate/limiter"
	"github.com/amanycodes/pine-gate/usage"
)

// openLedger finds the ledger that the request will be recorded in. Nothing is
// sent to a backend that could not be recorded: the request is refused while
// the store is away or has room only for those that are under way.
func (c *call) openLedger() *wire.Error {
	ledger, refusal := ledgerOf(c.g.Shared)
	if refusal == nil && ledger.Ready() != nil { // the ledger has told why, once
		refusal = wire.Errorf(wire.KindOverloaded, "")
	}
	if refusal != nil {
		c.g.Metrics.StoreError("ledger")
		return refusal
	}
	c.ledger = ledger
	return nil
}

// ledgerOf finds the ledger, or refuses while the store is away, which has told
// so, once.
func ledgerOf(shared Shared) (usage.Ledger, *wire.Error) {
	ledger, err := shared.Ledger()
	if err != nil {
		return nil, wire.Errorf(wire.KindOverloaded, "")
	}
	return ledger, nil
}

// limiterFailed tells the log what went wrong with the limits, but for what is
// told already: that their store is away, and that the caller left.
func (c *call) limiterFailed(err error) {
	if !errors.Is(err, limiter.ErrUnavailable) && c.r.Context().Err() == nil {
		c.g.Logger.Error("the limiter failed", zap.Error(err))
	}
}
