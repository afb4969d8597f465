package inflight

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/amanycodes/pine-gate/internal/wire"
	"github.com/amanycodes/pine-gate/internal/wire/meter"
	"github.com/amanycodes/pine-gate/usage"
)

// journal is a ledger that keeps the checkpoints it is given, or can't.
type journal struct {
	usage.Ledger
	mu      sync.Mutex
	records []usage.Record
	fails   error
}

func (l *journal) Checkpoint(_ context.Context, records []usage.Record) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fails == nil {
		l.records = append(l.records, records...)
	}
	return l.fails
}

// chat is a request whose output is estimated at a token for four bytes.
type chat struct {
	id    string
	start time.Time
}

func (c chat) Record(candidate, attempts int, result *meter.Result) usage.Record {
	record := usage.Record{ID: c.id, Start: c.start, Key: "alice", Team: "red", Endpoint: "chat", Model: "m", Attempts: attempts}
	if candidate >= 0 {
		record.Backend = []string{"east", "west"}[candidate]
	}
	record.Input, record.Output = 14, (result.Unreported+3)/4
	if result.Reported {
		record.Tokens = result.Tokens
	}
	return record
}

// asked is a chat that a backend answers.
func asked(id string) (*Entry, *meter.Meter) {
	return &Entry{Request: chat{id, time.Now()}, MaxStream: time.Hour}, meter.New(meter.Config{Endpoint: wire.Chat})
}

const delta = `data: {"choices":[{"index":0,"delta":{"content":"12345678"}}]}` + "\n\n"

func TestCheckpointsFollowAnAnswer(t *testing.T) {
	s, l := new(Set), new(journal)
	e, m := asked("req_1")
	s.Add(e)
	at := func(d time.Duration) []usage.Record {
		t.Helper()
		l.records = nil
		s.checkpoint(t.Context(), l, e.since.Add(d))
		return l.records
	}
	if got := at(2 * time.Second); len(got) != 0 {
		t.Errorf("before any attempt: %+v", got)
	}
	e.Begin(Attempt{Candidate: 0, N: 1, Meter: m})
	got := at(time.Millisecond) // else a process that is killed could lose two seconds of it
	if len(got) != 1 || got[0].ID != "req_1" || got[0].Backend != "east" || got[0].Input != 14 || got[0].Output != 0 || got[0].Attempts != 1 || got[0].Duration <= 0 {
		t.Fatalf("without an answer: %+v", got)
	}
	if got := at(3 * time.Second); len(got) != 0 {
		t.Errorf("nothing has changed: %+v", got)
	}

	m = meter.New(meter.Config{Endpoint: wire.Chat})
	e.Begin(Attempt{Candidate: 1, N: 2, Meter: m})
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
			got = at(6 * time.Second) // what could not be written comes again
		}
		if len(got) != 1 || got[0].Backend != "west" || got[0].Output != int64(2*(i+1)) {
			t.Fatalf("after %d events: %+v", i+1, got)
		}
	}
	if !s.Settle(e) {
		t.Error("its checkpoints are not reported")
	}
	if got := at(time.Minute); len(got) != 0 {
		t.Errorf("after its end: %+v", got)
	}
	short, _ := asked("req_2")
	s.Add(short)
	if s.Settle(short) {
		t.Error("a short request is said to have checkpoints")
	}
	for range 2 {
		s.Remove(short) // again it does nothing
	}
}

func TestOnlyWhatIsWithABackendAndChargedHasCheckpoints(t *testing.T) {
	s, l := new(Set), new(journal)
	e, m := asked("req_1")
	e.Begin(Attempt{N: 1, Meter: m})
	s.Add(e)
	s.Wait(e, 0, time.Now())
	free, m := asked("req_2")
	free.Uncharged = true
	free.Begin(Attempt{N: 1, Meter: m})
	s.Add(free)
	if s.checkpoint(t.Context(), l, time.Now()); len(l.records) != 0 || s.Settle(e) || s.Settle(free) {
		t.Errorf("there are checkpoints of one that waits, or of one that is free: %+v", l.records)
	}
}

// The race detector watches: an answer is read while it is check-pointed.
func TestCheckpointsOfRunningAnswers(t *testing.T) {
	s, l := new(Set), new(journal)
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
				e, m := asked("req")
				s.Add(e)
				e.Begin(Attempt{Candidate: i % 2, N: 1, Meter: m})
				body := m.Wrap(http.Header{"Content-Type": {"text/event-stream"}}, 200, -1, io.NopCloser(strings.NewReader(strings.Repeat(delta, 20))))
				if _, err := io.Copy(io.Discard, body); err != nil {
					t.Error(err)
				}
				s.Remove(e)
			}
		})
	}
	for range 200 {
		s.checkpoint(t.Context(), l, time.Now().Add(time.Minute))
	}
	close(stop)
	all.Wait()
	if s.Len() != 0 || s.first != nil || s.last != nil {
		t.Errorf("%d requests are left", s.Len())
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	new(Set).Run(ctx, new(journal)) // returns
}

func TestWhatTakesTooLongIsEnded(t *testing.T) {
	s := new(Set)
	causes := make(map[string]error)
	begin := func(id string, most time.Duration) *Entry {
		e, _ := asked(id)
		e.MaxStream = most
		e.Cancel = func(cause error) { causes[id] = cause }
		s.Add(e)
		return e
	}
	brief := begin("brief", time.Second)
	begin("long", time.Minute)

	s.Sweep(brief.since.Add(999 * time.Millisecond))
	if len(causes) != 0 {
		t.Errorf("ended early: %v", causes)
	}
	s.Sweep(brief.since.Add(time.Second))
	if causes["brief"] != ErrMaxStream || len(causes) != 1 {
		t.Errorf("after a second: %v", causes)
	}
	s.Remove(brief)
	s.End(ErrShutdown)
	if causes["brief"] != ErrMaxStream || causes["long"] != ErrShutdown {
		t.Errorf("at the end: %v", causes)
	}
	begin("late", time.Minute)
	if causes["late"] != ErrShutdown {
		t.Errorf("a request began after the end: %v", causes)
	}
}
