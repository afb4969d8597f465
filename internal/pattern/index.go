package pattern

import "iter"

// Index finds those of many patterns that match a name. Most patterns are plain names, which it does not look
// at one by one. The zero value holds none. It may be used by several goroutines.
type Index struct {
	patterns []Pattern
	plain    map[string][]int // the places of plain names
	starred  []int            // the places of all others
}

// NewIndex indexes patterns, which are not to be changed then.
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

// Matches are the places in the list, in order, of the patterns that match a name.
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
