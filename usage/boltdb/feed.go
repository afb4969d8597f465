package boltdb

import (
	"cmp"
	"encoding/binary"
	"slices"
	"time"

	"go.etcd.io/bbolt"

	"github.com/amanycodes/pine-gate/usage"
	"github.com/amanycodes/pine-gate/usage/internal/rollup"
)

// Feed gives a replica access to the contents of a ledger's file and to the
// changes of it. A ledger has at most one replica at a time.
type Feed struct{ l *Ledger }

// Feed returns the ledger's feed.
func (l *Ledger) Feed() Feed { return Feed{l} }

// Start starts collecting changes, and begins a generation if this process has
// none yet. It may be called again. The error is that of the file.
func (f Feed) Start() error {
	l := f.l
	l.flushing.Lock()
	defer l.flushing.Unlock()
	l.atomic.Lock()
	if l.changes == nil {
		l.changes = newChanges()
	}
	l.atomic.Unlock()
	return l.beginGeneration()
}

// beginGeneration begins a generation, once per process. l.flushing must be
// held, unless nothing else uses the ledger yet.
func (l *Ledger) beginGeneration() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.shared {
		return nil
	}
	if l.sums.Merging() {
		l.mu.Unlock()
		err := l.write()
		l.mu.Lock()
		if err != nil {
			return err
		}
	}
	l.sums.BeginGeneration()
	l.shared = true
	return nil
}

// Stop stops collecting changes.
func (f Feed) Stop() {
	f.l.atomic.Lock()
	defer f.l.atomic.Unlock()
	f.l.changes = nil
}

// Changes holds the blocks and series of the file that have changed.
type Changes struct {
	Blocks map[rollup.BlockRef]struct{}
	Series map[uint32]struct{} // by id
}

func newChanges() *Changes {
	return &Changes{map[rollup.BlockRef]struct{}{}, map[uint32]struct{}{}}
}

// addBatch adds the blocks and series that merging b changes.
func (c *Changes) addBatch(b *rollup.Batch) {
	for ref := range b.Changes() {
		c.Blocks[ref] = struct{}{}
	}
	for _, row := range b.Series {
		c.Series[row.ID] = struct{}{}
	}
}

func (c *Changes) add(others *Changes) {
	for ref := range others.Blocks {
		c.Blocks[ref] = struct{}{}
	}
	for id := range others.Series {
		c.Series[id] = struct{}{}
	}
}

// Take returns the changes since the last call, the committed offset of the file
// and the generations. The feed must be started.
func (f Feed) Take() (taken *Changes, committed uint64, generations []rollup.Generation) {
	l := f.l
	l.atomic.Lock()
	defer l.atomic.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	taken, l.changes = l.changes, newChanges()
	return taken, l.sums.MergedOffset(), l.sums.Generations()
}

// Return puts back changes that could not be delivered.
func (f Feed) Return(c *Changes) {
	f.l.atomic.Lock()
	defer f.l.atomic.Unlock()
	if f.l.changes != nil {
		f.l.changes.add(c)
	}
}

// ReturnAll marks all blocks and series of the generations in ids as changed.
func (f Feed) ReturnAll(ids map[string]bool) error {
	if len(ids) == 0 {
		return nil
	}
	found := newChanges()
	err := f.View(func(v *View) error {
		wanted := func(id uint32) bool {
			g := GenerationOf(v.Generations, id)
			return g != nil && ids[g.ID]
		}
		return v.all(wanted, found)
	})
	if err == nil {
		f.Return(found)
	}
	return err
}

// View is a view of the file at one instant.
type View struct {
	Committed   uint64 // its offset
	Generations []rollup.Generation
	tx          *bbolt.Tx
}

// View calls read with a view of the file at one instant.
func (f Feed) View(read func(*View) error) error {
	return f.l.view(func(tx *bbolt.Tx) func() error {
		v := &View{Generations: f.l.sums.Generations(), tx: tx}
		return func() (err error) {
			if v.Committed, err = readNumber(tx.Bucket(bucketMeta), keyOffset); err != nil {
				return err
			}
			return read(v)
		}
	})
}

