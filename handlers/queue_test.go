package handlers

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/amanycodes/pine-gate/handlers/inflight"
	"github.com/amanycodes/pine-gate/handlers/routing"
	"github.com/amanycodes/pine-gate/internal/backends"
	"github.com/amanycodes/pine-gate/internal/backends/health"
	"github.com/amanycodes/pine-gate/internal/backends/queue"
	"github.com/amanycodes/pine-gate/limiter"
	"github.com/amanycodes/pine-gate/limiter/memory"
)

// One permit, with a queue or without.
var (
	oneQueues = queue.Capacity{Inflight: 1, Waiting: 10, Wait: time.Hour}
	oneAlone  = queue.Capacity{Inflight: 1}
)

// holds gives the key of a request, which goes to `name`, a limit, and returns
// a function that reports whether the request still holds its reservation.
func holds(t *testing.T, s *settlement) func() bool {
	t.Helper()
	memory := memory.New(memory.Options{})
	t.Cleanup(func() { _ = memory.Close() })
	asks := limiter.Request{ID: "req_1", Rules: []*limiter.Rule{limiter.NewRule(limiter.ScopeKey, "alice", limit(t, "1 concurrent"))}}
	for _, candidate := range s.candidates {
		asks.Candidates = append(asks.Candidates, candidate.Rules)
	}
	var err error
	if s.reservation, err = memory.Reserve(t.Context(), asks); err != nil {
		t.Fatal(err)
	}
	return func() bool {
		again, err := memory.Reserve(t.Context(), asks)
		if err == nil {
			again.Settle(t.Context(), limiter.Usage{})
		}
		return err != nil
	}
}

// serves answers a chat with a stream.
func serves(w http.ResponseWriter, r *http.Request) error {
	ex := backends.AttemptFrom(r.Context())
	ex.Status, ex.CallerStatus, ex.Dispatched = 200, 200, true
	answer := delta + `data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2}}` + "\n\ndata: [DONE]\n\n"
	_, err := io.Copy(w, ex.Meter.Wrap(http.Header{"Content-Type": {"text/event-stream"}}, 200, -1, io.NopCloser(strings.NewReader(answer))))
	return err
}

func TestWhoFindsNoRoomIsToldSoAndHoldsNothing(t *testing.T) {
	s, registry := forwarded(t, "full", func(http.ResponseWriter, *http.Request) error {
		t.Error("it was sent")
		return nil
	})
	live := s.candidates[0].State
	live.SetCapacity(oneAlone)
	live.Begin()
	held := holds(t, s)
	before := rejected(t, registry)
	s.forward()
	w := s.w.(*httptest.ResponseRecorder)
	if w.Code != 429 || w.Header().Get("Retry-After") != "1" || !strings.Contains(w.Body.String(), `"slow_down"`) {
		t.Errorf("%d %v %s", w.Code, w.Header(), w.Body)
	}
	if live.InFlight() != 1 || held() || s.g.Shared.InFlight().Len() != 0 {
		t.Errorf("%d in flight, the reservation is held: %t", live.InFlight(), held())
	}
	if after := rejected(t, registry); after != before+1 {
		t.Errorf("counted %v times", after-before)
	}
	if totals, err := s.ledger.Totals(t.Context(), "alice", time.Now()); err != nil || totals.Requests != 0 {
		t.Errorf("it is recorded: %+v, %v", totals, err)
	}
}

// rejected returns the number of requests that were refused because a backend
// was full.
func rejected(t *testing.T, registry *prometheus.Registry) float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	n := 0.
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			labels := metric.GetLabel()
			if family.GetName() == "pinegate_rejected_total" && labels[0].GetValue() == "slow_down" && labels[1].GetValue() == "backend" {
				n += metric.GetCounter().GetValue()
			}
		}
	}
	return n
}

