package handlers

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/amanycodes/pine-gate/handlers/routing"
	"github.com/amanycodes/pine-gate/internal/keys"
	"github.com/amanycodes/pine-gate/internal/metrics"
	"github.com/amanycodes/pine-gate/internal/wire"
	"github.com/amanycodes/pine-gate/internal/wire/meter"
	"github.com/amanycodes/pine-gate/internal/wire/request"
	"github.com/amanycodes/pine-gate/limiter"
	"github.com/amanycodes/pine-gate/usage"
	"github.com/amanycodes/pine-gate/usage/pricing"
)

// noted is a ledger that keeps the checkpoints it is given, or can't.
type noted struct {
	usage.Ledger
	mu      sync.Mutex
	records []usage.Record
	fails   error
	full    error
}

func (l *noted) Checkpoint(_ context.Context, records []usage.Record) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fails == nil {
		l.records = append(l.records, records...)
	}
	return l.fails
}

func (l *noted) Ready() error { return l.full }

// asked is a chat that a backend is answering.
func asked(t *testing.T, id string) (*call, *meter.Meter) {
	t.Helper()
	price := pricing.Price{}
	if err := price.UnmarshalText([]byte("input 1 output 1")); err != nil {
		t.Fatal(err)
	}
	c := &call{
		id: id, start: time.Now(), endpoint: wire.Chat, dialect: wire.OpenAI,
		key:        &keys.Key{ID: "alice", Team: "red"},
		request:    &request.Request{Model: "m"},
		input:      14,
		candidates: []routing.Candidate{{Backend: &routing.Backend{Name: "east"}}, {Backend: &routing.Backend{Name: "west"}, Price: &price}},
	}
	return c, meter.New(meter.Config{Endpoint: wire.Chat})
}

const delta = `data: {"choices":[{"index":0,"delta":{"content":"12345678"}}]}` + "\n\n"

func TestCheckpointsFollowAnAnswer(t *testing.T) {
	f, l := new(InFlight), new(noted)
	c, m := asked(t, "req_1")
	f.add(c)
	at := func(d time.Duration) []usage.Record {
		t.Helper()
		l.records = nil
		f.checkpoint(t.Context(), l, c.progress.since.Add(d))
		return l.records
	}
	if got := at(2 * time.Second); len(got) != 0 {
		t.Errorf("before any attempt: %+v", got)
	}
	c.progress.begin(m, 0, 1)
	got := at(time.Millisecond) // else a process that is killed could lose two seconds of it
	if len(got) != 1 || got[0].ID != "req_1" || got[0].Key != "alice" || got[0].Team != "red" || got[0].Backend != "east" || got[0].Model != "m" ||
		got[0].Input != 14 || got[0].Output != 0 || got[0].Status != 0 || got[0].Priced || got[0].Attempts != 1 || !got[0].Estimated {
		t.Fatalf("without an answer: %+v", got)
	}
	if err := got[0].Validate(); err != nil {
		t.Error(err)
	}
	if got := at(3 * time.Second); len(got) != 0 {
		t.Errorf("nothing has changed: %+v", got)
	}

	m = meter.New(meter.Config{Endpoint: wire.Chat})
	c.progress.begin(m, 1, 2)
	body := m.Wrap(http.Header{"Content-Type": {"text/event-stream"}}, 200, -1, io.NopCloser(strings.NewReader(strings.Repeat(delta, 3))))
	for i := range 3 {
		if _, err := io.ReadFull(body, make([]byte, len(delta))); err != nil {
			t.Fatal(err)
		}
		if i == 1 {
			l.fails = errors.New("the disk is full")
		}
		got := at(time.Duration(4+i) * time.Second)
		if i == 1 {
			l.fails = nil
			got = at(6 * time.Second) // what could not be noted comes again
		}
		if len(got) != 1 || got[0].Backend != "west" || got[0].Output != int64(2*(i+1)) || got[0].Status != 200 || !got[0].Priced || got[0].CostNano != (got[0].Input+got[0].Output)*1000 {
			t.Fatalf("after %d events: %+v", i+1, got)
		}
	}
	if !f.settle(c) {
		t.Error("that there are checkpoints is not told")
	}
	if got := at(time.Minute); len(got) != 0 {
		t.Errorf("after its end: %+v", got)
	}
	short, _ := asked(t, "req_2")
	f.add(short)
	if f.settle(short) {
		t.Error("a short request is said to have checkpoints")
	}
	for range 2 {
		f.remove(short) // again it does nothing
	}
}