// Block returns a block; nil if it is no longer kept.
func (v *View) Block(ref rollup.BlockRef) ([]byte, error) {
	return txBlocks{v.tx}.Get(ref.Bucket, ref.Chunk)
}

// Series returns a series in the form that DecodeSeries parses, and its key in
// the file; nil if it is no longer kept.
func (v *View) Series(id uint32) (key, row []byte, err error) {
	key = binary.BigEndian.AppendUint32(nil, id)
	sealed := v.tx.Bucket(bucketNames).Get(key)
	if sealed == nil {
		return key, nil, nil
	}
	row, err = unseal(key, sealed)
	return key, row, err
}

// all adds the blocks and series whose ids wanted accepts.
func (v *View) all(wanted func(id uint32) bool, to *Changes) error {
	for l := range rollup.NumLevels {
		c := txBlocks{v.tx}.level(l).Cursor()
		for k, _ := c.First(); k != nil; k, _ = c.Next() {
			start, chunk, ok := ParseBlockKey(k)
			if !ok {
				return errCorrupt
			}
			if wanted(rollup.FirstOf(chunk)) {
				to.Blocks[rollup.BlockRef{Bucket: rollup.Bucket{Level: l, Start: start}, Chunk: chunk}] = struct{}{}
			}
		}
	}
	c := v.tx.Bucket(bucketNames).Cursor()
	for k, _ := c.First(); k != nil; k, _ = c.Next() {
		if id := binary.BigEndian.Uint32(k); wanted(id) {
			to.Series[id] = struct{}{}
		}
	}
	return nil
}

// GenerationOf returns the generation that a series id belongs to; nil if there
// is none.
func GenerationOf(generations []rollup.Generation, id uint32) *rollup.Generation {
	i, found := slices.BinarySearchFunc(generations, id, func(g rollup.Generation, id uint32) int { return cmp.Compare(g.First, id) })
	if !found {
		i--
	}
	if i < 0 {
		return nil
	}
	return &generations[i]
}

// Generations returns the generations, oldest first. If the feed was started,
// the last one belongs to this process.
func (f Feed) Generations() []rollup.Generation {
	f.l.mu.Lock()
	defer f.l.mu.Unlock()
	return f.l.sums.Generations()
}

// Delivered returns the offset through which earlier processes have delivered a
// generation, according to the journal.
func (f Feed) Delivered(generation string) uint64 { return f.l.delivered[generation] }

// RecordDelivered writes to the journal the offset through which a generation
// was delivered. It does not wait for the commit of the entry: data that is
// delivered twice counts once.
func (f Feed) RecordDelivered(generation string, offset uint64) {
	l := f.l
	r := &usage.Record{ID: generation, Outcome: usage.OK}
	r.Input = int64(offset)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.entry = appendEntry(l.entry[:0], entryDelivered, r)
	if at, err := l.journal.Append(l.entry); err == nil {
		l.sums.SetOffset(at)
	}
}

// Retention returns how long the sums of a level are kept.
func (f Feed) Retention(l rollup.Level) time.Duration {
	f.l.mu.Lock()
	defer f.l.mu.Unlock()
	return f.l.sums.Retention(l)
}

// Now returns the time of the ledger's clock.
func (f Feed) Now() time.Time { return f.l.sums.Now() }

// Range returns the buckets that a page of q reads; see rollup.Rollup.
func (f Feed) Range(q *usage.Query) (rollup.Range, error) { return f.l.rangeOf(q) }

// Kept returns the part of a range that is kept and is not in the future. It
// returns usage.ErrClosed if the ledger is closed.
func (f Feed) Kept(over rollup.Range) (rollup.Range, error) {
	f.l.mu.Lock()
	defer f.l.mu.Unlock()
	if f.l.closed {
		return over, usage.ErrClosed
	}
	over.From = max(over.From, f.l.sums.Oldest(over.Level))
	// Allow for clocks that are up to a day ahead.
	over.To = min(over.To, rollup.DayOf(f.l.sums.Now().AddDate(0, 0, 2).Unix()))
	return over, nil
}

// Read calls read with the state of the ledger at one instant.
func (f Feed) Read(over rollup.Range, read func(*rollup.Reading) error) error {
	return f.l.read(over, read)
}
