package rollup

import (
	"cmp"
	"fmt"
	"iter"
	"slices"
)

// Batch holds what was recorded since the previous batch.
type Batch struct {
	Number      uint64       // ascending by one, also across restarts
	Offset      uint64       // of the last entry of the journal that the batches through this one count
	Series      []SeriesRow  // new ones, and those with a new LastDay
	Generations []Generation // generations that begin with this batch

	deltas  map[Bucket]*delta
	pending int // samples
}

// delta holds the samples that were added to one bucket.
type delta struct {
	index   map[uint32]uint32 // index of a series' sample, by series id
	ids     []uint32
	samples []Sample
}

func newBatch(number uint64) *Batch {
	return &Batch{Number: number, deltas: map[Bucket]*delta{}}
}

// sample returns the position of the sample of a series in a bucket; it adds
// the sample if there is none.
func (b *Batch) sample(bucket Bucket, id uint32) (d *delta, i uint32) {
	d = b.deltas[bucket]
	if d == nil {
		d = &delta{index: map[uint32]uint32{}}
		b.deltas[bucket] = d
	}
	i, ok := d.index[id]
	if !ok {
		i = uint32(len(d.samples))
		d.index[id] = i
		d.ids = append(d.ids, id)
		d.samples = append(d.samples, Sample{})
		b.pending++
	}
	return d, i
}

// Blocks stores the blocks of a ledger.
type Blocks interface {
	// Get returns a block, or nil if there is none.
	Get(bucket Bucket, chunk uint32) ([]byte, error)
	// Put stores a block, which the caller does not change afterwards.
	Put(bucket Bucket, chunk uint32, block []byte) error
}

// BlockRef identifies a block.
type BlockRef struct {
	Bucket
	Chunk uint32
}

// Changes returns the blocks that merging the batch changes; some occur more
// than once.
func (b *Batch) Changes() iter.Seq[BlockRef] {
	return func(yield func(BlockRef) bool) {
		for bucket, d := range b.deltas {
			for _, id := range d.ids {
				if !yield(BlockRef{bucket, ChunkOf(id)}) {
					return
				}
			}
		}
	}
}

// Merge adds the batch to the blocks in to.
func (b *Batch) Merge(to Blocks) error {
	buckets := make([]Bucket, 0, len(b.deltas))
	for bucket := range b.deltas {
		buckets = append(buckets, bucket)
	}
	slices.SortFunc(buckets, func(a, b Bucket) int {
		return cmp.Or(cmp.Compare(a.Level, b.Level), cmp.Compare(a.Start, b.Start))
	})
	var c chunk
	for _, bucket := range buckets {
		d := b.deltas[bucket]
		order := slices.Clone(d.ids)
		slices.Sort(order)
		for len(order) > 0 {
			number := ChunkOf(order[0])
			old, err := to.Get(bucket, number)
			if err != nil {
				return fmt.Errorf("reading the sums of the %s at %s: %w", bucket.Level, stamp(bucket.Start), err)
			}
			c.load(old)
			for len(order) > 0 && ChunkOf(order[0]) == number {
				c.add(uint8(order[0]), &d.samples[d.index[order[0]]])
				order = order[1:]
			}
			if err := to.Put(bucket, number, c.block()); err != nil {
				return fmt.Errorf("writing the sums of the %s at %s: %w", bucket.Level, stamp(bucket.Start), err)
			}
		}
	}
	return nil
}

// pending holds the samples of a batch for one bucket, copied for a query.
type pending struct {
	start   int64
	ids     []uint32
	samples []Sample
}

func (b *Batch) appendPending(all []pending, over Range) []pending {
	for bucket, d := range b.deltas {
		if bucket.Level == over.Level && over.From <= bucket.Start && bucket.Start < over.To {
			all = append(all, pending{bucket.Start, slices.Clone(d.ids), slices.Clone(d.samples)})
		}
	}
	return all
}
