package usage

import (
	"math"
	"math/big"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/amanycodes/pine-gate/wire"
)

// flat is a price without tiers whose reasoning costs what other output does.
func flat(input, output, cached, cacheWrite int64) Price {
	return Price{Rates: Rates{input, output, cached, cacheWrite, output}}
}

func TestParsePrice(t *testing.T) {
	for _, test := range []struct {
		words string
		want  Price
		text  string // that it is printed as; the words where empty
	}{
		{"input 2.50 output 10 cached 1.25 cache_write 3.75", flat(2_500_000, 10_000_000, 1_250_000, 3_750_000), "input 2.5 output 10 cached 1.25 cache_write 3.75"},
		{"output 10 input 2.5", flat(2_500_000, 10_000_000, 2_500_000, 2_500_000), "input 2.5 output 10"},
		{"input 0.000001", flat(1, 0, 1, 1), ""},
		{"input 0 output 0", Price{}, "input 0"},
		{"input 2 cached 0", flat(2_000_000, 0, 0, 2_000_000), ""},
		{"input 1000000.000000", flat(maxPrice, 0, maxPrice, maxPrice), "input 1000000"},
	} {
		got, err := ParsePrice(strings.Fields(test.words))
		if err != nil || !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s: %+v, %v; want %+v", test.words, got, err, test.want)
		}
		if test.text == "" {
			test.text = test.words
		}
		text, _ := got.MarshalText()
		var again Price
		if err := again.UnmarshalText(text); err != nil || string(text) != test.text || !reflect.DeepEqual(again, got) {
			t.Errorf("%s: printed as %q and read again as %+v, %v", test.words, text, again, err)
		}
	}
}

func TestParsePriceRefuses(t *testing.T) {
	for words, want := range map[string]string{
		"":                          "price of input is missing: expected `input <n>",
		"output 10":                 "price of input is missing",
		"input":                     "price of input is missing: expected",
		"input 1 output":            "price of output is missing",
		"input 1 input 2":           "price of input is given twice",
		"input -1":                  `price of input: "-1" is not a decimal number`,
		"input 1e3":                 `"1e3" is not a decimal number`,
		"input .5":                  `".5" is not a decimal number`,
		"input 5.":                  `"5." is not a decimal number`,
		"input 1.2.3":               `"1.2.3" is not a decimal number`,
		"input $2":                  `"$2" is not a decimal number`,
		"input 0.0000001":           `"0.0000001" has more than 6 digits`,
		"input 1000000.000001":      "more than a million USD",
		"input 9223372036854775808": "too large",
		"inputs 1":                  `unknown word "inputs" in a price: expected`,
		"2.50 10":                   `unknown word "2.50"`,
	} {
		if _, err := ParsePrice(strings.Fields(words)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want %q", words, err, want)
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
		if got := test.price.Cost(test.tokens); got != test.want {
			t.Errorf("%s: %d, want %d", test.name, got, test.want)
		}
	}
}

func TestMostIsNeverLessThanTheCost(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		draw := func(name string, most int64) int64 { return rapid.Int64Range(0, most).Draw(rt, name) }
		rates := func(name string) Rates {
			return Rates{draw(name+" input", 1e9), draw(name+" output", 1e9), draw(name+" cached", 1e9), draw(name+" written", 1e9), draw(name+" reasoning", 1e9)}
		}
		p := Price{Rates: rates("base"), Tiers: []Tier{{200_000, rates("tier")}}}
		in, out := draw("in", 400_000), draw("out", 100_000)
		read := draw("read", in)
		cost := p.Cost(wire.Tokens{Input: in, CacheRead: read, CacheWrite: draw("write", in-read), Output: out, Reasoning: draw("thought", out)})
		nanoUSD, rate := p.Most(in)
		if most := nanoUSD + (rate*out+999)/1000; cost > most {
			rt.Fatalf("cost %d, at most %d", cost, most)
		}
	})
}

func TestCostIsExact(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		draw := func(name string, most int64) int64 { return rapid.Int64Range(0, most).Draw(rt, name) }
		p := Price{Rates: Rates{draw("input", maxPrice), draw("output", maxPrice), draw("cached", maxPrice), draw("cache_write", maxPrice), draw("reasoning", maxPrice)}}
		in := draw("tokens", maxCount)
		read := draw("read", in)
		tokens := wire.Tokens{Input: in, CacheRead: read, CacheWrite: draw("written", in-read), Output: draw("out", maxCount)}
		tokens.Reasoning = draw("thought", tokens.Output)

		sum := new(big.Int)
		for _, part := range [][2]int64{{p.Input, in - read - tokens.CacheWrite}, {p.Cached, read}, {p.CacheWrite, tokens.CacheWrite}, {p.Output, tokens.Output - tokens.Reasoning}, {p.Reasoning, tokens.Reasoning}} {
			sum.Add(sum, new(big.Int).Mul(big.NewInt(part[0]), big.NewInt(part[1])))
		}
		sum.Add(sum, big.NewInt(500)).Div(sum, big.NewInt(1000))
		want := int64(math.MaxInt64)
		if sum.IsInt64() {
			want = sum.Int64()
		}
		if got := p.Cost(tokens); got != want {
			rt.Fatalf("%d, want %d", got, want)
		}
	})
}

func TestUSDIsAnExactDecimal(t *testing.T) {
	for n, want := range map[USD]string{
		0: "0", 1: "0.000000001", 1_500_000_000: "1.5", 25_000_000_000: "25", 123_456_789: "0.123456789", 100: "0.0000001",
		-2_500_000_000: "-2.5", math.MaxInt64: "9223372036.854775807", math.MinInt64: "-9223372036.854775808",
	} {
		text, _ := n.MarshalJSON()
		if string(text) != want || n.String() != want {
			t.Errorf("%d is %s, want %s", int64(n), text, want)
		}
		if n == math.MinInt64 {
			continue
		}
		var again USD
		if err := again.UnmarshalJSON(text); err != nil || again != n {
			t.Errorf("%s is read as %d, %v", text, int64(again), err)
		}
	}
}
