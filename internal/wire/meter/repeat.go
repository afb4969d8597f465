package meter

import "bytes"

// repeat is a template made of the last event. Most events of a stream differ from
// the previous one only in the text and in little else. Comparing such an event
// with the template costs a tenth of parsing it.
//
// This is sound since all events since the template matched it: parsing the same
// names and values again changes nothing, and the differences are in strings and
// numbers at known offsets.
type repeat struct {
	raw     []byte // bytes of the whole event; empty: no template
	holes   [maxHoles]hole
	n       int
	payload payload
}

// hole is a range of an event that may differ in the next one: the inside of a
// string, or a number.
type hole struct {
	from, to int64
	kind     holeKind
}

type holeKind uint8

const (
	holeText     holeKind = iota // generated text
	holeSkipped                  // a string that is ignored, such as OpenAI's obfuscation
	holeSequence                 // sequence_number
)

const (
	maxHoles = 4
	// maxRepeated is the maximum length of a template in bytes, and maxHole that of
	// a string in a hole: longer ones are rare.
	maxRepeated = 1 << 10
	maxHole     = 1 << 10
	// maxDigits is the number of digits of a number that is certainly below maxCount.
	maxDigits = 12
)

// learn makes raw, a complete event that x has parsed, the template. Only the
// event's text may affect the totals.
func (r *repeat) learn(raw []byte, x *extractor) {
	if len(raw) > maxRepeated || x.uneven {
		r.forget()
		return
	}
	r.raw = append(r.raw[:0], raw...)
	r.holes, r.n, r.payload = x.holes, x.holesN, x.payload
}

func (r *repeat) forget() { r.raw = r.raw[:0] }

// read reads the event at the start of b if it matches the template, and returns
// its length. Otherwise it returns 0 and changes nothing.
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

// end returns the offset in b at which a hole that starts at i ends. It returns -1
// if the content must be parsed, such as a string with an escape.
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

// move adjusts the offsets of a payload from the template to an event whose holes
// are at found.
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
