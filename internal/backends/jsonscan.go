package backends

import "bytes"

// jsonScan finds the end of a JSON value that arrives in pieces. It is lenient
// and only counts brackets: servers send what no parser takes, such as NaN.
type jsonScan struct {
	at       int // bytes scanned
	depth    int
	inString bool
	from, to int // the last string
	closed   bool
	named    bool // the next value is that of a member that only answers have
	answers  bool // the outermost object has such a member, which is not null
}

// scan continues at the bytes of b that are new, and reports whether the value
// is complete.
func (s *jsonScan) scan(b []byte) bool {
	for s.at < len(b) && !s.closed {
		if s.inString {
			if !s.endString(b) {
				return false
			}
			continue
		}
		c := b[s.at]
		s.at++
		if s.named && c != ' ' && c != '\n' && c != '\r' && c != '\t' {
			s.answers, s.named = s.answers || c != 'n', false
		}
		switch c {
		case '"':
			s.inString, s.from = true, s.at
		case ':':
			s.named = s.depth == 1 && isAnswerMember(b[s.from:s.to])
		case '{', '[':
			s.depth++
		case '}', ']':
			s.depth--
			s.closed = s.depth <= 0
		}
	}
	return s.closed
}

// endString scans to the end of a string, and reports whether b holds it.
func (s *jsonScan) endString(b []byte) bool {
	for s.at < len(b) {
		i := bytes.IndexAny(b[s.at:], `"\`)
		switch {
		case i < 0:
			s.at = len(b)
			return false
		case b[s.at+i] == '"':
			s.to = s.at + i
			s.at, s.inString = s.to+1, false
			return true
		case s.at+i+1 == len(b):
			s.at += i // the escaped byte is in the next piece
			return false
		}
		s.at += i + 2
	}
	return false
}

// isAnswerMember reports whether errors have no member of this name.
func isAnswerMember(name []byte) bool {
	switch string(name) {
	case "choices", "content", "output", "data", "results", "text", "input_tokens", "embeddings":
		return true
	}
	return false
}
