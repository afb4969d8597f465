package usage

import (
	"cmp"
	"fmt"
	"slices"
	"sync"
	"time"
)

// level is a width of the buckets that sums are kept in.
type level int

const (
	minutes level = iota
	hours
	days
	numLevels
)

var levelSeconds = [numLevels]int64{60, 3600, 86400}

var levelNames = [numLevels]string{"minute", "hour", "day"}

func floor(unix, seconds int64) int64 { return unix - unix%seconds }

// span is one bucket of one level.
type span struct {
	level level
	start int64 // unix seconds
}

// rollup adds records up. New sums are gathered in the open batch; from there
// they are merged into blocks, by a ledger's own means. What is asked for is
// the sum of the blocks and of the batches that are not yet merged.
type rollup struct {
	now       func() time.Time
	retention [numLevels]time.Duration
	maxCells  int // in batches that are not yet merged

	mu      sync.Mutex
	tuples  tuples
	recent  recent
	open    *batch   // what records go to
	merging *batch   // what is being merged, or failed to be; nil: nothing
	changed []*entry // tuples to be written with the next batch
	oldest  [numLevels]int64
	closed  bool

	runs  []run // oldest first; see run
	begun bool  // the last one is that of this process

	// The journal of a ledger that has one: log writes an entry into its memory
	// and returns its number. Nil: there is none.
	log    func(entryKind, *Record) (uint64, error)
	entry  uint64 // number of the last entry
	summed uint64 // number of the last entry that the merged batches count
}

// batch holds what was added since the one before it.
type batch struct {
	number  uint64 // ascending by one, over restarts too
	deltas  map[span]*delta
	cells   int
	names   []nameRow
	runs    []run  // that begin with it
	through uint64 // number of the last entry of the journal that is counted, with all before
}

// delta is what was added to one bucket.
type delta struct {
	index map[uint32]uint32 // of a tuple's cell
	ids   []uint32
	cells []counters
}

// nameRow is a tuple as it is to be written.
type nameRow struct {
	tuple
	id      uint32
	lastDay int64
}

func newRollup(retention time.Duration, maxCells int, now func() time.Time) *rollup {
	r := &rollup{
		now:       now,
		retention: retentions(retention),
		maxCells:  maxCells,
		tuples:    newTuples(),
		recent:    newRecent(),
	}
	r.oldest = r.kept()
	r.begin(1)
	return r
}

// retentions are those of the levels where the daily sums have this one; 0
// stands for the default.
func retentions(retention time.Duration) [numLevels]time.Duration {
	if retention <= 0 {
		retention = DefaultRetention
	}
	return [numLevels]time.Duration{min(MinuteRetention, retention), min(HourRetention, retention), max(LeastRetention, retention)}
}

// retain changes how long sums are kept.
func (r *rollup) retain(retention time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.retention = retentions(retention)
}

// kept is the start of the first bucket of each level that is kept: that of a
// day, so that what is gone does not move by the minute.
func (r *rollup) kept() (oldest [numLevels]int64) {
	now := r.now()
	for l, retention := range r.retention {
		oldest[l] = max(0, floor(now.Add(-retention).Unix(), 86400))
	}
	return oldest
}

func (r *rollup) begin(number uint64) {
	r.open = &batch{number: number, deltas: map[span]*delta{}}
}

