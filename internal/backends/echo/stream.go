package echo

import (
	"context"
	"io"
	"iter"
	"unicode"
)

// maxWord is the longest piece of text in one event, in characters: text without
// spaces is streamed, too.
const maxWord = 128

// words returns the words of text, each with the space after it, so that they
// concatenate to the text.
func words(text string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for text != "" {
			n := wordEnd(text)
			if !yield(text[:n]) {
				return
			}
			text = text[n:]
		}
	}
}

func wordEnd(text string) int {
	space, runes := false, 0
	for i, r := range text {
		if runes == maxWord || space && !unicode.IsSpace(r) {
			return i
		}
		space = unicode.IsSpace(r)
		runes++
	}
	return len(text)
}

// stream is the body of a streamed response. Each Read creates the next event and
// returns it, or the rest of the last one. No event is created ahead.
type stream struct {
	ctx  context.Context
	next func() ([]byte, bool)
	stop func()
	rest []byte
}

func newStream(ctx context.Context, events iter.Seq[[]byte]) *stream {
	next, stop := iter.Pull(events)
	return &stream{ctx: ctx, next: next, stop: stop}
}

func (s *stream) Read(p []byte) (int, error) {
	if len(s.rest) == 0 {
		if s.ctx.Err() != nil {
			return 0, context.Cause(s.ctx)
		}
		var more bool
		if s.rest, more = s.next(); !more {
			return 0, io.EOF
		}
	}
	n := copy(p, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

func (s *stream) Close() error {
	s.stop()
	s.rest = nil
	return nil
}

// data returns v as an event of OpenAI's chats.
func data(v any) []byte {
	return append(append([]byte("data: "), marshal(v)...), "\n\n"...)
}

// named returns o as an event with the name that it has as its type.
func named(o object) []byte {
	return append([]byte("event: "+o["type"].(string)+"\n"), data(o)...)
}
