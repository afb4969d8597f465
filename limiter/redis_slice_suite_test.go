package limiter_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/amanycodes/pine-gate/internal/redistest"
	"github.com/amanycodes/pine-gate/limiter"
	"github.com/amanycodes/pine-gate/limiter/limitertest"
)

// sliced is a prompt store that has Redis told at once what a request has spent of a slice.
type sliced struct {
	prompt
	admitted *atomic.Int64 // from slices
}

func (s sliced) Reserve(ctx context.Context, req limiter.Request) (limiter.Reservation, error) {
	r, err := s.Redis.Reserve(ctx, req)
	s.flush()
	if err != nil {
		return nil, err
	}
	if limiter.Sliced(r) {
		s.admitted.Add(1)
	}
	return promptReservation{r, s.prompt}, nil
}

// bySlices runs the suite with all that can be admitted from slices, each of so many requests.
func bySlices(t *testing.T, opts limiter.RedisOptions, flush func(), requests ...int64) (admitted int64) {
	var n atomic.Int64
	for _, requests := range requests {
		limitertest.Run(t, func(t *testing.T, seed limiter.Seed) (limiter.Limiter, func(time.Duration)) {
			flush()
			clock := &clock{now: time.Date(2026, 2, 27, 22, 30, 0, 0, time.UTC)}
			opts.Seed, opts.OnError = seed, func(err error) { t.Error("in the background:", err) }
			store, err := limiter.NewSlicedRedis(opts, clock.Now, requests)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = store.Close() })
			return sliced{prompt{store, t}, &n}, clock.Advance
		})
	}
	t.Log(n.Load(), "from slices")
	return n.Load()
}

func TestRedisPassesTheSuiteBySlices(t *testing.T) {
	s := redistest.Standalone(t, redistest.Options{})
	if n := bySlices(t, limiter.RedisOptions{URLs: []string{s.URL}}, s.Flush, 1, 3, 50); n < 1000 {
		t.Errorf("%d requests were admitted from slices", n)
	}
}

func TestRedisOnAClusterPassesTheSuiteBySlices(t *testing.T) {
	c := redistest.Cluster(t)
	if n := bySlices(t, limiter.RedisOptions{URLs: c.URLs()}, c.Flush, 3); n < 50 {
		t.Errorf("%d requests were admitted from slices", n)
	}
}

func TestRedisBehindSentinelPassesTheSuiteBySlices(t *testing.T) {
	s := redistest.Sentinel(t)
	opts := limiter.RedisOptions{URLs: s.URLs(), Sentinel: redistest.SentinelMaster}
	if n := bySlices(t, opts, func() { s.Master().Flush() }, 3); n < 200 {
		t.Errorf("%d requests were admitted from slices", n)
	}
}
