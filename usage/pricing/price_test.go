package pricing

import (
	"reflect"
	"strings"
	"testing"
)

// flat returns a price without tiers whose reasoning costs as much as other output.
func flat(input, output, cached, cacheWrite int64) Price {
	p := Price{Schedule: Schedule{Rates: textRates(input, output, cached, cacheWrite, output)}, Second: Unknown}
	p.AudioInput, p.CachedAudio, p.AudioOutput, p.ImageOutput, p.HourWrite = input, cached, output, output, cacheWrite
	p.CachedImage = cached
	return p
}

// textRates returns the rates of a price file that has rates for text only.
func textRates(input, output, cached, cacheWrite, reasoning int64) Rates {
	return Rates{
		Input: input, Output: output, Cached: cached, CacheWrite: cacheWrite, Reasoning: reasoning,
		ImageInput: input, CachedImage: input,
		HourWrite: Unknown, AudioInput: Unknown, CachedAudio: Unknown, AudioOutput: Unknown, ImageOutput: Unknown,
	}
}

func TestParse(t *testing.T) {
	for _, test := range []struct {
		words string
		want  Price
		text  string // result of String; empty: the words
	}{
		{"input 2.50 output 10 cached 1.25 cache_write 3.75", flat(2_500_000, 10_000_000, 1_250_000, 3_750_000), "input 2.5 output 10 cached 1.25 cache_write 3.75"},
		{"output 10 input 2.5", flat(2_500_000, 10_000_000, 2_500_000, 2_500_000), "input 2.5 output 10"},
		{"input 0.000001", flat(1, 0, 1, 1), ""},
		{"input 0 output 0", Price{}, "input 0"},
		{"input 2 cached 0", flat(2_000_000, 0, 0, 2_000_000), ""},
		{"input 1000000.000000", flat(maxPrice, 0, maxPrice, maxPrice), "input 1000000"},
	} {
		got, err := Parse(strings.Fields(test.words))
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

func TestParseRefuses(t *testing.T) {
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
		if _, err := Parse(strings.Fields(words)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want %q", words, err, want)
		}
	}
}
