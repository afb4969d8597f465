package handlers

import (
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/amanycodes/pine-gate/internal/backends"
	"github.com/amanycodes/pine-gate/internal/wire"
	"github.com/amanycodes/pine-gate/usage"
)

// Log lines are for operators: they hold ids and names of the configuration, never
// a secret or a prompt.

// logRefusal logs a request that the gate refused.
func (q *request) logRefusal(err *wire.Error) {
	if extra := q.accessLog(); extra != nil {
		refused := refusedFields{id: q.id}
		if q.key != nil {
			refused.key, refused.team = q.key.ID, q.key.Team
		}
		extra.Add(zap.Inline(refused))
	}
	level := zap.InfoLevel
	if err.StatusCode() >= http.StatusInternalServerError {
		level = zap.WarnLevel
	}
	entry := q.g.Logger.Check(level, "request refused")
	if entry == nil {
		return
	}
	fields := []zap.Field{
		zap.String("request_id", q.id),
		zap.String("endpoint", q.endpoint.String()),
		zap.Int("status", err.StatusCode()),
		zap.String("reason", q.reason(err)),
	}
	if q.key != nil {
		fields = append(fields, zap.String("key", q.key.ID), zap.String("team", q.key.Team))
	}
	if q.parsed != nil && !q.g.HideModels {
		fields = append(fields, zap.String("model", q.parsed.Model))
	}
	entry.Write(fields...)
}

// reason returns the reason of a refusal for the log. That of a limit names the
// model, which may be hidden, and that of an unknown path repeats the path, in
// which a caller may have put anything.
func (q *request) reason(err *wire.Error) string {
	if err.Kind == wire.KindUnknownURL && err.Code == "" {
		return wire.Errorf(err.Kind, "").Error()
	}
	if q.g.HideModels {
		switch err.Kind {
		case wire.KindRateLimited, wire.KindSlowDown, wire.KindQuota:
			return wire.Errorf(err.Kind, "").Error()
		}
	}
	return err.Error()
}

// logRecord adds the usage of the request to the access log, and logs the
// request if it failed.
func (s *settlement) logRecord() {
	record, upstream := &s.record, &s.last.upstream
	if extra := s.accessLog(); extra != nil {
		extra.Add(zap.Inline(accessFields{record, s.g.HideModels})) // encoded only if the line is written
	}
	if record.Outcome == usage.OK && upstream.Flag == "" {
		return
	}
	level := zap.InfoLevel
	if record.Outcome.Failed() || upstream.Flag != "" {
		level = zap.WarnLevel
	}
	entry := s.g.Logger.Check(level, "request failed")
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
		zap.Int("backend_status", upstream.Status),
		zap.String("backend_request_id", upstream.UpstreamRequestID),
		zap.String("flag", string(upstream.Flag)),
		zap.Int("attempts", record.Attempts),
		zap.Duration("duration", record.Duration),
		zap.Error(s.failure))
}

// log logs a failed attempt: as a warning if the backend or its model is
// cooling down after it, or if the backend refused its credential. Another
// backend may then answer the request, which leaves no other line.
func (a *attempt) log(cause error) {
	upstream := &a.upstream
	level, message := zap.DebugLevel, "attempt failed"
	switch {
	case upstream.Backoff > 0:
		level, message = zap.WarnLevel, "backend cooling down"
	case upstream.Flag == backends.FlagCredential:
		level, message = zap.WarnLevel, "backend refused its credential"
	case cause == nil:
		return
	}
	entry := a.g.Logger.Check(level, message)
	if entry == nil {
		return
	}
	fields := []zap.Field{
		zap.String("request_id", a.id),
		zap.String("backend", a.chosen.Name),
		zap.Int("backend_status", upstream.Status),
		zap.Duration("for", upstream.Backoff),
		zap.Error(cause),
	}
	if !a.g.HideModels {
		fields = append(fields, zap.String("model", a.parsed.Model))
	}
	entry.Write(fields...)
}

// accessLog returns the extra fields of the access log, or nil if there is no
// access log.
func (q *request) accessLog() *caddyhttp.ExtraLogFields {
	server, ok := q.r.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if !ok || server.Logs == nil {
		return nil
	}
	extra, _ := q.r.Context().Value(caddyhttp.ExtraLogFieldsCtxKey).(*caddyhttp.ExtraLogFields)
	return extra
}

// refusedFields are the fields of a refused request in the access log. The key is
// empty if it is not known.
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

// addRecord adds the fields of a record that all log lines about it have.
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
