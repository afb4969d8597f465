package handlers

import (
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/amanycodes/pine-gate/usage"
)

// EventsLogger is the name of the logger of usage records, below the gate's
// own.
const EventsLogger = "usage"

// LogEvent writes a usage record as one log line, at level DEBUG: there are as many
// as requests, and Caddy's default log takes INFO. A log of its own receives them
// if it names the logger and the level:
//
//	log usage {
//		include http.handlers.pinegate.usage
//		level DEBUG
//		output file /var/log/pinegate/usage.log
//	}
//
// The line is built only if some log takes it. The numbers are those of
// `/v1/usage`, with the same names.
func LogEvent(logger *zap.Logger, record *usage.Record, hideModels bool) {
	if entry := logger.Check(zap.DebugLevel, "usage"); entry != nil {
		entry.Write(zap.Inline(event{record, hideModels}))
	}
}

// event holds the log fields of a usage record.
type event struct {
	*usage.Record
	hideModels bool
}

// MarshalLogObject implements zapcore.ObjectMarshaler.
func (e event) MarshalLogObject(enc zapcore.ObjectEncoder) error {
	addRecord(enc, e.Record, e.hideModels)
	enc.AddTime("start", e.Start)
	enc.AddString("endpoint", e.Endpoint)
	if !e.hideModels {
		enc.AddString("upstream_model", e.UpstreamModel)
	}
	enc.AddInt("status", e.Status)
	enc.AddInt64("input_cached_tokens", e.CacheRead)
	enc.AddInt64("input_cache_write_tokens", e.CacheWrite)
	enc.AddInt64("reasoning_tokens", e.Reasoning)
	if e.Priced { // exact, as a decimal number; left out where it is unknown
		enc.AddString("cost_usd", usage.USD(e.CostNano).String())
	}
	enc.AddDuration("duration", e.Duration)
	enc.AddBool("estimated", e.Estimated)
	enc.AddBool("flagged", e.Flagged)
	enc.AddInt("attempts", e.Attempts)
	return nil
}
