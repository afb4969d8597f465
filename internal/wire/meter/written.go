package meter

import (
	"bytes"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/amanycodes/pine-gate/internal/wire"
)

// written counts the tokens of text that arrives in pieces, with bounded memory.
// The methods of a nil *written are no-ops.
type written struct {
	count  wire.CountFunc
	tokens int64
	held   []byte
	high   rune // the first half of a surrogate pair

	// tokens and len(held) at the start of the value being read.
	tokensBefore int64
	heldBefore   int
}

// maxHeld is the number of bytes of text that are buffered before they are counted.
const maxHeld = 4 << 10

// add adds text, which is UTF-8.
func (w *written) add(text []byte) {
	for w != nil && len(text) > 0 {
		n := min(len(text), maxHeld-len(w.held))
		w.held = append(w.held, text[:n]...)
		if text = text[n:]; len(w.held) < maxHeld {
			return
		}
		at := bytes.LastIndexByte(w.held, ' ') // tokens start with a space
		if at <= 0 {
			at = len(w.held)
		}
		w.tokens += w.count(w.held[:at])
		w.held = w.held[:copy(w.held, w.held[at:])]
	}
}

// escaped adds the character of the JSON escape \c, where c is not u.
func (w *written) escaped(c byte) {
	if w == nil {
		return
	}
	if i := bytes.IndexByte([]byte("nrtbf"), c); i >= 0 {
		c = "\n\r\t\b\f"[i]
	}
	w.add([]byte{c})
}

// unit adds the UTF-16 code unit of a \u escape.
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

// begin marks the start of a value, for takeBack.
func (w *written) begin() {
	if w != nil {
		w.tokensBefore, w.heldBefore, w.high = w.tokens, len(w.held), 0
	}
}

// takeBack removes what was added since the value began, because it was not text.
func (w *written) takeBack() {
	if w == nil {
		return
	}
	if w.tokens != w.tokensBefore {
		w.heldBefore = 0 // the earlier text was counted together with some of the value
	}
	w.tokens, w.held = w.tokensBefore, w.held[:min(w.heldBefore, len(w.held))]
}

// forget resets the count, because the backend has reported usage for the text.
func (w *written) forget() {
	if w != nil {
		w.tokens, w.held = 0, w.held[:0]
		w.begin()
	}
}

// total returns the number of tokens of the text.
func (w *written) total() int64 {
	if w == nil {
		return 0
	}
	return w.tokens + w.count(w.held)
}
