// Package pattern matches names, such as those of models, against patterns in
// which `*` stands for any run of characters, the empty one included. Nothing
// else is special: model names hold dots, slashes, colons and brackets.
package pattern

import (
	"errors"
	"fmt"
	"strings"
)

// Pattern is a parsed pattern. The zero value matches the empty name only.
type Pattern struct {
	text  string
	parts []string // the literals between the stars; one part: no star
}

// Parse parses a pattern. It fails for an empty one and for one with white
// space or control characters, which no name holds.
func Parse(text string) (Pattern, error) {
	if text == "" {
		return Pattern{}, errors.New("empty pattern")
	}
	if i := strings.IndexFunc(text, func(r rune) bool { return r <= ' ' || r == 0x7f }); i >= 0 {
		return Pattern{}, fmt.Errorf("pattern %q holds white space or a control character", text)
	}
	return Pattern{text: text, parts: strings.Split(text, "*")}, nil
}

// Match reports whether the whole name matches. It is case-sensitive.
func (p Pattern) Match(name string) bool {
	if len(p.parts) < 2 {
		return p.text == name
	}
	first, last := p.parts[0], p.parts[len(p.parts)-1]
	if len(name) < len(first)+len(last) || !strings.HasPrefix(name, first) || !strings.HasSuffix(name, last) {
		return false
	}
	rest := name[len(first) : len(name)-len(last)]
	for _, part := range p.parts[1 : len(p.parts)-1] {
		i := strings.Index(rest, part)
		if i < 0 {
			return false
		}
		rest = rest[i+len(part):]
	}
	return true
}

// Literal reports whether the pattern is a plain name, which matches only itself.
func (p Pattern) Literal() bool { return len(p.parts) < 2 }

// LiteralPrefix returns the length in bytes of the text before the first star: of
// several patterns that match, the one with the longest prefix is the most
// specific.
func (p Pattern) LiteralPrefix() int {
	if len(p.parts) == 0 {
		return 0
	}
	return len(p.parts[0])
}

// String returns the pattern as it was written.
func (p Pattern) String() string { return p.text }

// List is a set of patterns, any of which may match.
type List []Pattern

// ParseList parses each pattern.
func ParseList(texts []string) (List, error) {
	list := make(List, 0, len(texts))
	for _, text := range texts {
		p, err := Parse(text)
		if err != nil {
			return nil, err
		}
		list = append(list, p)
	}
	return list, nil
}

// Match reports whether any of the patterns matches.
func (l List) Match(name string) bool {
	for _, p := range l {
		if p.Match(name) {
			return true
		}
	}
	return false
}
