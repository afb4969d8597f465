package rollup

import (
	"encoding/binary"
	"math/bits"
)

// A block holds the samples of one bucket of time for up to ChunkSize series
// whose ids differ in the low byte only (a chunk). It is laid out in columns.
// Each is only as wide as its largest number needs, because most numbers are
// small or zero: a sample takes some 20 bytes, and a query sums a column in a
// tight loop.
//
//	1 byte     number of samples, less one
//	10 bytes   width in bytes of each column: 0 (all zero), 1, 2, 4 or 8
//	n bytes    low bytes of the series' ids, ascending
//	columns    n little-endian numbers each, in the order of the counters
const (
	chunkBits  = 8
	blockStart = 1 + numCounters
)

// ChunkSize is the number of series whose samples share a block.
const ChunkSize = 1 << chunkBits

// ChunkOf returns the chunk that a series belongs to by its id.
func ChunkOf(id uint32) uint32 { return id >> chunkBits }

// FirstOf returns the lowest series id of a chunk.
func FirstOf(chunk uint32) uint32 { return chunk << chunkBits }

// ValidBlock reports whether b has the layout of a block.
func ValidBlock(b []byte) bool {
	if len(b) <= blockStart {
		return false
	}
	n, columns := int(b[0])+1, 0
	for _, width := range b[1:blockStart] {
		switch width {
		case 0, 1, 2, 4, 8:
			columns += int(width)
		default:
			return false
		}
	}
	return len(b) == blockStart+n+n*columns
}

// sumBlock adds each sample of a block to one of sums: groups holds the index
// by the low byte of the series' id.
func sumBlock(b []byte, groups []uint32, sums []Sample) {
	n := int(b[0]) + 1
	var of [ChunkSize]uint32
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

// sumWholeBlock adds all samples of a block to one sum. It is sumBlock for the
// common case, several times as fast because the sum stays in a register.
func sumWholeBlock(b []byte, sum *Sample) {
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

// chunk is a decoded block, to which samples can be added.
type chunk struct {
	present [ChunkSize]bool
	samples [ChunkSize]Sample
}

// load replaces the content of c with block b; c is empty if b is nil.
func (c *chunk) load(b []byte) {
	*c = chunk{}
	if b == nil {
		return
	}
	var identity [ChunkSize]uint32
	for i := range identity {
		identity[i] = uint32(i)
	}
	for _, low := range b[blockStart : blockStart+int(b[0])+1] {
		c.present[low] = true
	}
	sumBlock(b, identity[:], c.samples[:])
}

func (c *chunk) add(low uint8, v *Sample) {
	c.present[low] = true
	c.samples[low].add(v)
}

// block encodes c as a block. c must have at least one sample.
func (c *chunk) block() []byte {
	var ids [ChunkSize]uint8
	var all Sample // bitwise OR of each column
	n := 0
	for low, present := range c.present {
		if !present {
			continue
		}
		ids[n] = uint8(low)
		n++
		for i, v := range c.samples[low] {
			all[i] |= v
		}
	}
	var widths [numCounters]int
	size := blockStart + n
	for i, v := range all {
		widths[i] = width(uint64(v))
		size += n * widths[i]
	}
	b := make([]byte, 0, size+4) // room for the checksum in a file
	b = append(b, uint8(n-1))
	for _, w := range widths {
		b = append(b, uint8(w))
	}
	b = append(b, ids[:n]...)
	for i, w := range widths {
		for _, low := range ids[:n] {
			v := uint64(c.samples[low][i])
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

// width returns the width in bytes of a column whose numbers use these bits.
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
