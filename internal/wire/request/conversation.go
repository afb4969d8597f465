package request

import "github.com/amanycodes/pine-gate/internal/wire"

// startBytes is the length of the start of a prompt that is a single text: the
// text grows from turn to turn, but its start does not change.
const startBytes = 256

// ConversationStart returns the part of the body with which the conversation
// started and which all of its turns repeat: the first item of messages, or of a
// response's input, that is not an instruction (many conversations share those),
// or the first 256 bytes of a prompt that is a single text. It returns nil if the
// request has neither. body must be the one that was scanned.
func (r *Request) ConversationStart(body []byte) []byte {
	if !r.conversation.present() {
		return nil
	}
	value := body[r.conversation.start:]
	if value[0] != '[' {
		return value[:min(startBytes, r.conversation.end-r.conversation.start-1)] // without the closing quote
	}
	s := scanners.Get().(*scanner)
	defer s.release()
	s.open(value)
	if _, err := s.next(); err != nil {
		return nil // unreachable: Scan has validated the body
	}
	for {
		at, instruction, err := s.item()
		switch {
		case err != nil || value[at.start] == ']':
			return nil
		case isNumber(value[at.start]): // a prompt of token ids
			return value[:min(startBytes, len(value))]
		case !instruction:
			return value[at.start:at.end]
		}
	}
}

// item reads an item of an array, or the array's end, and reports whether it is a
// system or developer message.
func (s *scanner) item() (at span, instruction bool, err *wire.Error) {
	if at, err = s.next(); err != nil || s.body[at.start] != '{' {
		return at, false, err
	}
	for {
		name, err := s.next()
		if err != nil {
			return at, false, err
		}
		if s.body[name.start] == '}' {
			at.end = name.end
			return at, instruction, nil
		}
		if string(s.body[name.start:name.end]) != `"role"` {
			if err := s.skip(); err != nil {
				return at, false, err
			}
			continue
		}
		if kind := s.decoder.PeekKind(); kind != '"' {
			if err := s.skip(); err != nil {
				return at, false, err
			}
			continue
		}
		role, err := s.next()
		if err != nil {
			return at, false, err
		}
		switch string(s.body[role.start:role.end]) {
		case `"system"`, `"developer"`:
			instruction = true
		}
	}
}
