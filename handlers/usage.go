package handlers

import (
	"errors"
	"net/http"
	"time"

	"go.uber.org/zap"

	"github.com/amanycodes/pine-gate/internal/wire"
	"github.com/amanycodes/pine-gate/usage"
)

// serveUsage answers `GET /v1/usage` to the holder of an admin key.
func (q *request) serveUsage() *wire.Error {
	if err := authenticateAdmin(q.g.Keys, q.g.Throttle, q.r, q.start); err != nil {
		return err
	}
	return WriteUsage(q.g.Shared, q.g.Logger, q.w, q.r)
}

// WriteUsage answers a query of usage as JSON or CSV, or returns an error. The
// request must have been authorised.
func WriteUsage(shared Shared, logger *zap.Logger, w http.ResponseWriter, r *http.Request) *wire.Error {
	query, err := usage.ParseQuery(r.URL.Query(), time.Now())
	if err != nil {
		return queryError(logger, r, err)
	}
	shared.Acquire()
	defer shared.Release()
	ledger, refusal := ledgerOf(shared)
	if refusal != nil {
		return refusal
	}
	page, err := ledger.Query(r.Context(), query)
	if err != nil {
		return queryError(logger, r, err)
	}
	w.Header().Set("Cache-Control", "no-store")
	if query.CSV {
		w.Header().Set("Content-Type", "text/csv; charset=utf-8")
		w.Header().Set("Content-Disposition", `attachment; filename="usage.csv"`)
		if page.NextPage != nil { // CSV has no field for it
			w.Header().Set("X-Next-Page", *page.NextPage)
		}
		err = page.WriteCSV(w)
	} else {
		w.Header().Set("Content-Type", "application/json")
		err = page.WriteJSON(w)
	}
	if err != nil {
		logger.Debug("writing usage failed", zap.Error(err)) // the caller left
	}
	return nil
}

// queryError returns the caller's error for a query that failed. It names the
// parameter that is invalid; other errors are only logged.
func queryError(logger *zap.Logger, r *http.Request, err error) *wire.Error {
	if errors.Is(err, usage.ErrUnavailable) { // which was logged once
		return wire.Errorf(wire.KindOverloaded, "Usage is not available now: the store that the gates share does not answer. Please try again.")
	}
	var param *usage.ParamError
	if !errors.As(err, &param) {
		if r.Context().Err() == nil { // else the caller left
			logger.Error("reading usage failed", zap.Error(err))
		}
		return wire.Errorf(wire.KindOverloaded, "")
	}
	refusal := wire.Errorf(wire.KindBadRequest, "%s", param.Message)
	refusal.Param = param.Param
	return refusal
}
