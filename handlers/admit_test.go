package handlers

import (
	"testing"

	"github.com/amanycodes/pine-gate/internal/wire"
	wirerequest "github.com/amanycodes/pine-gate/internal/wire/request"
)

// Output that cannot be capped is reserved in full, whatever cap the request or the
// configuration has: no backend would respect it.
func TestAnswersThatCantBeCappedReserveAllThatIsExpected(t *testing.T) {
	for _, test := range []struct {
		endpoint          wire.Endpoint
		cap, maxOutput    int64
		output, maxAnswer int64
		uncapped          bool
	}{
		{wire.Chat, -1, 0, 3 * 4096, -1, false},
		{wire.Chat, 10, 0, 3 * 10, 3 * 10, false},
		{wire.Chat, 5000, 0, 3 * 4096, 3 * 5000, false},
		{wire.Messages, 0, 0, 0, 0, false},
		{wire.Chat, 0, 100, 0, 0, false},
		{wire.Messages, 5000, 100, 3 * 100, 3 * 100, false},
		{wire.ImageGenerations, -1, 0, 3 * 4096, -1, true},
		{wire.ImageGenerations, 1, 0, 3 * 4096, -1, true},
		{wire.ImageEdits, -1, 100, 3 * 4096, -1, true},
		{wire.Transcriptions, 1, 100, 3 * 4096, -1, true},
		{wire.Speech, -1, 100, 3 * 4096, -1, true},
		{wire.Embeddings, 1, 100, 0, 0, false},
	} {
		c := &request{
			dialect:  wire.OpenAI,
			g:        &Gateway{ReserveOutput: 4096, MaxOutput: test.maxOutput},
			id:       "req_1",
			endpoint: test.endpoint,
			parsed:   &wirerequest.Request{Model: "m", N: 3, Cap: test.cap},
			grants:   new(grants),
			policy:   modelPolicy{},
		}
		got, _ := c.limits()
		if got.Output != test.output || got.MaxOutput != test.maxAnswer || got.Uncapped != test.uncapped {
			t.Errorf("%s with cap %d and max_output_tokens %d: reserves %d, at most %d, uncapped %t",
				test.endpoint, test.cap, test.maxOutput, got.Output, got.MaxOutput, got.Uncapped)
		}
		if sent := c.outputCap(); test.uncapped && sent != test.cap {
			t.Errorf("%s with cap %d: %d is sent", test.endpoint, test.cap, sent)
		}
	}
}
