package usage

import (
	"cmp"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"go.etcd.io/bbolt"
)

// A run is what one process has recorded in a ledger that is shared: its tuples
// have ids of their own, in chunks of their own, so that no block holds sums of
// two runs. It begins when the ledger is shared and ends when the next one
// begins, and what it holds is known by its name and by how many entries of the
// journal it counts: of two copies of a run, the one that counts more holds all
// that the other does.
//
// That is why a copy of a ledger's directory can't harm: it has the same run up
// to some entry, and whatever it records is of a run of its own.
type run struct {
	id    string // random; "" where it is not shared
	first uint32 // first id of its tuples, a multiple of chunkSize
	from  uint64 // entries of the journal up to this one are of runs before it
}

// bucketRuns holds the runs by the first id of their tuples (4 bytes, big
// endian). It is not there in ledgers that were never shared.
var bucketRuns = []byte("runs")

// noEnd is where a run ends that has not ended.
const noEnd = math.MaxUint64

// span of ids and entries of a run, which ends where the next one begins.
type runSpan struct {
	run
	next uint32 // first id that is not its own
	end  uint64 // number of the last entry that it counts; noEnd for the last run
}

// beginRun begins a run with what is recorded from now on. What was recorded
// before by no run becomes one too. It must be called with r.mu held, where no
// batch has failed to be merged.
func (r *rollup) beginRun() {
	r.take()
	from := r.summed
	if r.merging != nil {
		from = r.merging.through
	}
	if len(r.runs) == 0 && len(r.tuples.byID) > 0 {
		r.addRun(run{id: rand.Text()})
	}
	first := uint32(len(r.tuples.byID)+chunkSize-1) / chunkSize * chunkSize
	r.tuples.begin(first)
	r.addRun(run{id: rand.Text(), first: first, from: from})
}

func (r *rollup) addRun(one run) {
	// One that has recorded nothing is as if it had never been.
	r.runs = slices.DeleteFunc(r.runs, func(o run) bool { return o.first == one.first })
	r.runs = append(r.runs, one)
	r.open.runs = append(r.open.runs, one)
}

// spans are the runs, oldest first. It must be called with r.mu held.
func (r *rollup) spans() []runSpan {
	all := make([]runSpan, len(r.runs))
	for i, one := range r.runs {
		all[i] = runSpan{one, math.MaxUint32, noEnd}
		if i > 0 {
			all[i-1].next, all[i-1].end = one.first, one.from
		}
	}
	return all
}

// forgetRuns drops the oldest runs of which nothing is kept any more. It must be
// called with r.mu held.
func (r *rollup) forgetRuns() {
	for len(r.runs) > 1 && !slices.ContainsFunc(r.tuples.byID[r.runs[0].first:r.runs[1].first], func(e *entry) bool { return e != nil }) {
		r.runs = r.runs[1:]
	}
}

// deleteRuns deletes the runs before the oldest that is kept.
func deleteRuns(tx *bbolt.Tx, oldest uint32) error {
	bucket := tx.Bucket(bucketRuns)
	if bucket == nil {
		return nil
	}
	for k, _ := bucket.Cursor().First(); k != nil && binary.BigEndian.Uint32(k) < oldest; k, _ = bucket.Cursor().First() {
		if err := bucket.Delete(k); err != nil {
			return fmt.Errorf("deleting a run: %w", err)
		}
	}
	return nil
}

// runOf finds the run of a tuple's id.
func runOf(spans []runSpan, id uint32) *runSpan {
	i, found := slices.BinarySearchFunc(spans, id, func(s runSpan, id uint32) int { return cmp.Compare(s.first, id) })
	if !found {
		i--
	}
	if i < 0 {
		return nil
	}
	return &spans[i]
}

// loadRuns reads the runs.
func loadRuns(tx *bbolt.Tx) (runs []run, err error) {
	bucket := tx.Bucket(bucketRuns)
	if bucket == nil {
		return nil, nil
	}
	err = bucket.ForEach(func(k, v []byte) error {
		row, err := unseal(k, v)
		if err != nil || len(k) != 4 || len(row) < 8 {
			return fmt.Errorf("runs: %w", errDamaged)
		}
		runs = append(runs, run{id: string(row[8:]), first: binary.BigEndian.Uint32(k), from: binary.BigEndian.Uint64(row)})
		return nil
	})
	return runs, err
}

