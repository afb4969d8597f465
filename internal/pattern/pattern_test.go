package pattern

import "testing"

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		pattern, name string
		want          bool
	}{
		{"gpt-4o", "gpt-4o", true},
		{"gpt-4o", "gpt-4o-mini", false},
		{"gpt-4o", "GPT-4o", false},
		{"*", "", true},
		{"*", "meta-llama/Llama-3.1-8B", true},
		{"gpt-*", "gpt-4o", true},
		{"gpt-*", "gpt", false},
		{"*-mini", "gpt-4o-mini", true},
		{"*-mini", "mini", false},
		{"a*a", "a", false}, // prefix and suffix may not overlap
		{"a*a", "aa", true},
		{"a*b*c", "axxbyyc", true},
		{"a*b*c", "axxcyyb", false},
		{"a*b*b", "ab", false}, // nothing is matched twice
		{"openrouter/*:free", "openrouter/x/y:free", true},
		{"gpt-[45]", "gpt-4", false},
		{"gpt-?", "gpt-4", false},
	} {
		p, err := Parse(c.pattern)
		if err != nil {
			t.Fatalf("Parse(%q): %v", c.pattern, err)
		}
		if got := p.Match(c.name); got != c.want {
			t.Errorf("%q matches %q: %t, want %t", c.pattern, c.name, got, c.want)
		}
	}
}

func TestParseRefusesWhatNoNameHolds(t *testing.T) {
	for _, text := range []string{"", "a b", "a\nb", "\x7f"} {
		if _, err := Parse(text); err == nil {
			t.Errorf("Parse(%q) succeeded", text)
		}
	}
}

func TestLiteralPrefixIsWhatStandsBeforeTheFirstStar(t *testing.T) {
	for text, want := range map[string]int{"*": 0, "gpt-*": 4, "gpt-4o": 6, "a*b*": 1} {
		p, _ := Parse(text)
		if got := p.LiteralPrefix(); got != want {
			t.Errorf("LiteralPrefix(%q) = %d, want %d", text, got, want)
		}
	}
}
