package handlers

import (
	"math"

	"github.com/amanycodes/pine-gate/handlers/routing"
	"github.com/amanycodes/pine-gate/internal/wire"
	"github.com/amanycodes/pine-gate/usage"
	"github.com/amanycodes/pine-gate/usage/pricing"
)

// soundRate is the bytes a second of sound to be transcribed has at least: 16
// kbit/s, the lowest usual rate of speech. The gate does not decode uploads, so
// that this bounds how long they may be.
const soundRate = 2000

// priceable returns what the request asks for, as far as it has a price.
func (q *request) priceable() pricing.Asked {
	asked := pricing.Asked{Input: q.input, Media: q.parsed.Images > 0, Tier: q.parsed.Tier}
	if q.endpoint == wire.Transcriptions || q.endpoint == wire.Translations {
		asked.Seconds = math.Ceil(float64(q.parsed.FileBytes) / soundRate)
	}
	return asked
}

// assumedCost returns what budgets are charged for an answer whose price turned out
// to be unknown, in nano-USD: by the dearest rates that are known. It must not pass
// for nothing.
func (q *request) assumedCost(chosen *routing.Candidate, t wire.Tokens) int64 {
	if chosen.Price == nil {
		return 0 // then no budget applies
	}
	asked := q.priceable()
	asked.Input, asked.Media = max(asked.Input, t.Input), true
	cost, rate, _ := chosen.Price.Most(asked)
	return min(cost+times(rate, t.Output)/1000+1, usage.MaxCost)
}
