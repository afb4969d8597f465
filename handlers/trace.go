package handlers

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/amanycodes/pine-gate/usage"
)

// The attributes follow OpenTelemetry's conventions for generative AI. They contain
// nothing of a prompt or an answer, and no names of models if metrics hide them.
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

// trace starts a span for the attempt below Caddy's own, and sends its id to
// the backend. It returns the span's context and the function that ends the
// span. Without Caddy's `tracing` it does nothing: the global provider is not
// Caddy's.
func (a *attempt) trace() (context.Context, func()) {
	ctx, chosen := a.ctx, a.chosen
	parent := trace.SpanFromContext(ctx)
	if !parent.IsRecording() {
		return ctx, func() {}
	}
	name := a.endpoint.Operation()
	attributes := []attribute.KeyValue{
		operationName.String(name),
		providerName.String(chosen.API),
		backendName.String(chosen.Name),
		attemptNumber.Int(a.attempts),
	}
	if !a.g.HideModels {
		attributes = append(attributes, requestModel.String(chosen.Model))
	}
	ctx, span := parent.TracerProvider().Tracer(tracerName).Start(ctx, name+" "+chosen.Name,
		trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(attributes...))
	propagation.TraceContext{}.Inject(ctx, propagation.HeaderCarrier(a.r.Header))

	return ctx, func() {
		defer span.End()
		status := a.upstream.Status
		if status != 0 {
			span.SetAttributes(statusCode.Int(status))
		}
		// The error itself may name addresses, and quote the backend.
		if a.failure != nil || status == 0 || status >= 400 {
			span.SetStatus(codes.Error, "")
			span.SetAttributes(errorType.String(string(a.outcome(ctx, false))))
		}
	}
}

// traceRecord adds the usage of the request to Caddy's own span.
func (s *settlement) traceRecord(record *usage.Record) {
	span := trace.SpanFromContext(s.r.Context())
	if !span.IsRecording() {
		return
	}
	span.SetAttributes(
		operationName.String(s.endpoint.Operation()),
		providerName.String(s.candidates[s.current].API),
		backendName.String(record.Backend),
		inputTokens.Int64(record.Input),
		outputTokens.Int64(record.Output),
	)
	if s.g.HideModels {
		return
	}
	span.SetAttributes(requestModel.String(record.Model))
	if record.UpstreamModel != "" {
		span.SetAttributes(responseModel.String(record.UpstreamModel))
	}
}