// The race detector watches: an answer is read while it is check-pointed.
func TestCheckpointsOfRunningAnswers(t *testing.T) {
	f, l := new(InFlight), new(noted)
	stop := make(chan struct{})
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				c, m := asked(t, "req")
				f.add(c)
				c.progress.begin(m, i%2, 1)
				body := m.Wrap(http.Header{"Content-Type": {"text/event-stream"}}, 200, -1, io.NopCloser(strings.NewReader(strings.Repeat(delta, 20))))
				if _, err := io.Copy(io.Discard, body); err != nil {
					t.Error(err)
				}
				f.remove(c)
			}
		})
	}
	for range 200 {
		f.checkpoint(t.Context(), l, time.Now().Add(time.Minute))
	}
	close(stop)
	all.Wait()
	if f.calls.Len() != 0 {
		t.Errorf("%d requests are left", f.calls.Len())
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	new(InFlight).Run(ctx, new(noted)) // returns
}

// away is what is shared while the store is as said.
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
		"a store that works":   {away{ledger: new(noted)}, true},
		"a store that is away": {away{err: errors.New("locked")}, false},
		"a store that is full": {away{ledger: &noted{full: usage.ErrFull}}, false},
	} {
		c := &call{dialect: wire.OpenAI, g: &Gateway{Shared: test.shared, Logger: zap.NewNop(), Metrics: m}}
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

func TestEventsAreBuiltOnlyWhereALogTakesThem(t *testing.T) {
	record := usage.Record{ID: "req_1", Start: time.Unix(1, 0), Model: "secret-model", UpstreamModel: "secret-model", CostNano: 1500, Priced: true, Outcome: usage.OK}
	info, _ := observer.New(zap.InfoLevel)
	logger := zap.New(info)
	if n := testing.AllocsPerRun(100, func() { LogEvent(logger, &record, false) }); n != 0 {
		t.Errorf("%v allocations for nobody", n)
	}
	core, logs := observer.New(zap.DebugLevel)
	LogEvent(zap.New(core), &record, true)
	unpriced := record
	unpriced.Priced = false
	LogEvent(zap.New(core), &unpriced, false)
	first, second := logs.All()[0].ContextMap(), logs.All()[1].ContextMap()
	if first["cost_usd"] != "0.0000015" || first["model"] != nil || first["upstream_model"] != nil {
		t.Errorf("hidden: %v", first)
	}
	if _, ok := second["cost_usd"]; ok || second["model"] != "secret-model" {
		t.Errorf("unpriced: %v", second)
	}
}

func TestWhatTakesTooLongIsEnded(t *testing.T) {
	f := new(InFlight)
	causes := make(map[string]error)
	begin := func(id string, most time.Duration) *call {
		c, _ := asked(t, id)
		c.g = &Gateway{MaxStream: most}
		c.cancel = func(cause error) { causes[id] = cause }
		f.add(c)
		return c
	}
	brief := begin("brief", time.Second)
	begin("long", time.Minute)

	f.look(brief.progress.since.Add(999 * time.Millisecond))
	if len(causes) != 0 {
		t.Errorf("ended early: %v", causes)
	}
	f.look(brief.progress.since.Add(time.Second))
	if causes["brief"] != errStreamLimit || len(causes) != 1 {
		t.Errorf("after a second: %v", causes)
	}
	f.remove(brief)
	f.End(ErrShutdown)
	if causes["brief"] != errStreamLimit || causes["long"] != ErrShutdown {
		t.Errorf("at the end: %v", causes)
	}
	begin("late", time.Minute)
	if causes["late"] != ErrShutdown {
		t.Errorf("a request began after the end: %v", causes)
	}
}
