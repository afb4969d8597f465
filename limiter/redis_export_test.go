package limiter

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"
)

// The client logs what the store returns as errors, to stderr for all clients of a process.
func init() { redis.SetLogger(noLog{}) }

type noLog struct{}

func (noLog) Printf(context.Context, string, ...any) {}

// NewFrozenRedis returns a store whose scripts go by now, and whose leases outlast what a test lets
// pass. It repeats refusals for as long as overLimit.
func NewFrozenRedis(opts RedisOptions, now func() time.Time, overLimit time.Duration) (*Redis, error) {
	tuning := defaultTuning
	tuning.now, tuning.overLimit = now, overLimit
	tuning.lease = 1000 * 24 * time.Hour
	tuning.batchDelay = 0
	opts.Timeout = 5 * time.Second // of a machine that tests share
	return newRedis(opts, tuning)
}

// Flush waits until all settlements are delivered.
func (r *Redis) Flush(ctx context.Context) error { return r.settler.flush(ctx) }
