package redis

import (
	"context"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// The client logs what the store returns as errors, to stderr for all clients of a process.
func init() { redis.SetLogger(noLog{}) }

type noLog struct{}

func (noLog) Printf(context.Context, string, ...any) {}

// NewFrozen returns a store whose scripts go by now, and whose leases outlast what a test lets
// pass. It repeats refusals for as long as overLimit.
func NewFrozen(opts Options, now func() time.Time, overLimit time.Duration) *Store {
	tuning := defaultTuning
	tuning.now, tuning.overLimit = now, overLimit
	tuning.lease = 1000 * 24 * time.Hour
	tuning.batchDelay = 0
	opts.Timeout = 5 * time.Second // of a machine that tests share
	return newStore(opts, tuning)
}

// Dial returns a client of a Redis, or of a Cluster if there are several URLs, that the test closes.
func Dial(t testing.TB, urls ...string) redis.UniversalClient {
	t.Helper()
	return DialWith(t, ClientOptions{URLs: urls})
}

// DialWith returns a client that the test closes.
func DialWith(t testing.TB, opts ClientOptions) redis.UniversalClient {
	t.Helper()
	open, err := Opener(opts)
	if err != nil {
		t.Fatal(err)
	}
	client := open()
	t.Cleanup(func() {
		if err := client.Close(); err != nil {
			t.Errorf("closing the connections to Redis: %v", err)
		}
	})
	return client
}
