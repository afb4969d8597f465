package failover_test

import (
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/amanycodes/pine-gate/internal/redistest"
	"github.com/amanycodes/pine-gate/limiter/failover"
)

// Requests during a stop of Redis leave no goroutines behind, however many there are, and the queue of
// settlements is bounded.
func TestStoppedRedisTakesNoGoroutinesAndABoundedQueue(t *testing.T) {
	s := redistest.Standalone(t, redistest.Options{})
	g := newGuard(t, s.URL, failover.Options{})
	limit := ruleOf(t, "a", "1M requests/hour")
	ask := func() {
		r, err := g.ask(1, limit)
		if err != nil {
			t.Error(err)
			return
		}
		r.Settle(t.Context(), used(1, 0))
	}
	crowd := func() {
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(ask)
		}
		wg.Wait()
	}
	crowd()
	s.Stop()
	crowd()
	g.waitFor(false)
	before := runtime.NumGoroutine()
	for range 20 {
		crowd()
	}
	// Some that look for Redis come and go.
	for end := time.Now().Add(time.Minute); runtime.NumGoroutine() > before+10; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d goroutines, before it were %d", runtime.NumGoroutine(), before)
		}
	}

	const queue, more = 100_000, 5000
	for range queue + more {
		ask()
	}
	if got := g.redis.Stats(); got.Queued > queue+1024 || got.Dropped < more/2 || got.Open != 0 {
		t.Errorf("after %d more requests: %+v", queue+more, got)
	}
}
