// Package request parses and edits the bodies of requests in place.
package request

import (
	"math"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/amanycodes/pine-gate/internal/wire"
)

// Limits on the values in a request.
const (
	maxIDBytes   = 256     // of previous_response_id
	maxTierBytes = 64      // of service_tier and speed
	maxCap       = 1 << 53 // above it, JavaScript and Go parse different numbers
	maxAnswers   = 10_000  // n and best_of
)

// Request holds what the gate parsed from a body. It contains offsets into the
// body that it was scanned from: Edit must receive that same body.
type Request struct {
	Model  string // "" only if the API has a default model (moderations)
	Stream bool   // the caller asked for a stream

	// Cap is the maximum number of tokens of one answer: the largest of all
	// members that any server reads as that. Servers differ in which one takes
	// precedence, so the gate reserves the largest. It is -1 if the request has
	// none, or if one of them says that there is none, as -1 does.
	Cap int64

	N                int64  // requested answers: max(n, best_of) times the prompts of a completion; at least 1
	IncludeUsage     bool   // stream_options.include_usage: the caller wants to see the usage
	Background       bool   // responses: the caller fetches the answer later, by its id
	PreviousResponse string // responses: previous_response_id; "" for none

	// Tier is the service tier that the request asks for. Anthropic's fast mode
	// counts as a tier without a known price.
	Tier wire.ServiceTier

	PromptBytes int64 // bytes of text that the model reads, as encoded in JSON, escapes included
	Messages    int64 // messages, prompts or inputs
	Images      int64 // images, audio and files, in the body or by reference
	FileBytes   int64 // bytes of the files in a form

	wideBytes int64 // non-ASCII bytes of PromptBytes

	counting *counting // counts the tokens of text during the scan; nil: disabled

	spans
}

// span is the range [start, end) of the body. The zero span means absent: no
// value starts at offset 0.
type span struct{ start, end int }

func (s span) present() bool { return s.end > 0 }

// spans holds the offsets of values that Edit may change or that the gate reads
// again.
type spans struct {
	dialect *wire.Dialect // of the body; nil for a form

	form  bool // the body is multipart: Edit changes the model and caps only
	model span // the value, with its quotes; in a form, the part's content

	open  int  // offset after the brace that opens the body
	empty bool // the body's object has no members

	endpoint wire.Endpoint
	caps     [maxCaps]capValue
	capCount int

	streamOptions        span // the value
	streamOptionsNull    bool
	streamOptionsEmpty   bool
	includeUsage         span // the values of its members
	continuousUsageStats span

	thinking capValue // thinking.budget_tokens; 0: absent

	elsewhere *namedModels // nil: none

	conversation span // of messages, input or prompt: the text, or the bracket that opens a list
}

// Scan parses a JSON body in one pass and without copying it. It returns a
// KindBadRequest, whose Param names the invalid field, if
//
//   - the body is not a single JSON object in UTF-8 (RFC 8259; no byte order
//     mark, no lone surrogates, no trailing data, at most 10,000 levels deep);
//   - a name that the gate reads is duplicated or in another case, in an object
//     where the gate reads it: parsers would disagree about which one counts;
//   - model is missing (except for moderations), empty, over 256 bytes or contains
//     control characters;
//   - it names further models, to which the backend itself would fall back if the
//     first one fails (models, fallbacks), or settings with a model (preset): the
//     gate has not authorized or priced them;
//   - it names a conversation that a backend stores: all callers share the
//     backend's account, so the owner is unknown; or, for the same reason, a
//     thread, an item of an earlier answer (item_reference), a container of a tool
//     or a cache;
//   - stream, background or a stream option is not a boolean;
//   - a cap is not an integer from -2^53 to 2^53, or n or best_of is not one from 1
//     to 10,000. They must be written as integers: some backends accept 1.0 and 1e3,
//     others refuse them;
//   - it has a prompt beside its text that the gate cannot estimate (prompt_embeds),
//     or names an adapter (lora_path): the gate has authorized the model alone.
//
// A null counts as absent for all of them. Messages never quote the body.
func Scan(e wire.Endpoint, body []byte) (*Request, *wire.Error) {
	s := scanners.Get().(*scanner)
	defer s.release()
	s.open(body)

	r := &Request{Cap: -1, N: 1}
	if err := s.request(e, r); err != nil {
		return nil, r.respell(err)
	}
	if r.Model == "" && !e.HasDefaultModel() {
		return nil, paramErrorf(r.spell("model"), "The request must name a model.")
	}
	return r, nil
}

