package wire

// Tokens is what a request used, in the normal form of every dialect: Input is
// the whole input, of which CacheRead and CacheWrite are parts, and Reasoning
// is a part of Output.
type Tokens struct {
	Input, CacheRead, CacheWrite, Output, Reasoning int64
}

// Parts says which of a request's tokens are of a kind that has a price of its
// own, beside those that Tokens counts. The rest is text.
type Parts struct {
	AudioInput, ImageInput   int64 // of Input
	AudioOutput, ImageOutput int64 // of Output
	HourWrite                int64 // of CacheWrite: kept for an hour, not for minutes
}

// Assume fills in what the tokens of an endpoint are where nobody has said it:
// what is transcribed is sound, what is spoken too, and what is drawn is a
// picture.
func (p *Parts) Assume(e Endpoint, t Tokens) {
	switch e {
	case Transcriptions, Translations:
		if p.AudioInput == 0 {
			p.AudioInput = t.Input
		}
	case Speech:
		if p.AudioOutput == 0 {
			p.AudioOutput = t.Output
		}
	case ImageGenerations, ImageEdits:
		if p.ImageOutput == 0 {
			p.ImageOutput = t.Output
		}
	}
}

// BytesPerToken is the estimate for text in ASCII; tokenizers average a little more.
const BytesPerToken = 4

// CountFunc counts the tokens of a text in UTF-8.
type CountFunc func(text []byte) int64
