package caddyfile

import "testing"

func TestParseCount(t *testing.T) {
	for text, want := range map[string]int64{"1": 1, "4096": 4096, "100k": 100_000, "1.5M": 1_500_000, "2G": 2_000_000_000, "0.001k": 1} {
		if got, err := parseCount(text); err != nil || got != want {
			t.Errorf("%s: %d, %v; want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "k", ".", "-1", "+1", "1e3", "1/2", "0x10", "1_000", "1.5", "0", "0k", "1K", "1kM", "9223372036854775808", "1..5"} {
		if got, err := parseCount(text); err == nil {
			t.Errorf("%q: %d", text, got)
		}
	}
}
