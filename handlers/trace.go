package handlers

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/amanycodes/pine-gate/handlers/routing"
	"github.com/amanycodes/pine-gate/usage"
)

// The attributes follow OpenTelemetry's conventions for generative AI, and hold
// nothing of a prompt or an answer. The names of models are left out where
// metrics hide them.
//
// https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans/
const (
	tracerName = "github.com/amanycodes/pine-gate"

	operationName = attribute.Key("gen_ai.operation.name")
	providerName  = attribute.Key("gen_ai.provider.name")
	requestModel  = attribute.Key("gen_ai.request.model")
	responseModel = attribute.Key("gen_ai.response.model")
	inputTokens   = attribute.Key("gen_ai.usage.input_tokens")
	outputTokens  = attribute.Key("gen_ai.usage.output_tokens")

	backendName   = attribute.Key("pinegate.backend")
	attemptNumber = attribute.Key("pinegate.attempt")
	statusCode    = attribute.Key("http.response.status_code")
	errorType     = attribute.Key("error.type")
)

// traceAttempt begins a span for an attempt at a backend below Caddy's own, and
// tells the backend its id. The function ends it. Where Caddy's `tracing` is off
// it does nothing: the global provider is none of Caddy's.
func (c *call) traceAttempt(ctx context.Context, chosen *routing.Candidate) (context.Context, func()) {
	parent := trace.SpanFromContext(ctx)
	if !parent.IsRecording() {
		return ctx, func() {}
	}
	name := c.endpoint.Operation()
	attributes := []attribute.KeyValue{
		operationName.String(name),
		providerName.String(chosen.API),
		backendName.String(chosen.Name),
		attemptNumber.Int(c.answer.attempts),
	}
	if !c.g.HideModels {
		attributes = append(attributes, requestModel.String(chosen.Model))
	}
	ctx, span := parent.TracerProvider().Tracer(tracerName).Start(ctx, name+" "+chosen.Name,
		trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(attributes...))
	propagation.TraceContext{}.Inject(ctx, propagation.HeaderCarrier(c.r.Header))

	attempt := c.answer.attempt
	return ctx, func() {
		defer span.End()
		if attempt.Status != 0 {
			span.SetAttributes(statusCode.Int(attempt.Status))
		}
		// The error itself may name addresses, and quote what the backend said.
		if c.answer.failure != nil || attempt.Status == 0 || attempt.Status >= 400 {
			span.SetStatus(codes.Error, "")
			span.SetAttributes(errorType.String(string(c.outcome(ctx, false))))
		}
	}
}

// traceRecord tells Caddy's own span what the request used.
func (c *call) traceRecord(record *usage.Record) {
	span := trace.SpanFromContext(c.r.Context())
	if !span.IsRecording() {
		return
	}
	span.SetAttributes(
		operationName.String(c.endpoint.Operation()),
		providerName.String(c.candidates[c.answer.current].API),
		backendName.String(record.Backend),
		inputTokens.Int64(record.Input),
		outputTokens.Int64(record.Output),
	)
	if c.g.HideModels {
		return
	}
	span.SetAttributes(requestModel.String(record.Model))
	if record.UpstreamModel != "" {
		span.SetAttributes(responseModel.String(record.UpstreamModel))
	}
}
