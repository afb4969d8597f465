package limiter

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestParseLimit(t *testing.T) {
	for _, c := range []struct {
		words string
		want  Limit
		text  string // "": as the words
	}{
		{"60 requests/minute", Limit{Requests, Minute, 60, 0}, ""},
		{"60 requests/minute burst 10", Limit{Requests, Minute, 60, 10}, ""},
		{"60 requests/m burst 1k", Limit{Requests, Minute, 60, 1000}, "60 requests/minute burst 1k"},
		{"100k tokens/minute", Limit{Tokens, Minute, 100_000, 0}, ""},
		{"1.5M input_tokens/h", Limit{InputTokens, Hour, 1_500_000, 0}, "1500k input_tokens/hour"},
		{"2G output_tokens/s", Limit{OutputTokens, Second, 2_000_000_000, 0}, "2G output_tokens/second"},
		{"10M tokens/mo", Limit{Tokens, Month, 10_000_000, 0}, "10M tokens/month"},
		{"7 requests/d", Limit{Requests, Day, 7, 0}, "7 requests/day"},
		{"7.0 requests/w", Limit{Requests, Week, 7, 0}, "7 requests/week"},
		{"0.001k requests/day", Limit{Requests, Day, 1, 0}, "1 requests/day"},
		{"25 usd/month", Limit{USD, Month, 25_000_000_000, 0}, ""},
		{"0.5 usd/week", Limit{USD, Week, 500_000_000, 0}, ""},
		{"0.000000001 usd/day", Limit{USD, Day, 1, 0}, ""},
		{"0.1 usd/day", Limit{USD, Day, 100_000_000, 0}, ""},
		{"1.5k usd/month", Limit{USD, Month, 1_500_000_000_000, 0}, "1500 usd/month"},
		{"8 concurrent", Limit{Concurrent, NoWindow, 8, 0}, ""},
		{"9000000000000000 tokens/month", Limit{Tokens, Month, MaxAmount, 0}, "9000000G tokens/month"},
		{"9M usd/month", Limit{USD, Month, MaxAmount, 0}, "9000000 usd/month"},
	} {
		got, err := ParseLimit(strings.Fields(c.words))
		if err != nil || got != c.want {
			t.Errorf("%s: got %+v, error %v", c.words, got, err)
			continue
		}
		if c.text == "" {
			c.text = c.words
		}
		if got.String() != c.text {
			t.Errorf("%s: written as %q, want %q", c.words, got, c.text)
		}
	}
}

func TestParseLimitSaysWhatItExpected(t *testing.T) {
	for words, want := range map[string]string{
		"60 request/minute":                 `limit "60 request/minute": unknown unit "request": expected ` + unitList(),
		"":                                  `expected <n> <unit>[/<window>] [burst <n>]`,
		"60":                                `expected <n> <unit>[/<window>] [burst <n>]`,
		"requests/minute 60":                `unknown unit "60": expected requests, tokens`,
		"60 requests":                       `missing window: expected requests/<window>, one of second, minute, hour, day, week or month`,
		"60 requests/":                      `unknown window "": expected second, minute, hour, day, week or month`,
		"60 requests/min":                   `unknown window "min": expected second`,
		"60 requests/minute/2":              `unknown window "minute/2"`,
		"0 requests/minute":                 `bad amount "0": expected a whole number above zero, such as 60`,
		"0.0 requests/minute":               `bad amount "0.0": expected a whole number above zero`,
		"-1 requests/minute":                `bad amount "-1": expected a whole number`,
		"+1 requests/minute":                `bad amount "+1": expected a whole number`,
		"1.5 requests/minute":               `bad amount "1.5": too many decimals, expected a whole number`,
		"1.0005k requests/minute":           `bad amount "1.0005k": too many decimals`,
		"1e3 requests/minute":               `bad amount "1e3"`,
		"0x10 requests/minute":              `bad amount "0x10"`,
		"1_000 requests/minute":             `bad amount "1_000"`,
		"k requests/minute":                 `bad amount "k"`,
		"1. requests/minute":                `bad amount "1."`,
		".5k requests/minute":               `bad amount ".5k"`,
		"1.2.3k requests/minute":            `bad amount "1.2.3k"`,
		"1kk requests/minute":               `bad amount "1kk"`,
		"١ requests/minute":                 `bad amount "١"`,
		"9000000000000001 requests/minute":  `amount "9000000000000001" is too large: expected at most 9000000000000000`,
		"99999999999999999999 tokens/day":   `too large: expected at most 9000000000000000`,
		"18446744073709551617 tokens/day":   `too large: expected at most 9000000000000000`, // 2^64 + 1
		"9000000.5G tokens/day":             `too large: expected at most 9000000000000000`,
		"9000001 usd/month":                 `amount "9000001" is too large: expected at most 9000000`,
		"0.0000000001 usd/day":              `bad amount "0.0000000001": too many decimals, expected dollars above zero`,
		"$25 usd/day":                       `bad amount "$25": expected dollars above zero, such as 25 or 0.5`,
		"25 usd":                            `usd needs a calendar window: expected usd/day, usd/week or usd/month`,
		"25 usd/minute":                     `usd needs a calendar window`,
		"8 concurrent/minute":               `window "minute": concurrent takes no window`,
		"8 concurrent/":                     `concurrent takes no window`,
		"60 requests/minute burst":          `burst: expected a whole number above zero`,
		"60 requests/minute burst 0":        `bad burst "0": expected a whole number above zero`,
		"60 requests/minute burst -1":       `bad burst "-1"`,
		"60 requests/minute burst 0.5":      `bad burst "0.5"`,
		"60 requests/minute burst 1 2":      `unexpected "2" after the burst`,
		"60 requests/minute per 1":          `unexpected "per": expected <n> <unit>`,
		"60 requests/day burst 10":          `burst is for rates (second, minute or hour)`,
		"8 concurrent burst 10":             `burst is for rates (second, minute or hour)`,
		"60 requests/minute burst 9999999G": `burst "9999999G" is too large`,
	} {
		_, err := ParseLimit(strings.Fields(words))
		if err == nil {
			t.Errorf("%q: no error", words)
		} else if !strings.HasPrefix(err.Error(), `limit "`+words+`": `) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %q, want %q", words, err, want)
		}
	}
}

