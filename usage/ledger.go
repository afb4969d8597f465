// Package usage records the usage of models: one record for each request that
// reached a backend, and ledgers that sum the records up by minute, hour and day
// and answer `/v1/usage`.
//
// A ledger stores sums, not records. The packages memory and boltdb implement
// ledgers, and replica shares them between gates. A boltdb ledger writes each
// record to a journal first, and keeps it there until the sums on disk include
// it. Prices are in the package pricing.
package usage

import (
	"context"
	"errors"
	"time"

	"github.com/amanycodes/pine-gate/usage/journal"
)

// Ledger sums up records and answers queries. It is safe for concurrent use.
type Ledger interface {
	// Record counts r, once by its ID: a second record with a recently recorded ID
	// changes nothing and is not an error. The ledger stores only the sums of r.
	// Once Record has returned, the record survives the death of the process if the
	// ledger is persistent and its disk works. The error wraps ErrInvalid for an
	// invalid record, ErrFull if the ledger holds as much unwritten data as it may,
	// and ErrClosed after Close.
	Record(ctx context.Context, r *Record) error

	// Checkpoint stores what requests in flight have used so far, in records that
	// look as if the requests ended now. If the process dies, the next start
	// settles each request at its last checkpoint, with the outcome Interrupted; a
	// record with the same ID supersedes its checkpoints. Requests that have ended
	// are ignored. After an error nothing is stored.
	Checkpoint(ctx context.Context, records []Record) error

	// Forget removes the checkpoints of a request that used nothing, and so gets no
	// record.
	Forget(ctx context.Context, id string) error

	// Ready returns an error if new requests should not start. It wraps ErrFull if
	// there is room only for the records of requests in flight. It does no I/O.
	Ready() error

	// Configure sets the settings that may change while the ledger is open.
	Configure(s Settings)

	// Query answers q from the records before the call. The error is a *ParamError
	// if q requests data that is not kept.
	Query(ctx context.Context, q Query) (*Page, error)

	// Totals returns what key used since the beginning of the UTC day that since
	// lies in.
	Totals(ctx context.Context, key string, since time.Time) (Totals, error)

	// Close writes all unwritten data and releases the ledger. Later calls do
	// nothing.
	Close() error
}

// Settings are the settings that may change while a ledger is open.
type Settings struct {
	// Retention is how long daily sums are kept, at least LeastRetention. A shorter
	// retention deletes older sums; a longer one later does not restore them.
	// Default: 400 days.
	Retention time.Duration

	// Sync is the interval of syncs to the disk: a loss of power may lose the
	// records of that time. A ledger without a disk ignores it. Default: 1s.
	// SyncAlways: nothing is lost.
	Sync time.Duration
}

// SyncAlways makes Record wait until the disk has the record.
const SyncAlways = journal.SyncAlways

// Errors of ledgers.
var (
	ErrFull   = errors.New("usage ledger holds as much as it may of what it cannot write")
	ErrClosed = errors.New("usage ledger is closed")

	// ErrUnavailable is wrapped by the error of a query if the records of other
	// gates are not known.
	ErrUnavailable = errors.New("the shared usage store is unavailable")
)

// DefaultRetention is how long daily sums are kept by default.
const DefaultRetention = 400 * 24 * time.Hour

// LeastRetention is the least time that daily sums are kept: after a restart,
// monthly quotas are counted from them.
const LeastRetention = 31 * 24 * time.Hour

// MinuteRetention and HourRetention are how long the finer sums are kept, unless
// the daily ones are kept for less. Monthly sums are computed from the daily
// ones.
const (
	MinuteRetention = 7 * 24 * time.Hour
	HourRetention   = 92 * 24 * time.Hour
)

// Totals is a sum of records.
type Totals struct {
	Requests          int64
	Errors            int64 // requests that ended in upstream_error or timeout
	InputTokens       int64 // caches included
	CachedTokens      int64 // of the input, read from a cache
	CacheWriteTokens  int64 // of the input, written to a cache
	OutputTokens      int64 // reasoning included
	ReasoningTokens   int64 // of the output
	EstimatedRequests int64 // requests whose tokens the gate counted itself
	UnpricedRequests  int64 // requests without a known price: they add nothing to Cost
	Cost              USD   // of the requests with a price
}

// Priced reports whether Cost is known: at least one of the requests had a price.
func (t Totals) Priced() bool { return t.Requests > t.UnpricedRequests }