// counts holds the factors of the number of answers.
type counts struct{ answers, prompts int64 } // answers: 0 if the request has none

// request parses the whole body.
func (s *scanner) request(e wire.Endpoint, r *Request) *wire.Error {
	r.dialect, r.endpoint = e.Dialect(), e
	s.names = r.dialect.RequestNames
	opening, err := s.next()
	if err != nil {
		return err
	}
	if s.body[opening.start] != '{' {
		return wire.Errorf(wire.KindBadRequest, "The request body must be a JSON object.")
	}
	r.open = opening.end
	c := counts{prompts: 1}
	r.empty = true
	for seen := (fieldSet{}); ; r.empty = false {
		f, more, err := s.name(objectBody, &seen)
		if err != nil {
			return err
		}
		if !more {
			break
		}
		if err := s.member(e, r, &c, f); err != nil {
			return err
		}
	}
	r.N = multiply(max(c.answers, 1), c.prompts)
	r.setCap()
	return s.trailing()
}

// member parses the value of field f of the body's object.
func (s *scanner) member(e wire.Endpoint, r *Request, c *counts, f field) (err *wire.Error) {
	switch f {
	case fieldNone:
		err = s.other(r)
	case fieldModel:
		r.Model, r.model, err = s.text(f, wire.MaxModelBytes)
	case fieldPreviousResponseID:
		r.PreviousResponse, _, err = s.text(f, maxIDBytes)
	case fieldServiceTier:
		err = s.tier(r, f)
	case fieldSpeed:
		if e != wire.Messages {
			return s.skip() // the speed of speech is a number
		}
		err = s.tier(r, f)
	case fieldContainer:
		err = s.newContainer(f)
	case fieldStream:
		r.Stream, _, err = s.boolean(f)
	case fieldBackground:
		if e.Group() != wire.Responses.Group() {
			return s.skip() // the background of a picture is a word
		}
		r.Background, _, err = s.boolean(f)
	case fieldStreamOptions:
		err = s.options(r)
	case fieldThinking:
		err = s.thinking(r)
	default:
		if f < fieldMessages {
			return s.setting(r, c, f)
		}
		err = s.content(e, r, c, f)
	}
	return err
}

// content parses field f, which is a part of the prompt.
func (s *scanner) content(e wire.Endpoint, r *Request, c *counts, f field) *wire.Error {
	ids := f == fieldPrompt && e == wire.Completions || f == fieldInput && e == wire.Embeddings
	items, err := s.prompt(e, r, f, ids)
	if err != nil {
		return err
	}
	switch f {
	case fieldMessages, fieldPrompt, fieldInput, fieldSystem, fieldInstructions, fieldQuery, fieldDocuments:
		r.Messages += items
	}
	if f == fieldPrompt && e == wire.Completions {
		c.prompts = max(items, 1)
	}
	return nil
}

