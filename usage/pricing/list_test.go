package pricing

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/amanycodes/pine-gate/internal/wire"
)

// priceFile writes a price file and returns its path.
func priceFile(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestRead(t *testing.T) {
	path := priceFile(t, "prices.json", `{
		"sample_spec": {"input_cost_per_token": "a number", "max_input_tokens": "some"},
		"plain": {"input_cost_per_token": 1.5e-07, "output_cost_per_token": 0.0000006, "mode": "chat", "litellm_provider": "openai",
			"max_input_tokens": 128000, "max_output_tokens": "many", "supports": {"anything": [1, {"input_cost_per_token": -1}]}},
		"caches": {"input_cost_per_token": 3e-06, "output_cost_per_token": 1.5e-05, "cache_read_input_token_cost": 3e-07,
			"cache_creation_input_token_cost": 3.75e-06, "cache_creation_input_token_cost_above_1hr": 6e-06,
			"input_cost_per_token_above_200k_tokens": 6e-06, "output_cost_per_token_above_200k_tokens": 2.25e-05,
			"cache_read_input_token_cost_above_200k_tokens": 6e-07, "cache_creation_input_token_cost_above_200k_tokens": 7.5e-06,
			"input_cost_per_token_above_200k_tokens_priority": 9e-06},
		"tiers": {"input_cost_per_token": 1e-06, "output_cost_per_token": 2e-06,
			"input_cost_per_token_above_272k_tokens": 4e-06, "input_cost_per_token_above_128k_tokens": 2e-06, "cache_read_input_token_cost_above_128k_tokens": 1e-07},
		"thinks": {"input_cost_per_token": 2E-6, "output_cost_per_token": 8e-06, "output_cost_per_reasoning_token": 3.0e-06},
		"tiny": {"input_cost_per_token": 1e-09, "output_cost_per_token": 1.5e-12},
		"digits": {"input_cost_per_token": 2.7499999999999998e-06, "output_cost_per_token": null},
		"free": {"input_cost_per_token": 0, "output_cost_per_token": 0.0},
		"by the query": {"input_cost_per_token": 0.0, "output_cost_per_token": 0.0, "input_cost_per_query": 0.002},
		"by the second": {"input_cost_per_second": 0.0001, "mode": "audio_transcription"},
		"output only": {"output_cost_per_token": 1e-06},
		"twice": {"input_cost_per_token": 1e-06},
		"twice": {"input_cost_per_token": 2e-06}
	}`)
	list, err := Read([]string{path})
	if err != nil {
		t.Fatal(err)
	}
	flatOf := func(input, output, cached, cacheWrite, reasoning int64, tiers ...Tier) *Price {
		return &Price{Schedule: Schedule{textRates(input, output, cached, cacheWrite, reasoning), tiers}, Second: Unknown, Services: new(Services)}
	}
	hour := func(r Rates, rate int64) Rates { r.HourWrite = rate; return r }
	caches := flatOf(3_000_000, 15_000_000, 300_000, 3_750_000, 15_000_000,
		Tier{200_000, hour(textRates(6_000_000, 22_500_000, 600_000, 7_500_000, 22_500_000), 6_000_000)})
	caches.HourWrite = 6_000_000
	want := map[string]*Price{
		"plain":  flatOf(150_000, 600_000, 150_000, 150_000, 600_000),
		"caches": caches,
		"tiers": flatOf(1_000_000, 2_000_000, 1_000_000, 1_000_000, 2_000_000,
			Tier{128_000, textRates(2_000_000, 2_000_000, 100_000, 2_000_000, 2_000_000)},
			Tier{272_000, textRates(4_000_000, 2_000_000, 100_000, 4_000_000, 2_000_000)}),
		"thinks":        flatOf(2_000_000, 8_000_000, 2_000_000, 2_000_000, 3_000_000),
		"tiny":          flatOf(1000, 2, 1000, 1000, 2),
		"digits":        flatOf(2_750_000, 0, 2_750_000, 2_750_000, 0),
		"free":          {},
		"twice":         flatOf(2_000_000, 0, 2_000_000, 2_000_000, 0),
		"by the second": {Schedule: Schedule{Rates: unknownRates}, Second: 100_000_000, Services: new(Services)},
	}
	for name, price := range want {
		if got := list.prices[name]; !reflect.DeepEqual(got, price) {
			t.Errorf("%s: %+v, want %+v", name, got, price)
		}
	}
	if list.Len() != len(want) {
		t.Errorf("%d prices, want %d: %v", list.Len(), len(want), list.prices)
	}
}

func TestReadOfServiceTiersAndMedia(t *testing.T) {
	list, err := Read([]string{priceFile(t, "prices.json", `{
		"gpt-5": {"input_cost_per_token": 1.25e-06, "input_cost_per_token_flex": 6.25e-07, "input_cost_per_token_priority": 2.5e-06,
			"output_cost_per_token": 1e-05, "output_cost_per_token_flex": 5e-06, "output_cost_per_token_priority": 2e-05,
			"cache_read_input_token_cost": 1.25e-07, "cache_read_input_token_cost_flex": 6.25e-08, "cache_read_input_token_cost_priority": 2.5e-07},
		"long": {"input_cost_per_token": 2e-06, "output_cost_per_token": 1e-05, "cache_read_input_token_cost": 2e-07,
			"input_cost_per_token_above_272k_tokens": 4e-06, "output_cost_per_token_above_272k_tokens": 1.5e-05,
			"input_cost_per_token_priority": 3e-06, "output_cost_per_token_priority": 2e-05, "input_cost_per_token_above_272k_tokens_priority": 8e-06,
			"input_cost_per_token_flex": 1e-06, "input_cost_per_token_flex_above_272k_tokens": 2e-06,
			"input_cost_per_token_batches": 1e-06, "input_cost_per_token_ultrafast": 9e-06, "input_cost_per_token_above_1hr": 7e-06},
		"audio": {"input_cost_per_token": 2.5e-06, "output_cost_per_token": 1e-05, "input_cost_per_audio_token": 4e-05, "output_cost_per_audio_token": 8e-05,
			"cache_read_input_audio_token_cost": 2.5e-06},
		"image": {"input_cost_per_token": 5e-06, "input_cost_per_image_token": 1e-05, "output_cost_per_image_token": 4e-05,
			"cache_read_input_token_cost": 1.25e-06, "cache_read_input_image_token_cost": 2.5e-06},
		"hears": {"input_cost_per_token": 0, "output_cost_per_token": 0, "input_cost_per_second": 3.083e-05, "output_cost_per_second": 0}
	}`)})
	if err != nil {
		t.Fatal(err)
	}
	tier := func(model string, service func(*Services) *Schedule, input int64) Rates {
		t.Helper()
		s := service(list.prices[model].Services)
		if s == nil {
			t.Fatalf("%s: no such tier", model)
		}
		return *s.at(input)
	}
	flex := func(s *Services) *Schedule { return s.Flex }
	batch := func(s *Services) *Schedule { return s.Batch }
	priority := func(s *Services) *Schedule { return s.Priority }
	audio := textRates(2_500_000, 10_000_000, 2_500_000, 2_500_000, 10_000_000)
	audio.AudioInput, audio.CachedAudio, audio.AudioOutput = 40_000_000, 2_500_000, 80_000_000
	image := textRates(5_000_000, 0, 1_250_000, 5_000_000, 0)
	image.ImageInput, image.CachedImage, image.ImageOutput = 10_000_000, 2_500_000, 40_000_000
	for name, c := range map[string]struct{ got, want Rates }{
		"flex":                          {tier("gpt-5", flex, 1), textRates(625_000, 5_000_000, 62_500, 625_000, 5_000_000)},
		"priority":                      {tier("gpt-5", priority, 1), textRates(2_500_000, 20_000_000, 250_000, 2_500_000, 20_000_000)},
		"priority for long ones":        {tier("long", priority, 300_000), textRates(8_000_000, 20_000_000, 8_000_000, 8_000_000, 20_000_000)},
		"what priority lacks":           {tier("long", priority, 1), textRates(3_000_000, 20_000_000, 3_000_000, 3_000_000, 20_000_000)},
		"what flex lacks":               {tier("long", flex, 1), textRates(1_000_000, 10_000_000, 200_000, 1_000_000, 10_000_000)},
		"flex for long ones":            {tier("long", flex, 300_000), textRates(2_000_000, 15_000_000, 200_000, 2_000_000, 15_000_000)},
		"batches lack it for long ones": {tier("long", batch, 300_000), textRates(4_000_000, 15_000_000, 200_000, 4_000_000, 15_000_000)},
		"audio":                         {list.prices["audio"].Rates, audio},
		"image":                         {list.prices["image"].Rates, image},
		"hears":                         {list.prices["hears"].Rates, unknownRates},
	} {
		if c.got != c.want {
			t.Errorf("%s:\n got %+v\nwant %+v", name, c.got, c.want)
		}
	}
	if list.prices["audio"].Services.Priority != nil || list.prices["hears"].Second != 30_830_000 {
		t.Errorf("%+v", list.prices["hears"])
	}
}

func TestReadLaterFilesOverride(t *testing.T) {
	first := priceFile(t, "first.json", `{"a": {"input_cost_per_token": 1e-06, "output_cost_per_token": 1e-06}, "b": {"input_cost_per_token": 1e-06}, "c": {"input_cost_per_token": 1e-06}}`)
	second := priceFile(t, "second.json", `{"a": {"input_cost_per_token": 2e-06}, "c": {"input_cost_per_query": 1}}`)
	list, err := Read([]string{first, second})
	if err != nil {
		t.Fatal(err)
	}
	if got := list.prices["a"]; got.Input != 2_000_000 || got.Output != 0 {
		t.Errorf("a: %+v", got)
	}
	if list.prices["b"].Input != 1_000_000 || list.prices["c"] != nil {
		t.Errorf("b: %+v, c: %+v", list.prices["b"], list.prices["c"])
	}
}

func TestReadNamesWhatIsWrong(t *testing.T) {
	for content, want := range map[string]string{
		`{"m": {"input_cost_per_token": -1e-06}}`:                             `model "m": input_cost_per_token: -1e-06 is negative: expected the price of a token in USD`,
		`{"m": {"input_cost_per_token": "1e-06"}}`:                            `model "m": input_cost_per_token: "1e-06": expected a number, the price of a token in USD`,
		`{"m": {"output_cost_per_token": {}}}`:                                `model "m": output_cost_per_token: {}: expected a number, the price of a token in USD`,
		`{"m": {"output_cost_per_reasoning_token": true}}`:                    `model "m": output_cost_per_reasoning_token: true: expected a number`,
		`{"m": {"cache_read_input_token_cost": 2.50}}`:                        `model "m": cache_read_input_token_cost: 2.50 is more than a USD for one token`,
		`{"m": {"input_cost_per_token": 1e400}}`:                              `model "m": input_cost_per_token: 1e400 is too large: expected the price of a token in USD`,
		`{"m": {"cache_creation_input_token_cost_above_200k_tokens": "x"}}`:   `model "m": cache_creation_input_token_cost_above_200k_tokens: "x": expected a number`,
		`{"m": {"input_cost_per_token": "` + strings.Repeat("x", 100) + `"}}`: `"` + strings.Repeat("x", 39) + `…: expected a number`,
		`{"m": 3}`:                          `model "m": expected an object of prices`,
		`[]`:                                `prices.json: expected an object of models`,
		``:                                  `expected an object of models, and the file is empty`,
		`{"m": {}`:                          `unexpected EOF`,
		`{"m": {}} {}`:                      `expected nothing behind the models`,
		`{"m": {"input_cost_per_token": }}`: `model "m": jsontext: `,
	} {
		_, err := Read([]string{priceFile(t, "prices.json", content)})
		if err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "reading prices: ") || !strings.Contains(err.Error(), "prices.json: ") {
			t.Errorf("%s:\n%v\nwant %s", content, err, want)
		}
	}
	if _, err := Read([]string{t.TempDir()}); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Error(err)
	}
	if _, err := Read([]string{filepath.Join(t.TempDir(), "none.json")}); err == nil {
		t.Error("a file that is missing is not told")
	}
}