func TestTimeThatARequestWaitsForItsTurnDoesNotCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s *settlement
		s, registry := forwarded(t, "waits", func(w http.ResponseWriter, r *http.Request) error {
			time.Sleep(2 * time.Second)
			s.g.Shared.InFlight().Sweep(time.Now().Add(57 * time.Second))
			if err := r.Context().Err(); err != nil {
				t.Errorf("ended by %v within its time", context.Cause(r.Context()))
			}
			return serves(w, r)
		})
		s.parsed.Stream = true
		s.g.Events = s.g.Logger
		s.g.Policy = new(Policy)
		live := s.candidates[0].State
		live.SetCapacity(oneQueues)
		live.Begin()
		held := holds(t, s)
		done := make(chan struct{})
		go func() {
			defer close(done)
			s.forward()
		}()
		synctest.Wait()
		if live.Waiting() != 1 || !held() {
			t.Errorf("%d wait, and what it has reserved is held: %t", live.Waiting(), held())
		}
		if n, err := testutil.GatherAndCount(registry, "pinegate_queue_waiting"); err != nil || n == 0 {
			t.Errorf("no series tells that it waits, %v", err)
		}
		time.Sleep(10 * time.Minute) // max_stream is one
		s.g.Shared.InFlight().Sweep(time.Now())
		live.End(time.Time{})
		<-done
		if w := s.w.(*httptest.ResponseRecorder); w.Code != 200 || !s.settled {
			t.Errorf("%d %s", w.Code, w.Body)
		}
		if s.waited != 10*time.Minute || s.last.firstToken != 2*time.Second || s.overhead != 0 {
			t.Errorf("waited %v, the first token after %v, overhead %v", s.waited, s.last.firstToken, s.overhead)
		}
		if live.InFlight() != 0 || live.Waiting() != 0 || held() {
			t.Errorf("behind it %d are in flight, %d wait", live.InFlight(), live.Waiting())
		}
	})
}

func TestARequestThatWaitsEndsWithItsCallerOrTheGate(t *testing.T) {
	for name, test := range map[string]struct {
		end  func(s *settlement, leave func())
		want int
	}{
		"the caller leaves": {func(_ *settlement, leave func()) { leave() }, 499},
		"the gate stops":    {func(s *settlement, _ func()) { s.g.Shared.InFlight().End(inflight.ErrShutdown) }, 503},
		"it is late":        {func(*settlement, func()) { time.Sleep(oneQueues.Wait) }, 429},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, _ := forwarded(t, "ends", func(http.ResponseWriter, *http.Request) error {
					t.Error("it was sent")
					return nil
				})
				gone, leave := context.WithCancel(t.Context())
				s.r = s.r.WithContext(gone)
				live := s.candidates[0].State
				live.SetCapacity(oneQueues)
				live.Begin()
				held := holds(t, s)
				done := make(chan struct{})
				go func() {
					defer close(done)
					s.forward()
				}()
				synctest.Wait()
				test.end(s, leave)
				<-done
				if w := s.w.(*httptest.ResponseRecorder); w.Code != test.want {
					t.Errorf("%d %s, want %d", w.Code, w.Body, test.want)
				}
				if live.Waiting() != 0 || live.InFlight() != 1 || held() {
					t.Errorf("%d wait, %d are in flight, the reservation is held: %t", live.Waiting(), live.InFlight(), held())
				}
			})
		})
	}
}

func TestAPanicKeepsNoPlace(t *testing.T) {
	s, _ := forwarded(t, "panics", func(http.ResponseWriter, *http.Request) error { panic(http.ErrAbortHandler) })
	live := s.candidates[0].State
	live.SetCapacity(oneAlone)
	func() {
		defer func() { _ = recover() }()
		s.forward()
	}()
	if !live.Begin() {
		t.Error("its place is taken")
	}
}

// twoOf adds a second candidate to a request, with the proxy and one permit.
func twoOf(s *settlement, proxy proxyFunc) (first, second *health.BackendState) {
	b := *s.candidates[0].Backend
	b.Name, b.State, b.Forwarder = "second", new(health.BackendState), &backends.Proxied{Proxy: proxy}
	s.candidates = append(s.candidates, routing.Candidate{Backend: &b, Model: "m"})
	s.routed.Attempts = 2
	first, second = s.candidates[0].State, b.State
	first.SetCapacity(oneQueues)
	second.SetCapacity(oneQueues)
	return first, second
}

