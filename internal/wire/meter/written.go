package meter

import (
	"bytes"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/amanycodes/pine-gate/internal/wire"
)

// written counts the tokens of text that comes in pieces. What it holds is
// bounded: a nil one does nothing.
type written struct {
	count  wire.CountFunc
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
