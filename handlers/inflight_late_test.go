package handlers

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/amanycodes/pine-gate/backends"
	"github.com/amanycodes/pine-gate/keys"
	"github.com/amanycodes/pine-gate/limiter"
	"github.com/amanycodes/pine-gate/metrics"
	"github.com/amanycodes/pine-gate/usage"
	"github.com/amanycodes/pine-gate/wire"
)

// proxyFunc is a backend's proxy.
type proxyFunc func(w http.ResponseWriter, r *http.Request) error

func (f proxyFunc) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	return f(w, r)
}

// An answer settles before its last bytes leave, and a backend that goes on
// behind its usage must not hold the request for ever.
func TestAnAnswerThatHasSettledIsStillEndedWhenItTakesTooLong(t *testing.T) {
	const last = delta + `data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2}}` + "\n\n"
	m, err := metrics.For(prometheus.NewRegistry(), false)
	if err != nil {
		t.Fatal(err)
	}
	memory := limiter.NewMemory(limiter.MemoryOptions{})
	defer memory.Close()
	reservation, err := memory.Reserve(context.Background(), limiter.Request{ID: "req_1"})
	if err != nil {
		t.Fatal(err)
	}
	shared := new(sharedState)
	var c *call
	backend := &Backend{Name: "east", Metrics: m.Backend("east")}
	backend.Proxy = proxyFunc(func(_ http.ResponseWriter, r *http.Request) error {
		body := backends.ExchangeFrom(r.Context()).Meter.Wrap(http.Header{"Content-Type": {"text/event-stream"}}, 200, -1, io.NopCloser(strings.NewReader(last)))
		if _, err := io.ReadFull(body, make([]byte, len(last))); err != nil {
			t.Error(err)
		}
		if !c.answer.settled {
			t.Error("the usage has passed, and the request has not settled")
		}
		shared.requests.endOverdue(time.Now().Add(time.Minute))
		if r.Context().Err() == nil || context.Cause(r.Context()) != errStreamLimit {
			t.Errorf("the request goes on: its context says %v", context.Cause(r.Context()))
		}
		return nil
	})
	c = &call{
		g:           &Gateway{Shared: shared, Logger: zap.NewNop(), MaxStream: time.Minute},
		w:           httptest.NewRecorder(),
		r:           httptest.NewRequest("POST", "/v1/chat/completions", nil),
		start:       time.Now(),
		id:          "req_1",
		endpoint:    wire.Chat,
		key:         &keys.Key{ID: "alice"},
		request:     &wire.Request{Model: "m", N: 1, Cap: -1},
		candidates:  []candidate{{Backend: backend, model: "m"}},
		reservation: reservation,
		ledger:      usage.NewMemory(time.Hour),
	}
	c.forward()
	if n := shared.requests.calls.Len(); n != 0 {
		t.Errorf("%d requests are in flight behind their end", n)
	}
}