// record counts a record; see Ledger. It returns how many cells are not yet
// merged, and the entry of the journal that must be written before the record
// is safe. Entry and sums change at once: what a batch counts is what the
// journal holds up to a number.
func (r *rollup) record(rec *Record) (waiting int, entry uint64, err error) {
	if err := rec.Validate(); err != nil {
		return 0, 0, err
	}
	sums := rec.counters()
	unix := rec.Start.Unix()

	r.mu.Lock()
	defer r.mu.Unlock()
	id := r.recent.hash(rec.ID)
	switch {
	case r.closed:
		return 0, 0, ErrClosed
	case r.recent.has(id):
		return 0, r.entry, nil
	case unix < r.oldest[days]:
		return 0, 0, fmt.Errorf("%w %s: start %v is before all that is kept", ErrInvalid, rec.ID, rec.Start)
	case r.cells()+int(numLevels) > r.maxCells:
		return 0, 0, ErrFull
	}
	if r.log != nil {
		if entry, err = r.log(entryFinal, rec); err != nil {
			return 0, 0, err
		}
		r.entry = entry
	}
	r.recent.add(id)
	e := r.tuples.find(rec)
	for l := range numLevels {
		start := floor(unix, levelSeconds[l])
		p := &e.places[l]
		if p.batch != r.open.number || p.start != start {
			r.locate(e, l, start)
		}
		p.delta.cells[p.index].add(&sums)
	}
	return r.cells(), r.entry, nil
}

// seen tells whether a request is known to have ended.
func (r *rollup) seen(id string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.recent.has(r.recent.hash(id))
}

// see notes that a request has ended.
func (r *rollup) see(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if hash := r.recent.hash(id); !r.recent.has(hash) {
		r.recent.add(hash)
	}
}

// held is the number of the last entry of the journal whose sums the blocks
// hold, with all before. It must be called with r.mu held.
func (r *rollup) held() uint64 {
	if r.merging == nil && r.open.cells == 0 {
		return r.entry // what came since the last batch changed no sums
	}
	return r.summed
}

// cells counts those that wait to be merged. It must be called with r.mu held.
func (r *rollup) cells() int {
	if r.merging == nil {
		return r.open.cells
	}
	return r.open.cells + r.merging.cells
}

// locate finds or makes the cell of a tuple in the open batch. It must be
// called with r.mu held.
func (r *rollup) locate(e *entry, l level, start int64) {
	s := span{l, start}
	d := r.open.deltas[s]
	if d == nil {
		d = &delta{index: map[uint32]uint32{}}
		r.open.deltas[s] = d
	}
	i, ok := d.index[e.id]
	if !ok {
		i = uint32(len(d.cells))
		d.index[e.id] = i
		d.ids = append(d.ids, e.id)
		d.cells = append(d.cells, counters{})
		r.open.cells++
	}
	e.places[l] = place{r.open.number, start, d, i}
	if l == days && start > e.lastDay {
		e.lastDay = start
		if !e.changed {
			e.changed = true
			r.changed = append(r.changed, e)
		}
	}
}

func (r *Record) counters() counters {
	c := counters{
		countRequests:   1,
		countInput:      r.Input,
		countCached:     r.CacheRead,
		countCacheWrite: r.CacheWrite,
		countOutput:     r.Output,
		countReasoning:  r.Reasoning,
	}
	if r.Outcome.Failed() {
		c[countErrors] = 1
	}
	if r.Estimated {
		c[countEstimated] = 1
	}
	if r.Priced {
		c[countCost] = r.CostNano
	} else {
		c[countUnpriced] = 1
	}
	return c
}

// take closes the open batch and returns it, to be merged and then dropped by
// merged. Where one is being merged already, because that failed, it returns
// that one. It returns nil where there is nothing to merge. It must be called
// with r.mu held.
func (r *rollup) take() *batch {
	if r.merging != nil {
		return r.merging
	}
	if r.open.cells == 0 {
		return nil
	}
	for _, e := range r.changed {
		e.changed = false
		r.open.names = append(r.open.names, nameRow{e.tuple, e.id, e.lastDay})
	}
	r.changed = r.changed[:0]
	r.merging = r.open
	r.merging.through = r.entry
	r.begin(r.merging.number + 1)
	return r.merging
}

// merged drops the batch that take returned: the blocks hold it now. It must be
// called with r.mu held.
func (r *rollup) merged() {
	for _, d := range r.merging.deltas {
		*d = delta{} // tuples that rest still point to it
	}
	r.summed = r.merging.through
	r.merging = nil
}

