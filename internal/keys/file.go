package keys

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// sourceSet is the content of one source.
type sourceSet struct {
	keys       []*Key
	entries    []entry     // of secrets that are hashes or clear text
	references []reference // of secrets that are placeholders
	clear      bool        // at least one secret is clear text
	teams      []*Team     // of the runtime only
}

// reference is a secret of a key that is a placeholder.
type reference struct {
	key         *Key // nil: an admin key
	owner       string
	placeholder secretText
}

// add validates a key and its secrets and adds it. Errors name a secret by its
// number in the list.
func (set *sourceSet) add(c *Config, clear bool) error {
	key, err := c.Key()
	if err != nil {
		return err
	}
	if len(c.Secrets) == 0 {
		return c.wrap("secrets", errors.New("it has none"))
	}
	specs := make([]secretText, 0, len(c.Secrets))
	for i, text := range c.Secrets {
		parsed, err := parseSecret(text, clear)
		if err == nil && slices.Contains(specs, parsed) {
			err = errors.New("it is there twice")
		}
		if err != nil {
			return c.wrap(fmt.Sprintf("secret %d of %d", i+1, len(c.Secrets)), err)
		}
		specs = append(specs, parsed)
		if parsed.placeholder != "" {
			set.references = append(set.references, reference{key, fmt.Sprintf("key %q", c.ID), parsed})
		} else {
			set.entries = append(set.entries, entry{parsed.hash, key})
		}
		set.clear = set.clear || parsed.clear
	}
	set.keys = append(set.keys, key)
	return nil
}

// join adds another part of the same source.
func (set *sourceSet) join(part *sourceSet) {
	set.keys = append(set.keys, part.keys...)
	set.entries = append(set.entries, part.entries...)
	set.references = append(set.references, part.references...)
	set.clear = set.clear || part.clear
}

// parseFile parses a keys file. The error names the line, the field and the key.
// It never quotes text that may be a secret.
func parseFile(content []byte) (*sourceSet, error) {
	d := jsontext.NewDecoder(bytes.NewBuffer(content))
	set := new(sourceSet)
	var err error
	switch d.PeekKind() {
	case '[':
		err = parseArray(d, content, set)
	case '{':
		err = parseObject(d, content, set)
	default:
		if _, err = d.ReadToken(); err == nil {
			err = errors.New("expected an array of keys")
		}
	}
	if err != nil {
		return nil, locate(err, content)
	}
	if _, err := d.ReadToken(); err != io.EOF {
		return nil, fmt.Errorf("line %d: expected nothing after the keys", line(content, d.InputOffset()))
	}
	return set, nil
}

// parseObject parses {"keys": […]}.
func parseObject(d *jsontext.Decoder, content []byte, set *sourceSet) error {
	if _, err := d.ReadToken(); err != nil {
		return err
	}
	found := false
	for d.PeekKind() == '"' {
		name, err := d.ReadToken()
		if err != nil {
			return err
		}
		if name.String() != "keys" {
			return fmt.Errorf("line %d: unknown field %s: expected keys", line(content, d.InputOffset()), quote(name.String()))
		}
		found = true
		if err := parseArray(d, content, set); err != nil {
			return err
		}
	}
	if _, err := d.ReadToken(); err != nil {
		return err
	}
	if !found {
		return errors.New("expected an array of keys, or an object with the field keys")
	}
	return nil
}

// parseArray parses […]. It locates the keys first, and then decodes them on all
// processors: NewStore waits for it, and a file may hold a million keys.
func parseArray(d *jsontext.Decoder, content []byte, set *sourceSet) error {
	if kind := d.PeekKind(); kind != '[' && kind != 0 {
		return fmt.Errorf("line %d: expected an array of keys", line(content, d.InputOffset()))
	}
	if _, err := d.ReadToken(); err != nil {
		return err
	}
	list := keyList{content: content, at: d.StackPointer()}
	for {
		kind := d.PeekKind()
		if kind == ']' {
			if _, err := d.ReadToken(); err != nil {
				return err
			}
			return list.decode(set)
		}
		if kind != '{' && kind != 0 {
			return fmt.Errorf("line %d: expected an object, which describes a key", line(content, start(d, content)))
		}
		begin := start(d, content)
		if _, err := d.ReadValue(); err != nil {
			return err
		}
		list.keys = append(list.keys, span{begin, d.InputOffset()})
	}
}

