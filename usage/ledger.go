// Package usage is what answers cost: one record for each request that reached
// a backend, prices, and ledgers that add the records up by minute, hour and
// day and answer `/v1/usage`.
//
// A ledger keeps sums, not records: see [Memory] and [Bolt].
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
	// r but what it sums up. It does no I/O. The error wraps ErrInvalid for a
	// record that makes no sense, ErrFull where the ledger holds as much as it
	// may of what it can't write, and ErrClosed after Close.
	Record(ctx context.Context, r *Record) error

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

// What a ledger's caller decides on.
var (
	ErrFull   = errors.New("usage ledger holds as many unwritten sums as it may")
	ErrClosed = errors.New("usage ledger is closed")
	ErrLocked = errors.New("usage ledger is open in another process")
)

// DefaultRetention is how long daily sums are kept where nothing else is said.
const DefaultRetention = 400 * 24 * time.Hour

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
