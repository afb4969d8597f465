package usage

import (
	"context"
	"time"
)

// BoltOptions are those of OpenBolt; the zero value has the defaults.
type BoltOptions struct {
	// Retention is how long daily sums are kept. Default: 400 days.
	Retention time.Duration

	// FlushInterval is how often sums are written, and so how much a killed
	// process may lose. Default: 1s.
	FlushInterval time.Duration

	// LockTimeout is how long to wait for another process that has the ledger
	// open. Default: 5s.
	LockTimeout time.Duration

	// Warn is told, in one line each, what an operator should know: a ledger
	// that was set aside, writing that fails and works again. It must not call
	// the ledger. Default: nobody is told.
	Warn func(message string)

	// Now is the clock. Default: time.Now.
	Now func() time.Time
}

// Bolt is a ledger in a bbolt file.
type Bolt struct{}

// OpenBolt opens the ledger at path, or makes it.
func OpenBolt(path string, opts BoltOptions) (*Bolt, error) { return &Bolt{}, nil }

// Record implements Ledger.
func (b *Bolt) Record(ctx context.Context, r *Record) error { return nil }

// Query implements Ledger.
func (b *Bolt) Query(ctx context.Context, q Query) (*Page, error) { return &Page{}, nil }

// Totals implements Ledger.
func (b *Bolt) Totals(ctx context.Context, key string, since time.Time) (Totals, error) {
	return Totals{}, nil
}

// Flush writes all that was recorded before the call.
func (b *Bolt) Flush() error { return nil }

// Err is why the last write failed; nil where it did not.
func (b *Bolt) Err() error { return nil }

// Close implements Ledger.
func (b *Bolt) Close() error { return nil }

var _ Ledger = (*Bolt)(nil)
