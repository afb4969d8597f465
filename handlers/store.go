package handlers

import (
	"errors"

	"go.uber.org/zap"

	"github.com/amanycodes/pine-gate/internal/wire"
	"github.com/amanycodes/pine-gate/limiter"
	"github.com/amanycodes/pine-gate/usage"
)

// openLedger gets the ledger that the request will be recorded in. It refuses
// the request if the store is unavailable, or has room only for the requests in
// flight: a request that could not be recorded is not sent to a backend.
func (q *request) openLedger() *wire.Error {
	ledger, refusal := ledgerOf(q.g.Shared)
	if refusal == nil && ledger.Ready() != nil { // the ledger has logged why
		refusal = wire.Errorf(wire.KindOverloaded, "")
	}
	if refusal != nil {
		q.g.Metrics.StoreError("ledger")
		return refusal
	}
	q.ledger = ledger
	return nil
}

// ledgerOf returns the ledger, or a refusal if the store is unavailable, which has
// logged why.
func ledgerOf(shared Shared) (usage.Ledger, *wire.Error) {
	ledger, err := shared.Ledger()
	if err != nil {
		return nil, wire.Errorf(wire.KindOverloaded, "")
	}
	return ledger, nil
}

// logLimiterError logs an error of the limiter, unless its store is unavailable,
// which is logged already, or the caller left.
func (q *request) logLimiterError(err error) {
	if !errors.Is(err, limiter.ErrUnavailable) && q.r.Context().Err() == nil {
		q.g.Logger.Error("limiter failed", zap.Error(err))
	}
}
