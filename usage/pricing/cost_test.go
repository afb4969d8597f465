package pricing

import (
	"fmt"
	"math"
	"math/big"
	"testing"

	"pgregory.net/rapid"

	"github.com/amanycodes/pine-gate/internal/wire"
	"github.com/amanycodes/pine-gate/usage"
)

func TestParseCost(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "0.0": 0, "0.00001962": 19_620, "1.962e-05": 19_620, "1": 1_000_000_000, "12.5": 12_500_000_000, "4.9e-10": 0, "5e-10": 1, "1.5e-9": 2,
		"0.0000000014": 1, "1E+2": 100 * 1_000_000_000, "1000000": usage.MaxCost, "1e-400": 0, "0e400": 0, "00.5": 1_000_000_000 / 2,
	} {
		if got, sane := ParseCost(text); got != want || !sane {
			t.Errorf("%s: %d, %t; want %d", text, got, sane, want)
		}
	}
	for text, want := range map[string]int64{
		"1000001": usage.MaxCost, "1e400": usage.MaxCost, "99999999999999999999": usage.MaxCost, "1e18": usage.MaxCost,
		"-1": 0, "": 0, "NaN": 0, "0x10": 0, "1e": 0, "e5": 0, "1_0": 0, "Infinity": 0,
	} {
		if got, sane := ParseCost(text); got != want || sane {
			t.Errorf("%q: %d, %t; want %d, not sane", text, got, sane, want)
		}
	}
}

func TestCost(t *testing.T) {
	price := flat(2_500_000, 10_000_000, 1_250_000, 3_750_000)
	tiered := price
	tiered.Reasoning = 40_000_000
	tiered.Tiers = []Tier{
		{Above: 200_000, Rates: Rates{Input: 5_000_000, Output: 20_000_000, Cached: 2_500_000, Reasoning: 20_000_000}},
		{Above: 500_000, Rates: Rates{Input: 9_000_000}},
	}
	for _, test := range []struct {
		name   string
		price  Price
		tokens wire.Tokens
		want   int64
	}{
		{"nothing", price, wire.Tokens{}, 0},
		{"a million each", price, wire.Tokens{Input: 1e6, Output: 1e6}, 12_500_000_000},
		{"caches are parts of the input", price, wire.Tokens{Input: 1000, CacheRead: 400, CacheWrite: 100, Output: 10}, (500*2500 + 400*1250 + 100*3750 + 10*10000)},
		{"reasoning is a part of the output", price, wire.Tokens{Output: 10, Reasoning: 10}, 100_000},
		{"reasoning has a rate of its own", tiered, wire.Tokens{Output: 10, Reasoning: 4}, 6*10_000 + 4*40_000},
		{"no more is reasoning than there is output", tiered, wire.Tokens{Output: 10, Reasoning: 12}, 10 * 40_000},
		{"a tier begins above its threshold", tiered, wire.Tokens{Input: 200_000}, 200_000 * 2500},
		{"and holds for all tokens", tiered, wire.Tokens{Input: 200_001, CacheRead: 1, Output: 1}, 200_000*5000 + 2500 + 20_000},
		{"the last tier that applies counts", tiered, wire.Tokens{Input: 500_001}, 500_001 * 9000},
		{"half is rounded up", flat(500, 0, 0, 0), wire.Tokens{Input: 1}, 1},
		{"less is rounded down", flat(499, 0, 0, 0), wire.Tokens{Input: 1}, 0},
		{"once, not by part", flat(400, 400, 0, 0), wire.Tokens{Input: 1, Output: 1}, 1},
		{"caches above the input cost what they are", flat(1000, 0, 1000, 0), wire.Tokens{Input: 5, CacheRead: 7}, 7},
		{"negative counts are none", price, wire.Tokens{Input: -5, Output: -5, CacheRead: -1}, 0},
		{"it stops at the largest", flat(maxPrice, 0, 0, 0), wire.Tokens{Input: math.MaxInt64}, math.MaxInt64},
	} {
		if got, known := test.price.Cost(Used{Tokens: test.tokens}); got != test.want || !known {
			t.Errorf("%s: %d, %t, want %d", test.name, got, known, test.want)
		}
	}
}

