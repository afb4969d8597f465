package request

import "github.com/amanycodes/pine-gate/internal/wire"

// What the estimate counts. It errs high: what is reserved too much comes back
// when the answer is metered, what is reserved too little was never held.
const (
	tokensPerMessage = 4    // the role and the marks around a message
	tokensPerImage   = 2000 // a picture, sound or file; a picture of a million pixels costs 800 to 1,600
)

// EstimateInput estimates the tokens of the input: a quarter of the prompt's
// bytes, half of those outside ASCII (a character of Chinese is three bytes
// and a token), four a message, and 2,000 for each picture, sound or file,
// however large it is.
func (r *Request) EstimateInput() int64 {
	text := (r.PromptBytes + r.wideBytes + wire.BytesPerToken - 1) / wire.BytesPerToken
	return text + tokensPerMessage*r.Messages + tokensPerImage*r.Images
}
