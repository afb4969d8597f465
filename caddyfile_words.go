package pinegate

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/amanycodes/pine-gate/internal/keys"
)

// word is what may stand at the start of a line within a block.
type word struct {
	// Reads the rest of the word's line and its block. The dispenser holds
	// nothing else and stands on the word. What parse leaves over is an error.
	parse func(d *caddyfile.Dispenser) error

	// Whether the word may be written again in the same block.
	repeats bool
}

// words is a block's vocabulary.
type words map[string]word

// String lists the vocabulary, for messages that say what was expected.
func (w words) String() string {
	return strings.Join(slices.Sorted(maps.Keys(w)), ", ")
}

// parseBlock reads the block that follows the arguments at which d stands. All
// blocks are read here, so that extra arguments, blocks where none belongs and
// repeated words are mistakes everywhere alike. Words that the vocabulary lacks
// go to other; a nil one refuses them.
func parseBlock(d *caddyfile.Dispenser, vocabulary words, other func(caddyfile.Segment) error) error {
	seen := make(map[string]int)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		name := d.Val()
		w, known := vocabulary[name]
		if !known && other == nil {
			return d.Errf("unknown word %q: expected one of %s", name, vocabulary)
		}
		if line, again := seen[name]; again && known && !w.repeats {
			return d.Errf("%q stands here already, in line %d", name, line)
		}
		seen[name] = d.Line()

		segment := d.NextSegment()
		if !known {
			if err := other(segment); err != nil {
				return err
			}
			continue
		}
		line := caddyfile.NewDispenser(segment)
		line.Next()
		if err := w.parse(line); err != nil {
			return err
		}
		if err := atEnd(line, name); err != nil {
			return err
		}
	}
	return nil
}

// atEnd makes sure that nothing is left of what the word of this name was given.
func atEnd(d *caddyfile.Dispenser, name string) error {
	if d.NextArg() {
		return d.Errf("unexpected argument %q after %q", d.Val(), name)
	}
	if d.Next() {
		return d.Errf("unexpected '{': %q takes no block", name)
	}
	return nil
}

// argument reads one argument. The description ends the message that asks for it.
func argument(d *caddyfile.Dispenser, expected string) (string, error) {
	name := d.Val()
	if !d.NextArg() {
		return "", d.Errf("%q lacks its argument: expected %s", name, expected)
	}
	return d.Val(), nil
}

// arguments reads what is left of the line: one argument at least.
func arguments(d *caddyfile.Dispenser, expected string) ([]string, error) {
	name := d.Val()
	args := d.RemainingArgs()
	if len(args) == 0 {
		return nil, d.Errf("%q lacks its arguments: expected %s", name, expected)
	}
	return args, nil
}

// listWord is a word with any number of arguments, which may be written again to
// add to them. check judges one argument; nil takes all.
func listWord(to *[]string, expected string, check func(string) error) word {
	return word{repeats: true, parse: func(d *caddyfile.Dispenser) error {
		name := d.Val()
		args, err := arguments(d, expected)
		if err != nil {
			return err
		}
		for _, arg := range args {
			if slices.Contains(*to, arg) {
				return d.Errf("%s: %q stands here already", name, arg)
			}
			if check != nil {
				if err := check(arg); err != nil {
					return d.Errf("%s: %v", name, err)
				}
			}
			*to = append(*to, arg)
		}
		return nil
	}}
}

// textWord is a word with one argument, which is taken as it is.
func textWord(to *string, expected string) word {
	return singleWord(to, expected, func(arg string) (string, error) { return arg, nil })
}

// checked is a word after which check must hold.
func checked(w word, check func() error) word {
	parse := w.parse
	w.parse = func(d *caddyfile.Dispenser) error {
		if err := parse(d); err != nil {
			return err
		}
		if err := check(); err != nil {
			return d.WrapErr(err)
		}
		return nil
	}
	return w
}

// flagWord is a word without arguments.
func flagWord(to *bool) word {
	return word{parse: func(*caddyfile.Dispenser) error {
		*to = true
		return nil
	}}
}

// singleWord is a word with one argument, which read turns into its value.
func singleWord[T any](to *T, expected string, read func(string) (T, error)) word {
	return word{parse: func(d *caddyfile.Dispenser) error {
		name := d.Val()
		arg, err := argument(d, expected)
		if err != nil {
			return err
		}
		value, err := read(arg)
		if err != nil {
			return d.Errf("%s: %v: expected %s", name, err, expected)
		}
		*to = value
		return nil
	}}
}

// choiceWord is a word with one of the given arguments, each of which does
// something of its own.
func choiceWord(options map[string]func()) word {
	expected := strings.Join(slices.Sorted(maps.Keys(options)), ", ")
	if i := strings.LastIndex(expected, ", "); i >= 0 {
		expected = expected[:i] + " or " + expected[i+len(", "):]
	}
	return word{parse: func(d *caddyfile.Dispenser) error {
		name := d.Val()
		arg, err := argument(d, expected)
		if err != nil {
			return err
		}
		if do, ok := options[arg]; ok {
			do()
			return nil
		}
		return d.Errf("%s: unknown word %q: expected %s", name, arg, expected)
	}}
}

// definitions keeps the lines at which ids were defined.
type definitions map[string]int

// String lists the ids, for messages that say what was expected.
func (defs definitions) String() string {
	return strings.Join(slices.Sorted(maps.Keys(defs)), ", ")
}

// add reads an id and remembers it. What is no id is not told: it may be a
// secret whose id was forgotten.
func (defs definitions) add(d *caddyfile.Dispenser, kind string) (string, error) {
	id, err := argument(d, fmt.Sprintf("the %s's name", kind))
	if err != nil {
		return "", err
	}
	if err := keys.CheckID(id); err != nil {
		return "", d.Errf("the first argument of %q is no name: %v", kind, err)
	}
	if line, again := defs[id]; again {
		return "", d.Errf("%s %q is defined already, in line %d", kind, id, line)
	}
	defs[id] = d.Line()
	return id, nil
}
