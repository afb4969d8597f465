package handlers

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	"github.com/amanycodes/pine-gate/handlers/routing"
	"github.com/amanycodes/pine-gate/internal/backends"
	"github.com/amanycodes/pine-gate/internal/metrics"
	"github.com/amanycodes/pine-gate/internal/wire"
	"github.com/amanycodes/pine-gate/internal/wire/meter"
	"github.com/amanycodes/pine-gate/limiter"
	"github.com/amanycodes/pine-gate/usage"
	"github.com/amanycodes/pine-gate/usage/pricing"
)

// answer is what is known of a request's answer.
type answer struct {
	states []limiter.State
	scope  string // of the limit that refused

	current  int // candidate
	attempts int
	attempt  *backends.Attempt
	meter    *meter.Meter

	overhead   time.Duration // the gate's own, until the first attempt
	waited     time.Duration // for its turn
	firstToken time.Duration
	dispatched bool        // some attempt may have reached its backend
	failure    error       // why the last attempt failed
	refusal    *wire.Error // what the caller is told where no backend answered
	ended      error       // why the gate itself ended the last attempt, before it was over; else what means nothing
	drained    bool        // what reverse_proxy left of the answer was read on
	settled    bool
}

// finish settles a request that is over. An answer that came whole has been
// settled before its last bytes were released.
func (c *call) finish(ctx context.Context, panicked bool) {
	if c.answer.settled {
		return
	}
	if c.answer.attempt == nil { // it panicked before the first attempt
		c.answer.attempt, c.answer.meter = new(backends.Attempt), meter.New(meter.Config{})
	}
	if c.answer.failure == nil {
		c.answer.failure = c.answer.attempt.Broken
	}
	c.settle(c.outcome(ctx, panicked))
}

// outcome tells how a request ended that has not settled by itself.
func (c *call) outcome(ctx context.Context, panicked bool) usage.Outcome {
	cause := context.Cause(ctx)
	switch {
	case errors.Is(cause, errStreamLimit):
		return usage.StreamLimit
	case errors.Is(cause, ErrShutdown):
		return usage.Shutdown
	case c.callerLeft():
		return usage.ClientClosed
	case isTimeout(c.answer.failure), isTimeout(c.answer.ended):
		return usage.Timeout
	case c.answer.failure != nil:
		return usage.UpstreamError
	case panicked:
		// The answer broke off while the caller's connection stood: writing
		// to it failed, or reading from the backend.
		return usage.UpstreamError
	case c.answer.attempt.Status >= 300:
		return usage.UpstreamError
	default:
		return usage.OK
	}
}

// settle turns the reservation into what was used, records it, and tells
// metrics and logs: once, whichever way the request ends. It must not depend
// on the caller still being there.
func (c *call) settle(outcome usage.Outcome) {
	a := &c.answer
	if a.settled {
		return
	}
	a.settled = true
	// The caller may be gone; what the stores may take they bound themselves.
	ctx := context.WithoutCancel(c.r.Context())

	noted := c.g.Shared.InFlight().settle(c)
	result := a.meter.Result()
	record := c.record(outcome, &result)
	actual := limiter.Usage{
		Dispatched: a.dispatched || a.attempt.Dispatched,
		Input:      record.Input,
		Output:     record.Output,
		Cost:       record.CostNano,
	}
	if !record.Priced {
		actual.Cost = c.assumedCost(&c.candidates[a.current], record.Tokens)
	}
	actual.Failed = actual.Dispatched && !delivered(a)
	if actual.Failed {
		actual.Input, actual.Output, actual.Cost = 0, 0, 0
	}
	c.noteCharge(&actual)
	c.reservation.Settle(ctx, actual)
	if !actual.Dispatched {
		if noted {
			_ = c.ledger.Forget(ctx, c.id) // the ledger tells what it can't write
		}
		c.logRequest(record, a.failure)
		return
	}
	if err := c.ledger.Record(ctx, record); err != nil {
		c.g.Metrics.StoreError("ledger")
		c.g.Logger.Error("recording usage failed", zap.String("request_id", c.id), zap.Error(err))
	}
	c.traceRecord(record)
	LogEvent(c.g.Events, record, c.g.HideModels)
	c.remember(outcome, result.ResponseID)
	c.observe(record, result.Events)
	c.logRequest(record, a.failure)
}

// delivered tells whether the backend gave an answer that counts: one of
// status 2xx, of which at least the headers came. A caller who leaves before
// that is charged its input; a backend that refuses costs nothing.
func delivered(a *answer) bool {
	if a.attempt.Status == 0 {
		return a.failure == nil || errors.Is(a.failure, context.Canceled)
	}
	return a.attempt.Status >= 200 && a.attempt.Status < 300
}

