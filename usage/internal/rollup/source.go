package rollup

import (
	"cmp"
	"slices"
)

// Source provides the blocks that a query reads.
type Source interface {
	// Scan calls f with the blocks of a range whose chunks wanted accepts. f must
	// not keep block.
	Scan(over Range, wanted func(chunk uint32) bool, f func(chunk uint32, block []byte)) error
}

// joined reads from a ledger and from others, whose chunks are numbered after
// its own.
type joined struct {
	own    Source
	others BlockList
	after  uint32
}

func (j joined) Scan(over Range, wanted func(uint32) bool, f func(uint32, []byte)) error {
	if err := j.own.Scan(over, wanted, f); err != nil {
		return err
	}
	return j.others.Scan(over,
		func(chunk uint32) bool { return wanted(chunk + j.after) },
		func(chunk uint32, block []byte) { f(chunk+j.after, block) })
}

// BlockList is a Source of blocks in memory, of one level and sorted by start.
type BlockList []Block

// Block is a block of a BlockList.
type Block struct {
	Start int64 // of its bucket
	Chunk uint32
	Data  []byte
}

// Scan implements Source.
func (l BlockList) Scan(over Range, wanted func(uint32) bool, f func(uint32, []byte)) error {
	i, _ := slices.BinarySearchFunc(l, over.From, func(b Block, start int64) int { return cmp.Compare(b.Start, start) })
	for ; i < len(l) && l[i].Start < over.To; i++ {
		if wanted(l[i].Chunk) {
			f(l[i].Chunk, l[i].Data)
		}
	}
	return nil
}

// Exclude leaves out the series of the given generations.
func (r *Reading) Exclude(generations []Generation) {
	if len(generations) == 0 {
		return
	}
	r.series = slices.Clone(r.series)
	for _, g := range generations {
		for id := g.First; id < min(g.Next, uint32(len(r.series))); id++ {
			r.series[id] = nil
		}
	}
}

// Join adds blocks of other ledgers, whose chunks are numbered by their
// series, others.
func (r *Reading) Join(others []*Series, blocks BlockList) {
	if len(blocks) == 0 {
		return
	}
	own := (len(r.series) + ChunkSize - 1) / ChunkSize
	series := make([]*Series, own*ChunkSize, own*ChunkSize+len(others))
	copy(series, r.series)
	r.series = append(series, others...)
	r.Source = joined{r.Source, blocks, uint32(own)}
}
