package handlers

import (
	"context"
	"net/http"
	"time"

	"github.com/amanycodes/pine-gate/handlers/inflight"
	"github.com/amanycodes/pine-gate/handlers/routing"
	"github.com/amanycodes/pine-gate/internal/backends"
	"github.com/amanycodes/pine-gate/internal/wire"
	"github.com/amanycodes/pine-gate/internal/wire/meter"
	wirerequest "github.com/amanycodes/pine-gate/internal/wire/request"
	"github.com/amanycodes/pine-gate/usage"
)

// attempt is one attempt of a request at one candidate.
type attempt struct {
	*settlement
	chosen   *routing.Candidate
	began    time.Time
	upstream backends.Attempt
	meter    *meter.Meter

	ctx         context.Context // ends with the attempt
	end         context.CancelCauseFunc
	cancelCause error // set if the gate cancelled the attempt; otherwise undefined

	firstToken time.Duration // since the request's start, without time in queues; 0: none received
	drained    bool          // the answer was read on after the caller left
}

// attempt makes one attempt at the current candidate, at which the request
// holds a turn. It returns nil once an answer has been written.
func (s *settlement) attempt(ctx context.Context) error {
	s.attempts++
	s.failure = nil
	a := &attempt{settlement: s, chosen: &s.candidates[s.current], began: time.Now()}
	s.last = a
	state := a.chosen.State
	defer state.End(a.began)
	a.ctx, a.end = a.context(ctx)
	defer func() {
		a.cancelCause = context.Cause(a.ctx)
		a.end(nil)
	}()
	w := a.prepare()
	if state.Probe(a.chosen.Model, a.key.ID, a.began) {
		defer state.EndProbe(a.chosen.Model, a.key.ID)
	}
	a.chosen.Metrics.Inflight.Inc()
	defer a.chosen.Metrics.Inflight.Dec()

	if a.chosen.Drain > 0 {
		defer a.drain()
	}
	var endSpan func()
	a.ctx, endSpan = a.trace()
	defer endSpan()
	err := a.chosen.Forwarder.Forward(a.ctx, w, s.r, &a.upstream)
	a.observe(ctx, err)
	return err
}

// context returns the context of the attempt and the function that cancels it
// without the request, which must be called. If the backend is drained, the
// context outlives the caller.
func (a *attempt) context(ctx context.Context) (context.Context, context.CancelCauseFunc) {
	if a.chosen.Drain > 0 {
		return a.outlive(ctx, a.chosen.Drain)
	}
	return context.WithCancelCause(ctx)
}

// prepare sets up the upstream request, the meter of the answer and the
// watchdog. It returns the writer for the answer.
func (a *attempt) prepare() http.ResponseWriter {
	s, chosen := a.settlement, a.chosen
	asksUsage := s.asksUsage(chosen)
	a.meter = meter.New(meter.Config{
		Endpoint:  s.endpoint,
		Count:     s.g.CountTokens,
		HideUsage: asksUsage && !s.parsed.IncludeUsage,
		First:     a.onFirst,
		Final:     a.onComplete,
		Fail:      a.onBroken,
	})
	e := &a.upstream
	e.Endpoint = s.endpoint
	e.Model = chosen.Model
	e.State, e.Key = chosen.State, s.key.ID
	e.Body, e.HasBody = s.parsed.Edit(s.body, s.edit(chosen)), true
	e.Meter = a.meter
	e.Fallback = s.hasNext()
	e.OwnLimits = hasCallerLimit(s.states)
	e.RequestID = s.id
	e.Patience = s.g.KeepAlive
	e.Refused = a.onRefused
	e.KeepOpen = chosen.Drain > 0
	s.entry.Begin(inflight.Attempt{
		Candidate:  s.current,
		N:          s.attempts,
		Meter:      a.meter,
		Watchdog:   &e.Watchdog,
		FirstToken: a.firstTokenTimeout(),
		Idle:       chosen.Idle,
		End:        a.end,
	})
	if k := s.entry.KeepAlive; k != nil {
		e.Between = k.Between
		return k
	}
	return s.w
}

