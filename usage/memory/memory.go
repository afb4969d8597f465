// Package memory implements a usage ledger that does not outlive the process.
package memory

import (
	"cmp"
	"context"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/amanycodes/pine-gate/usage"
	"github.com/amanycodes/pine-gate/usage/internal/rollup"
)

// mergeSamples is how many samples a Ledger collects before it merges them:
// about 8 MB, merged in some ten milliseconds.
const mergeSamples = 1 << 16

// Ledger is a usage.Ledger in memory. A sample is the usage of one combination
// of key, team, model, backend and endpoint in one minute, hour or day. It takes
// some 20 bytes.
type Ledger struct {
	mu     sync.Mutex
	sums   *rollup.Rollup
	closed bool
	levels [rollup.NumLevels]map[int64]map[uint32][]byte // by bucket and chunk; the blocks are immutable
}

// New returns a ledger that keeps daily sums for the retention;
// usage.DefaultRetention if 0.
func New(retention time.Duration) *Ledger { return NewWithClock(retention, time.Now) }

// NewWithClock is like New, with the clock now, which decides what is kept.
func NewWithClock(retention time.Duration, now func() time.Time) *Ledger {
	l := &Ledger{sums: rollup.New(retention, math.MaxInt, now)}
	for level := range l.levels {
		l.levels[level] = map[int64]map[uint32][]byte{}
	}
	return l
}

// Record implements usage.Ledger. It takes under a microsecond, except for about
// one call in ten thousand, which merges.
func (l *Ledger) Record(_ context.Context, r *usage.Record) error {
	if err := r.Validate(); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return usage.ErrClosed
	}
	pending, _, err := l.sums.Record(r)
	if err != nil || pending < mergeSamples {
		return err
	}
	return l.merge()
}

// merge moves the pending samples into blocks. l.mu must be held.
func (l *Ledger) merge() error {
	batch := l.sums.Take()
	if batch == nil {
		return nil
	}
	if err := batch.Merge(blocks{l}); err != nil {
		return err
	}
	l.sums.Merged()
	l.expire()
	return nil
}

// expire deletes the sums that are no longer kept. l.mu must be held.
func (l *Ledger) expire() {
	expired, changed := l.sums.Expire()
	if !changed {
		return
	}
	for level, buckets := range l.levels {
		for start := range buckets {
			if start < expired.Oldest[level] {
				delete(buckets, start)
			}
		}
	}
}

// Checkpoint implements usage.Ledger. It does nothing: a checkpoint would be
// lost together with its request.
func (l *Ledger) Checkpoint(context.Context, []usage.Record) error { return nil }

// Forget implements usage.Ledger.
func (l *Ledger) Forget(context.Context, string) error { return nil }

// Ready implements usage.Ledger.
func (l *Ledger) Ready() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return usage.ErrClosed
	}
	return nil
}

// Configure implements usage.Ledger. It ignores Sync.
func (l *Ledger) Configure(s usage.Settings) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sums.SetRetention(s.Retention)
}

// Query implements usage.Ledger.
func (l *Ledger) Query(ctx context.Context, q usage.Query) (*usage.Page, error) {
	r, err := l.read(func() (rollup.Range, error) { return l.sums.Range(&q) })
	if err != nil {
		return nil, err
	}
	return r.Page(ctx, &q)
}

// Totals implements usage.Ledger.
func (l *Ledger) Totals(_ context.Context, key string, since time.Time) (usage.Totals, error) {
	r, err := l.read(func() (rollup.Range, error) { return rollup.DaysSince(since), nil })
	if err != nil {
		return usage.Totals{}, err
	}
	return r.Totals(key)
}

// read resolves a range and returns its contents.
func (l *Ledger) read(resolve func() (rollup.Range, error)) (*rollup.Reading, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	over, err := resolve()
	if err != nil {
		return nil, err
	}
	if l.closed {
		return nil, usage.ErrClosed
	}
	l.expire()
	var found rollup.BlockList
	for start, chunks := range l.levels[over.Level] {
		if start < over.From || start >= over.To {
			continue
		}
		for chunk, data := range chunks {
			found = append(found, rollup.Block{Start: start, Chunk: chunk, Data: data})
		}
	}
	slices.SortFunc(found, func(a, b rollup.Block) int { return cmp.Compare(a.Start, b.Start) })
	r := l.sums.Snapshot(over)
	r.Source = found
	return r, nil
}

// Close implements usage.Ledger.
func (l *Ledger) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	return nil
}

// blocks implements rollup.Blocks. l.mu must be held.
type blocks struct{ l *Ledger }

func (b blocks) Get(bucket rollup.Bucket, chunk uint32) ([]byte, error) {
	return b.l.levels[bucket.Level][bucket.Start][chunk], nil
}

func (b blocks) Put(bucket rollup.Bucket, chunk uint32, block []byte) error {
	buckets := b.l.levels[bucket.Level]
	if buckets[bucket.Start] == nil {
		buckets[bucket.Start] = map[uint32][]byte{}
	}
	buckets[bucket.Start][chunk] = block
	return nil
}

var _ usage.Ledger = (*Ledger)(nil)
