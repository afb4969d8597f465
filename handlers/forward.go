package handlers

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/amanycodes/pine-gate/handlers/routing"
	"github.com/amanycodes/pine-gate/internal/backends"
	"github.com/amanycodes/pine-gate/internal/wire"
	"github.com/amanycodes/pine-gate/internal/wire/meter"
	"github.com/amanycodes/pine-gate/internal/wire/request"
	"github.com/amanycodes/pine-gate/usage"
)

// errStreamLimit is the cause that ends an answer which takes too long.
var errStreamLimit = errors.New("the answer took longer than max_stream")

// forward has the request answered by a backend, the next one while nothing
// has been written, and settles whatever happens: reverse_proxy ends an answer
// that breaks midway by a panic.
func (c *call) forward() {
	ctx, cancel := context.WithCancelCause(c.r.Context())
	c.cancel = cancel
	defer func() {
		cancel(nil)
		panicked := recover()
		c.finish(ctx, panicked != nil)
		if panicked != nil {
			panic(panicked)
		}
	}()

	if c.request.Stream && c.g.KeepAlive > 0 {
		c.keepAlive = newKeepAlive(c.w, c.dialect)
		c.w = c.keepAlive
	}
	c.g.Shared.InFlight().add(c)
	defer c.g.Shared.InFlight().remove(c)
	c.answer.states = c.reservation.States()
	setRateHeaders(c.w.Header(), c.dialect, c.answer.states, c.start)
	c.answer.overhead = time.Since(c.start) - c.read
	c.answer.current = c.reservation.Candidate()
	if err := c.takePlace(ctx, c.answer.current); err != nil {
		c.turnedAway(ctx, err)
		return
	}
	for {
		err := c.attempt(ctx)
		if err == nil {
			return
		}
		c.answer.failure = err
		if ctx.Err() != nil || !c.nextCandidate(ctx) {
			c.failed(ctx, err)
			return
		}
	}
}

// attempt sends the request to the current candidate, at which it has a place. It
// returns nil once an answer has been written.
func (c *call) attempt(ctx context.Context) error {
	chosen := &c.candidates[c.answer.current]
	a := &c.answer
	a.attempts++
	a.firstToken, a.failure = 0, nil
	began := time.Now()
	defer chosen.State.End(began)
	upstream, end := c.attemptContext(ctx, chosen)
	defer func() {
		a.ended = context.Cause(upstream)
		end(nil)
	}()
	a.meter = meter.New(meter.Config{
		Endpoint:  c.endpoint,
		Count:     c.g.CountTokens,
		HideUsage: c.asksUsage(chosen) && !c.request.IncludeUsage,
		First:     func() { c.firstToken(began) },
		Final:     c.whole,
		Fail:      func(err error) *wire.Error { return c.endStream(upstream, err) },
	})
	c.progress.begin(a.meter, a.current, a.attempts)
	a.attempt = &backends.Attempt{
		Endpoint:  c.endpoint,
		Model:     chosen.Model,
		State:     chosen.State,
		Body:      c.request.Edit(c.body, c.edit(chosen)),
		HasBody:   true,
		Meter:     a.meter,
		Fallback:  c.hasNext(),
		OwnLimits: hasCallerLimit(c.answer.states),
		RequestID: c.id,
		Refused:   func() { c.settle(usage.UpstreamError) },
		KeepOpen:  chosen.Drain > 0,
	}
	if c.keepAlive != nil {
		a.attempt.Between = c.keepAlive.between
	}
	c.progress.watch(&a.attempt.Watchdog, chosen.Backend, end)
	if chosen.State.Probe(chosen.Model, began) {
		defer chosen.State.EndProbe(chosen.Model)
	}
	chosen.Metrics.Inflight.Inc()
	defer chosen.Metrics.Inflight.Dec()

	if chosen.Drain > 0 {
		defer c.drain(chosen.Drain, end)
	}
	upstream, endSpan := c.traceAttempt(upstream, chosen)
	defer endSpan()
	err := chosen.Forwarder.Forward(upstream, c.w, c.r, a.attempt)
	if err == nil && a.failure == nil {
		// The caller left, which reverse_proxy calls no error. A failure that is
		// there already is a stream's that broke off, which endStream told of.
		a.failure = a.attempt.Err
	}
	a.dispatched = a.dispatched || a.attempt.Dispatched
	if answered := a.attempt.Status != 0; answered || err != nil && ctx.Err() == nil {
		chosen.Metrics.Reached(answered) // what was given up proves neither
	}
	if err != nil && a.attempt.RoundTrips == 0 && ctx.Err() == nil {
		chosen.State.Unreachable(time.Now()) // no upstream of the pool is healthy
	}
	c.logAttempt(chosen, err)
	return err
}

