package request

import (
	"bytes"

	"github.com/amanycodes/pine-gate/internal/wire"
)

// minBlob is the minimum length in bytes of base64 that is taken for data. It is
// longer than keys, tokens and hashes in texts.
const minBlob = 1024

// blobBytes is what data counts at most: as much as an image.
const blobBytes = tokensPerImage * wire.BytesPerToken

// findBlob returns the first run of base64 in text, which is as encoded in JSON; the
// zero span if there is none. Data stands in places that no one knows in advance:
// encrypted reasoning, results of tools, data URLs in texts.
//
// It looks at every minBlob-th byte only, and searches around those that may
// belong to base64.
func findBlob(text []byte) span {
	for from := 0; from+minBlob <= len(text); {
		probe := from + minBlob - 1
		start := probe
		for start >= from && isBase64(text, start) {
			start--
		}
		if start++; start > from {
			from = max(start, from+1)
			if start > probe { // the probe itself is none
				from = probe + 1
			}
			continue
		}
		end := probe + 1
		for end < len(text) && isBase64(text, end) {
			end++
		}
		if looksEncoded(text[start:end]) || bytes.HasSuffix(text[:start], []byte(";base64,")) {
			return span{start, end}
		}
		from = end
	}
	return span{}
}

// isBase64 reports whether the byte of text at i may be part of base64, also with
// the line breaks and slashes that JSON escapes.
func isBase64(text []byte, i int) bool {
	switch c := text[i]; {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		return true
	case c == '+', c == '/', c == '-', c == '_', c == '=':
		return true
	case c == '\\':
		return i+1 < len(text) && (text[i+1] == 'n' || text[i+1] == 'r' || text[i+1] == '/')
	}
	return false
}

// looksEncoded reports whether a run has as many capitals, small letters and digits
// as encoded data has, or is of zero bytes, which are As. Words that are joined have
// few capitals and digits.
func looksEncoded(run []byte) bool {
	const samples = 256
	var zeros, upper, lower, digits int
	step := max(1, len(run)/samples)
	n := 0
	for i := 0; i < len(run); i += step {
		n++
		switch c := run[i]; {
		case c == 'A':
			zeros++
			upper++
		case 'A' < c && c <= 'Z':
			upper++
		case 'a' <= c && c <= 'z':
			lower++
		case '0' <= c && c <= '9':
			digits++
		}
	}
	return zeros*8 >= n*7 || upper*8 >= n && lower*8 >= n && digits*40 >= n
}

// addBlob adds data in base64: as text as far as it is short, and no more than an
// image, whatever its length.
func (r *Request) addBlob(data []byte) {
	r.PromptBytes += min(int64(len(data)), blobBytes)
}
