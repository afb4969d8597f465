package rollup

import (
	"testing"

	"pgregory.net/rapid"
)

func drawChunk(rt *rapid.T) *chunk {
	var c chunk
	ids := rapid.SliceOfNDistinct(rapid.Uint8(), 1, ChunkSize, rapid.ID).Draw(rt, "ids")
	bits := rapid.SliceOfN(rapid.IntRange(0, 63), numCounters, numCounters).Draw(rt, "bits")
	seed := rapid.Uint64().Draw(rt, "seed")
	for _, id := range ids {
		var v Sample
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
		var again chunk
		if again.load(block); again != *c {
			rt.Fatal("a block does not hold what was put into it")
		}

		groups := make([]uint32, ChunkSize)
		for i := range groups {
			groups[i] = uint32(i % 3)
		}
		var sums, want [3]Sample
		sumBlock(block, groups, sums[:])
		var whole, all Sample
		sumWholeBlock(block, &whole)
		for i := range c.samples {
			want[i%3].add(&c.samples[i])
			all.add(&c.samples[i])
		}
		if sums != want || whole != all {
			rt.Fatalf("sums are %v and %v, want %v and %v", sums, whole, want, all)
		}
	})
}
