package handlers

import (
	"context"
	"net/url"

	"github.com/amanycodes/pine-gate/handlers/routing"
	"github.com/amanycodes/pine-gate/internal/backends"
	"github.com/amanycodes/pine-gate/internal/wire"
)

// serveStored answers `GET /v1/responses/{id}` from the backend that stores the
// response, to the key that made it and to no other. It costs nothing: the
// response was charged when it was made.
func (c *call) serveStored() *wire.Error {
	c.g.Shared.Acquire()
	defer c.g.Shared.Release()

	name, ok, err := c.g.Shared.Responses().Find(c.r.Context(), c.pathID, c.key.ID)
	if err != nil {
		return responsesUnavailable()
	}
	if !ok {
		return responseNotFound()
	}
	for _, b := range c.g.Backends {
		if b.Name == name {
			return c.fetchStored(b)
		}
	}
	return responseNotFound() // the backend was taken out of the config
}

func (c *call) fetchStored(b *routing.Backend) *wire.Error {
	ctx, cancel := context.WithCancelCause(c.r.Context())
	defer cancel(nil)
	c.cancel = cancel
	attempt := &backends.Attempt{
		Endpoint:  wire.GetResponse,
		Path:      wire.GetResponse.Path() + c.pathID,
		Query:     storedQuery(c.r.URL.Query()),
		RequestID: c.id,
	}
	c.progress.watch(&attempt.Watchdog, b, cancel)
	c.progress.settled = true    // it uses nothing that a checkpoint could note
	c.g.Shared.InFlight().add(c) // which ends it in time, and when the process stops
	defer c.g.Shared.InFlight().remove(c)
	err := b.Forwarder.Forward(ctx, c.w, c.r, attempt)
	if err != nil {
		return failureError(ctx, err)
	}
	return nil
}

// storedQuery is what goes to the backend of a query for a stored response: what to
// include, and whether it comes as a stream, and behind which event, as OpenAI's
// clients ask for it. Another name, which the gate does not know, stays here.
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
