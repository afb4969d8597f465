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

// part is so many tokens at one rate.
type part struct{ rate, tokens int64 }

// Cost is what was used, in nano-USD, rounded once, half up. It is never
// negative, and stops at the largest int64. It is not known where something was
// used whose rate is not: a service tier that is dearer than the standard one,
// or a kind of token. Tiers that are cheaper cost what the standard one does
// where their own rates are not known.
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

// Most is the most that a request may cost that asks for so much: the input in
// nano-USD, as if all of it were of the dearest kind that it may be, and a token
// of output in pico-USD. Before the answer nobody knows what a cache will take
// part in, nor which tier an account takes by default. It is not known where the
// request asks for a tier, or holds what has to be paid for, without a known
// price; what is returned then is the most of what is known.
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

// served is the schedule of a request that a tier has served; nil where that is
// not known.
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

// asked are the schedules by which a request may be charged that asks for a
// tier: it may be served by the standard one all the same. They are not all
// known where known is false.
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

// at are the rates of a request with so much input.
func (s *Schedule) at(input int64) *Rates {
	rates := &s.Rates
	for i := range s.Tiers {
		if input > s.Tiers[i].Above {
			rates = &s.Tiers[i].Rates
		}
	}
	return rates
}

// parts takes what was used apart by rate. Where something is more than what it
// is a part of, it counts as what it is.
func (r *Rates) parts(u *Used) [13]part {
	audio := min(max(u.AudioInput, 0), max(u.Input, 0))
	image := min(max(u.ImageInput, 0), max(u.Input, 0)-audio)
	text := max(u.Input-audio-image, 0)
	written := max(u.CacheWrite, 0)
	hour := min(max(u.HourWrite, 0), written)
	text = max(text-written, 0)

	// Nobody says of which kind the tokens were that a cache had. They are taken
	// to be of those of which it saves least, so that no bill is too small.
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
	spoken := min(max(u.AudioOutput, 0), output)
	drawn := min(max(u.ImageOutput, 0), output-spoken)
	thought := min(max(u.Reasoning, 0), output-spoken-drawn)
	return [...]part{
		inputs[0].plain, inputs[0].cached, inputs[1].plain, inputs[1].cached, inputs[2].plain, inputs[2].cached,
		{r.CacheWrite, written - hour}, {r.HourWrite, hour},
		{r.Output, output - spoken - drawn - thought}, {r.Reasoning, thought},
		{r.AudioOutput, spoken}, {r.ImageOutput, drawn}, {r.Cached, left},
	}
}

// secondsCost is what so many seconds of sound cost in nano-USD.
func secondsCost(rate int64, seconds float64) int64 {
	return int64(min(math.Round(max(float64(rate), 0)*seconds/1000), usage.MaxCost))
}

// sum adds up parts, in nano-USD.
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
// usage.MaxCost, and returns 0 for what is not a cost at all; sane is false in
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
