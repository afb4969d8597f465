package request

import (
	"bytes"
	"strconv"

	"github.com/amanycodes/pine-gate/internal/wire"
)

// maxCaps is the maximum number of caps in a request. No client sends so many.
const maxCaps = 12

// capValue is a cap in the request.
type capValue struct {
	field  field
	nested bool // in an object such as options
	null   bool
	at     span
	value  int64 // below 0: no cap
}

// setting parses field f: a cap, a number of answers, an object of both, or a
// field that must be null.
func (s *scanner) setting(r *Request, c *counts, f field) *wire.Error {
	switch {
	case f.isCap():
		return s.cap(r, f, false)
	case f.isCount():
		return s.count(c, f)
	case f.isRefused():
		return s.absent(f)
	}
	return s.settings(r, c)
}

// settings parses an object of caps and numbers of answers, beside members that
// the gate does not read. It ignores other values.
func (s *scanner) settings(r *Request, c *counts) *wire.Error {
	if s.decoder.PeekKind() != '{' {
		return s.skip()
	}
	if _, err := s.next(); err != nil {
		return err
	}
	for seen := (fieldSet{}); ; {
		f, more, err := s.name(objectSettings, &seen)
		switch {
		case err != nil || !more:
			return err
		case f.isCap():
			err = s.cap(r, f, true)
		case f.isCount():
			err = s.count(c, f)
		case f.isRefused():
			err = s.absent(f)
		default:
			err = s.other(r)
		}
		if err != nil {
			return err
		}
	}
}

// cap parses a cap.
func (s *scanner) cap(r *Request, f field, nested bool) *wire.Error {
	at, err := s.next()
	if err != nil {
		return err
	}
	return r.addCap(capValue{field: f, nested: nested, at: at}, s.body[at.start:at.end])
}

// addCap adds the cap c with the value written in text.
func (r *Request) addCap(c capValue, text []byte) *wire.Error {
	digits, negative := bytes.CutPrefix(text, []byte("-"))
	var ok bool
	switch {
	case string(text) == "null" && !r.form:
		c.null, ok = true, true
	case string(text) == "0":
		ok = true
	default:
		if c.value, ok = parseInteger(digits, maxCap); negative {
			c.value = -1
		}
	}
	if !ok {
		return paramErrorf(c.field.String(), "%s must be an integer of 1 to %d, 0, or -1 for no limit.", c.field, int64(maxCap))
	}
	if r.capCount == maxCaps {
		return paramErrorf(c.field.String(), "%s is one limit of the answer too many.", c.field)
	}
	r.caps[r.capCount] = c
	r.capCount++
	return nil
}

// setCap sets Cap from the caps. Those that the API does not read do not count
// alone if they are 0: a server that ignores them would have no cap.
func (r *Request) setCap() {
	for _, c := range r.caps[:r.capCount] {
		switch {
		case c.null:
		case c.value < 0:
			r.Cap = -1
			return
		default:
			r.Cap = max(r.Cap, c.value)
		}
	}
	if r.Cap == 0 && !r.holdsCap() {
		r.Cap = -1
	}
}

// holdsCap reports whether the request has a cap that every server of its API
// reads. An API without a cap is held by any of OpenAI's.
func (r *Request) holdsCap() bool {
	for _, c := range r.caps[:r.capCount] {
		if c.null || c.nested {
			continue
		}
		switch name := r.endpoint.CapName(); {
		case name == fieldNames[c.field], name == "" && c.field <= fieldMaxOutputTokens, c.field == fieldMaxCompletionTokens && r.endpoint == wire.Chat:
			return true
		}
	}
	return false
}

// count parses a number of answers.
func (s *scanner) count(c *counts, f field) *wire.Error {
	n, _, err := s.integer(f, maxAnswers)
	c.answers = max(c.answers, n)
	return err
}

// absent returns an error unless the value of f is null.
func (s *scanner) absent(f field) *wire.Error {
	at, err := s.next()
	if err == nil && s.body[at.start] != 'n' {
		err = refused(f)
	}
	return err
}

func refused(f field) *wire.Error {
	return paramErrorf(f.String(), "%s is not supported by this gateway.", f)
}

// lowerCaps lowers every cap that is above limit.
func (r *Request) lowerCaps(s *splices, limit int64) {
	for _, c := range r.caps[:r.capCount] {
		if !c.null && (c.value > limit || c.value < 0) {
			s.add(c.at, strconv.AppendInt(nil, limit, 10))
		}
	}
}

// editCaps lowers the caps. If none of them is one that the API reads, it appends
// one to insert. It returns insert.
func (r *Request) editCaps(s *splices, insert []byte, e Edit) []byte {
	r.lowerCaps(s, e.Cap)
	if budget := r.Thinking(e.Cap); budget < r.thinking.value {
		s.add(r.thinking.at, strconv.AppendInt(nil, budget, 10))
	}
	if e.CapName == "" || r.holdsCap() {
		return insert
	}
	number := strconv.AppendInt(nil, e.Cap, 10)
	for _, c := range r.caps[:r.capCount] {
		// Replace the null: a second member of the same name would be ambiguous.
		if fieldNames[c.field] == e.CapName && !c.nested {
			if c.null {
				s.add(c.at, number)
			}
			return insert
		}
	}
	insert = wire.AppendString(insert, r.spell(e.CapName))
	insert = append(insert, ':')
	return append(append(insert, number...), ',')
}

// MinThinking is the lowest budget_tokens that Anthropic's API takes.
const MinThinking = 1024

// thinking parses the settings of extended thinking.
func (s *scanner) thinking(r *Request) *wire.Error {
	if s.decoder.PeekKind() != '{' {
		return s.skip()
	}
	if _, err := s.next(); err != nil {
		return err
	}
	for seen := (fieldSet{}); ; {
		f, more, err := s.name(objectThinking, &seen)
		switch {
		case err != nil || !more:
			return err
		case f != fieldBudgetTokens || s.decoder.PeekKind() != '0':
			err = s.other(r)
		default:
			var at span
			if at, err = s.next(); err == nil {
				value, _ := parseInteger(s.body[at.start:at.end], maxCap) // else the backend refuses it
				r.thinking = capValue{field: f, at: at, value: value}
			}
		}
		if err != nil {
			return err
		}
	}
}

// Thinking returns the tokens that the request may think if its answer is capped at
// limit, which must be more: as asked for, or the same share of a lower cap, but at
// least MinThinking. It is 0 if the request sets no budget.
func (r *Request) Thinking(limit int64) int64 {
	asked := r.thinking.value
	if asked == 0 || limit > asked || limit < 0 {
		return asked
	}
	share := limit / 2
	if r.Cap > asked {
		share = int64(float64(limit) * float64(asked) / float64(r.Cap))
	}
	return min(asked, max(share, MinThinking))
}

// MinCap returns the lowest cap that the API takes for the request, whose answers
// are capped at limit so far.
func (r *Request) MinCap(limit int64) int64 {
	least := int64(1)
	if r.endpoint == wire.Responses {
		least = 16
	}
	return max(least, r.Thinking(limit)+1)
}
