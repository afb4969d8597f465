package handlers

import (
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/amanycodes/pine-gate/handlers/routing"
	"github.com/amanycodes/pine-gate/internal/backends"
	"github.com/amanycodes/pine-gate/internal/wire"
	"github.com/amanycodes/pine-gate/usage"
)

// Log lines are for operators: ids and words of the config, never a secret or a
// prompt.

// logFailure writes the one line of a request that the gate refused.
func (c *call) logFailure(message string, err *wire.Error) {
	if extra := c.accessLog(); extra != nil {
		refused := refusedFields{id: c.id}
		if c.key != nil {
			refused.key, refused.team = c.key.ID, c.key.Team
		}
		extra.Add(zap.Inline(refused))
	}
	level := zap.InfoLevel
	if err.StatusCode() >= http.StatusInternalServerError {
		level = zap.WarnLevel
	}
	entry := c.g.Logger.Check(level, message)
	if entry == nil {
		return
	}
	fields := []zap.Field{
		zap.String("request_id", c.id),
		zap.String("endpoint", c.endpoint.String()),
		zap.Int("status", err.StatusCode()),
		zap.String("reason", c.reason(err)),
	}
	if c.key != nil {
		fields = append(fields, zap.String("key", c.key.ID), zap.String("team", c.key.Team))
	}
	if c.request != nil && !c.g.HideModels {
		fields = append(fields, zap.String("model", c.request.Model))
	}
	entry.Write(fields...)
}

// reason describes a refusal for the log. What a limit says of itself names the
// model.
func (c *call) reason(err *wire.Error) string {
	if c.g.HideModels {
		switch err.Kind {
		case wire.KindRateLimited, wire.KindSlowDown, wire.KindQuota:
			return wire.Errorf(err.Kind, "").Error()
		}
	}
	return err.Error()
}

// logRequest adds what the request used to the access log, and writes a line of
// its own where it failed.
func (c *call) logRequest(record *usage.Record, cause error) {
	if extra := c.accessLog(); extra != nil {
		extra.Add(zap.Inline(accessFields{record, c.g.HideModels})) // encoded only if the line is written
	}
	attempt := c.answer.attempt
	if record.Outcome == usage.OK && attempt.Flag == "" {
		return
	}
	level := zap.InfoLevel
	if record.Outcome.Failed() || attempt.Flag != "" {
		level = zap.WarnLevel
	}
	entry := c.g.Logger.Check(level, "request failed")
	if entry == nil {
		return
	}
	entry.Write(
		zap.String("request_id", record.ID),
		zap.String("key", record.Key),
		zap.String("endpoint", record.Endpoint),
		zap.String("backend", record.Backend),
		zap.String("outcome", string(record.Outcome)),
		zap.Int("status", record.Status),
		zap.Int("backend_status", attempt.Status),
		zap.String("backend_request_id", attempt.UpstreamRequestID),
		zap.String("flag", string(attempt.Flag)),
		zap.Int("attempts", record.Attempts),
		zap.Duration("duration", record.Duration),
		zap.Error(cause))
}

// logAttempt tells of an attempt after which the backend, or the model of it, is
// left alone, and of one whose credential was refused. The request may have been
// answered by another one, so that nobody else would tell.
func (c *call) logAttempt(chosen *routing.Candidate, cause error) {
	attempt := c.answer.attempt
	level, message := zap.DebugLevel, "an attempt failed"
	switch {
	case attempt.Backoff > 0:
		level, message = zap.WarnLevel, "a backend is left alone"
	case attempt.Flag == backends.FlagCredential:
		level, message = zap.WarnLevel, "a backend refuses its credential"
	case cause == nil:
		return
	}
	entry := c.g.Logger.Check(level, message)
	if entry == nil {
		return
	}
	fields := []zap.Field{
		zap.String("request_id", c.id),
		zap.String("backend", chosen.Name),
		zap.Int("backend_status", attempt.Status),
		zap.Duration("for", attempt.Backoff),
		zap.Error(cause),
	}
	if !c.g.HideModels {
		fields = append(fields, zap.String("model", c.request.Model))
	}
	entry.Write(fields...)
}

// accessLog returns what takes fields for the access log, nil where there is no
// such log.
func (c *call) accessLog() *caddyhttp.ExtraLogFields {
	server, ok := c.r.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if !ok || server.Logs == nil {
		return nil
	}
	extra, _ := c.r.Context().Value(caddyhttp.ExtraLogFieldsCtxKey).(*caddyhttp.ExtraLogFields)
	return extra
}

// refusedFields are the fields of a request in the access log that the gate
// refused: which one it was, and whose, where that is known.
type refusedFields struct{ id, key, team string }

// MarshalLogObject implements zapcore.ObjectMarshaler.
func (f refusedFields) MarshalLogObject(enc zapcore.ObjectEncoder) error {
	enc.AddString("request_id", f.id)
	if f.key != "" {
		enc.AddString("key", f.key)
		enc.AddString("team", f.team)
	}
	return nil
}

// accessFields are the fields of a request in the access log.
type accessFields struct {
	*usage.Record
	hideModel bool
}

// MarshalLogObject implements zapcore.ObjectMarshaler.
func (f accessFields) MarshalLogObject(enc zapcore.ObjectEncoder) error {
	addRecord(enc, f.Record, f.hideModel)
	if f.Priced {
		enc.AddFloat64("cost_usd", float64(f.CostNano)/1e9)
	}
	return nil
}

// addRecord adds the fields of a record that each line about it has.
func addRecord(enc zapcore.ObjectEncoder, r *usage.Record, hideModel bool) {
	enc.AddString("request_id", r.ID)
	enc.AddString("key", r.Key)
	enc.AddString("team", r.Team)
	enc.AddString("backend", r.Backend)
	if !hideModel {
		enc.AddString("model", r.Model)
	}
	enc.AddInt64("input_tokens", r.Input)
	enc.AddInt64("output_tokens", r.Output)
	enc.AddDuration("time_to_first_token", r.FirstToken)
	enc.AddString("outcome", string(r.Outcome))
}