// writeRuns writes runs that have begun.
func writeRuns(tx *bbolt.Tx, runs []run) error {
	if len(runs) == 0 {
		return nil
	}
	bucket, err := tx.CreateBucketIfNotExists(bucketRuns)
	if err != nil {
		return fmt.Errorf("writing a run: %w", err)
	}
	for _, one := range runs {
		key := binary.BigEndian.AppendUint32(nil, one.first)
		row := append(binary.BigEndian.AppendUint64(nil, one.from), one.id...)
		if err := bucket.Put(key, seal(key, row)); err != nil {
			return fmt.Errorf("writing a run: %w", err)
		}
	}
	return nil
}

// share begins a run and has changes noted, if that has not been done. The error
// is that of the file.
func (b *Bolt) share() error {
	b.writing.Lock()
	defer b.writing.Unlock()
	b.sums.mu.Lock()
	defer b.sums.mu.Unlock()
	if b.changes == nil {
		b.changes = newChanges()
	}
	if b.sums.begun {
		return nil
	}
	if b.sums.merging != nil {
		b.sums.mu.Unlock()
		err := b.write()
		b.sums.mu.Lock()
		if err != nil {
			return err
		}
	}
	b.sums.beginRun()
	b.sums.begun = true
	return nil
}

// blockRef names a block.
type blockRef struct {
	span
	chunk uint32
}

// changes are what of the file has to be delivered.
type changes struct {
	blocks map[blockRef]struct{}
	tuples map[uint32]struct{} // by id
}

func newChanges() *changes {
	return &changes{map[blockRef]struct{}{}, map[uint32]struct{}{}}
}

// note adds what a batch has changed.
func (c *changes) note(b *batch) {
	for s, d := range b.deltas {
		for _, id := range d.ids {
			c.blocks[blockRef{s, id >> chunkBits}] = struct{}{}
		}
	}
	for _, row := range b.names {
		c.tuples[row.id] = struct{}{}
	}
}

// add adds what others say.
func (c *changes) add(others *changes) {
	for ref := range others.blocks {
		c.blocks[ref] = struct{}{}
	}
	for id := range others.tuples {
		c.tuples[id] = struct{}{}
	}
}

// takeChanges returns what has changed in the file, to be delivered, and the
// number of the last entry of the journal that the file counts.
func (b *Bolt) takeChanges() (taken *changes, through uint64, runs []runSpan) {
	b.sums.mu.Lock()
	defer b.sums.mu.Unlock()
	taken, b.changes = b.changes, newChanges()
	return taken, b.sums.summed, b.sums.spans()
}

// returnChanges takes back what could not be delivered.
func (b *Bolt) returnChanges(c *changes) {
	b.sums.mu.Lock()
	defer b.sums.mu.Unlock()
	if b.changes != nil {
		b.changes.add(c)
	}
}

// forgetChanges ends the noting: whoever shares the ledger next finds out what
// it has to deliver.
func (b *Bolt) forgetChanges() {
	b.sums.mu.Lock()
	defer b.sums.mu.Unlock()
	b.changes = nil
	clear(b.remote)
}

// changeRuns makes everything that the file holds of some runs to be delivered
// again.
func (b *Bolt) changeRuns(some map[string]bool) error {
	if len(some) == 0 {
		return nil
	}
	found := newChanges()
	err := b.view(func(tx *bbolt.Tx, spans []runSpan) error {
		wanted := func(id uint32) bool {
			s := runOf(spans, id)
			return s != nil && some[s.id]
		}
		for l := range numLevels {
			c := txBlocks{tx}.level(l).Cursor()
			for k, _ := c.First(); k != nil; k, _ = c.Next() {
				if len(k) != 12 {
					return errDamaged
				}
				if chunk := binary.BigEndian.Uint32(k[8:]); wanted(chunk << chunkBits) {
					found.blocks[blockRef{span{l, int64(binary.BigEndian.Uint64(k))}, chunk}] = struct{}{}
				}
			}
		}
		c := tx.Bucket(bucketNames).Cursor()
		for k, _ := c.First(); k != nil; k, _ = c.Next() {
			if id := binary.BigEndian.Uint32(k); wanted(id) {
				found.tuples[id] = struct{}{}
			}
		}
		return nil
	})
	if err == nil {
		b.returnChanges(found)
	}
	return err
}

// view looks at the file.
func (b *Bolt) view(f func(tx *bbolt.Tx, runs []runSpan) error) error {
	return guarded(func() error {
		b.instant.RLock()
		if b.gone {
			b.instant.RUnlock()
			return ErrClosed
		}
		tx, err := b.db.Begin(false)
		b.sums.mu.Lock()
		spans := b.sums.spans()
		b.sums.mu.Unlock()
		b.instant.RUnlock()
		if err != nil {
			return fmt.Errorf("reading usage ledger %s: %w", b.path, err)
		}
		defer tx.Rollback() //nolint:errcheck // of a transaction that only reads
		return f(tx, spans)
	})
}
