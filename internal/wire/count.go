package wire

import (
	"bytes"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// CountFunc counts the tokens of a text in UTF-8.
type CountFunc func(text []byte) int64

// maxCounted bounds the text of a prompt that is counted: a tokenizer takes a
// quarter of a millisecond for a KiB, and there is a caller who waits.
const maxCounted = 128 << 10

// counting counts the text of a prompt.
type counting struct {
	count  CountFunc
	bytes  int64 // of text, as it stands in JSON
	tokens int64
	buffer []byte
}

func (c *counting) add(text []byte) {
	c.bytes += int64(len(text))
	if bytes.IndexByte(text, '\\') >= 0 {
		c.buffer = append(append(append(c.buffer[:0], '"'), text...), '"')
		if plain, err := jsontext.AppendUnquote(nil, c.buffer); err == nil {
			text = plain
		}
	}
	c.tokens += c.count(text)
}

// CountInput estimates the tokens of the input as [Request.EstimateInput] does,
// but of the text it has the tokens counted. The body is the one that the
// request was scanned from. Where its text is longer than 128 KiB, and with
// forms, whose prompts are short, it is EstimateInput's answer: that bounds the
// work, and a long text is estimated better than a short one.
func (r *Request) CountInput(e Endpoint, body []byte, count CountFunc) int64 {
	if r.form || r.PromptBytes > maxCounted {
		return r.EstimateInput()
	}
	s := scanners.Get().(*scanner)
	defer s.release()
	s.open(body)
	again := &Request{Cap: -1, N: 1, counting: &counting{count: count}}
	if err := s.request(e, again); err != nil { // it has been read without one before
		return r.EstimateInput()
	}
	c := again.counting
	// Token ids, numbers and the like are no text.
	rest := (again.PromptBytes - c.bytes + bytesPerToken - 1) / bytesPerToken
	return c.tokens + rest + tokensPerMessage*r.Messages + tokensPerImage*r.Images
}

// written counts the tokens of text that comes in pieces. What it holds is
// bounded: a nil one does nothing.
type written struct {
	count  CountFunc
	tokens int64
	held   []byte
	high   rune // the first half of a surrogate pair

	// How it stood when the value began that is being read.
	tokensBefore int64
	heldBefore   int
}

// maxHeld is how many bytes of text are gathered before they are counted.
const maxHeld = 4 << 10

// add takes text in UTF-8.
func (w *written) add(text []byte) {
	for w != nil && len(text) > 0 {
		n := min(len(text), maxHeld-len(w.held))
		w.held = append(w.held, text[:n]...)
		if text = text[n:]; len(w.held) < maxHeld {
			return
		}
		at := bytes.LastIndexByte(w.held, ' ') // with which a token begins
		if at <= 0 {
			at = len(w.held)
		}
		w.tokens += w.count(w.held[:at])
		w.held = w.held[:copy(w.held, w.held[at:])]
	}
}

// escaped takes what stands behind a backslash in JSON, but for a u.
func (w *written) escaped(c byte) {
	if w == nil {
		return
	}
	if i := bytes.IndexByte([]byte("nrtbf"), c); i >= 0 {
		c = "\n\r\t\b\f"[i]
	}
	w.add([]byte{c})
}

// unit takes what a \u escape stands for.
func (w *written) unit(u uint16) {
	if w == nil {
		return
	}
	r := rune(u)
	switch {
	case r>>10 == 0xD800>>10:
		w.high = r
		return
	case r>>10 == 0xDC00>>10:
		r = utf16.DecodeRune(w.high, r)
	}
	w.high = 0
	w.add(utf8.AppendRune(nil, r))
}

// begin notes that a value begins.
func (w *written) begin() {
	if w != nil {
		w.tokensBefore, w.heldBefore, w.high = w.tokens, len(w.held), 0
	}
}

// takeBack drops what came since the value began: it was no text.
func (w *written) takeBack() {
	if w == nil {
		return
	}
	if w.tokens != w.tokensBefore {
		w.heldBefore = 0 // it has been counted since, with some of the other
	}
	w.tokens, w.held = w.tokensBefore, w.held[:min(w.heldBefore, len(w.held))]
}

// forget drops what was counted: the backend has said what it comes to.
func (w *written) forget() {
	if w != nil {
		w.tokens, w.held = 0, w.held[:0]
		w.begin()
	}
}

// total is what the text came to.
func (w *written) total() int64 {
	if w == nil {
		return 0
	}
	return w.tokens + w.count(w.held)
}
