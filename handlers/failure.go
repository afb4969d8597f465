package handlers

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/amanycodes/pine-gate/handlers/inflight"
	"github.com/amanycodes/pine-gate/handlers/routing"
	"github.com/amanycodes/pine-gate/internal/backends"
	"github.com/amanycodes/pine-gate/internal/wire"
)

const (
	statusClientClosed = 499 // nginx's, and Caddy's, for a caller who left
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
	refusal := attempt.Answer
	switch {
	case refusal == nil && attempt.Timeout():
		refusal = wire.Errorf(wire.KindUpstreamTimeout, "")
	case refusal == nil:
		refusal = wire.Errorf(wire.KindUpstream, "")
	}
	switch refusal.Kind {
	case wire.KindRateLimited, wire.KindOverloaded:
		refusal.RetryAfter = attempt.RetryAfter
	}
	return refusal
}

// refusedAt is a candidate that answered with an error.
type refusedAt struct {
	*routing.Candidate
	status int
}

// forgive takes back what the request's errors have shown about backends if all that
// were tried said the same of it, so that it was about the request. A backend that is
// overloaded, or a proxy in front of one that is down, says the same of any request.
func (s *settlement) forgive() {
	if len(s.refused) < 2 || len(s.refused) < s.attempts {
		return
	}
	for _, at := range s.refused {
		if at.status != s.refused[0].status {
			return
		}
		switch at.status {
		case http.StatusPaymentRequired, http.StatusForbidden, http.StatusRequestTimeout, http.StatusInternalServerError:
		default:
			return
		}
	}
	for _, at := range s.refused {
		at.State.Forgive(at.Model, s.key.ID, time.Now())
	}
}

// isTimeout reports whether an error is a timeout.
func isTimeout(err error) bool {
	var timeout interface{ Timeout() bool }
	return errors.As(err, &timeout) && timeout.Timeout()
}
