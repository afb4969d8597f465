package limiter

import (
	"context"
	"fmt"
	"runtime"
	"strconv"
	"testing"

	"github.com/amanycodes/pine-gate/internal/redistest"
)

// However many requests come while Redis stands still, no goroutine is there for them afterwards, and
// what waits to be told to Redis is bounded.
func TestStoppedRedisTakesNoGoroutinesAndABoundedQueue(t *testing.T) {
	s := redistest.Standalone(t, redistest.Options{})
	primary := store(t, RedisOptions{URLs: []string{s.URL}}, calm())
	away := make(chan bool, 1)
	g := NewGuarded(primary, GuardedOptions{OnChange: func(up bool, _ error) {
		if !up {
			away <- true
		}
	}})
	t.Cleanup(func() { _ = g.Close() })
	limit := rule("a", "1M requests/hour")
	ask := func(i int) {
		req := asking(1, limit)
		req.ID = "asked-" + strconv.Itoa(i)
		r, err := g.Reserve(context.Background(), req)
		if err != nil {
			t.Error(err)
			return
		}
		r.Settle(context.Background(), Actual{Dispatched: true, Input: 1})
	}
	crowd(50, ask)
	primary.opts.Timeout = soon / 50
	s.Stop()
	crowd(50, ask)
	<-away
	before := runtime.NumGoroutine()
	for i := range 20 {
		crowd(50, func(j int) { ask(50*i + j) })
	}
	// Some that look for Redis come and go.
	eventually(t, "no more goroutines than before", func() bool { return runtime.NumGoroutine() <= before+10 })

	for i := range settleQueue {
		primary.settler.add(settlement{id: fmt.Sprint("queued-", i)})
	}
	const more = 5000
	for i := range more {
		ask(i)
	}
	if got := primary.Stats(); got.Queued > settleQueue+settleBatch*settleCalls || got.Dropped < more/2 || got.Open != 0 {
		t.Errorf("after %d more requests: %+v", more, got)
	}
}
