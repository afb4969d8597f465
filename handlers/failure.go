package handlers

import (
	"context"
	"errors"
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/amanycodes/pine-gate/handlers/inflight"
	"github.com/amanycodes/pine-gate/internal/backends"
	"github.com/amanycodes/pine-gate/internal/wire"
)

const (
	statusClientClosed = 499 // nginx's, and Caddy's, for a caller who left
	statusOverloaded   = 529 // Anthropic's, for a model server that is too busy
)

// failureError returns the caller's error after the last attempt has failed.
// err may contain addresses: it is for logs only.
func failureError(ctx context.Context, err error) *wire.Error {
	var attempt *backends.AttemptError
	var unavailable caddyhttp.HandlerError
	switch cause := context.Cause(ctx); {
	case errors.Is(cause, inflight.ErrShutdown):
		return wire.Errorf(wire.KindOverloaded, "")
	case errors.Is(cause, inflight.ErrMaxStream):
		return &wire.Error{Kind: wire.KindUpstreamTimeout, Message: "The answer took longer than this gateway allows."}
	case errors.As(err, &attempt):
		return attemptFailure(attempt)
	case isTimeout(err), isTimeout(cause):
		return wire.Errorf(wire.KindUpstreamTimeout, "")
	case errors.As(err, &unavailable) && unavailable.StatusCode == http.StatusServiceUnavailable:
		return wire.Errorf(wire.KindOverloaded, "") // no upstream of the pool is healthy
	default:
		return wire.Errorf(wire.KindUpstream, "")
	}
}

// attemptFailure returns the caller's error for a backend that refused or
// failed, if no other had room: a backend that is only busy is worth a retry.
func attemptFailure(attempt *backends.AttemptError) *wire.Error {
	kind := wire.KindUpstream
	switch {
	case attempt.Status == http.StatusTooManyRequests:
		kind = wire.KindSlowDown
	case attempt.Status == http.StatusServiceUnavailable, attempt.Status == statusOverloaded:
		kind = wire.KindOverloaded
	case attempt.Timeout():
		kind = wire.KindUpstreamTimeout
	}
	refusal := wire.Errorf(kind, "")
	refusal.RetryAfter = attempt.RetryAfter
	return refusal
}

// isTimeout reports whether an error is a timeout.
func isTimeout(err error) bool {
	var timeout interface{ Timeout() bool }
	return errors.As(err, &timeout) && timeout.Timeout()
}
