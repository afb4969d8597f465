// Package usage is what answers cost: one record for each request that reached
// a backend, prices, and ledgers that add the records up by minute, hour and
// day and answer `/v1/usage`.
//
// A ledger keeps sums, not records: see [Memory] and [Bolt]. Records are written
// to a journal first, and kept there until they are added up.
package usage

import (
	"context"
	"errors"
	"time"
)

// Ledger counts records and answers for them. All methods may be called by
// many goroutines at once.
type Ledger interface {
	// Record counts r, once by its ID: a second record with an ID that was
	// seen lately is no error and changes nothing. The ledger keeps nothing of
	// r but what it sums up. When it returns, the death of the process does not
	// lose the record, where anything survives the process and its disk works.
	// The error wraps ErrInvalid for a record that makes no sense, ErrFull where
	// the ledger holds as much as it may of what it can't write, and ErrClosed
	// after Close.
	Record(ctx context.Context, r *Record) error

	// Checkpoint notes what requests that are under way have used so far, in
	// records that look as if they ended now. Should the process die, each is
	// settled at its last checkpoint at the next start, with the outcome
	// Interrupted; a record of the same ID supersedes them. Those that have
	// ended are left out. The error tells that nothing was noted.
	Checkpoint(ctx context.Context, records []Record) error

	// Forget takes the checkpoints of a request back that turned out to have
	// used nothing, and so gets no record.
	Forget(ctx context.Context, id string) error

	// Ready tells whether new requests should begin: its error wraps ErrFull
	// where there is room only for the records of those under way. It does no
	// I/O.
	Ready() error

	// Configure changes what may be changed while the ledger is open.
	Configure(s Settings)

	// Query answers q with what was recorded before the call. The error is a
	// *ParamError where q asks for what is not kept.
	Query(ctx context.Context, q Query) (*Page, error)

	// Totals sums up what a key used since the beginning of the UTC day that
	// since lies in.
	Totals(ctx context.Context, key string, since time.Time) (Totals, error)

	// Close writes what is not yet written and frees the ledger. Later calls
	// do nothing.
	Close() error
}

// Settings are what may be changed while a ledger is open.
type Settings struct {
	// Retention is how long daily sums are kept, never less than LeastRetention. What is beyond a shorter one is
	// deleted, and no longer one brings it back. Default: 400 days.
	Retention time.Duration

	// Sync is how much time of records a loss of power may lose; a ledger
	// without a disk has none. Default: 1s. SyncAlways: nothing.
	Sync time.Duration
}

// What a ledger's caller decides on.
var (
	ErrFull   = errors.New("usage ledger holds as much as it may of what it can't write")
	ErrClosed = errors.New("usage ledger is closed")
	ErrLocked = errors.New("usage ledger is open in another process")
)

// DefaultRetention is how long daily sums are kept where nothing else is said.
const DefaultRetention = 400 * 24 * time.Hour

// LeastRetention is how long daily sums are kept in any case: quotas by the month are counted from
// them after a restart.
const LeastRetention = 31 * 24 * time.Hour

// How long the finer sums are kept, or as long as the daily ones where that is
// less. Monthly sums are made of the daily ones.
const (
	MinuteRetention = 7 * 24 * time.Hour
	HourRetention   = 92 * 24 * time.Hour
)

// Totals is a sum of records.
type Totals struct {
	Requests          int64 // all of them
	Errors            int64 // that ended in upstream_error or timeout
	InputTokens       int64 // whole input, caches included
	CachedTokens      int64 // of the input, read from a cache
	CacheWriteTokens  int64 // of the input, written to a cache
	OutputTokens      int64 // whole output, reasoning included
	ReasoningTokens   int64 // of the output
	EstimatedRequests int64 // whose tokens the gate counted itself
	UnpricedRequests  int64 // whose price is unknown: they add nothing to Cost
	Cost              USD   // of all that is priced
}

// Priced tells whether Cost means anything: at least one of the requests had a
// price.
func (t Totals) Priced() bool { return t.Requests > t.UnpricedRequests }