// drawRates draws rates of every kind, some of them unknown.
func drawRates(rt *rapid.T, name string, most int64) (r Rates) {
	for i, rate := range r.all() {
		*rate = rapid.Int64Range(0, most).Draw(rt, fmt.Sprint(name, " ", priceFields[i]))
		if i != fieldInput && rapid.IntRange(0, 9).Draw(rt, "unknown") == 0 {
			*rate = Unknown
		}
	}
	return r
}

// drawUsed draws the usage of a request with this much input and output.
func drawUsed(rt *rapid.T, in, out int64) (u Used) {
	draw := func(name string, most int64) int64 { return rapid.Int64Range(0, most).Draw(rt, name) }
	u.Input, u.Output = in, out
	u.CacheRead = draw("read", in)
	if rapid.Bool().Draw(rt, "media") {
		u.AudioInput = draw("heard", in)
		u.ImageInput = draw("seen", in-u.AudioInput)
		u.AudioOutput = draw("spoken", out)
		u.ImageOutput = draw("drawn", out-u.AudioOutput)
	}
	u.CacheWrite = draw("written", max(0, min(in-u.CacheRead, in-u.AudioInput-u.ImageInput)))
	u.HourWrite = draw("for an hour", u.CacheWrite)
	u.Reasoning = draw("thought", out-u.AudioOutput-u.ImageOutput)
	return u
}

func TestMostIsNeverLessThanTheCost(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		draw := func(name string, most int64) int64 { return rapid.Int64Range(0, most).Draw(rt, name) }
		schedule := func(name string) *Schedule {
			if draw(name+" none", 3) == 0 {
				return nil
			}
			return &Schedule{drawRates(rt, name, 1e9), []Tier{{200_000, drawRates(rt, name+" above", 1e9)}}}
		}
		p := Price{Schedule: Schedule{drawRates(rt, "base", 1e9), []Tier{{200_000, drawRates(rt, "tier", 1e9)}}}, Second: draw("second", 1e9)}
		if draw("services", 3) > 0 {
			p.Services = &Services{schedule("flex"), schedule("batch"), schedule("priority")}
		}
		u := drawUsed(rt, draw("in", 400_000), draw("out", 100_000))
		a := Asked{Input: u.Input, Media: u.AudioInput+u.ImageInput > 0, Tier: wire.ServiceTier(draw("asked", int64(wire.TierOther)))}
		u.Tier = a.Tier // the requested tier,
		if draw("downgraded", 2) == 0 {
			u.Tier = wire.TierStandard // or the one it was downgraded to
		}
		if draw("by duration", 3) == 0 {
			a.Seconds = float64(draw("seconds", 1e6))
			u.Seconds = a.Seconds
		}
		cost, known := p.Cost(u)
		nanoUSD, rate, knownBefore := p.Most(a)
		if most := nanoUSD + (rate*u.Output+999)/1000; known && cost > most {
			rt.Fatalf("cost %d, at most %d", cost, most)
		}
		if known && u.Tier == a.Tier && a.Seconds == 0 && !knownBefore {
			rt.Fatal("what has a price was to be refused")
		}
	})
}

