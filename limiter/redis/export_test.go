package redis

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"
)

// The client logs what the store returns as errors, to stderr for all clients of a process.
func init() { redis.SetLogger(noLog{}) }

type noLog struct{}

func (noLog) Printf(context.Context, string, ...any) {}

// NewFrozen returns a store whose scripts go by now, and whose leases outlast what a test lets
// pass. It repeats refusals for as long as overLimit.
func NewFrozen(opts Options, now func() time.Time, overLimit time.Duration) (*Store, error) {
	tuning := defaultTuning
	tuning.now, tuning.overLimit = now, overLimit
	tuning.lease = 1000 * 24 * time.Hour
	tuning.batchDelay = 0
	opts.Timeout = 5 * time.Second // of a machine that tests share
	return newStore(opts, tuning)
}
