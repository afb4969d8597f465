package request

import (
	"bytes"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/amanycodes/pine-gate/internal/wire"
)

// maxCounted is the maximum length of a prompt that is counted with a tokenizer,
// which takes 0.25 ms per KiB while the caller waits.
const maxCounted = 128 << 10

// counting counts the tokens of a prompt's text.
type counting struct {
	count  wire.CountFunc
	bytes  int64 // of text, as encoded in JSON
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

// CountInput estimates the tokens of the input like [Request.EstimateInput], but
// counts those of text with count. body must be the one that the request was
// scanned from. For text longer than 128 KiB, and for forms, whose prompts are
// short, it returns the result of EstimateInput: that bounds the work, and the
// estimate is more accurate for long text.
func (r *Request) CountInput(e wire.Endpoint, body []byte, count wire.CountFunc) int64 {
	if r.form || r.PromptBytes > maxCounted {
		return r.EstimateInput()
	}
	s := scanners.Get().(*scanner)
	defer s.release()
	s.open(body)
	again := &Request{Cap: -1, N: 1, counting: &counting{count: count}}
	if err := s.request(e, again); err != nil { // unreachable: Scan has accepted the body
		return r.EstimateInput()
	}
	c := again.counting
	// Token ids, numbers and literals are not text.
	rest := (again.PromptBytes - c.bytes + wire.BytesPerToken - 1) / wire.BytesPerToken
	return c.tokens + rest + tokensPerMessage*r.Messages + tokensPerImage*r.Images
}