func TestCostIsExact(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		draw := func(name string, most int64) int64 { return rapid.Int64Range(0, most).Draw(rt, name) }
		p := Price{Schedule: Schedule{Rates: drawRates(rt, "base", maxPrice)}}
		u := drawUsed(rt, draw("tokens", 1<<40), draw("out", 1<<40))
		u.AudioInput, u.ImageInput = 0, 0 // the kinds of their cached tokens are guessed

		sum := new(big.Int)
		wantKnown := true
		for _, part := range [][2]int64{
			{p.Input, u.Input - u.CacheRead - u.CacheWrite}, {p.Cached, u.CacheRead}, {p.CacheWrite, u.CacheWrite - u.HourWrite}, {p.HourWrite, u.HourWrite},
			{p.Output, u.Output - u.Reasoning - u.AudioOutput - u.ImageOutput}, {p.Reasoning, u.Reasoning}, {p.AudioOutput, u.AudioOutput}, {p.ImageOutput, u.ImageOutput},
		} {
			sum.Add(sum, new(big.Int).Mul(big.NewInt(part[0]), big.NewInt(part[1])))
			wantKnown = wantKnown && (part[0] != Unknown || part[1] == 0)
		}
		sum.Add(sum, big.NewInt(500)).Div(sum, big.NewInt(1000))
		want := int64(math.MaxInt64)
		if sum.IsInt64() {
			want = sum.Int64()
		}
		if got, known := p.Cost(u); known != wantKnown || known && got != want {
			rt.Fatalf("%d, %t; want %d, %t", got, known, want, wantKnown)
		}
	})
}

// A price with a different rate for everything.
var rich = Price{
	Schedule: Schedule{Rates: Rates{
		Input: 1_000, Cached: 100, CacheWrite: 1_250, HourWrite: 2_000,
		AudioInput: 40_000, CachedAudio: 2_500, ImageInput: 10_000, CachedImage: 9_950,
		Output: 4_000, Reasoning: 5_000, AudioOutput: 80_000, ImageOutput: 30_000,
	}},
	Second: 100_000_000, // 0.0001 USD
	Services: &Services{
		Flex:     &Schedule{Rates: textRates(500, 2_000, 50, 500, 2_000)},
		Priority: &Schedule{Rates: textRates(2_000, 8_000, 200, 2_000, 8_000)},
	},
}

func TestCostOfWhatIsNotText(t *testing.T) {
	const unknown = -1
	plain := Price{Schedule: Schedule{Rates: textRates(1_000, 4_000, 100, 1_250, 4_000)}, Second: Unknown, Services: new(Services)}
	block, err := Parse([]string{"input", "1", "output", "4"})
	if err != nil {
		t.Fatal(err)
	}
	tokens := wire.Tokens{Input: 100, Output: 10}
	for _, test := range []struct {
		name  string
		price *Price
		used  Used
		want  int64 // pico-USD / 1000
	}{
		{"sound in", &rich, Used{Tokens: tokens, Parts: wire.Parts{AudioInput: 30}}, 70*1 + 30*40 + 10*4},
		{"sound out", &rich, Used{Tokens: tokens, Parts: wire.Parts{AudioOutput: 3}}, 100*1 + 7*4 + 3*80},
		{"pictures", &rich, Used{Tokens: tokens, Parts: wire.Parts{ImageInput: 50, ImageOutput: 10}}, 50*1 + 50*10 + 10*30},
		{"a cache is of the kind of which it saves least", &rich, Used{Tokens: wire.Tokens{Input: 100, CacheRead: 70}, Parts: wire.Parts{AudioInput: 20, ImageInput: 40}},
			(40*9_950 + 30*100 + 10*1_000 + 20*40_000 + 500) / 1000},
		{"a cache for an hour", &rich, Used{Tokens: wire.Tokens{Input: 100, CacheWrite: 80}, Parts: wire.Parts{HourWrite: 40}}, 20*1 + 40*2 + 50},
		{"flex", &rich, Used{Tokens: tokens, Tier: wire.TierFlex}, 50 + 20},
		{"priority", &rich, Used{Tokens: tokens, Tier: wire.TierPriority}, 200 + 80},
		{"a batch without a price costs what others do", &rich, Used{Tokens: tokens, Tier: wire.TierBatch}, 140},
		{"nobody said", &rich, Used{Tokens: tokens}, 140},
		{"another tier", &rich, Used{Tokens: tokens, Tier: wire.TierOther}, unknown},
		{"seconds", &rich, Used{Seconds: 27.5}, 2_750_000},
		{"no seconds", &rich, Used{}, 0},

		{"sound without a price", &plain, Used{Tokens: tokens, Parts: wire.Parts{AudioInput: 1}}, unknown},
		{"speech without a price", &plain, Used{Tokens: tokens, Parts: wire.Parts{AudioOutput: 1}}, unknown},
		{"a picture made without a price", &plain, Used{Tokens: tokens, Parts: wire.Parts{ImageOutput: 1}}, unknown},
		{"a picture seen costs what text does", &plain, Used{Tokens: tokens, Parts: wire.Parts{ImageInput: 100}}, 140},
		{"an hour without a price", &plain, Used{Tokens: wire.Tokens{Input: 100, CacheWrite: 80}, Parts: wire.Parts{HourWrite: 40}}, unknown},
		{"priority without a price", &plain, Used{Tokens: tokens, Tier: wire.TierPriority}, unknown},
		{"flex without a price", &plain, Used{Tokens: tokens, Tier: wire.TierFlex}, 140},
		{"seconds without a price", &plain, Used{Seconds: 1}, unknown},
		{"seconds beside tokens that have one", &plain, Used{Tokens: tokens, Seconds: 1}, 140},

		{"a block says what all costs", &block, Used{Tokens: tokens, Parts: wire.Parts{AudioInput: 50, ImageInput: 50, AudioOutput: 5, ImageOutput: 5}, Tier: wire.TierPriority}, 100_000 + 40_000},
		{"but not by the second", &block, Used{Seconds: 1}, unknown},
		{"what is free is free", &Price{}, Used{Seconds: 1, Tier: wire.TierOther}, 0},
	} {
		want, wantKnown := test.want, true
		if want == unknown {
			want, wantKnown = 0, false
		}
		if got, known := test.price.Cost(test.used); got != want || known != wantKnown {
			t.Errorf("%s: %d, %t; want %d, %t", test.name, got, known, want, wantKnown)
		}
	}
}

