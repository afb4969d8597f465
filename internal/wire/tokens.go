package wire

// Tokens holds the tokens that a request used, normalized across dialects: Input
// is the whole input, which includes CacheRead and CacheWrite. Output includes
// Reasoning.
type Tokens struct {
	Input, CacheRead, CacheWrite, Output, Reasoning int64
}

// Parts counts the tokens of a request that have a separate price, in addition to
// those that Tokens counts separately. All other tokens are text.
type Parts struct {
	AudioInput, ImageInput   int64 // of Input
	AudioOutput, ImageOutput int64 // of Output
	HourWrite                int64 // of CacheWrite: cached for an hour, not for minutes
}

// Assume sets the parts of t that the backend did not report, by endpoint: the
// input of a transcription and the output of speech are audio, and the output of
// an image endpoint is images.
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

// BytesPerToken is the estimate for ASCII text; tokenizers average slightly more.
const BytesPerToken = 4

// CountFunc returns the number of tokens of text, which is UTF-8.
type CountFunc func(text []byte) int64
