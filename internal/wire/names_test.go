package wire

import "testing"

func TestNamesOfADialectReplaceTheGates(t *testing.T) {
	for _, c := range []struct {
		what        string
		names       Names
		name, known string // known "": none
	}{
		{"no names", nil, "model", "model"},
		{"another name", Names{"engine": "model"}, "engine", "model"},
		{"the gate's name for it", Names{"engine": "model"}, "model", ""},
		{"a name that both have", Names{"engine": "model"}, "stream", "stream"},
		{"a name that means something else", Names{"model": "id"}, "model", "id"},
	} {
		if got := string(c.names.Known([]byte(c.name))); got != c.known {
			t.Errorf("%s: got %q, want %q", c.what, got, c.known)
		}
		if got := c.names.Spell(c.known); c.known != "" && got != c.name {
			t.Errorf("%s: spelled %q, want %q", c.what, got, c.name)
		}
	}
}