func TestLimitIsItsWordsInJSON(t *testing.T) {
	var config struct{ Limits []Limit }
	const text = `{"Limits":["60 requests/minute burst 10","25 usd/month","8 concurrent"]}`
	if err := json.Unmarshal([]byte(text), &config); err != nil {
		t.Fatal(err)
	}
	back, err := json.Marshal(config)
	if err != nil || string(back) != text {
		t.Errorf("got %s, error %v", back, err)
	}
	if err := json.Unmarshal([]byte(`{"Limits":["60"]}`), &config); err == nil {
		t.Error("half a limit was read")
	}
	for _, bad := range []Limit{
		{}, {Unit: UnitCount, Window: Day, Amount: 1}, {Unit: Requests, Window: Month + 1, Amount: 1},
		{Unit: Requests, Window: Day, Amount: 1, Burst: 1}, {Unit: Requests, Window: Hour, Amount: 1, Burst: -1},
		{Unit: Requests, Window: Hour, Amount: MaxAmount + 1}, {Unit: Concurrent, Window: Hour, Amount: 1},
		{Unit: USD, Window: Hour, Amount: 1}, {Unit: Concurrent, Amount: 1, Burst: 1},
	} {
		if _, err := bad.MarshalText(); err == nil {
			t.Errorf("%#v was written", bad)
		}
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%#v became a rule", bad)
				}
			}()
			NewRule(ScopeKey, "alice", bad)
		}()
	}
}

func TestLimitReadsWhatItWrites(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := Limit{
			Unit:   Unit(rapid.IntRange(0, int(Concurrent)).Draw(t, "unit")),
			Window: Window(rapid.IntRange(0, int(Month)).Draw(t, "window")),
			Amount: rapid.Int64Range(1, MaxAmount).Draw(t, "amount"),
			Burst:  rapid.SampledFrom([]int64{0, 1, 999, 1000, 1_500_000, MaxAmount}).Draw(t, "burst"),
		}
		text, err := l.MarshalText()
		if err != nil {
			t.Skip()
		}
		var back Limit
		if err := back.UnmarshalText(text); err != nil || back != l {
			t.Fatalf("%#v is written %s and read %#v, error %v", l, text, back, err)
		}
	})
}

func TestWindowBounds(t *testing.T) {
	for _, c := range []struct {
		window          Window
		at, start, end_ string
	}{
		{Day, "2026-02-28T23:59:59Z", "2026-02-28", "2026-03-01"},
		{Day, "2026-03-01T00:00:00Z", "2026-03-01", "2026-03-02"},
		{Day, "2026-03-01T00:30:00+02:00", "2026-02-28", "2026-03-01"}, // in UTC, wherever the gate stands
		{Week, "2026-03-01T12:00:00Z", "2026-02-23", "2026-03-02"},     // a Sunday
		{Week, "2026-03-02T00:00:00Z", "2026-03-02", "2026-03-09"},     // a Monday
		{Week, "2027-01-01T12:00:00Z", "2026-12-28", "2027-01-04"},     // over the year
		{Month, "2028-02-29T12:00:00Z", "2028-02-01", "2028-03-01"},
		{Month, "2026-12-31T23:59:59Z", "2026-12-01", "2027-01-01"},
	} {
		at, err := time.Parse(time.RFC3339, c.at)
		if err != nil {
			t.Fatal(err)
		}
		start, end := c.window.Bounds(at)
		if start.Format(time.DateOnly) != c.start || end.Format(time.DateOnly) != c.end_ {
			t.Errorf("%s of %s: got %s to %s", c.window, c.at, start, end)
		}
	}
	if start, end := Minute.Bounds(time.Now()); !start.IsZero() || !end.IsZero() {
		t.Error("a minute has calendar bounds")
	}
}

func TestRuleName(t *testing.T) {
	for want, r := range map[string]*Rule{
		"key/alice/requests/minute":   NewRule(ScopeKey, "alice", Limit{Requests, Minute, 60, 10}),
		"team/crew/usd/month":         NewRule(ScopeTeam, "crew", Limit{USD, Month, 60, 0}),
		"model/gpt-*/tokens/hour":     NewRule(ScopeModel, "gpt-*", Limit{Tokens, Hour, 60, 0}),
		"backend/openai/concurrent":   NewRule(ScopeBackend, "openai", Limit{Concurrent, NoWindow, 60, 0}),
		"key/alice/output_tokens/day": NewRule(ScopeKey, "alice", Limit{OutputTokens, Day, 60, 0}),
	} {
		if r.Name() != want {
			t.Errorf("got %q, want %q", r.Name(), want)
		}
	}
}
