// Package rollup sums usage records by minute, hour and day, and answers queries
// from the sums.
//
// A sample is the usage of one series (a combination of key, team, model, backend
// and endpoint) in one bucket of time. New samples are added to the open batch of
// a [Rollup]. A ledger merges batches into blocks, which hold the samples of up
// to 256 series each, and stores the blocks in memory or in a file. A query reads
// the blocks and the batches that are not merged yet.
package rollup

import (
	"fmt"
	"time"

	"github.com/amanycodes/pine-gate/usage"
)

// Rollup holds the series, and the samples that no block holds yet. It is not
// safe for concurrent use.
type Rollup struct {
	// Log, if set, appends a record to the ledger's journal and returns the offset
	// of its entry. It is called before the record is counted.
	Log func(*usage.Record) (offset uint64, err error)

	now        func() time.Time
	retention  [NumLevels]time.Duration
	maxPending int // most samples that may wait to be merged

	series  seriesIndex
	recent  recent
	open    *Batch    // receives new samples
	merging *Batch    // is being merged, or its merge has failed; nil if there is none
	changed []*Series // to be stored with the next batch
	oldest  [NumLevels]int64

	generations []Generation // oldest first, without Next and End

	offset    uint64 // of the last entry of the journal
	committed uint64 // of the last entry that the merged batches count, as they store it
}

// New returns an empty rollup that keeps daily sums for the retention
// (usage.DefaultRetention if 0) by the clock now. It refuses records that would
// make more than maxPending samples wait to be merged.
func New(retention time.Duration, maxPending int, now func() time.Time) *Rollup {
	r := &Rollup{
		now:        now,
		retention:  retentions(retention),
		maxPending: maxPending,
		series:     newSeriesIndex(),
		recent:     newRecent(),
		open:       newBatch(1),
	}
	r.oldest = r.kept()
	return r
}

// State is the part of a rollup that a ledger stores beside its blocks.
type State struct {
	Generations []Generation // oldest first
	Series      []SeriesRow  // by rising id
	NextID      uint32       // lowest series id that was never used
	Batch       uint64       // number of the last batch that was merged
	Offset      uint64       // of the last entry of the journal that the blocks count
}

// Restore sets the state of a rollup that has recorded nothing.
func (r *Rollup) Restore(s State) {
	r.generations = s.Generations
	var current uint32 // ids from here on belong to the generation that may continue
	if n := len(r.generations); n > 0 {
		current = r.generations[n-1].First
	}
	for _, row := range s.Series {
		if row.ID < current {
			r.series.addOld(row)
		} else {
			r.series.add(row)
		}
	}
	r.series.reserve(s.NextID)
	r.open = newBatch(s.Batch + 1)
	r.offset, r.committed = s.Offset, s.Offset
}

// SetRetention sets how long daily sums are kept.
func (r *Rollup) SetRetention(retention time.Duration) { r.retention = retentions(retention) }

// Retention returns how long the sums of a level are kept.
func (r *Rollup) Retention(l Level) time.Duration { return r.retention[l] }

// Now returns the time of the rollup's clock.
func (r *Rollup) Now() time.Time { return r.now() }

// MaxPending returns the number of samples that may wait to be merged.
func (r *Rollup) MaxPending() int { return r.maxPending }

// Pending returns the number of samples that wait to be merged.
func (r *Rollup) Pending() int {
	if r.merging == nil {
		return r.open.pending
	}
	return r.open.pending + r.merging.pending
}

// Offset returns the offset of the last entry of the journal.
func (r *Rollup) Offset() uint64 { return r.offset }

// SetOffset sets the offset after an entry that does not change sums.
func (r *Rollup) SetOffset(offset uint64) { r.offset = offset }

// CommittedOffset returns the offset of the journal through which the blocks
// count all entries.
func (r *Rollup) CommittedOffset() uint64 {
	if r.merging == nil && r.open.pending == 0 {
		return r.offset // the entries since the last batch changed no sums
	}
	return r.committed
}

// MergedOffset returns the offset through which the last merged batch counts.
func (r *Rollup) MergedOffset() uint64 { return r.committed }

// Ended reports whether the request with this id is known to have ended.
func (r *Rollup) Ended(id string) bool { return r.recent.has(r.recent.hash(id)) }

// SetEnded records that the request with this id has ended.
func (r *Rollup) SetEnded(id string) {
	if hash := r.recent.hash(id); !r.recent.has(hash) {
		r.recent.add(hash)
	}
}

