package handlers

import (
	"context"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// maxDrained bounds in bytes how much of an answer is read after its caller
// left.
const maxDrained = 16 << 20

// exitPoll is how soon a drained attempt ends when the process stops. No caller
// waits for it, so it does not get the grace period.
const exitPoll = 100 * time.Millisecond

// outlive returns the context of an attempt at a backend that is drained, and
// its cancel function, which must be called. The context ends as ctx does. But
// if ctx ends because the caller left, it ends only after most, or when the
// process stops; its cause is then context.Canceled, as for a caller who left,
// since the outcome depends on it.
func (a *attempt) outlive(ctx context.Context, most time.Duration) (context.Context, context.CancelCauseFunc) {
	caller := a.r.Context()
	alive, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	unhook := context.AfterFunc(ctx, func() {
		if caller.Err() == nil {
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

// drain reads on to the backend's usage if reverse_proxy stopped in the middle
// of an answer because its caller left. The reservation is held until then: the
// backend still works on the request.
func (a *attempt) drain() {
	rest := a.upstream.Rest()
	if rest == nil {
		return
	}
	defer rest.Close()
	a.drained = true
	// A caller can be gone before its context is cancelled.
	late := time.AfterFunc(a.chosen.Drain, func() { a.end(context.Canceled) })
	defer late.Stop()
	buf := make([]byte, 32<<10)
	for read := 0; read < maxDrained && !a.settled; {
		n, err := rest.Read(buf)
		if err != nil {
			return // finish logs it
		}
		read += n
	}
}

// callerLeft reports whether the caller no longer waits for the answer.
func (a *attempt) callerLeft() bool {
	return a.drained || a.r.Context().Err() != nil || a.upstream.Left
}
