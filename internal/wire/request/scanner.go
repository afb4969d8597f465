package request

import (
	"bytes"
	"errors"
	"io"
	"sync"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/amanycodes/pine-gate/internal/wire"
)

// scanner reads the tokens of a body with their offsets. Scanners are pooled to
// reuse the decoder's stacks.
type scanner struct {
	decoder *jsontext.Decoder
	reader  bytes.Buffer // a bytes.Buffer, since the decoder then reads the body in place
	body    []byte
	names   wire.Names
	end     int  // offset after the last token
	last    span // the name that name read last
	levels  []level

	watch               watch   // kind of the objects in the field being read
	naming, environment watched // the open objects in that field
	named               bool    // one of them names an object stored by a backend
	container           bool    // a string in that field names a container
}

// decoderOptions allow duplicate names: the gate itself checks those that it
// reads, and ignores others (such as in a tool's schema).
var decoderOptions = []jsontext.Options{jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(false)}

var scanners = sync.Pool{New: func() any {
	s := new(scanner)
	s.decoder = jsontext.NewDecoder(&s.reader, decoderOptions...)
	return s
}}

// open sets the scanner's body. The decoder was reset when the scanner was
// created or released, and has read nothing since.
func (s *scanner) open(body []byte) {
	s.body = body
	s.end = 0
	s.reader = *bytes.NewBuffer(body)
}

// release returns the scanner to the pool, without the body: the pool must not
// keep a caller's prompt in memory.
func (s *scanner) release() {
	s.open(nil)
	s.decoder.Reset(&s.reader, decoderOptions...)
	scanners.Put(s)
}

// next reads a token and returns its span.
func (s *scanner) next() (span, *wire.Error) {
	if _, err := s.decoder.ReadToken(); err != nil {
		return span{}, s.syntaxError(err)
	}
	at := span{start: s.end, end: int(s.decoder.InputOffset())}
	for separates(s.body[at.start]) {
		at.start++
	}
	s.end = at.end
	return at, nil
}

// separates reports whether c may occur between two tokens. The decoder has
// already validated its position.
func separates(c byte) bool {
	switch c {
	case ' ', '\t', '\r', '\n', ',', ':':
		return true
	}
	return false
}

// skip reads a value and ignores it.
func (s *scanner) skip() *wire.Error {
	if err := s.decoder.SkipValue(); err != nil {
		return s.syntaxError(err)
	}
	s.end = int(s.decoder.InputOffset())
	return nil
}

// fieldSet is the set of fields seen in an object so far.
type fieldSet [2]uint64

const _ = uint(128 - fieldImages - 1) // must not overflow: a fieldSet has one bit per field

// add adds f, and reports whether it was not in the set.
func (s *fieldSet) add(f field) bool {
	word, bit := &s[f/64], uint64(1)<<(f%64)
	added := *word&bit == 0
	*word |= bit
	return added
}

// name reads the name of an object's next member and adds it to seen; more is
// false at the end of the object.
func (s *scanner) name(o object, seen *fieldSet) (f field, more bool, err *wire.Error) {
	at, err := s.next()
	if err != nil || s.body[at.start] == '}' {
		return fieldNone, false, err
	}
	s.last = at
	f, exact := lookUp(s.body[at.start:at.end], o, s.names)
	if f == fieldNone {
		return f, true, nil
	}
	if !exact {
		return f, true, paramErrorf(f.String(), "%s must be spelled in lower case.", f)
	}
	if !seen.add(f) {
		return f, true, paramErrorf(f.String(), "%s stands in the request twice.", f)
	}
	return f, true, nil
}

// trailing returns an error if anything but white space follows the body's
// object.
func (s *scanner) trailing() *wire.Error {
	if len(bytes.TrimLeft(s.body[s.end:], " \t\r\n")) > 0 {
		return wire.Errorf(wire.KindBadRequest, "The request body must be one JSON object; something follows it at byte %d.", s.end)
	}
	return nil
}

// syntaxError returns an error with the offset at which the body is not valid
// JSON. It does not quote the body.
func (s *scanner) syntaxError(err error) *wire.Error {
	var syntax *jsontext.SyntacticError
	switch {
	case len(bytes.TrimLeft(s.body, " \t\r\n")) == 0:
		return wire.Errorf(wire.KindBadRequest, "The request body is empty; a JSON object is expected.")
	case bytes.HasPrefix(s.body, []byte("\xEF\xBB\xBF")):
		return wire.Errorf(wire.KindBadRequest, "The request body must not start with a byte order mark.")
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return wire.Errorf(wire.KindBadRequest, "The request body ends in the middle of its JSON.")
	case errors.As(err, &syntax):
		return wire.Errorf(wire.KindBadRequest, "The request body is not valid JSON in UTF-8 (at byte %d).", syntax.ByteOffset)
	}
	return wire.Errorf(wire.KindBadRequest, "The request body is not valid JSON in UTF-8.")
}
