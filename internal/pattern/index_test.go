package pattern

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// An index finds what looking at each pattern finds, in the same order.
func TestAnIndexFindsWhatMatches(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`[ab*]{1,4}`)
		var list List
		for _, text := range rapid.SliceOfN(text, 0, 12).Draw(t, "patterns") {
			p, err := Parse(text)
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, p)
		}
		name := rapid.StringMatching(`[ab]{0,4}`).Draw(t, "name")
		var want []int
		for i, p := range list {
			if p.Match(name) {
				want = append(want, i)
			}
		}
		index := NewIndex(list)
		if got := slices.Collect(index.Matches(name)); !slices.Equal(got, want) {
			t.Fatalf("%q matches %v of %v, want %v", name, got, list, want)
		}
		for i := range index.Matches(name) { // it may be left early
			if i != want[0] {
				t.Fatalf("the first that matches %q is %d, want %d", name, i, want[0])
			}
			break
		}
	})
}
