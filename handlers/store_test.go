package handlers

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/amanycodes/pine-gate/internal/metrics"
	"github.com/amanycodes/pine-gate/internal/wire"
	wirerequest "github.com/amanycodes/pine-gate/internal/wire/request"
	"github.com/amanycodes/pine-gate/limiter"
	"github.com/amanycodes/pine-gate/usage"
)

// roomFor is a ledger that is ready, or not.
type roomFor struct {
	usage.Ledger
	full error
}

func (l *roomFor) Ready() error { return l.full }

// away is a Shared with the given ledger, or the error of it.
type away struct {
	Shared
	ledger usage.Ledger
	err    error
}

func (a away) Ledger() (usage.Ledger, error) { return a.ledger, a.err }
func (a away) Limiter() limiter.Limiter      { return nil } // it is not away

func TestNothingIsForwardedThatCannotBeRecorded(t *testing.T) {
	m, err := metrics.For(prometheus.NewRegistry(), false)
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		shared Shared
		ok     bool
	}{
		"a store that works":   {away{ledger: new(roomFor)}, true},
		"a store that is away": {away{err: errors.New("locked")}, false},
		"a store that is full": {away{ledger: &roomFor{full: usage.ErrFull}}, false},
	} {
		c := &request{dialect: wire.OpenAI, g: &Gateway{Shared: test.shared, Logger: zap.NewNop(), Metrics: m}}
		refusal := c.openLedger()
		if test.ok != (refusal == nil) || test.ok != (c.ledger != nil) {
			t.Errorf("%s: refusal %v", name, refusal)
		}
		if refusal != nil && refusal.StatusCode() != http.StatusServiceUnavailable {
			t.Errorf("%s: status %d", name, refusal.StatusCode())
		}
		r, _ := http.NewRequest("GET", "/readyz", nil)
		for _, starting := range []bool{false, true} {
			want := test.ok && !starting
			if ready(test.shared, func() bool { return starting }, r) != want {
				t.Errorf("%s, starting %v: readyz says %v", name, starting, !want)
			}
		}
	}
}

// noRoom is a limiter whose calls fail.
type noRoom struct {
	limiter.Limiter
	err error
}

func (n noRoom) Peek(context.Context, []*limiter.Rule) ([]limiter.State, error) { return nil, n.err }

func (n noRoom) Reserve(context.Context, limiter.Request) (limiter.Reservation, error) {
	return nil, n.err
}

// failing is a Shared with the given ledger and limiter.
type failing struct {
	away
	limits noRoom
}

func (failing) Acquire()                   {}
func (failing) Release()                   {}
func (f failing) Limiter() limiter.Limiter { return f.limits }

// A store that is unavailable is logged once, and not by each request.
func TestRequestsDoNotLogThatAStoreIsUnavailable(t *testing.T) {
	m, err := metrics.For(prometheus.NewRegistry(), false)
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		shared failing
		lines  int
	}{
		"the ledger": {failing{away: away{err: errors.New("locked")}}, 0},
		"the limits": {failing{away: away{ledger: new(roomFor)}, limits: noRoom{err: fmt.Errorf("asking: %w", limiter.ErrUnavailable)}}, 0},
		"something":  {failing{away: away{ledger: new(roomFor)}, limits: noRoom{err: errors.New("no such rule")}}, 2},
	} {
		core, logs := observer.New(zap.DebugLevel)
		w, r := httptest.NewRecorder(), httptest.NewRequest("GET", "/v1/key", nil)
		c := &request{
			dialect: wire.OpenAI,
			g:       &Gateway{Shared: test.shared, Logger: zap.New(core), Metrics: m, Policy: new(Policy)}, w: w, r: r,
			grants: new(grants), parsed: &wirerequest.Request{Model: "m", N: 1, Cap: -1},
		}
		if refusal := c.serveKey(); refusal == nil || refusal.StatusCode() != 503 {
			t.Errorf("%s: /v1/key says %v", name, refusal)
		}
		if test.shared.err != nil {
			if refusal := c.openLedger(); refusal == nil || refusal.StatusCode() != 503 {
				t.Errorf("%s: a request is answered %v", name, refusal)
			}
			if refusal := WriteUsage(test.shared, c.g.Logger, w, httptest.NewRequest("GET", "/v1/usage", nil)); refusal == nil || refusal.StatusCode() != 503 {
				t.Errorf("%s: /v1/usage says %v", name, refusal)
			}
		} else if refusal := c.admit(); refusal == nil || refusal.StatusCode() != 503 {
			t.Errorf("%s: a request is answered %v", name, refusal)
		}
		if n := logs.Len(); n != test.lines {
			t.Errorf("%s: %d lines in the log, want %d: %v", name, n, test.lines, logs.All())
		}
	}
}

// A caller who leaves while its limits are checked does not count as an outage of the gate:
// thousands of streams that are reset at once do so.
func TestWhoLeavesBeforeAdmissionIsNoOutage(t *testing.T) {
	registry := prometheus.NewRegistry()
	m, err := metrics.For(registry, false)
	if err != nil {
		t.Fatal(err)
	}
	outages := func() (n float64) {
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, family := range families {
			for _, metric := range family.GetMetric() {
				if family.GetName() == "pinegate_rejected_total" && metric.GetLabel()[0].GetValue() == "unavailable" {
					n += metric.GetCounter().GetValue()
				}
			}
		}
		return n
	}
	for _, test := range []struct {
		left bool
		want int
		more float64
	}{{false, http.StatusServiceUnavailable, 1}, {true, statusClientClosed, 0}} {
		ctx, leave := context.WithCancel(t.Context())
		defer leave()
		if test.left {
			leave()
		}
		w, before := httptest.NewRecorder(), outages()
		c := &request{
			dialect: wire.OpenAI,
			g:       &Gateway{Logger: zap.NewNop(), Metrics: m}, w: w, r: httptest.NewRequestWithContext(ctx, "POST", "/v1/chat/completions", nil),
		}
		c.refuse(wire.Errorf(wire.KindOverloaded, ""), "")
		if more := outages() - before; w.Code != test.want || more != test.more {
			t.Errorf("left %t: %d, and %v more outages are counted", test.left, w.Code, more)
		}
	}
}
