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

func TestRedisPassesTheSuiteBySlices(t *testing.T) {
	s := redistest.Standalone(t, redistest.Options{})
	var admitted atomic.Int64
	for _, requests := range []int64{1, 3, 50} {
		limitertest.Run(t, func(t *testing.T, seed limiter.Seed) (limiter.Limiter, func(time.Duration)) {
			s.Flush()
			clock := &clock{now: time.Date(2026, 2, 27, 22, 30, 0, 0, time.UTC)}
			opts := limiter.RedisOptions{URLs: []string{s.URL}, Seed: seed, OnError: func(err error) { t.Error("in the background:", err) }}
			store, err := limiter.NewSlicedRedis(opts, clock.Now, requests)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = store.Close() })
			return sliced{prompt{store, t}, &admitted}, clock.Advance
		})
	}
	if admitted.Load() < 1000 {
		t.Errorf("%d requests were admitted from slices", admitted.Load())
	}
	t.Log(admitted.Load(), "from slices")
}
