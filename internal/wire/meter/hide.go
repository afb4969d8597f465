package meter

import "io"

// maxHeldBytes is the maximum length of an event that is buffered until it is
// complete. A longer one passes unedited: events with usage are small.
const maxHeldBytes = 64 << 10

// hidingBody is a stream from which the usage is removed that the caller did not
// request. It edits complete events in place, in the caller's buffer, and returns
// them in the Read that read them. It buffers only the first part of an event
// that the end of a Read cuts in two.
type hidingBody struct {
	meteredBody

	held    []byte // start of an event, already metered
	out     []byte // edited, to be returned before anything else is read
	spare   []byte // out's buffer, reused for held once out is empty
	passing bool   // the event being read is too long to be buffered
	dropped bool   // the previous event was removed
}

// Read implements io.Reader. It returns the stream without the removed usage.
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

// minRead is the minimum free space in the buffer when an event is continued: as
// much as net/http returns from one Read. With less, data that arrived in one read
// would leave in two.
const minRead = 4 << 10

// betweenEvents returns the line break of an event that the gate may insert after
// what Read has returned; "" if that does not end with a complete event. The
// caller has seen nothing of a buffered event.
func (h *hidingBody) betweenEvents() (lineBreak string) {
	switch {
	case len(h.out) > 0 || h.passing:
		return ""
	case len(h.held) > 0: // the previous event is complete, with its line break
		return "\n"
	}
	return h.m.events.lineBreak()
}

// read meters b, of which the first fed bytes were metered before, and edits it.
// It returns the part of b to return to the caller and the part to buffer.
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
	// Nothing of an event that broke off was returned yet, so drop it.
	return b[:w], nil
}

// conclude handles the end of the source if err is not nil, and calls the hooks
// that are due.
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

// edit feeds b[fed:] to the meter and moves the w bytes to return to the caller to
// the front of b. b[from:] is the start of an incomplete event.
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

// edited returns the part for the caller of unit, an event that was just read to
// its end: all of it, nothing, or all but the member `usage`.
func (h *hidingBody) edited(unit []byte) []byte {
	p := &h.m.events.data.payload
	if p.usageFrom < 0 || len(unit) > maxHeldBytes {
		return unit
	}
	if !p.closed || p.usageIsSet && p.hasChoices && !p.choices && !p.hasMore {
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
