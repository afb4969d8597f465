package pricing

import (
	"cmp"
	"errors"
	"math"
	"math/bits"
	"slices"

	"github.com/amanycodes/pine-gate/internal/wire"
	"github.com/amanycodes/pine-gate/usage"
	"github.com/amanycodes/pine-gate/usage/internal/decimal"
)

// part is a number of tokens with the same rate.
type part struct{ rate, tokens int64 }

// Cost returns the cost of u in nano-USD, rounded once, half up. It is never
// negative, and at most the largest int64. known is false if the rate of one of
// the kinds of tokens is unknown, or that of a service tier that costs more than
// the standard one. A cheaper tier without its own rates costs as much as the
// standard one.
func (p *Price) Cost(u Used) (nanoUSD int64, known bool) {
	if u.Seconds > 0 && (p.Second != Unknown || u.Tokens == (wire.Tokens{})) {
		return secondsCost(p.Second, u.Seconds), p.Second != Unknown
	}
	schedule := p.served(u.Tier)
	if schedule == nil {
		return 0, false
	}
	parts := schedule.at(u.Input).parts(&u)
	for _, part := range parts {
		if part.rate == Unknown && part.tokens > 0 {
			return 0, false
		}
	}
	return sum(parts[:]), true
}

// Most returns the most that a request may cost: nanoUSD for its input, as if all
// of it were of the most expensive kind that it may be, and outputRate for a token
// of output, in pico-USD. Before the answer, it is unknown how much will be read
// from a cache, and which tier an account has by default. known is false if the
// request asks for a tier, or contains a kind of input, without a known price; the
// results are then the most of the known prices.
func (p *Price) Most(a Asked) (nanoUSD, outputRate int64, known bool) {
	schedules, known := p.asked(a.Tier)
	for _, schedule := range schedules {
		if schedule == nil {
			continue
		}
		rates := schedule.at(a.Input)
		dearest := max(rates.Input, rates.Cached, rates.CacheWrite, rates.HourWrite)
		if a.Media {
			dearest = max(dearest, rates.AudioInput, rates.ImageInput, rates.CachedAudio, rates.CachedImage)
		}
		nanoUSD = max(nanoUSD, sum([]part{{dearest, max(a.Input, 0)}}))
		outputRate = max(outputRate, rates.Output, rates.Reasoning, rates.AudioOutput, rates.ImageOutput)
	}
	if a.Seconds > 0 && p.Second != Unknown {
		return max(nanoUSD, secondsCost(p.Second, a.Seconds)), outputRate, known
	}
	return nanoUSD, outputRate, known && p.Input != Unknown
}

// served returns the schedule of a request that was served in this tier; nil if it
// is unknown.
func (p *Price) served(tier wire.ServiceTier) *Schedule {
	if p.Services == nil {
		return &p.Schedule
	}
	switch tier {
	case wire.TierUnsaid, wire.TierStandard:
	case wire.TierFlex:
		return cmp.Or(p.Services.Flex, &p.Schedule)
	case wire.TierBatch:
		return cmp.Or(p.Services.Batch, &p.Schedule)
	case wire.TierPriority:
		return p.Services.Priority
	default:
		return nil
	}
	return &p.Schedule
}

// asked returns the schedules that may apply to a request for a tier: the backend
// may serve it in the standard tier all the same. known is false if one of them is
// unknown.
func (p *Price) asked(tier wire.ServiceTier) (schedules [2]*Schedule, known bool) {
	schedules[0] = &p.Schedule
	switch {
	case p.Services == nil, tier == wire.TierStandard:
		return schedules, true
	case tier == wire.TierUnsaid:
		schedules[1] = p.Services.Priority
		return schedules, true
	}
	schedules[1] = p.served(tier)
	return schedules, schedules[1] != nil
}

// at returns the rates of a request with this many tokens of input.
func (s *Schedule) at(input int64) *Rates {
	rates := &s.Rates
	for i := range s.Tiers {
		if input > s.Tiers[i].Above {
			rates = &s.Tiers[i].Rates
		}
	}
	return rates
}

// parts splits u by rate. A part that is larger than its whole counts as it is.
func (r *Rates) parts(u *Used) [13]part {
	audio := min(max(u.AudioInput, 0), max(u.Input, 0))
	image := min(max(u.ImageInput, 0), max(u.Input, 0)-audio)
	text := max(u.Input-audio-image, 0)
	written := max(u.CacheWrite, 0)
	hour := min(max(u.HourWrite, 0), written)
	text = max(text-written, 0)

	// The kinds of the cached tokens are unknown. They are attributed to the kinds
	// for which a cache saves least, so that the cost is not too low.
	inputs := [3]struct {
		plain, cached part
	}{
		{part{r.Input, text}, part{r.Cached, 0}},
		{part{r.AudioInput, audio}, part{r.CachedAudio, 0}},
		{part{r.ImageInput, image}, part{r.CachedImage, 0}},
	}
	left := max(u.CacheRead, 0)
	if audio+image > 0 {
		kinds := inputs[:]
		slices.SortStableFunc(kinds, func(a, b struct{ plain, cached part }) int {
			return cmp.Compare(a.plain.rate-a.cached.rate, b.plain.rate-b.cached.rate)
		})
	}
	for i := range inputs {
		n := min(left, inputs[i].plain.tokens)
		inputs[i].plain.tokens -= n
		inputs[i].cached.tokens = n
		left -= n
	}

	output := max(u.Output, 0)
	audioOut := min(max(u.AudioOutput, 0), output)
	imageOut := min(max(u.ImageOutput, 0), output-audioOut)
	reasoning := min(max(u.Reasoning, 0), output-audioOut-imageOut)
	return [...]part{
		inputs[0].plain, inputs[0].cached, inputs[1].plain, inputs[1].cached, inputs[2].plain, inputs[2].cached,
		{r.CacheWrite, written - hour}, {r.HourWrite, hour},
		{r.Output, output - audioOut - imageOut - reasoning}, {r.Reasoning, reasoning},
		{r.AudioOutput, audioOut}, {r.ImageOutput, imageOut}, {r.Cached, left},
	}
}

// secondsCost returns the cost of this many seconds of audio in nano-USD.
func secondsCost(rate int64, seconds float64) int64 {
	return int64(min(math.Round(max(float64(rate), 0)*seconds/1000), usage.MaxCost))
}

// sum returns the cost of parts in nano-USD.
func sum(parts []part) int64 {
	var high, low uint64 // pico-USD
	for _, part := range parts {
		h, l := bits.Mul64(uint64(max(part.rate, 0)), uint64(max(part.tokens, 0)))
		var carry uint64
		low, carry = bits.Add64(low, l, 0)
		high += h + carry
	}
	var carry uint64
	low, carry = bits.Add64(low, 500, 0)
	high += carry
	if high >= 1000 { // the quotient would not fit
		return math.MaxInt64
	}
	cost, _ := bits.Div64(high, low, 1000)
	return int64(min(cost, math.MaxInt64))
}

// ParseCost parses the cost of one answer as a backend reports it, a JSON number
// in USD, and returns it in nano-USD, rounded half up. It caps the cost at
// usage.MaxCost, and returns 0 for text that is not a valid cost; sane is false in
// both cases.
func ParseCost(text string) (nanoUSD int64, sane bool) {
	n, err := decimal.ParseNumber(text, 9)
	switch {
	case errors.Is(err, decimal.ErrTooLarge) || n > usage.MaxCost:
		return usage.MaxCost, false
	case err != nil:
		return 0, false
	}
	return n, true
}
