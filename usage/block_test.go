package usage

import (
	"testing"

	"pgregory.net/rapid"
)

func drawChunk(rt *rapid.T) *chunk {
	var c chunk
	ids := rapid.SliceOfNDistinct(rapid.Uint8(), 1, chunkSize, rapid.ID).Draw(rt, "ids")
	bits := rapid.SliceOfN(rapid.IntRange(0, 63), numCounters, numCounters).Draw(rt, "bits")
	seed := rapid.Uint64().Draw(rt, "seed")
	for _, id := range ids {
		var v counters
		for i, n := range bits {
			seed = seed*6364136223846793005 + 1442695040888963407
			v[i] = int64(seed >> 1 & (1<<n - 1))
		}
		c.add(id, &v)
	}
	return &c
}

func TestBlockHoldsItsChunk(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		c := drawChunk(rt)
		block := c.block()
		if err := checkBlock(block); err != nil {
			rt.Fatal(err)
		}
		var again chunk
		if err := again.load(block); err != nil || again != *c {
			rt.Fatalf("a block does not hold what was put into it: %v", err)
		}

		groups := make([]uint32, chunkSize)
		for i := range groups {
			groups[i] = uint32(i % 3)
		}
		var sums, want [3]counters
		sumBlock(block, groups, sums[:])
		var whole, all counters
		sumWholeBlock(block, &whole)
		for i := range c.cells {
			want[i%3].add(&c.cells[i])
			all.add(&c.cells[i])
		}
		if sums != want || whole != all {
			rt.Fatalf("sums are %v and %v, want %v and %v", sums, whole, want, all)
		}
	})
}

func TestBlockDamageIsFound(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		block := drawChunk(rt).block()
		cutAt := rapid.IntRange(0, len(block)-1).Draw(rt, "cut")
		if checkBlock(block[:cutAt]) == nil {
			rt.Fatalf("a block cut at %d of %d bytes passed", cutAt, len(block))
		}
		bit := rapid.IntRange(0, 8*len(block)-1).Draw(rt, "bit")
		block[bit/8] ^= 1 << (bit % 8)
		if checkBlock(block) == nil {
			rt.Fatalf("a block with bit %d flipped passed", bit)
		}
	})
}