// firstToken notes when the first of an answer came, of an attempt that began at
// the time.
func (c *call) firstToken(began time.Time) {
	now := time.Now()
	c.answer.firstToken = now.Sub(c.start) - c.answer.waited
	chosen := &c.candidates[c.answer.current]
	chosen.State.RecordFirstToken(c.request.Stream, now.Sub(began))
	if c.routed.Policy == routing.PolicyLowestLatency {
		chosen.State.RecordLatency(chosen.Model, c.request.Stream, now.Sub(began), now)
	}
}

// attemptContext returns the context of one attempt, which can be ended without
// the request, and must be. That of a backend which is drained outlives the
// caller.
func (c *call) attemptContext(ctx context.Context, chosen *routing.Candidate) (context.Context, context.CancelCauseFunc) {
	if chosen.Drain > 0 {
		return c.outlive(ctx, chosen.Drain)
	}
	return context.WithCancelCause(ctx)
}

// whole settles an answer whose last bytes are about to be released. Where it is
// drained there is nobody to release them to.
func (c *call) whole() {
	if c.callerLeft() {
		c.settle(usage.ClientClosed)
		return
	}
	c.settle(usage.OK)
}

// edit is what must be changed in the request for a candidate.
func (c *call) edit(chosen *routing.Candidate) request.Edit {
	edit := request.Edit{Cap: -1, IncludeUsage: c.asksUsage(chosen)}
	edit.ContinuousUsage = edit.IncludeUsage && chosen.ContinuousUsage
	if chosen.Model != c.request.Model {
		edit.Model = chosen.Model
	}
	if cap := c.cap(); cap != c.request.Cap {
		edit.Cap, edit.CapName = cap, chosen.CapName(c.endpoint)
	}
	return edit
}

// cap is the cap of one answer that is sent: the caller's, or less where the
// gate has a cap of its own or a quota is nearly used up; -1 for none.
func (c *call) cap() int64 {
	agreed := c.outputCap()
	if lowered := c.reservation.Cap(); lowered >= 0 && (agreed < 0 || lowered < agreed) {
		return lowered
	}
	return agreed
}

// asksUsage tells whether a stream is asked for its usage: only chats and
// completions know the option.
func (c *call) asksUsage(chosen *routing.Candidate) bool {
	return c.request.Stream && chosen.IncludeUsage && c.endpoint.AsksUsage()
}

func (c *call) hasNext() bool {
	return c.answer.attempts < c.routed.Attempts && c.answer.current+1 < len(c.candidates)
}

// nextCandidate moves to the next candidate with room that is not to be left
// alone by now.
func (c *call) nextCandidate(ctx context.Context) bool {
	return c.answer.attempts < c.routed.Attempts && c.takePlace(ctx, c.answer.current+1) == nil
}

// failed tells the caller that no backend answered. What was used is settled
// first, as with any answer.
func (c *call) failed(ctx context.Context, err error) {
	if c.r.Context().Err() != nil {
		c.finish(ctx, false)
		c.w.WriteHeader(statusClientClosed) // for the access log; nobody reads it
		return
	}
	c.answer.refusal = failureError(ctx, err)
	c.finish(ctx, false)
	if !c.answer.dispatched {
		c.countRefusal(c.answer.refusal)
	}
	c.answer.refusal.Write(c.w, c.dialect, c.id)
}

// statusClientClosed is nginx's, and Caddy's, for a caller who left.
const statusClientClosed = 499

// failureError maps what went wrong with the last backend to an error for the
// caller. The cause may name addresses: it is for the log.
func failureError(ctx context.Context, err error) *wire.Error {
	var attempt *backends.AttemptError
	var unavailable caddyhttp.HandlerError
	switch cause := context.Cause(ctx); {
	case errors.Is(cause, ErrShutdown):
		return wire.Errorf(wire.KindOverloaded, "")
	case errors.Is(cause, errStreamLimit):
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

// isTimeout tells whether time ran out.
func isTimeout(err error) bool {
	var timeout interface{ Timeout() bool }
	return errors.As(err, &timeout) && timeout.Timeout()
}

// attemptFailure tells of a backend that refused or failed, where no other had
// room: one that is only busy is worth coming back to.
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

// statusOverloaded is Anthropic's for a model server that is too busy.
const statusOverloaded = 529

// endStream tells a caller in the middle of a stream why it ends. A caller who
// left is told nothing. The context is the attempt's.
func (c *call) endStream(ctx context.Context, err error) *wire.Error {
	if c.r.Context().Err() != nil {
		return nil //nolint:nilerr // nobody is there to be told
	}
	if cause := context.Cause(ctx); cause != nil {
		err = cause // of which net/http may have told only that it was cancelled
	}
	c.answer.failure = err
	return failureError(ctx, err)
}
