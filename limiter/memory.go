package limiter

import (
	"context"
	"errors"
	"time"
)

// MemoryOptions are the options of [NewMemory]. The zero value is useful.
type MemoryOptions struct {
	// Now tells the time. Rates follow its monotonic reading where it has one, quotas its wall
	// clock. Default: time.Now.
	Now func() time.Time

	// Seed tells what a quota has used since the start of its window, for instance from a ledger,
	// in the units of the rule's limit. It is asked once for a counter and window, before the first
	// request is checked against it. Default: nothing was used.
	Seed func(rule *Rule, since time.Time) int64

	// Sweep is how often counters that are full or unused are dropped. Default: 1 minute. Negative:
	// never.
	Sweep time.Duration
}

// Memory is the Limiter of a single process. What it has counted is lost with the process, except
// for quotas that are seeded.
type Memory struct{ opts MemoryOptions }

// NewMemory returns an empty store. It must be closed.
func NewMemory(opts MemoryOptions) *Memory { return &Memory{opts: opts} }

// Reserve implements [Limiter].
func (m *Memory) Reserve(ctx context.Context, req Request) (Reservation, error) {
	return nil, errors.ErrUnsupported
}

// Peek implements [Limiter].
func (m *Memory) Peek(ctx context.Context, rules []*Rule) ([]State, error) {
	return nil, errors.ErrUnsupported
}

// Close implements [Limiter].
func (m *Memory) Close() error { return nil }

var _ Limiter = (*Memory)(nil)