// record says what the request used: as the backend reports it, else estimated
// from what was delivered.
func (c *call) record(outcome usage.Outcome, result *meter.Result) *usage.Record {
	a := &c.answer
	chosen := &c.candidates[a.current]
	record := &c.used
	*record = usage.Record{
		ID:       c.id,
		Start:    c.start,
		Key:      c.key.ID,
		Team:     c.key.Team,
		Endpoint: c.endpoint.String(),
		Model:    c.request.Model,
		Backend:  chosen.Name,
		Status:   c.status(),

		FirstToken: a.firstToken,
		Duration:   time.Since(c.start),
		Outcome:    outcome,
		Attempts:   a.attempts,
	}
	if result.StreamError && outcome == usage.OK {
		record.Outcome = usage.UpstreamError
	}
	record.UpstreamModel = result.Model
	record.Flagged = result.Flagged || a.attempt.Flag != "" || outcome == usage.OK && !result.Complete && !result.Reported
	used := pricing.Used{Tier: c.tier(result)}
	switch {
	case !delivered(a):
		// A backend that refused or failed before the first byte used nothing.
	case result.Reported && (result.Complete || result.Unreported == 0):
		used.Tokens, used.Parts, used.Seconds = result.Tokens, result.Parts, result.Seconds
	default:
		record.Estimated = true
		c.estimate(&used, result, a.meter.UnreportedTokens())
	}
	record.Tokens = used.Tokens
	c.setCost(record, chosen, &used, result)
	return record
}

// setCost says what was used costs: by the price that the operator has written
// for the model; else as the backend says it of a whole answer, as OpenRouter
// does, since that is what it charges; else by the price list.
func (c *call) setCost(record *usage.Record, chosen *routing.Candidate, used *pricing.Used, result *meter.Result) {
	written := c.models.price != nil
	if !written && result.CostUSD != "" && result.Reported && !record.Estimated {
		cost, sane := pricing.ParseCost(result.CostUSD)
		record.CostNano, record.Priced = cost, true
		record.Flagged = record.Flagged || !sane
		return
	}
	if chosen.Price != nil {
		cost, known := chosen.Price.Cost(*used)
		record.CostNano, record.Priced = min(cost, usage.MaxCost), known
	}
}

// tier is the service tier by which the request is charged: the one that the
// answer names. Where it names none, the one that was asked for if that may be
// the dearer one, else the standard one.
func (c *call) tier(result *meter.Result) wire.ServiceTier {
	if result.Tier == wire.TierUnsaid && c.request.Tier >= wire.TierPriority {
		return c.request.Tier
	}
	return result.Tier
}

// estimate guesses what an answer used whose usage the backend did not report in
// full: what it did say, the input as it was reserved, and what the text comes to
// that was delivered since.
func (c *call) estimate(used *pricing.Used, result *meter.Result, unreported int64) {
	used.Tokens, used.Parts, used.Seconds = result.Tokens, result.Parts, result.Seconds
	if used.Input == 0 {
		used.Input = c.input
	}
	if c.endpoint.Generates() {
		used.Output += unreported
	}
	used.Assume(c.endpoint, used.Tokens)
	if used.Seconds == 0 {
		used.Seconds = c.asked().Seconds
	}
}

// status is the one that the caller got.
func (c *call) status() int {
	if status := c.answer.attempt.CallerStatus; status != 0 {
		return status
	}
	if c.r.Context().Err() != nil {
		return statusClientClosed
	}
	if c.answer.refusal != nil {
		return c.answer.refusal.StatusCode()
	}
	return 0
}

// remember notes a stored response, for the requests that continue it.
func (c *call) remember(outcome usage.Outcome, response string) {
	if c.endpoint == wire.Responses && outcome == usage.OK {
		backend := c.candidates[c.answer.current].Name
		c.g.Shared.Responses().Add(response, c.key.ID, backend)
	}
}

// observe counts the request in the metrics.
func (c *call) observe(record *usage.Record, events int64) {
	request := metrics.Request{
		Endpoint:   record.Endpoint,
		Backend:    record.Backend,
		Model:      c.modelLabel(),
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
		Overhead:   c.answer.overhead,
		Duration:   record.Duration,
		FirstToken: record.FirstToken,
	}
	if events > 1 && record.FirstToken > 0 {
		request.InterToken = (record.Duration - c.answer.waited - record.FirstToken) / time.Duration(events-1)
	}
	c.g.Metrics.Observe(request)
}

func (c *call) modelLabel() string {
	if c.g.HideModels {
		return "*"
	}
	return c.g.Policy.ModelLabel(c.request.Model)
}