func TestMostKnowsWhatMayBeAskedFor(t *testing.T) {
	plain := Price{Schedule: Schedule{Rates: textRates(1_000, 4_000, 100, 1_250, 4_000)}, Second: Unknown, Services: new(Services)}
	bySecond := Price{Schedule: Schedule{Rates: unknownRates}, Second: 100_000_000, Services: new(Services)}
	for _, test := range []struct {
		name     string
		price    *Price
		asked    Asked
		in, rate int64
		known    bool
	}{
		{"text, in whatever tier the account has", &rich, Asked{Input: 100}, 200, 80_000, true},
		{"text, in the standard tier", &rich, Asked{Input: 100, Tier: wire.TierStandard}, 200, 80_000, true},
		{"media", &rich, Asked{Input: 100, Media: true, Tier: wire.TierFlex}, 4_000, 80_000, true},
		{"seconds", &rich, Asked{Input: 100, Seconds: 10}, 1_000_000, 80_000, true},
		{"a tier of no price", &plain, Asked{Input: 100, Tier: wire.TierPriority}, 125, 4_000, false},
		{"one that is cheaper", &plain, Asked{Input: 100, Tier: wire.TierFlex}, 125, 4_000, true},
		{"words to a model that hears", &bySecond, Asked{Input: 100}, 0, 0, false},
		{"sound to a model that hears", &bySecond, Asked{Input: 100, Seconds: 10}, 1_000_000, 0, true},
		{"sound to a model priced by tokens", &plain, Asked{Input: 100, Seconds: 10, Media: true}, 125, 4_000, true},
		{"anything of a free model", &Price{}, Asked{Input: 100, Seconds: 10, Tier: wire.TierOther}, 0, 0, true},
	} {
		in, rate, known := test.price.Most(test.asked)
		if in != test.in || rate != max(test.rate, 0) || known != test.known {
			t.Errorf("%s: %d, %d, %t; want %d, %d, %t", test.name, in, rate, known, test.in, test.rate, test.known)
		}
	}
}
