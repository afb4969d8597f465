package backends

import (
	"context"
	"io"
	"unicode"
)

// echoMaxWord is the longest piece of text in one event, in characters: text
// without spaces is streamed, too.
const echoMaxWord = 128

// stage is a part of a stream: each call returns its next event, or nil after
// the last.
type stage func() []byte

// once returns a stage with a single event.
func once(event func() []byte) stage {
	done := false
	return func() []byte {
		if done {
			return nil
		}
		done = true
		return event()
	}
}

// eachWord returns a stage with an event for each word of text.
func eachWord(text string, event func(word string) []byte) stage {
	return func() []byte {
		if text == "" {
			return nil
		}
		n := wordEnd(text)
		word := text[:n]
		text = text[n:]
		return event(word)
	}
}

// wordEnd returns the end of the first word of text, including the space after
// it, so that the words concatenate to the text.
func wordEnd(text string) int {
	space, runes := false, 0
	for i, r := range text {
		if runes == echoMaxWord || space && !unicode.IsSpace(r) {
			return i
		}
		space = unicode.IsSpace(r)
		runes++
	}
	return len(text)
}

// events is the body of a stream. Each Read creates the next event and returns
// it, or the rest of the last one. No event is created ahead, and no goroutine
// runs between reads.
type events struct {
	ctx    context.Context
	stages []stage
	rest   []byte
}

func (e *events) Read(p []byte) (int, error) {
	for len(e.rest) == 0 {
		if e.ctx.Err() != nil {
			return 0, context.Cause(e.ctx)
		}
		if len(e.stages) == 0 {
			return 0, io.EOF
		}
		if e.rest = e.stages[0](); e.rest == nil {
			e.stages = e.stages[1:]
		}
	}
	n := copy(p, e.rest)
	e.rest = e.rest[n:]
	return n, nil
}

func (e *events) Close() error {
	e.stages, e.rest = nil, nil
	return nil
}

// data returns v as an event of the OpenAI dialect.
func data(v any) []byte {
	return append(append([]byte("data: "), marshal(v)...), "\n\n"...)
}

// named returns v as an event with a name.
func named(name string, v any) []byte {
	return append([]byte("event: "+name+"\n"), data(v)...)
}
