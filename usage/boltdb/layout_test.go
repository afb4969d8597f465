package boltdb

import (
	"bytes"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestCorruptBlocksAreFound(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		key, block := BlockKey(86400, 7), rapid.SliceOfN(rapid.Byte(), 12, 600).Draw(rt, "block")
		sealed := seal(key, slices.Clone(block))
		if got, err := unseal(key, sealed); err != nil || !bytes.Equal(got, block) {
			rt.Fatalf("a whole block did not pass: %v", err)
		}
		cutAt := rapid.IntRange(0, len(sealed)-1).Draw(rt, "cut")
		if _, err := unseal(key, sealed[:cutAt]); err == nil {
			rt.Fatalf("a block cut at %d of %d bytes passed", cutAt, len(sealed))
		}
		if _, err := unseal(BlockKey(86400, 8), sealed); err == nil {
			rt.Fatal("a block passed under another key")
		}
		bit := rapid.IntRange(0, 8*len(sealed)-1).Draw(rt, "bit")
		sealed[bit/8] ^= 1 << (bit % 8)
		if _, err := unseal(key, sealed); err == nil {
			rt.Fatalf("a block with bit %d flipped passed", bit)
		}
	})
}
