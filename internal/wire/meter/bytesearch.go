package meter

import (
	"encoding/binary"
	"math/bits"
)

// The searches read eight bytes at a time, since most of an answer is the inside
// of strings and of skipped containers. A byte of w^(c·ones) is zero where w has
// c. zeros(…) has the high bit of the first zero byte set, and possibly of later
// ones (Hacker's Delight, 6-1).
const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

func zeros(w uint64) uint64 { return (w - ones) &^ w & highs }

// stringBreak returns the offset of the first quote or backslash at or after i;
// len(b) if there is none.
func stringBreak(b []byte, i int) int {
	for ; i+8 <= len(b); i += 8 {
		w := binary.LittleEndian.Uint64(b[i:])
		if m := zeros(w^ones*'"') | zeros(w^ones*'\\'); m != 0 {
			return i + bits.TrailingZeros64(m)>>3
		}
	}
	for i < len(b) && b[i] != '"' && b[i] != '\\' {
		i++
	}
	return i
}

// bracketOrQuote returns the offset of the first quote, bracket or brace at or
// after i; len(b) if there is none. Setting bit 0x20 turns a bracket into a brace.
func bracketOrQuote(b []byte, i int) int {
	for i < len(b) {
		if i+8 <= len(b) {
			w := binary.LittleEndian.Uint64(b[i:])
			v := w | ones*0x20
			m := zeros(w^ones*'"') | zeros(v^ones*'{') | zeros(v^ones*'}')
			if m == 0 {
				i += 8
				continue
			}
			return i + bits.TrailingZeros64(m)>>3
		}
		switch b[i] {
		case '"', '[', ']', '{', '}':
			return i
		}
		i++
	}
	return i
}
