package request

import (
	"bytes"
	"errors"
	"io"
	"sync"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/amanycodes/pine-gate/internal/wire"
)

// scanner reads the tokens of a body with their offsets. It is pooled: the
// decoder's stacks are worth keeping.
type scanner struct {
	decoder *jsontext.Decoder
	reader  bytes.Buffer // the decoder works on the body in place if it is given a bytes.Buffer
	body    []byte
	end     int // of the last token
	levels  []level

	watch               watch   // in the field that is being read
	naming, environment watched // the objects in it that are open
	named               bool    // one of them names what a backend keeps
}

// decoderOptions allow names to stand twice: what the gate reads it checks
// itself, and elsewhere (the schema of a tool) it is none of its business.
var decoderOptions = []jsontext.Options{jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(false)}

var scanners = sync.Pool{New: func() any {
	s := new(scanner)
	s.decoder = jsontext.NewDecoder(&s.reader, decoderOptions...)
	return s
}}

// open gives the scanner a body. The decoder was reset when the scanner was
// made or released, and has read nothing since.
func (s *scanner) open(body []byte) {
	s.body = body
	s.end = 0
	s.reader = *bytes.NewBuffer(body)
}

// release returns the scanner to the pool, without the body: a pool must not
// keep a caller's prompt alive.
func (s *scanner) release() {
	s.open(nil)
	s.decoder.Reset(&s.reader, decoderOptions...)
	scanners.Put(s)
}

// next reads a token and returns where it stands.
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

// separates reports whether c may stand between two tokens; the decoder has
// already seen that it stands where it may.
func separates(c byte) bool {
	switch c {
	case ' ', '\t', '\r', '\n', ',', ':':
		return true
	}
	return false
}

// skip reads a value that is of no interest.
func (s *scanner) skip() *wire.Error {
	if err := s.decoder.SkipValue(); err != nil {
		return s.syntaxError(err)
	}
	s.end = int(s.decoder.InputOffset())
	return nil
}

// fieldSet is the fields that an object has had so far.
type fieldSet uint64

// name reads the name of an object's next member; more is false at its end.
func (s *scanner) name(o object, seen *fieldSet) (f field, more bool, err *wire.Error) {
	at, err := s.next()
	if err != nil || s.body[at.start] == '}' {
		return fieldNone, false, err
	}
	f, exact := lookUp(s.body[at.start:at.end], o)
	if f == fieldNone {
		return f, true, nil
	}
	if !exact {
		return f, true, paramErrorf(f.String(), "%s must be spelled in lower case.", f)
	}
	if *seen&(1<<f) != 0 {
		return f, true, paramErrorf(f.String(), "%s stands in the request twice.", f)
	}
	*seen |= 1 << f
	return f, true, nil
}

// trailing checks that nothing stands behind the body's object.
func (s *scanner) trailing() *wire.Error {
	if len(bytes.TrimLeft(s.body[s.end:], " \t\r\n")) > 0 {
		return wire.Errorf(wire.KindBadRequest, "The request body must be one JSON object; something follows it at byte %d.", s.end)
	}
	return nil
}

// syntaxError says where the body is no JSON, but not what stands there.
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
