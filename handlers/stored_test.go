package handlers

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/amanycodes/pine-gate/internal/backends"
	"github.com/amanycodes/pine-gate/internal/wire"
)

// What is fetched must end like any other answer: in time, and when the process
// stops. It has nothing to be noted.
func TestAStoredResponseIsFetchedInTimeAndUntilTheProcessStops(t *testing.T) {
	for name, test := range map[string]struct {
		end  func(*InFlight)
		want error
	}{
		"too long": {func(f *InFlight) { f.look(time.Now().Add(time.Minute)) }, errStreamLimit},
		"stopping": {func(f *InFlight) { f.End(ErrShutdown) }, ErrShutdown},
	} {
		var c *call
		c, _ = forwarded(t, "east", func(_ http.ResponseWriter, r *http.Request) error {
			if open := c.g.Shared.InFlight().open(); len(open) != 0 {
				t.Errorf("%s: there is to be a checkpoint of it", name)
			}
			test.end(c.g.Shared.InFlight())
			<-r.Context().Done() // or the test never ends
			return &backends.AttemptError{Err: context.Cause(r.Context())}
		})
		c.endpoint = wire.GetResponse
		if err := c.fetchStored(c.candidates[0].Backend); err == nil {
			t.Errorf("%s: no error", name)
		} else if want := failureError(withCause(test.want), nil); err.Kind != want.Kind {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
		if n := c.g.Shared.InFlight().calls.Len(); n != 0 {
			t.Errorf("%s: %d requests are in flight behind their end", name, n)
		}
	}
}

func withCause(cause error) context.Context {
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(cause)
	return ctx
}