func TestFind(t *testing.T) {
	list := &List{prices: map[string]*Price{}}
	for _, name := range []string{"gpt-4o", "azure/gpt-4o", "groq/llama", "openrouter/openai/gpt-4o", "gpt-4o-2024", "openai/nested/m", "m"} {
		list.prices[name] = new(Price)
	}
	for _, c := range []struct{ backend, asked, upstream, want string }{
		{"b", "gpt-4o", "gpt-4o", "gpt-4o"},
		{"azure", "gpt-4o", "gpt-4o", "gpt-4o"}, // by the requested name
		{"azure", "azure/gpt-4o", "gpt-4o", "azure/gpt-4o"},
		{"b", "fast", "gpt-4o", "gpt-4o"},
		{"b", "gpt-4o", "gpt-4o-2024", "gpt-4o"},
		{"b", "fast", "gpt-4o-2024", "gpt-4o-2024"},
		{"groq", "llama", "llama", "groq/llama"},
		{"groq", "fast", "llama", "groq/llama"},
		{"other", "llama", "llama", ""},
		{"openrouter", "openai/gpt-4o", "openai/gpt-4o", "openrouter/openai/gpt-4o"},
		{"b", "openai/gpt-4o", "openai/gpt-4o", "gpt-4o"},
		{"b", "router/openai/gpt-4o", "router/openai/gpt-4o", "gpt-4o"},
		{"b", "x/openai/nested/m", "y", "openai/nested/m"},
		{"b", "fast", "openai/gpt-4o", "gpt-4o"},
		{"b", "GPT-4o", "GPT-4o", ""},
		{"b", "", "", ""},
		{"b", "gpt-4o/", "gpt-4o/", ""},
	} {
		if got := list.Find(c.backend, c.asked, c.upstream); got != list.prices[c.want] {
			t.Errorf("%+v: not that of %q", c, c.want)
		}
	}
	var none *List
	if none.Find("b", "m", "m") != nil || none.Len() != 0 {
		t.Error("no list has a price")
	}
}

func BenchmarkFindPriceAndCost(b *testing.B) {
	list := &List{prices: map[string]*Price{"gpt-4o": {Schedule: Schedule{Rates: Rates{Input: 2_500_000, Output: 10_000_000}}}}}
	for b.Loop() {
		list.Find("openai", "gpt-4o", "gpt-4o").Cost(Used{Tokens: wire.Tokens{Input: 1000, Output: 100}})
	}
}
