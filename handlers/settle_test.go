package handlers

import (
	"context"
	"net/http/httptest"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/amanycodes/pine-gate/handlers/inflight"
	"github.com/amanycodes/pine-gate/handlers/routing"
	"github.com/amanycodes/pine-gate/internal/keys"
	"github.com/amanycodes/pine-gate/internal/wire"
	wirerequest "github.com/amanycodes/pine-gate/internal/wire/request"
	"github.com/amanycodes/pine-gate/limiter"
	"github.com/amanycodes/pine-gate/limiter/memory"
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
