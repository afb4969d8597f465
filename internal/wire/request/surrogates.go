package request

import (
	"bytes"
	"strconv"
)

// ReplaceSurrogates replaces each escape of a lone surrogate in a JSON body by that
// of U+FFFD, in place, as the providers read it: clients that cut a text in the
// middle of an emoji send one. It reports whether there were any.
func ReplaceSurrogates(body []byte) (found bool) {
	const escape = len(`\uXXXX`)
	for i := 0; ; {
		next := bytes.IndexByte(body[i:], '\\')
		if next < 0 {
			return found
		}
		i += next
		switch high, low := escaped(body[i:]), escaped(body[min(i+escape, len(body)):]); {
		case isHigh(high) && isLow(low):
			i += 2 * escape
		case isHigh(high), isLow(high):
			copy(body[i:], `\ufffd`)
			i += escape
			found = true
		default:
			i = min(i+len(`\\`), len(body))
		}
	}
}

// escaped returns the code unit of the escape \uXXXX that b starts with; -1 for
// none.
func escaped(b []byte) int64 {
	if len(b) < len(`\uXXXX`) || b[0] != '\\' || b[1] != 'u' {
		return -1
	}
	unit, err := strconv.ParseUint(string(b[2:6]), 16, 16)
	if err != nil {
		return -1
	}
	return int64(unit)
}

func isHigh(unit int64) bool { return 0xD800 <= unit && unit < 0xDC00 }
func isLow(unit int64) bool  { return 0xDC00 <= unit && unit < 0xE000 }
