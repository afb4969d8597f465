package handlers

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/amanycodes/pine-gate/handlers/inflight"
	"github.com/amanycodes/pine-gate/handlers/routing"
	"github.com/amanycodes/pine-gate/internal/backends"
	"github.com/amanycodes/pine-gate/internal/keys"
	"github.com/amanycodes/pine-gate/internal/wire"
	wirerequest "github.com/amanycodes/pine-gate/internal/wire/request"
	"github.com/amanycodes/pine-gate/limiter"
	"github.com/amanycodes/pine-gate/limiter/memory"
	"github.com/amanycodes/pine-gate/usage"
	usagememory "github.com/amanycodes/pine-gate/usage/memory"
)

// sharedState is a Shared with real stores in memory.
type sharedState struct {
	Shared
	requests inflight.Set
}

func (s *sharedState) InFlight() *inflight.Set { return &s.requests }

// A reservation returns whatever goes wrong, also before anything was sent.
func TestAPanicBeforeTheFirstAttemptReturnsTheReservation(t *testing.T) {
	memory := memory.New(memory.Options{})
	defer memory.Close()
	rule := limiter.NewRule(limiter.ScopeKey, "alice", limit(t, "1 concurrent"))
	reserve := func() (limiter.Reservation, error) {
		return memory.Reserve(context.Background(), limiter.Request{ID: "req_1", Rules: []*limiter.Rule{rule}})
	}
	reservation, err := reserve()
	if err != nil {
		t.Fatal(err)
	}
	ledger := usagememory.New(time.Hour)
	s := &settlement{request: &request{
		dialect:     wire.OpenAI,
		g:           &Gateway{Shared: new(sharedState), Logger: zap.NewNop(), MaxStream: time.Minute},
		w:           nil, // to set the first header panics
		r:           httptest.NewRequest("POST", "/v1/chat/completions", nil),
		start:       time.Now(),
		id:          "req_1",
		endpoint:    wire.Chat,
		key:         &keys.Key{ID: "alice"},
		parsed:      &wirerequest.Request{Model: "m", N: 1},
		candidates:  []routing.Candidate{{Backend: new(routing.Backend)}},
		reservation: reservation,
		ledger:      ledger,
	}}
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic was swallowed")
			}
		}()
		s.forward()
	}()
	again, err := reserve()
	if err != nil {
		t.Fatalf("the reservation did not return: %v", err)
	}
	again.Settle(context.Background(), limiter.Usage{})
	totals, err := ledger.Totals(context.Background(), "alice", time.Now())
	if err != nil || totals.Requests != 0 {
		t.Errorf("what was never sent is recorded: %+v, %v", totals, err)
	}
}

// A backend that sends an error and nothing of an answer has used nothing.
func TestAnErrorWithoutAnAnswerCostsNothing(t *testing.T) {
	const failed = `data: {"error":{"message":"m","code":500}}` + "\n\n"
	for name, test := range map[string]struct {
		body    string
		charged bool
	}{
		"alone":               {": ping\n\n" + failed, false},
		"behind the role":     {`data: {"choices":[{"delta":{"role":"assistant","content":""}}]}` + "\n\n" + failed, false},
		"llama.cpp's line":    {`error: {"code":500}` + "\n\ndata: [DONE]\n\n", false},
		"without an envelope": {`data: {"object":"error","message":"m","code":500}` + "\n\n", false},
		"behind text":         {delta + failed, true},
	} {
		t.Run(name, func(t *testing.T) {
			s, _ := forwarded(t, "east", func(_ http.ResponseWriter, r *http.Request) error {
				a := backends.AttemptFrom(r.Context())
				a.Status, a.Dispatched = 200, true
				body := a.Meter.Wrap(http.Header{"Content-Type": {"text/event-stream"}}, 200, -1, io.NopCloser(strings.NewReader(test.body)))
				_, err := io.Copy(io.Discard, body)
				return err
			})
			s.g.Events, s.g.HideModels, s.input = zap.NewNop(), true, 7
			s.forward()
			if s.record.Outcome != usage.UpstreamError {
				t.Errorf("recorded as %s", s.record.Outcome)
			}
			if used := s.charge(); (used.Input+used.Output > 0) != test.charged || (s.record.Input > 0) != test.charged {
				t.Errorf("charged %+v, recorded %+v", used, s.record.Tokens)
			}
		})
	}
}
