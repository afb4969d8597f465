package usage

import (
	"fmt"
	"math"
	"math/bits"
	"strings"

	"github.com/amanycodes/pine-gate/wire"
)

// Rates are what a model's tokens cost, in pico-USD (10⁻¹² USD) a token: 1 USD
// per million tokens is 1,000,000.
type Rates struct {
	Input      int64 // input that touched no cache
	Output     int64 // output but for what follows
	Cached     int64 // input read from a cache
	CacheWrite int64 // input written to a cache
	Reasoning  int64 // output that was spent on reasoning
}

// Price is what a model costs. The zero Price is that of a free model; an
// unknown price is the absence of one.
type Price struct {
	Rates // of requests that no tier is for

	// Tiers hold the rates of longer requests, by rising threshold. The last
	// one whose threshold a request's whole input exceeds sets the rates of all
	// its tokens.
	Tiers []Tier
}

// Tier is what the requests cost whose input is longer than a threshold.
type Tier struct {
	Above int64 // tokens of input, those of caches included
	Rates
}

// maxPrice is a million USD per million tokens: above it somebody mistook the
// unit.
const maxPrice = 1_000_000_000_000

const wantPrice = "expected `input <n> [output <n>] [cached <n>] [cache_write <n>]`, in USD per million tokens"

// ParsePrice reads the words of a `price` line, such as `input 2.50 output 10
// cached 1.25 cache_write 3.75`, in any order, in USD per million tokens with
// at most six digits behind the point. The input's price must be said; the
// output's is 0 by default, for models that answer no tokens; cached and
// cache_write are the input's.
func ParsePrice(words []string) (Price, error) {
	var p Price
	fields := []struct {
		name  string
		value *int64
		given bool
	}{{"input", &p.Input, false}, {"output", &p.Output, false}, {"cached", &p.Cached, false}, {"cache_write", &p.CacheWrite, false}}
next:
	for i := 0; i < len(words); i += 2 {
		for f := range fields {
			field := &fields[f]
			if field.name != words[i] {
				continue
			}
			if field.given {
				return Price{}, fmt.Errorf("price of %s is given twice", field.name)
			}
			if i+1 == len(words) {
				return Price{}, fmt.Errorf("price of %s is missing: %s", field.name, wantPrice)
			}
			n, err := parseDecimal(words[i+1], 6)
			if err != nil {
				return Price{}, fmt.Errorf("price of %s: %w: %s", field.name, err, wantPrice)
			}
			if n > maxPrice {
				return Price{}, fmt.Errorf("price of %s: %q is more than a million USD: %s", field.name, words[i+1], wantPrice)
			}
			*field.value, field.given = n, true
			continue next
		}
		return Price{}, fmt.Errorf("unknown word %q in a price: %s", words[i], wantPrice)
	}
	if !fields[0].given {
		return Price{}, fmt.Errorf("price of input is missing: %s", wantPrice)
	}
	for _, field := range fields[2:] {
		if !field.given {
			*field.value = p.Input
		}
	}
	p.Reasoning = p.Output
	return p, nil
}

// Cost is what t costs in nano-USD, rounded once, half up. It is never
// negative, and stops at the largest int64.
func (p Price) Cost(t wire.Tokens) int64 {
	cached, written := max(t.CacheRead, 0), max(t.CacheWrite, 0)
	plain := max(t.Input-cached-written, 0)
	output := max(t.Output, 0)
	reasoning := min(max(t.Reasoning, 0), output)
	rates := p.rates(t.Input)
	return sum([5][2]int64{
		{rates.Input, plain}, {rates.Cached, cached}, {rates.CacheWrite, written},
		{rates.Output, output - reasoning}, {rates.Reasoning, reasoning},
	})
}

// Most is the most that a request with so much input may cost: the input in
// nano-USD, as if all of it were of the dearest kind, and a token of output in
// pico-USD. Before the answer nobody knows what a cache will take part in.
func (p Price) Most(input int64) (nanoUSD, outputRate int64) {
	rates := p.rates(input)
	dearest := max(rates.Input, rates.Cached, rates.CacheWrite)
	return sum([5][2]int64{{dearest, max(input, 0)}}), max(rates.Output, rates.Reasoning)
}

// rates are those of a request with so much input.
func (p Price) rates(input int64) Rates {
	rates := p.Rates
	for _, tier := range p.Tiers {
		if input > tier.Above {
			rates = tier.Rates
		}
	}
	return rates
}

// sum adds up rates in pico-USD times tokens, in nano-USD.
func sum(parts [5][2]int64) int64 {
	var high, low uint64 // pico-USD
	for _, part := range parts {
		h, l := bits.Mul64(uint64(max(part[0], 0)), uint64(part[1]))
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

// String is the words that ParsePrice reads, without those that say the
// default. They have no place for tiers and for reasoning at a rate of its own,
// which only price lists have.
func (p Price) String() string {
	var b strings.Builder
	word := func(name string, pico int64) {
		if b.Len() > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(name + " " + string(appendDecimal(nil, pico, 6)))
	}
	word("input", p.Input)
	if p.Output != 0 {
		word("output", p.Output)
	}
	if p.Cached != p.Input {
		word("cached", p.Cached)
	}
	if p.CacheWrite != p.Input {
		word("cache_write", p.CacheWrite)
	}
	return b.String()
}

// MarshalText is the form in JSON configuration: that of String.
func (p Price) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText reads what MarshalText writes.
func (p *Price) UnmarshalText(text []byte) error {
	parsed, err := ParsePrice(strings.Fields(string(text)))
	if err != nil {
		return err
	}
	*p = parsed
	return nil
}
