package handlers

import (
	"context"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// maxDrained bounds in bytes what is read of an answer that nobody waits for.
const maxDrained = 16 << 20

// exitPoll is how soon an answer that is drained ends when the process stops:
// nobody waits for it, so the grace period is not for it.
const exitPoll = 100 * time.Millisecond

// outlive returns a context for an attempt at a backend that is drained: it
// ends as ctx does, but where that ends because the caller left, only after the
// time given, or when the process stops. It must be let go of.
//
// It then ends with the cause of a caller who left, for what became of the
// request is judged by that.
func (c *call) outlive(ctx context.Context, most time.Duration) (context.Context, context.CancelCauseFunc) {
	alive, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	unhook := context.AfterFunc(ctx, func() {
		if c.r.Context().Err() == nil {
			cancel(context.Cause(ctx)) // max_stream, or the gate stops
			return
		}
		late := time.NewTimer(most)
		defer late.Stop()
		tick := time.NewTicker(exitPoll)
		defer tick.Stop()
		for {
			select {
			case <-alive.Done():
				return
			case <-late.C:
				cancel(context.Canceled)
			case <-tick.C:
				if caddy.Exiting() {
					cancel(context.Canceled)
				}
			}
		}
	})
	return alive, func(cause error) {
		unhook()
		cancel(cause)
	}
}

// drain reads on to the backend's own usage where reverse_proxy stopped in the
// middle of an answer, since its caller left. The reservation stays until then:
// the backend still works on the request.
func (c *call) drain(most time.Duration, cancel context.CancelCauseFunc) {
	a := &c.answer
	rest := a.attempt.Rest()
	if rest == nil {
		return
	}
	defer rest.Close()
	a.drained = true
	// A caller can be gone before its context says so.
	late := time.AfterFunc(most, func() { cancel(context.Canceled) })
	defer late.Stop()
	buf := make([]byte, 32<<10)
	for read := 0; read < maxDrained && !a.settled; {
		n, err := rest.Read(buf)
		if err != nil {
			return // finish tells of it
		}
		read += n
	}
}

// callerLeft tells whether nobody waits for the answer any more.
func (c *call) callerLeft() bool {
	return c.answer.drained || c.r.Context().Err() != nil || c.answer.attempt.Left
}