// options parses stream_options.
func (s *scanner) options(r *Request) *wire.Error {
	value, err := s.next()
	if err != nil {
		return err
	}
	r.streamOptions = value
	switch s.body[value.start] {
	case 'n':
		r.streamOptionsNull = true
		return nil
	case '{':
	default:
		return paramErrorf(fieldStreamOptions.String(), "stream_options must be an object.")
	}
	r.streamOptionsEmpty = true
	for seen := (fieldSet{}); ; r.streamOptionsEmpty = false {
		f, more, err := s.name(objectStreamOptions, &seen)
		if err != nil {
			return err
		}
		switch {
		case !more:
			r.streamOptions.end = s.end
			return nil
		case f == fieldIncludeUsage:
			r.IncludeUsage, r.includeUsage, err = s.boolean(f)
		case f == fieldContinuousUsageStats:
			_, r.continuousUsageStats, err = s.boolean(f)
		default:
			err = s.skip()
		}
		if err != nil {
			return err
		}
	}
}

// tier parses service_tier or speed.
func (s *scanner) tier(r *Request, f field) *wire.Error {
	word, _, err := s.text(f, maxTierBytes)
	if err != nil {
		return err
	}
	// The more expensive of the two counts, regardless of their order.
	if asked := wire.ParseTier([]byte(word)); f == fieldServiceTier || asked == wire.TierOther {
		r.Tier = max(r.Tier, asked)
	}
	return nil
}

// text parses a string of at most limit bytes; "" for null.
func (s *scanner) text(f field, limit int) (string, span, *wire.Error) {
	at, err := s.next()
	if err != nil || s.body[at.start] == 'n' {
		return "", at, err
	}
	if s.body[at.start] != '"' {
		return "", at, paramErrorf(f.String(), "%s must be a string.", f)
	}
	if at.end-at.start > limit*len(`\u0000`)+2 {
		return "", at, paramErrorf(f.String(), "%s must be no longer than %d bytes.", f, limit)
	}
	var space [wire.MaxModelBytes]byte
	text, unquoteErr := jsontext.AppendUnquote(space[:0], s.body[at.start:at.end])
	if unquoteErr != nil {
		return "", at, paramErrorf(f.String(), "%s must be valid UTF-8.", f)
	}
	value := string(text)
	return value, at, checkText(f, value, limit)
}

// checkText returns an error for values that no API accepts and that would
// corrupt logs, headers or labels.
func checkText(f field, value string, limit int) *wire.Error {
	switch {
	case value == "":
		return paramErrorf(f.String(), "%s must not be empty.", f)
	case len(value) > limit:
		return paramErrorf(f.String(), "%s must be no longer than %d bytes.", f, limit)
	case wire.HasControl(value):
		return paramErrorf(f.String(), "%s must not hold control characters.", f)
	}
	return nil
}

// boolean parses true or false; false for null.
func (s *scanner) boolean(f field) (bool, span, *wire.Error) {
	at, err := s.next()
	if err != nil {
		return false, at, err
	}
	switch s.body[at.start] {
	case 't':
		return true, at, nil
	case 'f', 'n':
		return false, at, nil
	}
	return false, at, paramErrorf(f.String(), "%s must be true or false.", f)
}

// integer parses an integer from 1 to limit; 0 for null.
func (s *scanner) integer(f field, limit int64) (int64, span, *wire.Error) {
	at, err := s.next()
	if err != nil || s.body[at.start] == 'n' {
		return 0, at, err
	}
	value, ok := parseInteger(s.body[at.start:at.end], limit)
	if !ok {
		return 0, at, paramErrorf(f.String(), "%s must be an integer of 1 to %d.", f, limit)
	}
	return value, at, nil
}

// parseInteger parses the digits of an integer from 1 to limit, without a sign,
// decimal point, exponent or leading zero.
func parseInteger(digits []byte, limit int64) (int64, bool) {
	if len(digits) == 0 || digits[0] == '0' {
		return 0, false
	}
	var value int64
	for _, c := range digits {
		if c < '0' || c > '9' {
			return 0, false
		}
		value = value*10 + int64(c-'0')
		if value > limit {
			return 0, false
		}
	}
	return value, true
}

// multiply returns the product of two positive numbers, saturating at
// math.MaxInt64.
func multiply(a, b int64) int64 {
	if a > math.MaxInt64/b {
		return math.MaxInt64
	}
	return a * b
}
