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

	firstToken time.Duration // since the request's start, without waits; 0: none came
	drained    bool          // read on for a caller who left
}

// attempt makes one attempt at the current candidate, at which the request has a
// turn. It returns nil once an answer has been written.
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
	if state.Probe(a.chosen.Model, a.began) {
		defer state.EndProbe(a.chosen.Model)
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

// context returns the context of the attempt, which can be ended without the
// request, and must be. That of a backend that is drained outlives the caller.
func (a *attempt) context(ctx context.Context) (context.Context, context.CancelCauseFunc) {
	if a.chosen.Drain > 0 {
		return a.outlive(ctx, a.chosen.Drain)
	}
	return context.WithCancelCause(ctx)
}

// prepare sets up what is sent, the meter of the answer and the watch over it. It
// returns where the answer is written.
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
	e.State = chosen.State
	e.Body, e.HasBody = s.parsed.Edit(s.body, s.edit(chosen)), true
	e.Meter = a.meter
	e.Fallback = s.hasNext()
	e.OwnLimits = hasCallerLimit(s.states)
	e.RequestID = s.id
	e.Refused = a.onRefused
	e.KeepOpen = chosen.Drain > 0
	s.entry.Begin(inflight.Attempt{
		Candidate:  s.current,
		N:          s.attempts,
		Meter:      a.meter,
		Watchdog:   &e.Watchdog,
		FirstToken: chosen.FirstToken,
		Idle:       chosen.Idle,
		End:        a.end,
	})
	if k := s.entry.KeepAlive; k != nil {
		e.Between = k.Between
		return k
	}
	return s.w
}

// onFirst is called when the first of the answer comes.
func (a *attempt) onFirst() {
	now := time.Now()
	took := now.Sub(a.began)
	a.firstToken = now.Sub(a.start) - a.waited
	a.chosen.State.RecordFirstToken(a.parsed.Stream, took)
	if a.routed.Policy == routing.PolicyLowestLatency {
		a.chosen.State.RecordLatency(a.chosen.Model, a.parsed.Stream, took, now)
	}
}

// onComplete is called before the last bytes of an answer are released, and
// settles it. The answer that is drained has nobody to be released to.
func (a *attempt) onComplete() {
	if a.callerLeft() {
		a.settle(usage.ClientClosed)
		return
	}
	a.settle(usage.OK)
}

// onRefused is called before a backend's error is passed on, and settles it.
func (a *attempt) onRefused() { a.settle(usage.UpstreamError) }

// onBroken is called when a stream breaks off, and returns what ends it for the
// caller; nil if the caller left.
func (a *attempt) onBroken(err error) *wire.Error {
	if a.r.Context().Err() != nil {
		return nil //nolint:nilerr // nobody reads it
	}
	if cause := context.Cause(a.ctx); cause != nil {
		err = cause // of which net/http may say only that it was cancelled
	}
	a.failure = err
	return failureError(a.ctx, err)
}

// observe records what the attempt shows of the backend. The context is the
// request's.
func (a *attempt) observe(ctx context.Context, err error) {
	e := &a.upstream
	if err == nil && a.failure == nil {
		// The caller left, which reverse_proxy calls no error. A failure that is
		// set already is a stream's that broke off: see onBroken.
		a.failure = e.Err
	}
	a.dispatched = a.dispatched || e.Dispatched
	if answered := e.Status != 0; answered || err != nil && ctx.Err() == nil {
		a.chosen.Metrics.Reached(answered) // an attempt that was given up proves neither
	}
	if err != nil && e.RoundTrips == 0 && ctx.Err() == nil {
		a.chosen.State.Unreachable(time.Now()) // no upstream of the pool is healthy
	}
	a.log(err)
}

// edit returns what must be changed in the request for a candidate.
func (s *settlement) edit(chosen *routing.Candidate) wirerequest.Edit {
	edit := wirerequest.Edit{Cap: -1, IncludeUsage: s.asksUsage(chosen)}
	edit.ContinuousUsage = edit.IncludeUsage && chosen.ContinuousUsage
	if chosen.Model != s.parsed.Model {
		edit.Model = chosen.Model
	}
	if limit := s.cap(); limit != s.parsed.Cap {
		edit.Cap, edit.CapName = limit, chosen.CapName(s.endpoint)
	}
	return edit
}

// cap returns the cap of one answer that is sent: the caller's, or less if the gate
// has a cap of its own or a quota is nearly used up; -1 for none.
func (s *settlement) cap() int64 {
	agreed := s.outputCap()
	if lowered := s.reservation.Cap(); lowered >= 0 && (agreed < 0 || lowered < agreed) {
		return lowered
	}
	return agreed
}

// asksUsage reports whether a stream is asked for its usage.
func (s *settlement) asksUsage(chosen *routing.Candidate) bool {
	return s.parsed.Stream && chosen.IncludeUsage && s.endpoint.AsksUsage()
}
