package wire

// What the estimate counts. It errs high: what is reserved too much comes back
// when the answer is metered, what is reserved too little was never held.
const (
	bytesPerToken    = 4    // of text in ASCII; tokenizers average a little more
	tokensPerMessage = 4    // the role and the marks around a message
	tokensPerImage   = 2000 // a picture, sound or file; a picture of a million pixels costs 800 to 1,600
)

// EstimateInput estimates the tokens of the input: a quarter of the prompt's
// bytes, half of those outside ASCII (a character of Chinese is three bytes
// and a token), four a message, and 2,000 for each picture, sound or file,
// however large it is.
func (r *Request) EstimateInput() int64 {
	text := (r.PromptBytes + r.wideBytes + bytesPerToken - 1) / bytesPerToken
	return text + tokensPerMessage*r.Messages + tokensPerImage*r.Images
}
