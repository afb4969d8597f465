package usage

import (
	"bytes"
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
		var again chunk
		if again.load(block); again != *c {
			rt.Fatal("a block does not hold what was put into it")
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
		key, block := blockKey(86400, 7), drawChunk(rt).block()
		sealed := seal(key, block)
		if got, err := unseal(key, sealed); err != nil || !bytes.Equal(got, block) {
			rt.Fatalf("a whole block did not pass: %v", err)
		}
		cutAt := rapid.IntRange(0, len(sealed)-1).Draw(rt, "cut")
		if _, err := unseal(key, sealed[:cutAt]); err == nil {
			rt.Fatalf("a block cut at %d of %d bytes passed", cutAt, len(sealed))
		}
		if _, err := unseal(blockKey(86400, 8), sealed); err == nil {
			rt.Fatal("a block passed under another key")
		}
		bit := rapid.IntRange(0, 8*len(sealed)-1).Draw(rt, "bit")
		sealed[bit/8] ^= 1 << (bit % 8)
		if _, err := unseal(key, sealed); err == nil {
			rt.Fatalf("a block with bit %d flipped passed", bit)
		}
	})
}
