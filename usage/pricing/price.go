package pricing

import (
	"fmt"
	"strings"

	"github.com/amanycodes/pine-gate/internal/wire"
	"github.com/amanycodes/pine-gate/usage/internal/decimal"
)

// Rates are what a model's tokens cost, in pico-USD (10⁻¹² USD) a token: 1 USD
// per million tokens is 1,000,000. A rate may be Unknown.
type Rates struct {
	Input      int64 // text that touched no cache
	Cached     int64 // text that was read from a cache
	CacheWrite int64 // input that was written to a cache, for minutes
	HourWrite  int64 // the same, for an hour

	AudioInput, CachedAudio int64 // sound that is read
	ImageInput, CachedImage int64 // pictures that are read

	Output      int64 // text that is written, but for what follows
	Reasoning   int64 // output that was spent on reasoning
	AudioOutput int64 // sound that is made
	ImageOutput int64 // pictures that are made
}

// Unknown is the rate of what has a price that nobody told. What was used of it
// makes the cost unknown.
const Unknown = -1

// Schedule holds a model's rates by the length of the request.
type Schedule struct {
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

// Price is what a model costs. The zero Price is that of a free model; an
// unknown price is the absence of one.
type Price struct {
	Schedule // of the standard service tier

	// Second is what a second of sound costs that is transcribed, in pico-USD;
	// Unknown where it has no price. Transcriptions that a backend counts by
	// their duration cost this and nothing else.
	Second int64

	// Services are the schedules of other service tiers. Nil: the price is that
	// of all of them.
	Services *Services
}

// Services are a price's schedules of the service tiers that have one of their
// own. A nil one is unknown.
type Services struct{ Flex, Batch, Priority *Schedule }

// Used is what a request used, as far as it has a price.
type Used struct {
	wire.Tokens
	wire.Parts
	Seconds float64 // of sound, where a backend counts by its duration
	Tier    wire.ServiceTier
}

// Asked is what a request asks for, before anybody has answered it.
type Asked struct {
	Input   int64   // tokens of input, as estimated
	Media   bool    // it holds a picture, sound or file
	Seconds float64 // of sound to be transcribed, at most; 0: there is none
	Tier    wire.ServiceTier
}

// maxPrice is a million USD per million tokens: above it somebody mistook the
// unit.
const maxPrice = 1_000_000_000_000

const wantPrice = "expected `input <n> [output <n>] [cached <n>] [cache_write <n>]`, in USD per million tokens"

// Parse reads the words of a `price` line, such as `input 2.50 output 10
// cached 1.25 cache_write 3.75`, in any order, in USD per million tokens with
// at most six digits behind the point. The input's price must be said; the
// output's is 0 by default, for models that answer no tokens; cached and
// cache_write are the input's. Such a price holds for every kind of token, a
// picture's or a sound's, and in every service tier; that of a second of sound
// it does not know, but where all is free.
func Parse(words []string) (Price, error) {
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
			n, err := decimal.Parse(words[i+1], 6)
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
	p.AudioInput, p.CachedAudio, p.ImageInput, p.CachedImage = p.Input, p.Cached, p.Input, p.Cached
	p.HourWrite = p.CacheWrite
	p.Reasoning, p.AudioOutput, p.ImageOutput = p.Output, p.Output, p.Output
	if p.Rates != (Rates{}) {
		p.Second = Unknown
	}
	return p, nil
}

// String is the words that Parse reads, without those that say the
// default. They have no place for tiers and for reasoning at a rate of its own,
// which only price lists have.
func (p Price) String() string {
	var b strings.Builder
	word := func(name string, pico int64) {
		if b.Len() > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(name + " " + string(decimal.Append(nil, pico, 6)))
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
	parsed, err := Parse(strings.Fields(string(text)))
	if err != nil {
		return err
	}
	*p = parsed
	return nil
}