// firstTokenTimeout returns how long the answer may take to begin. One that is not
// streamed begins when it is complete, so only MaxStream bounds it.
func (a *attempt) firstTokenTimeout() time.Duration {
	if !a.parsed.Stream {
		return 0
	}
	return a.chosen.FirstToken
}

// onFirst records the latency. It is called when the first byte of the answer
// arrives.
func (a *attempt) onFirst() {
	now := time.Now()
	took := now.Sub(a.began)
	a.firstToken = now.Sub(a.start) - a.waited
	a.chosen.State.RecordFirstToken(a.parsed.Stream, took)
	if a.routed.Policy == routing.PolicyLowestLatency {
		a.chosen.State.RecordLatency(a.chosen.Model, a.parsed.Stream, took, now)
	}
}

// onComplete settles a complete answer. It is called before the last bytes are
// released; a drained answer has no caller to release them to.
func (a *attempt) onComplete() {
	if a.callerLeft() {
		a.settle(usage.ClientClosed)
		return
	}
	a.settle(usage.OK)
}

// onRefused settles a backend's error. It is called before the error is passed
// on.
func (a *attempt) onRefused() { a.settle(usage.UpstreamError) }

// onBroken returns the error that ends a broken stream for the caller, or nil
// if the caller left.
func (a *attempt) onBroken(err error) *wire.Error {
	if a.r.Context().Err() != nil {
		return nil //nolint:nilerr // nobody reads it
	}
	if cause := context.Cause(a.ctx); cause != nil {
		err = cause // net/http may report only that it was cancelled
	}
	a.failure = err
	return failureError(a.ctx, err)
}

// observe records what the attempt shows about the backend. ctx is the
// request's context.
func (a *attempt) observe(ctx context.Context, err error) {
	e := &a.upstream
	if err == nil && a.failure == nil {
		// reverse_proxy returns no error if the caller left. If a stream broke off,
		// onBroken has set the failure.
		a.failure = e.Err
	}
	a.dispatched = a.dispatched || e.Dispatched
	if e.Status >= http.StatusBadRequest {
		a.refused = append(a.refused, refusedAt{a.chosen, e.Status})
	}
	if answered := e.Status != 0; answered || err != nil && ctx.Err() == nil {
		a.chosen.Metrics.Reached(answered) // a cancelled attempt proves neither
	}
	if err != nil && e.RoundTrips == 0 && ctx.Err() == nil {
		a.chosen.State.Unreachable(time.Now()) // no upstream of the pool is healthy
	}
	a.log(err)
}

// edit returns the changes of the request body for a candidate.
func (s *settlement) edit(chosen *routing.Candidate) wirerequest.Edit {
	edit := wirerequest.Edit{Cap: -1, IncludeUsage: s.asksUsage(chosen)}
	edit.ContinuousUsage = edit.IncludeUsage && chosen.ContinuousUsage
	if chosen.Model != s.parsed.Model {
		edit.Model = chosen.Model
	}
	if s.endpoint.Capped() {
		edit.Cap, edit.CapName = s.cap(), chosen.CapName(s.endpoint)
	}
	return edit
}

// cap returns the cap of one answer that is sent to the backend: the caller's,
// or a lower one if the gate has its own cap or a quota is nearly used up; -1
// for none.
func (s *settlement) cap() int64 {
	agreed := s.outputCap()
	if lowered := s.reservation.Cap(); lowered >= 0 && (agreed < 0 || lowered < agreed) {
		return lowered
	}
	return agreed
}

// asksUsage reports whether the gate asks the backend to report a stream's
// usage.
func (s *settlement) asksUsage(chosen *routing.Candidate) bool {
	return s.parsed.Stream && chosen.IncludeUsage && s.endpoint.AsksUsage()
}
