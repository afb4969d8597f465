package handlers

import (
	"go.uber.org/zap"

	"github.com/amanycodes/pine-gate/wire"
)

// openLedger finds the ledger that the request will be recorded in. Nothing is
// sent to a backend that could not be recorded: the request is refused while
// the store is away or has room only for those that are under way.
func (c *call) openLedger() *wire.Error {
	ledger, err := c.g.Shared.Ledger()
	if err != nil {
		c.g.Logger.Error("the store is away", zap.Error(err))
		c.g.Metrics.StoreError("ledger")
		return wire.Errorf(wire.KindOverloaded, "")
	}
	if ledger.Ready() != nil { // the ledger has told why, once
		c.g.Metrics.StoreError("ledger")
		return wire.Errorf(wire.KindOverloaded, "")
	}
	c.ledger = ledger
	return nil
}
