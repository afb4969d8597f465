package request

import "github.com/amanycodes/pine-gate/internal/wire"

// startBytes is how much of a prompt that is one text is taken for its start:
// the text grows from turn to turn, and what it began with stays.
const startBytes = 256

// ConversationStart returns the part of the body with which its conversation
// began and which all of its turns repeat: of messages, or a response's input,
// the first one that is no instruction (many conversations have those in
// common); of a prompt that is one text its first 256 bytes. It is nil where the
// request has neither. The body is the one that was scanned.
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
		return nil // has been scanned before
	}
	for {
		at, instruction, err := s.item()
		switch {
		case err != nil || value[at.start] == ']':
			return nil
		case isNumber(value[at.start]): // of a prompt in tokens
			return value[:min(startBytes, len(value))]
		case !instruction:
			return value[at.start:at.end]
		}
	}
}

// item reads an item of an array, or its end, and reports whether it is a message
// that instructs the model.
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
