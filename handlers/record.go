package handlers

import (
	"net/http"
	"time"

	"github.com/amanycodes/pine-gate/internal/wire"
	"github.com/amanycodes/pine-gate/internal/wire/meter"
	"github.com/amanycodes/pine-gate/usage"
	"github.com/amanycodes/pine-gate/usage/pricing"
)

// setRecord sets the record of the request. Its usage is what the backend
// reported, else an estimate of what was delivered.
func (s *settlement) setRecord(outcome usage.Outcome, result *meter.Result) {
	a, record := s.last, &s.record
	s.startRecord(record, s.current, result)
	record.Status = s.callerStatus()
	record.FirstToken = a.firstToken
	record.Duration = time.Since(s.start)
	record.Outcome = outcome
	record.Attempts = s.attempts
	if result.StreamError && outcome == usage.OK {
		record.Outcome = usage.UpstreamError
	}
	record.Flagged = record.Flagged || a.upstream.Flag != "" || outcome == usage.OK && !result.Complete && !result.Reported
	used := pricing.Used{Tier: s.tier(result)}
	switch {
	case !s.delivered(), s.endpoint.Counts():
		// A backend that refused or failed before the first byte used nothing. To
		// count tokens is free.
	case result.Reported && (result.Complete || result.Unreported == 0):
		used.Tokens, used.Parts, used.Seconds = result.Tokens, result.Parts, result.Seconds
	default:
		record.Estimated = true
		s.estimate(&used, result, a.meter.UnreportedTokens())
	}
	s.setUsed(record, s.current, &used, result)
}

// callerStatus returns the status that was sent to the caller.
func (s *settlement) callerStatus() int {
	if status := s.last.upstream.CallerStatus; status != 0 {
		return status
	}
	if s.r.Context().Err() != nil {
		return statusClientClosed
	}
	if s.refusal != nil {
		return s.refusal.StatusCode()
	}
	return 0
}

// Record implements [inflight.Request].
func (q *request) Record(candidate, attempts int, result *meter.Result) (record usage.Record) {
	q.startRecord(&record, candidate, result)
	record.Outcome = usage.Interrupted
	record.Estimated = true
	record.Attempts = attempts
	if result.Bytes > 0 {
		record.Status = http.StatusOK // only successful answers are metered
	}
	used := pricing.Used{Tier: q.tier(result)}
	switch {
	case q.endpoint.Counts(): // free
	case result.Reported && result.Unreported == 0:
		used.Tokens, used.Parts, used.Seconds = result.Tokens, result.Parts, result.Seconds
	default:
		// Four bytes a token, whatever `estimate` is: for a thousand streams, a
		// tokenizer would take longer than the interval between two checkpoints.
		q.estimate(&used, result, (result.Unreported+3)/4)
	}
	q.setUsed(&record, candidate, &used, result)
	return record
}

// startRecord sets the fields that are known at any time.
func (q *request) startRecord(record *usage.Record, candidate int, result *meter.Result) {
	*record = usage.Record{
		ID:            q.id,
		Start:         q.start,
		Key:           q.key.ID,
		Team:          q.key.Team,
		Endpoint:      q.endpoint.String(),
		Model:         q.parsed.Model,
		UpstreamModel: result.Model,
		Flagged:       result.Flagged,
	}
	if candidate >= 0 {
		record.Backend = q.candidates[candidate].Name
	}
}

// setUsed sets the tokens and the cost of a record. The cost follows the price
// that the operator configured for the model; else, for a complete answer, the
// cost that the backend reports, as OpenRouter does, since that is what it
// charges; else the price list.
func (q *request) setUsed(record *usage.Record, candidate int, used *pricing.Used, result *meter.Result) {
	record.Tokens = used.Tokens
	if q.policy.price == nil && result.CostUSD != "" && result.Reported && !record.Estimated {
		cost, sane := pricing.ParseCost(result.CostUSD)
		record.CostNano, record.Priced = cost, true
		record.Flagged = record.Flagged || !sane
		return
	}
	if candidate < 0 {
		return
	}
	if price := q.candidates[candidate].Price; price != nil {
		cost, known := price.Cost(*used)
		record.CostNano, record.Priced = min(cost, usage.MaxCost), known
	}
}

// tier returns the service tier by which the request is charged: the one that
// the answer names. If it names none, it is the requested one if that may cost
// more, else the standard one.
func (q *request) tier(result *meter.Result) wire.ServiceTier {
	if result.Tier == wire.TierUnsaid && q.parsed.Tier >= wire.TierPriority {
		return q.parsed.Tier
	}
	return result.Tier
}

// estimate sets the usage of an answer that the backend did not report in full:
// what it reported, the input as reserved, and unreported, the estimated tokens
// of the text delivered since.
func (q *request) estimate(used *pricing.Used, result *meter.Result, unreported int64) {
	used.Tokens, used.Parts, used.Seconds = result.Tokens, result.Parts, result.Seconds
	if used.Input == 0 {
		used.Input = q.input
	}
	if q.endpoint.Generates() {
		used.Output += unreported
	}
	used.Assume(q.endpoint, used.Tokens)
	if used.Seconds == 0 {
		used.Seconds = q.priceable().Seconds
	}
}
