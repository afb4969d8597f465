package rollup

import (
	"crypto/rand"
	"math"
	"slices"
)

// Generation holds what one process has recorded in a ledger that gates share.
// Its series have their own ids, in their own chunks, so that no block holds
// samples of two generations. It begins when the ledger is shared and ends when
// the next one begins. Its content is determined by its id and by the journal
// offset through which it counts: of two copies of a generation, the one with the
// larger offset holds everything that the other holds.
//
// That is why a copy of a ledger's directory is harmless: it has the same
// generation through some offset, and records into a generation of its own.
type Generation struct {
	ID   string // random
	From uint64 // entries of the journal through this offset belong to earlier generations
	End  uint64 // offset of its last entry; noEnd for the current generation

	// First and Next bound the ids of its series: [First, Next). First is a
	// multiple of ChunkSize.
	First, Next uint32
}

// noEnd is the End of a generation that has not ended.
const noEnd = math.MaxUint64

// BeginGeneration begins a generation with the next record. What was recorded
// before the ledger was shared becomes a generation too. It must not be called
// while a failed merge has to be retried.
func (r *Rollup) BeginGeneration() {
	r.Take()
	from := r.committed
	if r.merging != nil {
		from = r.merging.Offset
	}
	if len(r.generations) == 0 && len(r.series.byID) > 0 {
		r.addGeneration(Generation{ID: rand.Text()})
	}
	first := uint32(len(r.series.byID)+ChunkSize-1) / ChunkSize * ChunkSize
	r.series.renew(first)
	r.addGeneration(Generation{ID: rand.Text(), First: first, From: from})
}

func (r *Rollup) addGeneration(g Generation) {
	// Replace a generation that has recorded nothing.
	r.generations = slices.DeleteFunc(r.generations, func(o Generation) bool { return o.First == g.First })
	r.generations = append(r.generations, g)
	r.open.Generations = append(r.open.Generations, g)
}

// Generations returns the generations, oldest first.
func (r *Rollup) Generations() []Generation {
	all := slices.Clone(r.generations)
	for i := range all {
		all[i].Next, all[i].End = math.MaxUint32, noEnd
		if i > 0 {
			all[i-1].Next, all[i-1].End = all[i].First, all[i].From
		}
	}
	return all
}

// dropGenerations removes the oldest generations of which no series is kept.
func (r *Rollup) dropGenerations() {
	kept := func(s *Series) bool { return s != nil }
	for len(r.generations) > 1 && !slices.ContainsFunc(r.series.byID[r.generations[0].First:r.generations[1].First], kept) {
		r.generations = r.generations[1:]
	}
}
