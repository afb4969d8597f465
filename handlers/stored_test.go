package handlers

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/amanycodes/pine-gate/handlers/inflight"
	"github.com/amanycodes/pine-gate/internal/backends"
	"github.com/amanycodes/pine-gate/internal/wire"
)

// A fetched response must end like any other answer: in time, and when the process
// stops. It has no usage to record.
func TestAStoredResponseIsFetchedInTimeAndUntilTheProcessStops(t *testing.T) {
	for name, test := range map[string]struct {
		end  func(*inflight.Set)
		want error
	}{
		"too long": {func(f *inflight.Set) { f.Sweep(time.Now().Add(time.Minute)) }, inflight.ErrMaxStream},
		"stopping": {func(f *inflight.Set) { f.End(inflight.ErrShutdown) }, inflight.ErrShutdown},
	} {
		var s *settlement
		s, _ = forwarded(t, "east", func(_ http.ResponseWriter, r *http.Request) error {
			running, _ := s.g.Shared.InFlight().List(1)
			if len(running) != 1 || running[0].ID != "req_1" || running[0].Backend != "east" || running[0].Endpoint != wire.GetResponse.String() {
				t.Errorf("%s: it is listed as %+v", name, running)
			}
			test.end(s.g.Shared.InFlight())
			<-r.Context().Done() // or the test never ends
			return &backends.AttemptError{Err: context.Cause(r.Context())}
		})
		s.endpoint = wire.GetResponse
		if err := s.fetchStored(s.candidates[0].Backend); err == nil {
			t.Errorf("%s: no error", name)
		} else if want := failureError(withCause(test.want), nil); err.Kind != want.Kind {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
		if n := s.g.Shared.InFlight().Len(); n != 0 {
			t.Errorf("%s: %d requests are in flight behind their end", name, n)
		}
	}
}

func withCause(cause error) context.Context {
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(cause)
	return ctx
}
