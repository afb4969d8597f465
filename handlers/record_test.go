package handlers

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/amanycodes/pine-gate/handlers/routing"
	"github.com/amanycodes/pine-gate/internal/keys"
	"github.com/amanycodes/pine-gate/internal/wire"
	"github.com/amanycodes/pine-gate/internal/wire/meter"
	wirerequest "github.com/amanycodes/pine-gate/internal/wire/request"
	"github.com/amanycodes/pine-gate/usage/pricing"
)

const delta = `data: {"choices":[{"index":0,"delta":{"content":"12345678"}}]}` + "\n\n"

// What a checkpoint holds is what the request would be charged.
func TestTheRecordSoFarFollowsAnAnswer(t *testing.T) {
	price := pricing.Price{}
	if err := price.UnmarshalText([]byte("input 1 output 1")); err != nil {
		t.Fatal(err)
	}
	q := &request{
		id: "req_1", start: time.Now(), endpoint: wire.Chat, dialect: wire.OpenAI,
		key:        &keys.Key{ID: "alice", Team: "red"},
		parsed:     &wirerequest.Request{Model: "m"},
		input:      14,
		candidates: []routing.Candidate{{Backend: &routing.Backend{Name: "east"}}, {Backend: &routing.Backend{Name: "west"}, Price: &price}},
	}
	got := q.Record(-1, 0, new(meter.Result))
	if got.Backend != "" || got.Input != 14 || got.Output != 0 {
		t.Errorf("before any attempt: %+v", got)
	}
	got = q.Record(0, 1, new(meter.Result))
	if got.ID != "req_1" || got.Key != "alice" || got.Team != "red" || got.Backend != "east" || got.Model != "m" ||
		got.Input != 14 || got.Output != 0 || got.Status != 0 || got.Priced || got.Attempts != 1 || !got.Estimated {
		t.Errorf("without an answer: %+v", got)
	}
	if err := got.Validate(); err != nil {
		t.Error(err)
	}
	m := meter.New(meter.Config{Endpoint: wire.Chat})
	body := m.Wrap(http.Header{"Content-Type": {"text/event-stream"}}, 200, -1, io.NopCloser(strings.NewReader(strings.Repeat(delta, 3))))
	for i := range 3 {
		if _, err := io.ReadFull(body, make([]byte, len(delta))); err != nil {
			t.Fatal(err)
		}
		result := m.Result()
		got := q.Record(1, 2, &result)
		if got.Backend != "west" || got.Output != int64(2*(i+1)) || got.Status != 200 || !got.Priced || got.CostNano != (got.Input+got.Output)*1000 {
			t.Fatalf("after %d events: %+v", i+1, got)
		}
	}
}
