package request

import (
	"bytes"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/amanycodes/pine-gate/internal/wire"
)

// maxCounted bounds the text of a prompt that is counted: a tokenizer takes a
// quarter of a millisecond for a KiB, and there is a caller who waits.
const maxCounted = 128 << 10

// counting counts the text of a prompt.
type counting struct {
	count  wire.CountFunc
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
func (r *Request) CountInput(e wire.Endpoint, body []byte, count wire.CountFunc) int64 {
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
	rest := (again.PromptBytes - c.bytes + wire.BytesPerToken - 1) / wire.BytesPerToken
	return c.tokens + rest + tokensPerMessage*r.Messages + tokensPerImage*r.Images
}
