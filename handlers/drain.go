package handlers

import (
	"context"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// maxDrained bounds in bytes what is read of an answer for a caller who left.
const maxDrained = 16 << 20

// exitPoll is how soon an attempt that is drained ends when the process stops:
// nobody waits for it, so the grace period is not for it.
const exitPoll = 100 * time.Millisecond

// outlive returns the context of an attempt at a backend that is drained. It ends
// as ctx does; but if that ends because the caller left, it ends only after the
// time given, or when the process stops. Its cause then is the one of a caller who
// left, since the outcome is decided by it. The function must be called.
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

// drain reads on to the backend's usage if reverse_proxy stopped in the middle of
// an answer because its caller left. The reservation stays until then: the backend
// still works on the request.
func (a *attempt) drain() {
	rest := a.upstream.Rest()
	if rest == nil {
		return
	}
	defer rest.Close()
	a.drained = true
	// A caller can be gone before its context says so.
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

// callerLeft reports whether nobody waits for the answer any more.
func (a *attempt) callerLeft() bool {
	return a.drained || a.r.Context().Err() != nil || a.upstream.Left
}
