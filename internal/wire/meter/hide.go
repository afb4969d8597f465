package meter

import "io"

// maxHeldBytes bounds the event that is held back until it is whole. A longer
// one passes unedited: usage comes in small events.
const maxHeldBytes = 64 << 10

// hidingBody is a stream out of which the usage is taken that the caller did
// not ask for. Whole events are edited where they lie, in the caller's buffer,
// and leave in the Read that brought them; only the part of an event that is
// cut in two by the end of a Read is held.
type hidingBody struct {
	meteredBody

	held    []byte // the start of an event, metered already
	out     []byte // edited, to be handed out before anything else is read
	spare   []byte // out's buffer, when it is empty
	passing bool   // the event being read is too long to be held
	dropped bool   // the event before was taken out
}

// Read returns what is left of the stream.
func (h *hidingBody) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for {
		if len(h.out) > 0 {
			n := copy(p, h.out)
			h.out = h.out[n:]
			return n, nil
		}
		if h.err != nil {
			return h.readTail(p)
		}
		if len(h.held) == 0 {
			n, err := h.src.Read(p)
			kept, rest := h.read(p[:n], 0, err)
			h.held = append(h.held, rest...)
			if h.conclude(err); len(kept) > 0 {
				return len(kept), nil
			}
			continue
		}
		fed := len(h.held)
		if cap(h.held)-fed < minRead {
			h.held = append(make([]byte, 0, 2*fed+minRead), h.held...)
		}
		n, err := h.src.Read(h.held[fed:cap(h.held)])
		whole := h.held[:fed+n]
		kept, rest := h.read(whole, fed, err)
		if len(kept) == 0 {
			h.held = whole[:copy(whole, rest)]
		} else {
			h.held, h.spare = append(h.spare[:0], rest...), whole[:0]
			h.out = kept
		}
		h.conclude(err)
	}
}

// minRead is how much room there is at least for what goes on from an event that
// is held: as much as net/http gives at once. With less of it what came in one
// read would leave in two.
const minRead = 4 << 10

// betweenEvents returns what an event of the gate's own must end its lines with
// behind what was handed out, "" where that does not end with a whole event. One
// that is held has not begun for the caller.
func (h *hidingBody) betweenEvents() (lineBreak string) {
	switch {
	case len(h.out) > 0 || h.passing:
		return ""
	case len(h.held) > 0: // what ended before it is whole, with its line break
		return "\n"
	}
	return h.m.events.lineBreak()
}

// read meters b, of which the first fed bytes were metered before, and edits
// it. It returns what to hand out and what to hold, both parts of b.
func (h *hidingBody) read(b []byte, fed int, err error) (kept, rest []byte) {
	m := h.m
	m.mu.Lock()
	defer m.mu.Unlock()
	m.tally.bytes += int64(len(b) - fed)
	w, from := h.edit(b, fed)
	m.observed()
	if err == nil {
		return b[:w], b[from:]
	}
	h.finish(err)
	if h.err == io.EOF && from < len(b) {
		// The last event lacks its blank line.
		w += copy(b[w:], h.edited(b[from:]))
	}
	// Of an event that broke off nothing was handed out yet, and nothing is.
	return b[:w], nil
}

// conclude deals with the end of the source.
func (h *hidingBody) conclude(err error) {
	if err != nil {
		var lineBreaks []byte
		if h.passing {
			lineBreaks = h.m.brokenLine()
		}
		h.breakOff(lineBreaks)
	}
	h.m.release()
}

// edit feeds b[fed:] to the meter and moves to the front of b what is to be
// handed out, w bytes. From the offset from on b holds an event's start.
func (h *hidingBody) edit(b []byte, fed int) (w, from int) {
	events := h.m.events
	for i := fed; i < len(b); {
		if i == from && events.skipLF(b[i]) {
			if !h.dropped {
				b[w] = '\n'
				w++
			}
			i++
			from = i
			continue
		}
		n, ended := events.next(b[i:])
		if i += n; !ended {
			break
		}
		unit := b[from:i]
		if !h.passing {
			unit = h.edited(unit)
		}
		w += copy(b[w:], unit)
		h.dropped, h.passing, from = len(unit) == 0, false, i
	}
	if h.passing = h.passing || len(b)-from > maxHeldBytes; h.passing {
		w += copy(b[w:], b[from:])
		from = len(b)
	}
	return w, from
}

// edited returns what the caller is to see of an event that was just read to
// its end: all of it, nothing, or all but the member `usage`.
func (h *hidingBody) edited(unit []byte) []byte {
	p := &h.m.events.data.payload
	if p.usageFrom < 0 || len(unit) > maxHeldBytes {
		return unit
	}
	if !p.closed || p.usageIsSet && p.hasChoices && !p.choices {
		return nil
	}
	from, to := p.usageFrom, p.usageTo
	switch {
	case p.commaBefore >= 0:
		from = p.commaBefore
	case p.commaAfter >= 0:
		to = p.commaAfter + 1
	}
	return append(unit[:from], unit[to:]...)
}
