package meter

import (
	"bytes"

	"github.com/amanycodes/pine-gate/internal/wire"
)

// eventReader splits an event stream (WHATWG HTML, 9.2.6) that arrives in pieces
// of any size into units, and feeds the data of each to an extractor. A unit is
// an event with the blank line that ends it, or a comment line outside an event,
// which is a keep-alive and must not be delayed.
type eventReader struct {
	data  extractor
	state lineState
	fresh bool // nothing of the unit was read yet
	cr    bool // the previous byte was a \r: a following \n is part of the line break
	lone  bool // some line of the stream ended in a \r without a \n
	open  bool // the unit has a line that is not a comment

	line  [8]byte // start of the field's name, or of the value of event
	lineN uint8

	offset  int64 // bytes of the unit in earlier pieces
	hasData bool  // the unit has a data line
	named   bool  // the unit has `event: error`
	settled bool  // closed was called for the unit

	// closed is called once for each event when its data is complete, which is
	// before the end of the data line.
	closed func(*payload)
}

type lineState uint8

const (
	lineStart lineState = iota
	lineName            // in a field's name
	lineData            // in the value of data
	lineEvent           // in the value of event
	lineOther           // in the value of another field
	lineComment
)

func newEventReader(found *tally, names wire.Names, closed func(*payload)) *eventReader {
	s := &eventReader{closed: closed}
	s.data.found, s.data.names, s.data.root = found, names, placeEvent
	s.begin()
	return s
}

// begin starts a unit.
func (s *eventReader) begin() {
	s.offset, s.fresh, s.open, s.hasData, s.named, s.settled = 0, true, false, false, false, false
	s.data.reset()
}

// next reads b up to the end of a unit, or all of it, and returns the number of
// bytes read. The payload of a unit that ended is valid until the next call.
func (s *eventReader) next(b []byte) (n int, ended bool) {
	if s.offset > 0 && s.state == lineStart && s.fresh {
		s.begin()
	}
	i := 0
	for i < len(b) && !ended {
		c := b[i]
		if s.cr {
			if s.cr = false; c == '\n' {
				i++
				continue
			}
			s.lone = true
		}
		switch s.state {
		case lineStart:
			s.fresh = false
			switch {
			case c == 'd' && len(b)-i > 5 && string(b[i:i+5]) == "data:":
				s.beginValue(lineData)
				i += 5
			case c == '\n' || c == '\r':
				s.cr = c == '\r'
				i++
				ended = true
			case c == ':':
				s.state = lineComment
				i++
			default:
				s.state, s.lineN = lineName, 0
			}
			continue
		case lineName:
			if c == ':' {
				s.beginValue(s.field())
				i++
				continue
			}
			if c != '\n' && c != '\r' {
				s.addToLine(c)
				i++
				continue
			}
		}
		end := lineEnd(b, i)
		switch s.state {
		case lineData:
			s.feed(b[i:end], s.offset+int64(i))
		case lineEvent:
			for _, c := range b[i:end] {
				if c != ' ' {
					s.addToLine(c)
				}
			}
		}
		if i = end; i < len(b) {
			s.cr = b[i] == '\r'
			i++
			ended = s.endLine(s.offset + int64(i) - 1)
		}
	}
	// A \n that completes the preceding \r belongs to the unit that the \r ended.
	if ended && s.cr && i < len(b) && b[i] == '\n' {
		s.cr = false
		i++
	}
	s.offset += int64(i)
	if ended {
		s.end()
	}
	return i, ended
}

// beginValue sets the state for the value of a field.
func (s *eventReader) beginValue(state lineState) {
	s.state, s.lineN, s.open = state, 0, true
	if state == lineData {
		s.hasData = true
	}
}

// field returns the state for the value of the field whose name was read.
func (s *eventReader) field() lineState {
	name := bytes.TrimPrefix(s.line[:s.lineN], []byte("\xEF\xBB\xBF")) // a byte order mark before the first line
	switch string(name) {
	case "data":
		return lineData
	case "event":
		return lineEvent
	case "error": // llama.cpp's form of an error event
		s.named = true
	case "":
		return lineComment
	}
	return lineOther
}

func (s *eventReader) addToLine(c byte) {
	if int(s.lineN) < len(s.line) {
		s.line[s.lineN] = c
		s.lineN++
	}
}

// endLine ends a line that is not blank, where at is the offset of its line
// break. It reports whether the line ends the unit.
func (s *eventReader) endLine(at int64) (ended bool) {
	switch s.state {
	case lineData:
		s.feed(lineBreak, at) // data lines are joined by a line break
	case lineEvent:
		s.named = string(s.line[:s.lineN]) == "error"
	case lineName, lineOther:
		s.open = true
	}
	ended = s.state == lineComment && !s.open
	s.state = lineStart
	return ended
}

var lineBreak = []byte{'\n'}

func (s *eventReader) feed(b []byte, at int64) {
	s.data.feed(b, at)
	if s.data.payload.closed && !s.settled {
		s.settled = true
		s.closed(&s.data.payload)
	}
}

// end records the properties of a complete unit.
func (s *eventReader) end() {
	s.fresh = true
	found := s.data.found
	if s.hasData {
		found.events++
	}
	if s.named {
		found.streamError = true
	}
	if p := &s.data.payload; s.hasData && !p.closed && (p.broken || s.data.depth > 0) {
		found.flagged = true // neither JSON nor [DONE]
	}
}

// cut reports whether the unit being read contains incomplete JSON.
func (s *eventReader) cut() bool {
	return !s.fresh && s.hasData && !s.data.payload.closed && s.data.depth > 0
}

// broken returns the bytes that must precede an event of the gate if the stream
// breaks off here: the end of the line, and the blank line that ends the event.
// No blank line may follow a comment, since some clients would read an empty
// event.
func (s *eventReader) broken() []byte {
	open := s.open && !s.fresh
	switch {
	case s.state == lineStart && !open:
		return nil
	case s.state == lineStart && s.cr:
		return []byte("\n\n") // the first completes the \r
	case s.state == lineStart, s.state == lineComment && !open:
		return []byte("\n")
	}
	return []byte("\n\n")
}

// lineBreak returns the line break of a unit that the gate may insert after this
// one; "" if it may insert none. A \n that belongs to a \r may still follow: in a
// stream whose lines end in a lone \r, that \n would complete the last \r of the
// inserted unit as well. In other streams the client may not support a lone \r as
// a line break.
func (s *eventReader) lineBreak() string {
	switch {
	case !s.cr:
		return "\n"
	case s.lone:
		return "\r"
	}
	return ""
}

// skipLF reports whether the byte c, between two units, only completes the \r that
// ended the previous one, and if so clears s.cr.
func (s *eventReader) skipLF(c byte) bool {
	if !s.cr || !s.fresh || c != '\n' {
		return false
	}
	s.cr = false
	return true
}

// lineEnd returns the offset of the first line break at or after i; len(b) if
// there is none. It searches one window at a time, so that it does not search a
// stream with only one kind of line break to its end for the other.
func lineEnd(b []byte, i int) int {
	const window = 1024
	for i < len(b) {
		w := b[i:min(len(b), i+window)]
		lf := bytes.IndexByte(w, '\n')
		if lf >= 0 {
			w = w[:lf]
		}
		if cr := bytes.IndexByte(w, '\r'); cr >= 0 {
			return i + cr
		}
		if lf >= 0 {
			return i + lf
		}
		i += len(w)
	}
	return len(b)
}
