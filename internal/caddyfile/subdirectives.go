package caddyfile

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/amanycodes/pine-gate/internal/keys"
)

// subdirective parses the lines of a block that begin with one name.
type subdirective struct {
	// parse parses the rest of the line and its block. The dispenser holds nothing
	// else and is positioned at the name. Tokens that parse leaves are an error.
	parse func(d *caddyfile.Dispenser) error

	// gone is set if the name was a subdirective of an earlier version.
	gone bool

	// repeats is set if the name may be written again in the same block.
	repeats bool
}

// subdirectives maps the names that are valid in a block to their parsers.
type subdirectives map[string]subdirective

// String returns the names in alphabetical order, for messages.
func (s subdirectives) String() string {
	names := make([]string, 0, len(s))
	for name, known := range s {
		if !known.gone {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// parseBlock parses the block that follows the arguments at which d is positioned.
// All blocks are parsed here, so that extra arguments, unexpected blocks and
// repeated names cause the same errors everywhere. Lines whose name is not in known
// go to other; if other is nil they are errors.
func parseBlock(d *caddyfile.Dispenser, known subdirectives, other func(caddyfile.Segment) error) error {
	seen := make(map[string]int)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		name := d.Val()
		s, ok := known[name]
		if !ok && other == nil {
			return d.Errf("unknown word %q: expected one of %s", name, known)
		}
		if line, again := seen[name]; again && ok && !s.repeats {
			return d.Errf("%q stands here already, in line %d", name, line)
		}
		seen[name] = d.Line()

		segment := d.NextSegment()
		if !ok {
			if err := other(segment); err != nil {
				return err
			}
			continue
		}
		line := caddyfile.NewDispenser(segment)
		line.Next()
		if err := s.parse(line); err != nil {
			return err
		}
		if err := atEnd(line, name); err != nil {
			return err
		}
	}
	return nil
}

// atEnd returns an error if the subdirective called name has left tokens.
func atEnd(d *caddyfile.Dispenser, name string) error {
	if d.NextArg() {
		return d.Errf("unexpected argument %q after %q", d.Val(), name)
	}
	if d.Next() {
		return d.Errf("unexpected '{': %q takes no block", name)
	}
	return nil
}

// argument returns the next argument of the line, or an error if there is none.
// expected describes the argument in that error.
func argument(d *caddyfile.Dispenser, expected string) (string, error) {
	name := d.Val()
	if !d.NextArg() {
		return "", d.Errf("%q lacks its argument: expected %s", name, expected)
	}
	return d.Val(), nil
}

// arguments returns the rest of the arguments of the line, at least one.
func arguments(d *caddyfile.Dispenser, expected string) ([]string, error) {
	name := d.Val()
	args := d.RemainingArgs()
	if len(args) == 0 {
		return nil, d.Errf("%q lacks its arguments: expected %s", name, expected)
	}
	return args, nil
}

// listOf returns a subdirective with one or more arguments, which are appended to
// *to; it may repeat. check validates each argument; if it is nil, all are
// accepted.
func listOf(to *[]string, expected string, check func(string) error) subdirective {
	return subdirective{repeats: true, parse: func(d *caddyfile.Dispenser) error {
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

// gone returns a subdirective of an earlier version, which is an error. message
// contains what to write instead.
func gone(message string) subdirective {
	return subdirective{gone: true, parse: func(d *caddyfile.Dispenser) error { return d.Err(message) }}
}

// textOf returns a subdirective with one argument, which may be any text.
func textOf(to *string, expected string) subdirective {
	return valueOf(to, expected, func(arg string) (string, error) { return arg, nil })
}

// checked returns s with a check that runs after each line.
func checked(s subdirective, check func() error) subdirective {
	parse := s.parse
	s.parse = func(d *caddyfile.Dispenser) error {
		if err := parse(d); err != nil {
			return err
		}
		if err := check(); err != nil {
			return d.WrapErr(err)
		}
		return nil
	}
	return s
}

// flagOf returns a subdirective without arguments, which sets *to to true.
func flagOf(to *bool) subdirective {
	return subdirective{parse: func(*caddyfile.Dispenser) error {
		*to = true
		return nil
	}}
}

// valueOf returns a subdirective with one argument, which read converts.
func valueOf[T any](to *T, expected string, read func(string) (T, error)) subdirective {
	return subdirective{parse: func(d *caddyfile.Dispenser) error {
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

// oneOf returns a subdirective with one argument, which must be a key of options.
// It calls the function of that key.
func oneOf(options map[string]func()) subdirective {
	expected := strings.Join(slices.Sorted(maps.Keys(options)), ", ")
	if i := strings.LastIndex(expected, ", "); i >= 0 {
		expected = expected[:i] + " or " + expected[i+len(", "):]
	}
	return subdirective{parse: func(d *caddyfile.Dispenser) error {
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

// definitions maps ids to the lines that define them.
type definitions map[string]int

// String returns the ids in alphabetical order, for messages.
func (defs definitions) String() string {
	return strings.Join(slices.Sorted(maps.Keys(defs)), ", ")
}

// add parses an id and records its line. Its errors do not contain an argument that
// is not a valid id: it may be a secret, written where the id is missing.
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