// blocks are where a ledger keeps its blocks.
type blocks interface {
	// get returns nil where there is no such block.
	get(s span, chunk uint32) ([]byte, error)
	// put keeps the block: it is not changed any more.
	put(s span, chunk uint32, block []byte) error
}

// merge adds a batch to blocks.
func (b *batch) merge(to blocks) error {
	spans := make([]span, 0, len(b.deltas))
	for s := range b.deltas {
		spans = append(spans, s)
	}
	slices.SortFunc(spans, func(a, b span) int {
		return cmp.Or(cmp.Compare(a.level, b.level), cmp.Compare(a.start, b.start))
	})
	var c chunk
	for _, s := range spans {
		d := b.deltas[s]
		order := slices.Clone(d.ids)
		slices.Sort(order)
		for len(order) > 0 {
			number := order[0] >> chunkBits
			old, err := to.get(s, number)
			if err != nil {
				return fmt.Errorf("reading the sums of the %s at %s: %w", levelNames[s.level], stamp(s.start), err)
			}
			c.load(old)
			for len(order) > 0 && order[0]>>chunkBits == number {
				c.add(uint8(order[0]), &d.cells[d.index[order[0]]])
				order = order[1:]
			}
			if err := to.put(s, number, c.block()); err != nil {
				return fmt.Errorf("writing the sums of the %s at %s: %w", levelNames[s.level], stamp(s.start), err)
			}
		}
	}
	return nil
}

func stamp(unix int64) string { return time.Unix(unix, 0).UTC().Format(time.RFC3339) }

// loose is what a batch holds for one bucket, copied for a query.
type loose struct {
	start int64
	ids   []uint32
	cells []counters
}

// resolve checks a query, fills in its defaults and says which buckets a page of
// it reads: those that start in [from, to).
func (r *rollup) resolve(q *Query) (from, to int64, err error) {
	if err := q.check(); err != nil {
		return 0, 0, err
	}
	l := q.Width.level()
	oldest := r.kept()[l]
	from = q.Width.floor(q.Start.Unix())
	if from < oldest && l != days {
		if !q.defaultStart {
			return 0, 0, paramErrorf("start_time", "%ss are kept from %d on", levelNames[l], oldest)
		}
		from = oldest
	}
	q.Start = time.Unix(from, 0)
	to = from
	for range q.Limit {
		if to >= q.End.Unix() {
			break
		}
		to = q.Width.next(to)
	}
	return from, to, nil
}

// snapshot is what a query reads of a level's buckets in [from, to), but for
// the blocks. It must be called with r.mu held.
func (r *rollup) snapshot(l level, from, to int64) *reading {
	tuples := r.tuples.byID
	reading := &reading{level: l, oldest: r.oldest[l], tuples: tuples[:len(tuples):len(tuples)]}
	for _, b := range [...]*batch{r.merging, r.open} {
		if b == nil {
			continue
		}
		for s, d := range b.deltas {
			if s.level == l && from <= s.start && s.start < to {
				reading.loose = append(reading.loose, loose{s.start, slices.Clone(d.ids), slices.Clone(d.cells)})
			}
		}
	}
	return reading
}

// expire moves what is kept on by the clock. It returns whether that changed,
// and the ids of the tuples that nothing is kept of any more. It must be called
// with r.mu held.
func (r *rollup) expire() (oldest [numLevels]int64, forgotten []uint32, changed bool) {
	oldest = r.kept()
	for l := range oldest {
		oldest[l] = max(oldest[l], r.oldest[l]) // a clock that was set back brings nothing back
	}
	if oldest == r.oldest {
		return oldest, nil, false
	}
	r.oldest = oldest
	// A day more: what waits to be merged may be of the first day that is kept.
	forgotten = r.tuples.forget(oldest[days] - 86400)
	r.forgetRuns()
	return oldest, forgotten, true
}
