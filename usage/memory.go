package usage

import (
	"cmp"
	"context"
	"math"
	"slices"
	"time"
)

// mergeCells is how many cells a Memory gathers before it merges them: some 8
// MB, merged in some ten milliseconds.
const mergeCells = 1 << 16

// Memory is a ledger that forgets everything with the process. A cell, which is
// what one combination of key, team, model, backend and endpoint used in one
// minute, hour or day, takes some 20 bytes.
type Memory struct {
	sums *rollup

	// Guarded by sums.mu. The blocks themselves are never changed.
	levels [numLevels]map[int64]map[uint32][]byte // by bucket and chunk
}

// NewMemory makes a ledger that keeps daily sums for the retention; 400 days
// where that is 0.
func NewMemory(retention time.Duration) *Memory { return NewMemoryWithClock(retention, time.Now) }

// NewMemoryWithClock is NewMemory with a clock of its own, which decides what
// is kept.
func NewMemoryWithClock(retention time.Duration, now func() time.Time) *Memory {
	m := &Memory{sums: newRollup(retention, math.MaxInt, now)}
	for l := range m.levels {
		m.levels[l] = map[int64]map[uint32][]byte{}
	}
	return m
}

// Record implements Ledger. It takes under a microsecond, and one in some ten
// thousand as long as it takes to merge.
func (m *Memory) Record(_ context.Context, r *Record) error {
	full, _, err := m.sums.record(r)
	if err != nil || full < mergeCells {
		return err
	}
	m.sums.mu.Lock()
	defer m.sums.mu.Unlock()
	if m.sums.open.cells < mergeCells || m.sums.closed { // another did
		return nil
	}
	return m.merge()
}

// merge turns what was gathered into blocks. It must be called with m.sums.mu
// held.
func (m *Memory) merge() error {
	batch := m.sums.take()
	if batch == nil {
		return nil
	}
	if err := batch.merge(m); err != nil {
		return err
	}
	m.sums.merged()
	m.expire()
	return nil
}

// Checkpoint implements Ledger: nothing is kept that would outlive the request.
func (m *Memory) Checkpoint(context.Context, []Record) error { return nil }

// Forget implements Ledger.
func (m *Memory) Forget(context.Context, string) error { return nil }

// Ready implements Ledger.
func (m *Memory) Ready() error {
	m.sums.mu.Lock()
	defer m.sums.mu.Unlock()
	if m.sums.closed {
		return ErrClosed
	}
	return nil
}

// Configure implements Ledger: Sync is nothing to it.
func (m *Memory) Configure(s Settings) { m.sums.retain(s.Retention) }

// Query implements Ledger.
func (m *Memory) Query(ctx context.Context, q Query) (*Page, error) {
	from, to, err := m.sums.resolve(&q)
	if err != nil {
		return nil, err
	}
	r, err := m.read(q.Width.level(), from, to)
	if err != nil {
		return nil, err
	}
	return r.page(ctx, &q, to)
}

// Totals implements Ledger.
func (m *Memory) Totals(_ context.Context, key string, since time.Time) (Totals, error) {
	r, err := m.read(days, floor(max(0, since.Unix()), 86400), maxUnix+1)
	if err != nil {
		return Totals{}, err
	}
	return r.totals(key, since)
}

// Close implements Ledger.
func (m *Memory) Close() error {
	m.sums.mu.Lock()
	defer m.sums.mu.Unlock()
	m.sums.closed = true
	return nil
}

// read collects what there is of a level's buckets in [from, to).
func (m *Memory) read(l level, from, to int64) (*reading, error) {
	m.sums.mu.Lock()
	defer m.sums.mu.Unlock()
	if m.sums.closed {
		return nil, ErrClosed
	}
	m.expire()
	var starts []int64
	for start := range m.levels[l] {
		if from <= start && start < to {
			starts = append(starts, start)
		}
	}
	slices.Sort(starts)
	var found memorySource
	for _, start := range starts {
		for number, block := range m.levels[l][start] {
			found = append(found, memoryBlock{start, number, block})
		}
	}
	r := m.sums.snapshot(l, from, to)
	r.source = found
	return r, nil
}

// expire drops what is not kept any more. It must be called with m.sums.mu
// held.
func (m *Memory) expire() {
	oldest, _, changed := m.sums.expire()
	if !changed {
		return
	}
	for l, buckets := range m.levels {
		for start := range buckets {
			if start < oldest[l] {
				delete(buckets, start)
			}
		}
	}
}

func (m *Memory) get(s span, chunk uint32) ([]byte, error) {
	return m.levels[s.level][s.start][chunk], nil
}

func (m *Memory) put(s span, chunk uint32, block []byte) error {
	buckets := m.levels[s.level]
	if buckets[s.start] == nil {
		buckets[s.start] = map[uint32][]byte{}
	}
	buckets[s.start][chunk] = block
	return nil
}

// memorySource is the blocks that a query reads, by start.
type memorySource []memoryBlock

type memoryBlock struct {
	start int64
	chunk uint32
	block []byte
}

func (s memorySource) scan(_ level, from, to int64, f func(uint32, []byte), wanted func(uint32) bool) error {
	i, _ := slices.BinarySearchFunc(s, from, func(b memoryBlock, start int64) int { return cmp.Compare(b.start, start) })
	for ; i < len(s) && s[i].start < to; i++ {
		if wanted(s[i].chunk) {
			f(s[i].chunk, s[i].block)
		}
	}
	return nil
}

var _ Ledger = (*Memory)(nil)
