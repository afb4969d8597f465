package redis_test

import (
	"context"
	"testing"
	"time"

	"github.com/amanycodes/pine-gate/internal/redistest"
	"github.com/amanycodes/pine-gate/limiter"
	"github.com/amanycodes/pine-gate/limiter/limitertest"
	"github.com/amanycodes/pine-gate/limiter/redis"
)

// prompt is a store whose settlements are done when they are made.
type prompt struct {
	*redis.Store
	t interface{ Error(args ...any) }
}

type promptReservation struct {
	limiter.Reservation
	store prompt
}

func (p prompt) Reserve(ctx context.Context, req limiter.Request) (limiter.Reservation, error) {
	r, err := p.Store.Reserve(ctx, req)
	if err != nil {
		return nil, err
	}
	return promptReservation{r, p}, nil
}

func (r promptReservation) Settle(ctx context.Context, used limiter.Usage) {
	r.Reservation.Settle(ctx, used)
	r.store.flush()
}

func (r promptReservation) Move(ctx context.Context, candidate int) error {
	defer r.store.flush() // what a Cluster's candidate gives back
	return r.Reservation.Move(ctx, candidate)
}

func (p prompt) flush() {
	if err := p.Flush(context.Background()); err != nil {
		p.t.Error("settling:", err)
	}
}

// frozen returns a store for each test, of an empty Redis with a clock of its own.
func frozen(opts redis.Options, flush func()) limitertest.New {
	return func(t *testing.T, seed limiter.Seed) (limiter.Limiter, func(time.Duration)) {
		flush()
		clock := &clock{now: time.Date(2026, 2, 27, 22, 30, 0, 0, time.UTC)}
		opts.Seed = seed
		opts.OnError = func(err error) { t.Error("in the background:", err) }
		store := redis.NewFrozen(opts, clock.Now, 100*time.Millisecond)
		t.Cleanup(func() { _ = store.Close() })
		return prompt{store, t}, clock.Advance
	}
}

func TestRedisPassesTheSuite(t *testing.T) {
	s := redistest.Standalone(t, redistest.Options{})
	limitertest.Run(t, frozen(redis.Options{Client: redis.Dial(t, s.URL)}, s.Flush))
}

func TestRedisOnAClusterPassesTheSuite(t *testing.T) {
	c := redistest.Cluster(t)
	limitertest.Run(t, frozen(redis.Options{Client: redis.Dial(t, c.URLs()...)}, c.Flush))
}

func TestRedisBehindSentinelPassesTheSuite(t *testing.T) {
	s := redistest.Sentinel(t)
	limitertest.Run(t, frozen(redis.Options{Client: redis.DialWith(t, redis.ClientOptions{URLs: s.URLs(), Sentinel: redistest.SentinelMaster})}, func() { s.Master().Flush() }))
}
