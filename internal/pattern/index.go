package pattern

import "iter"

// Index finds those of many patterns that match a name. Most patterns are plain names, which it looks up in a
// map. The zero value is empty. It is safe for concurrent use.
type Index struct {
	patterns []Pattern
	plain    map[string][]int // the indices of plain names
	starred  []int            // the indices of all others
}

// NewIndex returns an index of patterns, which must not be changed afterwards.
func NewIndex(patterns []Pattern) *Index {
	x := &Index{patterns: patterns, plain: make(map[string][]int)}
	for i, p := range patterns {
		if p.Literal() {
			x.plain[p.text] = append(x.plain[p.text], i)
		} else {
			x.starred = append(x.starred, i)
		}
	}
	return x
}

// Matches returns the indices, in order, of the patterns that match a name.
func (x *Index) Matches(name string) iter.Seq[int] {
	return func(yield func(int) bool) {
		plain := x.plain[name]
		for _, i := range x.starred {
			for len(plain) > 0 && plain[0] < i {
				if !yield(plain[0]) {
					return
				}
				plain = plain[1:]
			}
			if x.patterns[i].Match(name) && !yield(i) {
				return
			}
		}
		for _, i := range plain {
			if !yield(i) {
				return
			}
		}
	}
}
