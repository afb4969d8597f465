package pricing

import (
	"fmt"
	"strings"

	"github.com/amanycodes/pine-gate/internal/wire"
	"github.com/amanycodes/pine-gate/usage/internal/decimal"
)

// Rates are the prices of a model's tokens, in pico-USD (10⁻¹² USD) a token: 1 USD
// per million tokens is 1,000,000. A rate may be Unknown.
type Rates struct {
	Input      int64 // text, without caches
	Cached     int64 // text that was read from a cache
	CacheWrite int64 // input that was written to a cache, for minutes
	HourWrite  int64 // input that was written to a cache, for an hour

	AudioInput, CachedAudio int64
	ImageInput, CachedImage int64

	Output      int64 // text, without reasoning
	Reasoning   int64
	AudioOutput int64
	ImageOutput int64
}

// Unknown is a rate that is not known. A request that used tokens with an unknown
// rate has an unknown cost.
const Unknown = -1

// Schedule holds a model's rates by the length of the request.
type Schedule struct {
	Rates // of requests below the first tier

	// Tiers hold the rates of longer requests, by rising threshold. The last
	// one whose threshold a request's whole input exceeds sets the rates of all
	// its tokens.
	Tiers []Tier
}

// Tier holds the rates of requests whose input is longer than a threshold.
type Tier struct {
	Above int64 // tokens of input, those of caches included
	Rates
}

// Price is the price of a model. The zero Price is that of a free model; an
// unknown price is a nil *Price.
type Price struct {
	Schedule // of the standard service tier

	// Second is the price of a second of transcribed audio, in pico-USD, or Unknown.
	// A transcription that a backend counts by its duration costs this and nothing
	// else.
	Second int64

	// Services are the schedules of other service tiers. Nil: all tiers have the
	// same price.
	Services *Services
}

// Services are the schedules of the service tiers. A nil one is unknown.
type Services struct{ Flex, Batch, Priority *Schedule }

// Used is the usage of a request.
type Used struct {
	wire.Tokens
	wire.Parts
	Seconds float64 // of audio, if the backend counts by its duration
	Tier    wire.ServiceTier
}

// Asked describes a request before it is answered.
type Asked struct {
	Input   int64   // tokens of input, as estimated
	Media   bool    // the request contains an image, audio or a file
	Seconds float64 // of audio to be transcribed, at most; 0: none
	Tier    wire.ServiceTier
}

// maxPrice is a million USD per million tokens: a higher price must be in the
// wrong unit.
const maxPrice = 1_000_000_000_000

const wantPrice = "expected `input <n> [output <n>] [cached <n>] [cache_write <n>]`, in USD per million tokens"

// Parse parses the subdirectives of a `price` line, such as `input 2.50 output 10
// cached 1.25 cache_write 3.75`, in any order, in USD per million tokens with at
// most six digits after the point. The price of input is required; that of output
// is 0 by default, for models without output tokens; cached and cache_write
// default to the price of input. The price applies to all kinds of tokens, those
// of images and audio included, and in all service tiers. The price of a second of
// audio is unknown, unless everything is free.
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

// String returns the price in the syntax of Parse, without the defaults. It leaves
// out tiers and the rate of reasoning, which only price lists have.
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

// MarshalText returns the form in JSON configuration, which is the result of
// String.
func (p Price) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText parses what MarshalText returns.
func (p *Price) UnmarshalText(text []byte) error {
	parsed, err := Parse(strings.Fields(string(text)))
	if err != nil {
		return err
	}
	*p = parsed
	return nil
}
