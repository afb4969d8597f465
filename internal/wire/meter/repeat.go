package meter

import "bytes"

// repeat is the event that was read last. Most events of a stream differ from
// the one before in the text and in little else. What is the same was understood
// once, so that such an event is read by comparing it, at a tenth of the cost.
//
// That is sound since there are only such events since the one that is kept: to
// read the same names and values again changes nothing, and what differs stands
// in strings and numbers whose places are known.
type repeat struct {
	raw     []byte // of the whole event; empty: there is none
	holes   [maxHoles]hole
	n       int
	payload payload
}

// hole is a part of an event that may be another one in the next: the inside of
// a string, or a number.
type hole struct {
	from, to int64
	kind     holeKind
}

type holeKind uint8

const (
	holeText     holeKind = iota // what the model wrote
	holeSkipped                  // a string that says nothing, such as OpenAI's obfuscation
	holeSequence                 // sequence_number
)

const (
	maxHoles = 4
	// maxRepeated bounds the event that is kept, in bytes, and maxHole the
	// strings in which others may differ from it: longer ones are few.
	maxRepeated = 1 << 10
	maxHole     = 1 << 10
	// maxDigits are those of a number that is surely below maxCount.
	maxDigits = 12
)

// learn keeps an event that was read as a whole; nothing of what it said but its
// text may count.
func (r *repeat) learn(raw []byte, x *extractor) {
	if len(raw) > maxRepeated || x.uneven {
		r.forget()
		return
	}
	r.raw = append(r.raw[:0], raw...)
	r.holes, r.n, r.payload = x.holes, x.holesN, x.payload
}

func (r *repeat) forget() { r.raw = r.raw[:0] }

// read reads the event that b begins with if it is like the one that is kept,
// and returns its length; else 0, and nothing has changed.
func (r *repeat) read(b []byte, x *extractor) int {
	var found [maxHoles]hole
	i, from := 0, int64(0)
	for h := range r.holes[:r.n] {
		hole := &r.holes[h]
		if !bytes.HasPrefix(b[i:], r.raw[from:hole.from]) {
			return 0
		}
		i += int(hole.from - from)
		end := hole.end(b, i)
		if end < 0 {
			return 0
		}
		found[h].from, found[h].to = int64(i), int64(end)
		i, from = end, hole.to
	}
	if !bytes.HasPrefix(b[i:], r.raw[from:]) {
		return 0
	}
	i += len(r.raw) - int(from)

	x.payload = r.payload
	x.payload.text = 0
	for h := range r.holes[:r.n] {
		in := b[found[h].from:found[h].to]
		switch r.holes[h].kind {
		case holeText:
			x.written().add(in)
			x.addText(int64(len(in)))
		case holeSequence:
			x.found.sequence, _, _ = parseCount(in)
		}
	}
	r.move(&x.payload, &found)
	return i
}

// end returns where a hole that begins at i ends in b; below 0 where it holds
// what has to be read with care.
func (h *hole) end(b []byte, i int) int {
	if h.kind == holeSequence {
		end := i
		for end < len(b) && '0' <= b[end] && b[end] <= '9' {
			end++
		}
		if end == i || end-i > maxDigits {
			return -1
		}
		return end
	}
	b = b[:min(len(b), i+maxHole)]
	end := stringBreak(b, i)
	if end == len(b) || b[end] != '"' || bytes.IndexByte(b[i:end], '\n') >= 0 || bytes.IndexByte(b[i:end], '\r') >= 0 {
		return -1
	}
	return end
}

// move moves the offsets of a payload from the event that is kept to one whose
// holes were found elsewhere.
func (r *repeat) move(p *payload, found *[maxHoles]hole) {
	if p.usageFrom < 0 {
		return
	}
	for _, at := range []*int64{&p.usageFrom, &p.usageTo, &p.commaBefore, &p.commaAfter} {
		for h := r.n - 1; h >= 0; h-- {
			if *at >= r.holes[h].to {
				*at += found[h].to - r.holes[h].to
				break
			}
		}
	}
}
