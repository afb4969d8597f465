package request

import "github.com/amanycodes/pine-gate/internal/wire"

// Weights of the estimate. It errs on the high side: an excess is returned when
// the answer is metered, a shortfall was never reserved.
const (
	tokensPerMessage = 4    // the role and the delimiters of a message
	tokensPerImage   = 2000 // an image, audio or file; an image of a million pixels costs 800 to 1,600
)

// EstimateInput returns an estimate of the input tokens: one per four ASCII bytes
// of the prompt, one per two non-ASCII bytes (a Chinese character is three bytes
// and one token), four per message, and 2,000 for each image, audio or file of
// any size.
func (r *Request) EstimateInput() int64 {
	text := (r.PromptBytes + r.wideBytes + wire.BytesPerToken - 1) / wire.BytesPerToken
	return text + tokensPerMessage*r.Messages + tokensPerImage*r.Images
}
