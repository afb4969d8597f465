package handlers

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/amanycodes/pine-gate/handlers/inflight"
	"github.com/amanycodes/pine-gate/handlers/routing"
	"github.com/amanycodes/pine-gate/internal/backends"
	"github.com/amanycodes/pine-gate/internal/backends/health"
	"github.com/amanycodes/pine-gate/internal/keys"
	"github.com/amanycodes/pine-gate/internal/metrics"
	"github.com/amanycodes/pine-gate/internal/wire"
	"github.com/amanycodes/pine-gate/internal/wire/meter"
	wirerequest "github.com/amanycodes/pine-gate/internal/wire/request"
	"github.com/amanycodes/pine-gate/limiter"
	"github.com/amanycodes/pine-gate/limiter/memory"
	"github.com/amanycodes/pine-gate/usage"
	usagememory "github.com/amanycodes/pine-gate/usage/memory"
)

// proxyFunc is a backend's proxy.
type proxyFunc func(w http.ResponseWriter, r *http.Request) error

func (f proxyFunc) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	return f(w, r)
}

// forwarded returns an admitted chat for the backend name, whose proxy answers
// it.
func forwarded(t *testing.T, name string, proxy proxyFunc) (s *settlement, registry *prometheus.Registry) {
	t.Helper()
	registry = prometheus.NewRegistry()
	m, err := metrics.For(registry, false)
	if err != nil {
		t.Fatal(err)
	}
	limits := memory.New(memory.Options{})
	t.Cleanup(func() { _ = limits.Close() })
	reservation, err := limits.Reserve(context.Background(), limiter.Request{ID: "req_1"})
	if err != nil {
		t.Fatal(err)
	}
	backend := &routing.Backend{Name: name, Metrics: m.Backend(name), State: new(health.BackendState), Forwarder: &backends.Proxied{Proxy: proxy}}
	return &settlement{request: &request{
		dialect:     wire.OpenAI,
		g:           &Gateway{Shared: new(sharedState), Metrics: m, Logger: zap.NewNop(), MaxStream: time.Minute},
		w:           httptest.NewRecorder(),
		r:           httptest.NewRequest("POST", "/v1/chat/completions", nil),
		start:       time.Now(),
		id:          "req_1",
		endpoint:    wire.Chat,
		key:         &keys.Key{ID: "alice"},
		parsed:      &wirerequest.Request{Model: "m", N: 1, Cap: -1},
		routed:      &routing.Route{Attempts: 1},
		candidates:  []routing.Candidate{{Backend: backend, Model: "m"}},
		reservation: reservation,
		ledger:      usagememory.New(time.Hour),
	}}, registry
}

// An answer settles before its last bytes are released, and a backend that continues
// after its end must not hold the request for ever.
func TestAnAnswerThatHasSettledIsStillEndedWhenItTakesTooLong(t *testing.T) {
	const last = delta + `data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2}}` + "\n\ndata: [DONE]\n\n"
	var s *settlement
	s, _ = forwarded(t, "east", func(_ http.ResponseWriter, r *http.Request) error {
		body := backends.AttemptFrom(r.Context()).Meter.Wrap(http.Header{"Content-Type": {"text/event-stream"}}, 200, -1, io.NopCloser(strings.NewReader(last)))
		if _, err := io.ReadFull(body, make([]byte, len(last))); err != nil {
			t.Error(err)
		}
		if !s.settled {
			t.Error("the end has passed, and the request has not settled")
		}
		s.g.Shared.InFlight().Sweep(time.Now().Add(time.Minute))
		if r.Context().Err() == nil || context.Cause(r.Context()) != inflight.ErrMaxStream {
			t.Errorf("the request goes on: its context says %v", context.Cause(r.Context()))
		}
		return nil
	})
	s.forward()
	if n := s.g.Shared.InFlight().Len(); n != 0 {
		t.Errorf("%d requests are in flight behind their end", n)
	}
}

// A backend that was never tried is neither up nor down, and a caller who gives up on
// a backend that hangs does not prove that it works.
func TestABackendIsUpOrDownOnlyByWhatWasSeenOfIt(t *testing.T) {
	for name, test := range map[string]struct {
		proxy proxyFunc
		leave bool
		want  string
	}{
		"answers": {func(_ http.ResponseWriter, r *http.Request) error {
			backends.AttemptFrom(r.Context()).Status = 400
			return nil
		}, false, "1"},
		"refuses to be dialled":         {func(http.ResponseWriter, *http.Request) error { return errors.New("dial") }, false, "0"},
		"hangs until the caller leaves": {func(http.ResponseWriter, *http.Request) error { return nil }, true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s, registry := forwarded(t, name, test.proxy)
			if got := upSeries(t, registry, name); got != "" {
				t.Errorf("before any attempt: %q", got)
			}
			if test.leave {
				gone, leave := context.WithCancel(t.Context())
				leave()
				s.r = s.r.WithContext(gone)
			}
			s.forward()
			if got := upSeries(t, registry, name); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// The side on which an answer broke off decides its outcome.
func TestABrokenAnswerIsWhoseItBroke(t *testing.T) {
	for name, test := range map[string]struct {
		broken error
		left   bool
		want   usage.Outcome
	}{
		"the backend's":          {io.ErrUnexpectedEOF, false, usage.UpstreamError},
		"a backend that is late": {context.DeadlineExceeded, false, usage.Timeout},
		"a caller's":             {nil, true, usage.ClientClosed},
		"nobody's that was seen": {nil, false, usage.UpstreamError},
	} {
		t.Run(name, func(t *testing.T) {
			s, _ := forwarded(t, name, nil)
			s.last = &attempt{settlement: s, meter: meter.New(meter.Config{})}
			a := &s.last.upstream
			a.Status, a.Broken, a.Left = 200, test.broken, test.left
			core, logs := observer.New(zap.InfoLevel)
			s.g.Logger, s.g.Events = zap.New(core), zap.NewNop()
			s.finish(t.Context(), true)
			var logged map[string]any
			for _, line := range logs.All() {
				logged = line.ContextMap()
			}
			if logged["outcome"] != string(test.want) || test.broken != nil && logged["error"] != test.broken.Error() {
				t.Errorf("the log says %v, want %s", logged, test.want)
			}
		})
	}
}

// upSeries returns the value of a backend's pinegate_backend_up, "" for none.
func upSeries(t *testing.T, registry *prometheus.Registry, backend string) string {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			if family.GetName() == "pinegate_backend_up" && metric.GetLabel()[0].GetValue() == backend {
				return strconv.FormatFloat(metric.GetGauge().GetValue(), 'f', -1, 64)
			}
		}
	}
	return ""
}
