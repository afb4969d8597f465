package usage

import (
	"encoding/binary"
	"math/bits"
)

// counters are the sums of one cell, by the constants below. An array and not
// a struct, so that blocks can treat them as columns. None is ever negative.
type counters [numCounters]int64

const (
	countRequests = iota
	countErrors
	countInput
	countCached
	countCacheWrite
	countOutput
	countReasoning
	countEstimated
	countUnpriced
	countCost // nano-USD
	numCounters
)

func (c *counters) add(d *counters) {
	for i, n := range d {
		c[i] += n
	}
}

// A block holds the cells of one bucket of time for up to 256 tuples whose ids
// differ in the low byte only (a chunk). It is laid out in columns, each as
// wide as its largest number needs, because most are small or zero: a cell
// takes some 20 bytes, and a query sums a column in a tight loop.
//
//	1 byte     cells, less one
//	10 bytes   width in bytes of each column: 0 (all zero), 1, 2, 4 or 8
//	n bytes    low bytes of the tuples' ids, ascending
//	columns    n little-endian numbers each, in the order of the counters
const (
	chunkBits  = 8
	chunkSize  = 1 << chunkBits
	blockStart = 1 + numCounters
)

// sumBlock adds each cell of a block to the sum that groups says by the low
// byte of its tuple's id.
func sumBlock(b []byte, groups []uint32, sums []counters) {
	n := int(b[0]) + 1
	var of [chunkSize]uint32
	for i, low := range b[blockStart : blockStart+n] {
		of[i] = groups[low]
	}
	rest := b[blockStart+n:]
	for column, width := range b[1:blockStart] {
		size := n * int(width)
		data := rest[:size]
		rest = rest[size:]
		switch width {
		case 1:
			for i, v := range data {
				sums[of[i]][column] += int64(v)
			}
		case 2:
			for i := range n {
				sums[of[i]][column] += int64(binary.LittleEndian.Uint16(data[2*i:]))
			}
		case 4:
			for i := range n {
				sums[of[i]][column] += int64(binary.LittleEndian.Uint32(data[4*i:]))
			}
		case 8:
			for i := range n {
				sums[of[i]][column] += int64(binary.LittleEndian.Uint64(data[8*i:]))
			}
		}
	}
}

// sumWholeBlock adds all cells of a block to one sum. It is sumBlock for the
// common case, several times as fast since the sum stays in a register.
func sumWholeBlock(b []byte, sum *counters) {
	n := int(b[0]) + 1
	rest := b[blockStart+n:]
	for column, width := range b[1:blockStart] {
		size := n * int(width)
		data := rest[:size]
		rest = rest[size:]
		var total int64
		switch width {
		case 1:
			for _, v := range data {
				total += int64(v)
			}
		case 2:
			for ; len(data) >= 2; data = data[2:] {
				total += int64(binary.LittleEndian.Uint16(data))
			}
		case 4:
			for ; len(data) >= 4; data = data[4:] {
				total += int64(binary.LittleEndian.Uint32(data))
			}
		case 8:
			for ; len(data) >= 8; data = data[8:] {
				total += int64(binary.LittleEndian.Uint64(data))
			}
		}
		sum[column] += total
	}
}

// chunk is a block laid open, to be added to.
type chunk struct {
	present [chunkSize]bool
	cells   [chunkSize]counters
}

// load replaces what c holds by a block, or by nothing where b is nil.
func (c *chunk) load(b []byte) {
	*c = chunk{}
	if b == nil {
		return
	}
	var identity [chunkSize]uint32
	for i := range identity {
		identity[i] = uint32(i)
	}
	for _, low := range b[blockStart : blockStart+int(b[0])+1] {
		c.present[low] = true
	}
	sumBlock(b, identity[:], c.cells[:])
}

func (c *chunk) add(low uint8, v *counters) {
	c.present[low] = true
	c.cells[low].add(v)
}

// block lays c out as a new block. At least one cell must be present.
func (c *chunk) block() []byte {
	var ids [chunkSize]uint8
	var all counters // the bits that each column uses
	n := 0
	for low, present := range c.present {
		if !present {
			continue
		}
		ids[n] = uint8(low)
		n++
		for i, v := range c.cells[low] {
			all[i] |= v
		}
	}
	var widths [numCounters]int
	size := blockStart + n
	for i, v := range all {
		widths[i] = width(uint64(v))
		size += n * widths[i]
	}
	b := make([]byte, 0, size+checksumSize) // room for what a file adds
	b = append(b, uint8(n-1))
	for _, w := range widths {
		b = append(b, uint8(w))
	}
	b = append(b, ids[:n]...)
	for i, w := range widths {
		for _, low := range ids[:n] {
			v := uint64(c.cells[low][i])
			switch w {
			case 1:
				b = append(b, uint8(v))
			case 2:
				b = binary.LittleEndian.AppendUint16(b, uint16(v))
			case 4:
				b = binary.LittleEndian.AppendUint32(b, uint32(v))
			case 8:
				b = binary.LittleEndian.AppendUint64(b, v)
			}
		}
	}
	return b
}

// width is how many bytes a column takes whose numbers use these bits.
func width(all uint64) int {
	switch n := bits.Len64(all); {
	case n == 0:
		return 0
	case n <= 8:
		return 1
	case n <= 16:
		return 2
	case n <= 32:
		return 4
	}
	return 8
}
