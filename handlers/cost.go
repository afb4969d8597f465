package handlers

import (
	"math"

	"github.com/amanycodes/pine-gate/handlers/routing"
	"github.com/amanycodes/pine-gate/internal/wire"
	"github.com/amanycodes/pine-gate/usage"
	"github.com/amanycodes/pine-gate/usage/pricing"
)

// soundRate is the fewest bytes that a second of audio to be transcribed takes:
// 16 kbit/s, the lowest usual rate of speech. The gate does not decode uploads;
// this bounds how long they may be.
const soundRate = 2000

// priceable returns what the request asks for that has a price.
func (q *request) priceable() pricing.Asked {
	asked := pricing.Asked{Input: q.input, Media: q.parsed.Images > 0, Tier: q.parsed.Tier}
	if q.endpoint == wire.Transcriptions || q.endpoint == wire.Translations {
		asked.Seconds = math.Ceil(float64(q.parsed.FileBytes) / soundRate)
	}
	return asked
}

// assumedCost returns what budgets are charged, in nano-USD, for an answer
// whose price turned out to be unknown: by the highest known rates. Such an
// answer must not be free.
func (q *request) assumedCost(chosen *routing.Candidate, t wire.Tokens) int64 {
	if chosen.Price == nil {
		return 0 // then no budget applies
	}
	asked := q.priceable()
	asked.Input, asked.Media = max(asked.Input, t.Input), true
	cost, rate, _ := chosen.Price.Most(asked)
	return min(cost+times(rate, t.Output)/1000+1, usage.MaxCost)
}
