package handlers

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	"github.com/amanycodes/pine-gate/handlers/inflight"
	"github.com/amanycodes/pine-gate/internal/metrics"
	"github.com/amanycodes/pine-gate/internal/wire"
	"github.com/amanycodes/pine-gate/internal/wire/meter"
	"github.com/amanycodes/pine-gate/limiter"
	"github.com/amanycodes/pine-gate/usage"
)

// settlement is an admitted request: its attempts, one after the other, and the
// one record of its usage. It is settled once, whichever way the request ends.
type settlement struct {
	*request
	entry inflight.Entry

	current  int      // index of the candidate
	attempts int      // begun
	last     *attempt // nil: none was begun
	refused  []refusedAt

	overhead time.Duration // spent in the gate before the first attempt
	waited   time.Duration // in queues

	dispatched bool        // an earlier attempt may have reached its backend
	failure    error       // why the last attempt failed; nil if it has not
	refusal    *wire.Error // the gate's answer if no backend answered
	settled    bool
	record     usage.Record // as settled
}

// finish settles a request that has ended. A complete answer was settled before
// its last bytes were released.
func (s *settlement) finish(ctx context.Context, panicked bool) {
	if s.settled {
		return
	}
	if s.last == nil { // it panicked or was cancelled before the first attempt
		s.last = &attempt{settlement: s, meter: meter.New(meter.Config{})}
	}
	if s.failure == nil {
		s.failure = s.last.upstream.Broken
	}
	s.settle(s.last.outcome(ctx, panicked))
}

// outcome returns how a request ended whose answer did not complete, or whose
// end cannot be detected. ctx is the request's context, or the attempt's.
func (a *attempt) outcome(ctx context.Context, panicked bool) usage.Outcome {
	cause := context.Cause(ctx)
	switch {
	case errors.Is(cause, inflight.ErrMaxStream):
		return usage.StreamLimit
	case errors.Is(cause, inflight.ErrShutdown):
		return usage.Shutdown
	case a.callerLeft():
		return usage.ClientClosed
	case isTimeout(a.failure), isTimeout(a.cancelCause):
		return usage.Timeout
	case a.failure != nil:
		return usage.UpstreamError
	case panicked:
		// The answer broke off while the caller was connected: a write to it failed,
		// or a read from the backend.
		return usage.UpstreamError
	case a.upstream.Status >= 300:
		return usage.UpstreamError
	default:
		return usage.OK
	}
}

// settle replaces the reservation by the actual usage, writes the record, and
// publishes it in metrics and logs. Only the first call has an effect. It must
// not depend on the caller still being connected.
func (s *settlement) settle(outcome usage.Outcome) {
	if s.settled {
		return
	}
	s.settled = true
	// The caller may be gone; the stores bound their own calls.
	ctx := context.WithoutCancel(s.r.Context())

	checkpointed := s.g.Shared.InFlight().Settle(&s.entry)
	result := s.last.meter.Result()
	s.setRecord(outcome, &result)
	used := s.charge()
	s.alertOn(&used)
	s.reservation.Settle(ctx, used)
	if !used.Dispatched {
		if checkpointed {
			_ = s.ledger.Forget(ctx, s.id) // the ledger logs what it can't write
		}
		s.logRecord()
		return
	}
	record := &s.record
	if err := s.ledger.Record(ctx, record); err != nil {
		s.g.Metrics.StoreError("ledger")
		s.g.Logger.Error("recording usage failed", zap.String("request_id", s.id), zap.Error(err))
	}
	s.traceRecord(record)
	LogEvent(s.g.Events, record, s.g.HideModels)
	if s.endpoint == wire.Responses && outcome == usage.OK {
		s.g.Shared.Responses().Add(result.ResponseID, record.Key, record.Backend)
	}
	s.countRecord(result.Events)
	s.logRecord()
}

// charge returns the usage that limits are charged for the record.
func (s *settlement) charge() limiter.Usage {
	record := &s.record
	used := limiter.Usage{
		Dispatched: s.dispatched || s.last.upstream.Dispatched,
		Input:      record.Input,
		Output:     record.Output,
		Cost:       record.CostNano,
	}
	if !record.Priced {
		used.Cost = s.assumedCost(&s.candidates[s.current], record.Tokens)
	}
	used.Failed = used.Dispatched && !s.delivered()
	if used.Failed {
		used.Input, used.Output, used.Cost = 0, 0, 0
	}
	return used
}

// delivered reports whether the backend gave an answer that is charged: one of
// status 2xx, of which at least the headers arrived. A caller who leaves before
// that is charged its input; a refusal by the backend costs nothing.
func (s *settlement) delivered() bool {
	status := s.last.upstream.Status
	if status == 0 {
		return s.failure == nil || errors.Is(s.failure, context.Canceled)
	}
	if result := s.last.meter.Result(); result.StreamError && result.Delivered == 0 && !result.Reported && s.endpoint.Prose() {
		return false // the answer was an error
	}
	return status >= 200 && status < 300
}

// countRecord adds the record to the metrics.
func (s *settlement) countRecord(events int64) {
	record := &s.record
	request := metrics.Request{
		Endpoint:   record.Endpoint,
		Backend:    record.Backend,
		Model:      s.modelLabel(),
		Key:        record.Key,
		Status:     record.Status,
		Input:      record.Input,
		CacheRead:  record.CacheRead,
		CacheWrite: record.CacheWrite,
		Output:     record.Output,
		Reasoning:  record.Reasoning,
		CostUSD:    float64(record.CostNano) / 1e9,
		Unpriced:   !record.Priced,
		Estimated:  record.Estimated,
		Overhead:   s.overhead,
		Duration:   record.Duration,
		FirstToken: record.FirstToken,
	}
	if events > 1 && record.FirstToken > 0 {
		request.InterToken = (record.Duration - s.waited - record.FirstToken) / time.Duration(events-1)
	}
	s.g.Metrics.Observe(request)
}

func (q *request) modelLabel() string {
	if q.g.HideModels {
		return "*"
	}
	return q.g.Policy.ModelLabel(q.parsed.Model)
}