// keyList holds the keys of a file, each an object of valid JSON.
type keyList struct {
	content []byte
	at      jsontext.Pointer // path of the array
	keys    []span
}

// span is the byte range of a key in the content.
type span struct{ from, to int64 }

// decode adds the keys to set, or returns the error of the first invalid one.
func (l *keyList) decode(set *sourceSet) error {
	parts := make([]sourceSet, min(runtime.GOMAXPROCS(0), len(l.keys)))
	errs := make([]error, len(parts))
	var decoding sync.WaitGroup
	for i := range parts {
		from, to := i*len(l.keys)/len(parts), (i+1)*len(l.keys)/len(parts)
		decoding.Go(func() { errs[i] = l.decodeSome(&parts[i], from, to) })
	}
	decoding.Wait()
	set.keys, set.entries = slices.Grow(set.keys, len(l.keys)), slices.Grow(set.entries, len(l.keys))
	for i := range parts {
		if errs[i] != nil {
			return errs[i]
		}
		set.join(&parts[i])
	}
	return nil
}

func (l *keyList) decodeSome(set *sourceSet, from, to int) error {
	set.keys, set.entries = make([]*Key, 0, to-from), make([]entry, 0, to-from)
	for i, key := range l.keys[from:to] {
		var c Config // not kept: all of them take as much memory as the keys
		if err := json.Unmarshal(l.content[key.from:key.to], &c, json.RejectUnknownMembers(true)); err != nil {
			var semantic *json.SemanticError
			if errors.As(err, &semantic) {
				semantic.ByteOffset += key.from
				semantic.JSONPointer = l.at.AppendToken(strconv.Itoa(from+i)) + semantic.JSONPointer
			}
			return err
		}
		if err := set.add(&c, true); err != nil {
			return fmt.Errorf("line %d: %w", line(l.content, key.from), err)
		}
	}
	return nil
}

// start returns the offset of the value that d reads next.
func start(d *jsontext.Decoder, content []byte) int64 {
	offset := d.InputOffset()
	return offset + int64(bytes.IndexFunc(content[offset:], func(r rune) bool { return !strings.ContainsRune(" \t\r\n,:", r) }))
}

// line returns the line number of offset.
func line(content []byte, offset int64) int {
	return 1 + bytes.Count(content[:min(int(offset), len(content))], []byte("\n"))
}

// quote quotes a name from a keys file, unless it is long enough to be a
// misplaced secret.
func quote(name string) string {
	if len(name) >= MinSecretLength {
		return "(not shown: it is as long as a secret)"
	}
	return fmt.Sprintf("%q", name)
}

// locate returns the decoder's error with its position in the file and with a
// message that does not quote the value, as the decoder's own messages do.
func locate(err error, content []byte) error {
	var semantic *json.SemanticError
	var syntactic *jsontext.SyntacticError
	var offset int64
	var what string
	var pointer jsontext.Pointer
	switch {
	case errors.As(err, &syntactic):
		offset, pointer = syntactic.ByteOffset, syntactic.JSONPointer
		what = "broken JSON"
		switch {
		case errors.Is(err, jsontext.ErrDuplicateName):
			what = fmt.Sprintf("field %s is there twice", quote(pointer.LastToken()))
			pointer = pointer.Parent()
		case errors.Is(err, io.ErrUnexpectedEOF):
			what = "it ends too early"
		}
	case errors.As(err, &semantic):
		offset, pointer = semantic.ByteOffset, semantic.JSONPointer
		switch {
		case errors.Is(err, json.ErrUnknownName):
			what = fmt.Sprintf("unknown field %s", quote(pointer.LastToken()))
			pointer = pointer.Parent()
		case semantic.Err != nil && slices.Contains(slices.Collect(pointer.Tokens()), "limits"):
			what = semantic.Err.Error() // of the limit's own grammar
		default:
			what = "a value of the wrong type"
		}
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		offset, what = int64(len(content)), "it ends too early"
	default:
		return err
	}
	where := ""
	for token := range pointer.Tokens() {
		if len(token) >= MinSecretLength {
			token = "…"
		}
		where += "/" + token
	}
	if where != "" {
		where = " in " + where
	}
	return fmt.Errorf("line %d, byte %d%s: %s", line(content, offset), offset, where, what)
}
