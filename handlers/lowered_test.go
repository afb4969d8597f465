package handlers

import (
	"context"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/amanycodes/pine-gate/internal/wire"
	"github.com/amanycodes/pine-gate/limiter"
)

// lowering is a reservation with a lowered cap.
type lowering struct {
	limiter.Reservation
	cap     int64
	settled bool
}

func (l *lowering) Cap() int64                                   { return l.cap }
func (l *lowering) Settle(_ context.Context, used limiter.Usage) { l.settled = !used.Dispatched }

func TestACapThatTheAPIDoesNotTakeIsAQuotaUsedUp(t *testing.T) {
	const think = `{"model":"m","max_tokens":16000,"thinking":{"type":"enabled","budget_tokens":10000}}`
	for _, c := range []struct {
		name      string
		endpoint  wire.Endpoint
		body      string
		maxOutput int64
		lowered   int64
		refused   bool
	}{
		{"responses, 5 left", wire.Responses, `{"model":"m","max_output_tokens":1000}`, 0, 5, true},
		{"responses without a cap, 15 left", wire.Responses, `{"model":"m"}`, 0, 15, true},
		{"responses, 16 left", wire.Responses, `{"model":"m","max_output_tokens":1000}`, 0, 16, false},
		{"responses, not lowered", wire.Responses, `{"model":"m","max_output_tokens":5}`, 0, 5, false},
		{"a chat, 1 left", wire.Chat, `{"model":"m"}`, 0, 1, false},
		{"messages, 1 left", wire.Messages, `{"model":"m","max_tokens":9}`, 0, 1, false},
		{"messages that think, as much as the budget left", wire.Messages, think, 0, 10000, true},
		{"messages that think, more left", wire.Messages, think, 0, 10001, false},
		{"messages that think under a cap of the gate", wire.Messages, think, 8000, 4999, true},
		{"messages that think under a cap of the gate, more left", wire.Messages, think, 8000, 5001, false},
		{"nothing lowered", wire.Messages, think, 0, -1, false},
	} {
		q := scanned(t, c.endpoint, c.body)
		q.g.MaxOutput = c.maxOutput
		w := httptest.NewRecorder()
		reservation := &lowering{cap: c.lowered}
		q.w, q.reservation = w, reservation
		q.states = []limiter.State{
			{Rule: limiter.NewRule(limiter.ScopeKey, "alice", limiter.Limit{Unit: limiter.Tokens, Window: limiter.Month, Amount: 1e6}), Limit: 1e6, Remaining: 1e6, Reset: time.Hour},
			{Rule: limiter.NewRule(limiter.ScopeTeam, "a", limiter.Limit{Unit: limiter.Tokens, Window: limiter.Day, Amount: 100}), Limit: 100, Reset: time.Minute},
		}
		err := q.checkLowered()
		if c.refused != (err != nil) || c.refused != reservation.settled {
			t.Errorf("%s: %v, settled %t", c.name, err, reservation.settled)
			continue
		}
		if err == nil {
			continue
		}
		if err.Kind != wire.KindQuota || err.RetryAfter != time.Minute || q.scope != "team" {
			t.Errorf("%s: got %+v of the scope %q", c.name, err, q.scope)
		}
		if err.Write(w, q.dialect, "req_1"); w.Code != 429 || w.Header().Get("X-Should-Retry") != "false" {
			t.Errorf("%s: wrote %d %v", c.name, w.Code, w.Header())
		}
	}
}

func TestThinkingThatDoesNotFitUnderTheGatesCapIsRefused(t *testing.T) {
	for _, c := range []struct {
		maxOutput int64
		refused   bool
	}{{0, false}, {8000, false}, {1025, false}, {1024, true}, {16, true}} {
		q := scanned(t, wire.Messages, `{"model":"m","max_tokens":16000,"thinking":{"budget_tokens":10000}}`)
		q.g.MaxOutput = c.maxOutput
		if err := q.checkThinking(); c.refused != (err != nil) || err != nil && (err.Kind != wire.KindBadRequest || err.Param != "thinking.budget_tokens") {
			t.Errorf("max_output_tokens %d: %v", c.maxOutput, err)
		}
	}
	q := scanned(t, wire.Messages, `{"model":"m","max_tokens":16}`)
	q.g.MaxOutput = 1
	if err := q.checkThinking(); err != nil {
		t.Errorf("without thinking: %v", err)
	}
}