func TestARequestWaitsOnlyWhereAllAreFull(t *testing.T) {
	fails := func(http.ResponseWriter, *http.Request) error {
		return &backends.AttemptError{Err: errors.New("refused")}
	}
	for name, test := range map[string]struct {
		firstFull, secondFull bool
		proxy                 proxyFunc // of the first
		waits                 bool
		want                  int // the one that answers
	}{
		"the first was filled meanwhile":         {firstFull: true, proxy: serves, want: 1},
		"both are full":                          {firstFull: true, secondFull: true, proxy: serves, waits: true, want: 0},
		"the first fails":                        {proxy: fails, want: 1},
		"the first fails and the second is full": {secondFull: true, proxy: fails, waits: true, want: 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, _ := forwarded(t, "first", test.proxy)
				s.parsed.Stream, s.g.Events, s.g.Policy = true, s.g.Logger, new(Policy)
				first, second := twoOf(s, serves)
				held := holds(t, s)
				if test.firstFull {
					first.Begin()
				}
				if test.secondFull {
					second.Begin()
				}
				done := make(chan struct{})
				go func() {
					defer close(done)
					s.forward()
				}()
				synctest.Wait()
				if waiting := first.Waiting()+second.Waiting() > 0; waiting != test.waits {
					t.Errorf("it waits: %t", waiting)
				}
				if test.firstFull {
					first.End(time.Time{})
				}
				if test.secondFull {
					second.End(time.Time{})
				}
				<-done
				if w := s.w.(*httptest.ResponseRecorder); w.Code != 200 || s.current != test.want {
					t.Errorf("%d of candidate %d: %s", w.Code, s.current, w.Body)
				}
				if first.InFlight() != 0 || second.InFlight() != 0 || held() {
					t.Errorf("%d and %d are in flight, the reservation is held: %t", first.InFlight(), second.InFlight(), held())
				}
			})
		})
	}
}

func TestABackendThatAskedToBeLeftAloneMeanwhileIsSentNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := forwarded(t, "first", func(http.ResponseWriter, *http.Request) error {
			t.Error("it was sent")
			return nil
		})
		first, second := twoOf(s, serves)
		second.SetCapacity(oneAlone)
		first.Begin()
		second.Begin()
		done := make(chan struct{})
		go func() {
			defer close(done)
			s.forward()
		}()
		synctest.Wait()
		for range 3 {
			first.Unreachable(time.Now())
		}
		first.End(time.Time{})
		<-done
		if w := s.w.(*httptest.ResponseRecorder); w.Code != 429 || first.InFlight() != 0 {
			t.Errorf("%d %s; %d are in flight", w.Code, w.Body, first.InFlight())
		}
	})
}

func TestAPlaceWhoseBackendHasSpentItsLimitIsGivenBack(t *testing.T) {
	s, _ := forwarded(t, "first", func(http.ResponseWriter, *http.Request) error {
		return &backends.AttemptError{Err: errors.New("refused")}
	})
	_, second := twoOf(s, serves)
	memory := memory.New(memory.Options{})
	t.Cleanup(func() { _ = memory.Close() })
	rules := []*limiter.Rule{limiter.NewRule(limiter.ScopeBackend, "second", limit(t, "1 concurrent"))}
	if _, err := memory.Reserve(t.Context(), limiter.Request{ID: "req_0", Rules: rules}); err != nil {
		t.Fatal(err)
	}
	var err error
	if s.reservation, err = memory.Reserve(t.Context(), limiter.Request{ID: "req_1", Candidates: [][]*limiter.Rule{nil, rules}}); err != nil {
		t.Fatal(err)
	}
	s.g.Events, s.g.Policy = s.g.Logger, new(Policy)
	s.forward()
	if w := s.w.(*httptest.ResponseRecorder); w.Code != 502 || second.InFlight() != 0 {
		t.Errorf("%d %s; %d are in flight at the second", w.Code, w.Body, second.InFlight())
	}
}
