package handlers

import (
	"context"
	"net/url"

	"github.com/amanycodes/pine-gate/handlers/inflight"
	"github.com/amanycodes/pine-gate/handlers/routing"
	"github.com/amanycodes/pine-gate/internal/backends"
	"github.com/amanycodes/pine-gate/internal/wire"
	wirerequest "github.com/amanycodes/pine-gate/internal/wire/request"
)

// serveStored answers `GET /v1/responses/{id}` from the backend that stores the
// response, and only to the key that created it. It costs nothing: the response
// was charged when it was created.
func (q *request) serveStored() *wire.Error {
	q.g.Shared.Acquire()
	defer q.g.Shared.Release()

	name, ok, err := q.g.Shared.Responses().Find(q.r.Context(), q.pathID, q.key.ID)
	if err != nil {
		return responsesUnavailable()
	}
	if !ok {
		return responseNotFound()
	}
	for _, b := range q.g.Backends {
		if b.Name == name {
			return q.fetchStored(b)
		}
	}
	return responseNotFound() // the backend was removed from the configuration
}

// fetchStored forwards the request to the backend that stores the response. It
// is in flight like any request, so that it ends in time and when the process
// stops.
func (q *request) fetchStored(b *routing.Backend) *wire.Error {
	q.parsed = new(wirerequest.Request) // there is no body
	q.candidates = append(q.candidateSpace[:0], routing.Candidate{Backend: b})
	ctx, cancel := context.WithCancelCause(q.r.Context())
	defer cancel(nil)
	attempt := &backends.Attempt{
		Endpoint:  wire.GetResponse,
		Path:      wire.GetResponse.Path() + q.pathID,
		Query:     storedQuery(q.r.URL.Query()),
		RequestID: q.id,
	}
	entry := &inflight.Entry{Request: q, Cancel: cancel, MaxStream: q.g.MaxStream, Uncharged: true}
	entry.Begin(inflight.Attempt{N: 1, Watchdog: &attempt.Watchdog, FirstToken: b.FirstToken, Idle: b.Idle, End: cancel})
	q.g.Shared.InFlight().Add(entry)
	defer q.g.Shared.InFlight().Remove(entry)
	if err := b.Forwarder.Forward(ctx, q.w, q.r, attempt); err != nil {
		return failureError(ctx, err)
	}
	return nil
}

// storedQuery returns the part of a query that is sent to the backend: what to
// include, whether to stream, and after which event. Parameters that the gate
// does not support are dropped.
func storedQuery(asked url.Values) string {
	sent := make(url.Values)
	for _, name := range []string{"include[]", "starting_after", "stream"} {
		if values := asked[name]; len(values) > 0 {
			sent[name] = values
		}
	}
	return sent.Encode()
}

func responseNotFound() *wire.Error {
	err := wire.Errorf(wire.KindUnknownURL, "")
	err.Message = "No response with this id was found."
	err.Code = "response_not_found"
	return err
}
