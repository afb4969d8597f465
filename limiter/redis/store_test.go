package redis

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/amanycodes/pine-gate/internal/redistest"
	"github.com/amanycodes/pine-gate/limiter"
)

const (
	// never is an interval that does not elapse.
	never = time.Hour

	// patience is how long a test waits for what must come, and soon is less than what a store would
	// take that ignores its budget or does not look for a new master: tests share their machine.
	patience, soon = time.Minute, 10 * time.Second
)

// calm is a tuning without background work, so that a test sees only its own effects.
func calm() timing {
	t := defaultTuning
	t.heartbeat, t.batchDelay, t.overLimit = never, 0, 0
	return t
}

// store returns a store that the test closes, with a timeout for a machine that tests share.
func store(t testing.TB, opts Options, tuning timing) *Store {
	t.Helper()
	if opts.Timeout == 0 {
		opts.Timeout = 5 * time.Second
	}
	r := newStore(opts, tuning)
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	if tuning.heartbeat == never {
		rest(r) // a first beat that is late would renew what a test lets lapse
	}
	return r
}

// single is a store of a Redis of its own.
func single(t testing.TB, tuning timing) (*Store, *redistest.Server) {
	t.Helper()
	s := redistest.Standalone(t, redistest.Options{})
	return store(t, Options{Client: Dial(t, s.URL)}, tuning), s
}

// rest stops the store's periodic work.
func rest(r *Store) {
	r.stop()
	r.keeping.Wait()
}

// manual is a clock that is moved by hand.
type manual struct{ ns atomic.Int64 }

func newManual() *manual {
	m := new(manual)
	m.ns.Store(time.Date(2026, 2, 27, 22, 30, 0, 0, time.UTC).UnixNano())
	return m
}

func (m *manual) now() time.Time { return time.Unix(0, m.ns.Load()).UTC() }

func (m *manual) pass(d time.Duration) { m.ns.Add(int64(d)) }

// by is a tuning with a clock that tests move.
func (m *manual) by() timing {
	t := calm()
	t.now = m.now
	return t
}

var requestIDs atomic.Int64

// asking is a request of input tokens.
func asking(input int64, rules ...*limiter.Rule) limiter.Request {
	return limiter.Request{ID: "id" + time.Unix(requestIDs.Add(1), 0).UTC().Format("150405"), Rules: rules, Input: input, N: 1}
}

func admit(t testing.TB, r *Store, req limiter.Request) limiter.Reservation {
	t.Helper()
	res, err := r.Reserve(context.Background(), req)
	if err != nil {
		t.Fatalf("reserving: %v", err)
	}
	return res
}

func refuse(t testing.TB, r *Store, req limiter.Request) *limiter.Refusal {
	t.Helper()
	_, err := r.Reserve(context.Background(), req)
	var refusal *limiter.Refusal
	if !errors.As(err, &refusal) {
		t.Fatalf("got %v, want a refusal", err)
	}
	return refusal
}

// fails checks that the store can't decide, for the given reason.
func fails(t testing.TB, err error, reasons ...string) {
	t.Helper()
	var away *limiter.Unavailable
	if !errors.Is(err, limiter.ErrUnavailable) || !errors.As(err, &away) {
		t.Fatalf("got %v, want ErrUnavailable", err)
	}
	for _, reason := range reasons {
		if away.Reason == reason {
			return
		}
	}
	t.Fatalf("got the reason %s, want one of %v: %v", away.Reason, reasons, err)
}

func remains(t testing.TB, r *Store, rule *limiter.Rule, want int64) {
	t.Helper()
	states, err := r.Peek(context.Background(), []*limiter.Rule{rule})
	if err != nil {
		t.Fatalf("peeking: %v", err)
	}
	if states[0].Remaining != want {
		t.Fatalf("%s: %d remaining, want %d", rule.Name(), states[0].Remaining, want)
	}
}

func flushed(t testing.TB, r *Store) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := r.settler.flush(ctx); err != nil {
		t.Fatalf("delivering settlements: %v", err)
	}
}

// eventually waits for an event such as the end of a lease or the return of a server.
func eventually(t testing.TB, what string, happened func() bool) time.Duration {
	t.Helper()
	start := time.Now()
	for !happened() {
		if time.Since(start) > patience {
			t.Fatalf("it did not come: %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
	return time.Since(start)
}

// crowd calls f from that many goroutines, which start together.
func crowd(n int, f func(i int)) {
	var wg sync.WaitGroup
	start := make(chan struct{})
	for i := range n {
		wg.Go(func() {
			<-start
			f(i)
		})
	}
	close(start)
	wg.Wait()
}

var all = limiter.Usage{Dispatched: true, Input: 10}