// Record counts a valid record, once by its id; see usage.Ledger. It returns the
// number of pending samples, and the offset of the journal entry that must be
// committed before the record is safe. The journal and the sums change together:
// a batch counts exactly the entries through its offset.
func (r *Rollup) Record(rec *usage.Record) (pending int, offset uint64, err error) {
	unix := rec.Start.Unix()
	id := r.recent.hash(rec.ID)
	switch {
	case r.recent.has(id):
		return 0, r.offset, nil
	case unix < r.oldest[Days]:
		return 0, 0, fmt.Errorf("%w %s: start %v is before the retention", usage.ErrInvalid, rec.ID, rec.Start)
	case r.Pending()+int(NumLevels) > r.maxPending:
		return 0, 0, usage.ErrFull
	}
	if r.Log != nil {
		if offset, err = r.Log(rec); err != nil {
			return 0, 0, err
		}
		r.offset = offset
	}
	r.recent.add(id)
	sample := sampleOf(rec)
	s := r.series.find(rec)
	for l := range NumLevels {
		start := l.floor(unix)
		p := &s.positions[l]
		if p.batch != r.open.Number || p.start != start {
			r.locate(s, l, start)
		}
		p.delta.samples[p.index].add(&sample)
	}
	return r.Pending(), r.offset, nil
}

// locate finds the sample of s in the open batch, or adds it.
func (r *Rollup) locate(s *Series, l Level, start int64) {
	d, i := r.open.sample(Bucket{l, start}, s.ID)
	s.positions[l] = position{r.open.Number, start, d, i}
	if l == Days && start > s.LastDay {
		s.LastDay = start
		if !s.changed {
			s.changed = true
			r.changed = append(r.changed, s)
		}
	}
}

// Take closes the open batch and returns it; the caller merges it and then calls
// Merged. If the merge of a batch failed, Take returns that batch again. It
// returns nil if there is nothing to merge.
func (r *Rollup) Take() *Batch {
	if r.merging != nil {
		return r.merging
	}
	if r.open.pending == 0 {
		return nil
	}
	for _, s := range r.changed {
		s.changed = false
		r.open.Series = append(r.open.Series, s.SeriesRow)
	}
	r.changed = r.changed[:0]
	r.merging = r.open
	r.merging.Offset = r.offset
	r.open = newBatch(r.merging.Number + 1)
	return r.merging
}

// Merging reports whether a batch was taken and is not merged yet.
func (r *Rollup) Merging() bool { return r.merging != nil }

// Merged drops the batch that Take returned, since the blocks hold it now.
func (r *Rollup) Merged() {
	for _, d := range r.merging.deltas {
		*d = delta{} // idle series still point to it
	}
	r.committed = r.merging.Offset
	r.merging = nil
}

// kept returns the start of the first bucket of each level that is kept at the
// current time. It is the start of a day, so that it changes once a day.
func (r *Rollup) kept() (oldest [NumLevels]int64) {
	now := r.now()
	for l, retention := range r.retention {
		oldest[l] = max(0, DayOf(now.Add(-retention).Unix()))
	}
	return oldest
}

// Oldest returns the start of the first bucket of a level that is kept.
func (r *Rollup) Oldest(l Level) int64 { return r.oldest[l] }

// Expired describes what is no longer kept.
type Expired struct {
	Oldest [NumLevels]int64 // start of the first bucket of each level that is kept
	Series []uint32         // ids of the series that were dropped
}

// Expire drops what is no longer kept at the current time. changed is false if
// nothing was dropped.
func (r *Rollup) Expire() (expired Expired, changed bool) {
	oldest := r.kept()
	for l := range oldest {
		oldest[l] = max(oldest[l], r.oldest[l]) // a clock that was set back restores nothing
	}
	if oldest == r.oldest {
		return Expired{Oldest: oldest}, false
	}
	r.oldest = oldest
	// A day more: pending samples may be of the first day that is kept.
	dropped := r.series.drop(oldest[Days] - daySeconds)
	r.dropGenerations()
	return Expired{oldest, dropped}, true
}

// Range resolves q and returns the buckets that a page of it reads. It sets q's
// defaults. The error is a *usage.ParamError.
func (r *Rollup) Range(q *usage.Query) (Range, error) {
	l := levelOf(q.Width)
	from, to, err := q.Resolve(r.kept()[l])
	return Range{l, from, to}, err
}

// Snapshot returns everything that a query over a range reads, except for the
// blocks; the caller sets Source.
func (r *Rollup) Snapshot(over Range) *Reading {
	all := r.series.byID
	reading := &Reading{over: over, oldest: r.oldest[over.Level], series: all[:len(all):len(all)]}
	for _, b := range [...]*Batch{r.merging, r.open} {
		if b != nil {
			reading.pending = b.appendPending(reading.pending, over)
		}
	}
	return reading
}
