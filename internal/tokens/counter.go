// Package tokens counts tokens offline, with a vocabulary that is part of the
// binary: OpenAI's o200k_base, which the models since GPT-4o use. docs/estimates.md
// says how exact it is for other models, and when counting is worth its time.
package tokens

import (
	"sync"
	"unicode/utf8"

	"github.com/tiktoken-go/tokenizer/codec"
)

// Counter counts tokens. It is safe for concurrent use.
type Counter struct {
	codec interface {
		Count(text string) (int, error)
	}
}

// O200k returns the counter of o200k_base. The first call takes a tenth of a
// second to load the vocabulary, which then stays: 10 MB for the process.
var O200k = sync.OnceValue(func() *Counter { return &Counter{codec.NewO200kBase()} })

// fragment is how many bytes are counted at a time. The pattern by which text is
// split into words takes quadratic time on some runs of white space: 256 KiB of
// them in one piece took a minute and a half.
const fragment = 1 << 10

// Count returns the number of tokens of a text in UTF-8. Text of any kind takes
// at most 2 µs a byte, usually a quarter of one. Between the fragments that it
// is counted in, a token may be cut in two: where there are spaces it is not.
func (c *Counter) Count(text []byte) int64 {
	var sum int64
	for len(text) > 0 {
		n := cut(text)
		count, err := c.codec.Count(string(text[:n]))
		if err != nil { // the pattern gave up: four bytes a token, as without a vocabulary
			count = (n + 3) / 4
		}
		sum += int64(count)
		text = text[n:]
	}
	return sum
}

// cut returns how many bytes to count next: up to a space before a word, with
// which a token begins anyway, else up to the start of a character.
func cut(text []byte) int {
	if len(text) <= fragment {
		return len(text)
	}
	for i := fragment - 1; i > fragment/2; i-- {
		if text[i] == ' ' && !space(text[i-1]) && !space(text[i+1]) {
			return i
		}
	}
	n := fragment
	for n > fragment-utf8.UTFMax && !utf8.RuneStart(text[n]) {
		n--
	}
	return n
}

func space(c byte) bool { return c <= ' ' }
