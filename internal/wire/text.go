package wire

import (
	"strings"
	"unicode"

	"github.com/go-json-experiment/json/jsontext"
)

// MaxModelBytes is the maximum length of a model's name. The longest names in use
// are repository paths with a tag.
const MaxModelBytes = 256

// HasControl reports whether s contains a control character or one of Unicode's
// line breaks, U+2028 and U+2029.
func HasControl(s string) bool {
	return strings.ContainsFunc(s, func(c rune) bool {
		return unicode.IsControl(c) || c == '\u2028' || c == '\u2029'
	})
}

// AppendString appends s as a JSON string. It replaces invalid UTF-8, so that the
// result is always valid JSON.
func AppendString(b []byte, s string) []byte {
	b, err := jsontext.AppendQuote(b, strings.ToValidUTF8(s, "\uFFFD"))
	if err != nil {
		panic("unreachable: quoting valid UTF-8: " + err.Error())
	}
	return b
}

// appendStringOrNull appends s as a JSON string, or null if it is empty.
func appendStringOrNull(b []byte, s string) []byte {
	if s == "" {
		return append(b, "null"...)
	}
	return AppendString(b, s)
}
