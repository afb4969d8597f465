package request

import (
	"math"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/amanycodes/pine-gate/internal/wire"
)

// Bounds of what a request may say.
const (
	maxIDBytes   = 256     // of previous_response_id
	maxTierBytes = 64      // of service_tier and speed
	maxCap       = 1 << 53 // beyond it, JavaScript and Go read different numbers
	maxAnswers   = 10_000  // n and best_of
)

// Request is what the gate read of a body. It holds offsets into the body that
// it was scanned from: Edit must be given that same body.
type Request struct {
	Model  string // "" only where the API has a default model (moderations)
	Stream bool   // the caller asked for a stream

	// Cap is the largest of max_tokens, max_completion_tokens and
	// max_output_tokens: the most tokens of one answer. -1: the request has
	// none. Backends differ in which of them wins, so the largest is reserved.
	Cap int64

	N                int64  // answers asked for: max(n, best_of) times the prompts of a completion; at least 1
	IncludeUsage     bool   // stream_options.include_usage: the caller wants to see the usage
	Background       bool   // responses: the answer would come later, by its id
	PreviousResponse string // responses: previous_response_id; "" none

	// Tier is the service tier that the request asks for. Anthropic's fast mode
	// is one that has no known price.
	Tier wire.ServiceTier

	PromptBytes int64 // bytes of text that the model reads, as written in JSON: escapes count as they stand
	Messages    int64 // messages, prompts or inputs
	Images      int64 // images, sounds and files, in the body or by reference
	FileBytes   int64 // of the files in a form

	wideBytes int64 // those of PromptBytes outside ASCII

	counting *counting // text is counted as it is read; nil: it is not

	spans
}

// span is a range of the body, from start up to but not including end. The
// zero span stands for what is absent: no value starts a body.
type span struct{ start, end int }

func (s span) present() bool { return s.end > 0 }

// spans is where in the body the things are that Edit may change, or that are
// looked at again.
type spans struct {
	form  bool // the body is multipart: only the model can be changed
	model span // the value, with its quotes; in a form, the part's content

	open  int  // behind the brace that opens the body
	empty bool // the body's object has no member

	caps [3]capValue // by field, from fieldMaxTokens on

	streamOptions        span // the value
	streamOptionsNull    bool
	streamOptionsEmpty   bool
	includeUsage         span // the values of its members
	continuousUsageStats span

	conversation span // of messages, input or prompt: the text, or the bracket that opens a list
}

// capValue is a cap as the request has it.
type capValue struct {
	at    span
	value int64 // 0: null
}

// Scan reads a JSON body in one pass and without copying it. It returns a
// KindBadRequest whose Param names the field at fault where
//
//   - the body is not one JSON object in UTF-8 (RFC 8259; no byte order mark,
//     no lone surrogates, nothing behind it, at most 10,000 levels deep);
//   - a name that the gate reads stands twice, or in another case, in an object
//     where the gate reads it: parsers would disagree about which one counts;
//   - model is missing (but for moderations), empty, over 256 bytes or holds
//     control characters;
//   - it names more models, to which the backend itself would turn where the
//     first one fails (models, fallbacks): nobody has judged or priced those;
//   - it names a conversation that a backend keeps: all callers share its account,
//     and whose it is nobody knows; or, for the same reason, an item of an earlier
//     answer (item_reference) or a container of a tool;
//   - stream, background or a stream option is no boolean;
//   - a cap is not an integer of 1 to 2^53, or n or best_of not one of 1 to
//     10,000. They must be written as integers: 1.0 and 1e3 are numbers that
//     some backends take and others refuse.
//
// null for any of them is absence. Messages never quote the body.
func Scan(e wire.Endpoint, body []byte) (*Request, *wire.Error) {
	s := scanners.Get().(*scanner)
	defer s.release()
	s.open(body)

	r := &Request{Cap: -1, N: 1}
	if err := s.request(e, r); err != nil {
		return nil, err
	}
	if r.Model == "" && !e.HasDefaultModel() {
		return nil, paramErrorf("model", "The request must name a model.")
	}
	return r, nil
}

// counts is what multiplies the answers of a request.
type counts struct{ n, bestOf, prompts int64 } // n and bestOf: 0 where the request has none

// request reads the whole body.
func (s *scanner) request(e wire.Endpoint, r *Request) *wire.Error {
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
	for seen := (fieldSet(0)); ; r.empty = false {
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
	r.N = multiply(max(c.n, c.bestOf, 1), c.prompts)
	return s.trailing()
}

// member reads the value of a field of the body's object.
func (s *scanner) member(e wire.Endpoint, r *Request, c *counts, f field) (err *wire.Error) {
	switch f {
	case fieldNone:
		err = s.skip()
	case fieldModel:
		r.Model, r.model, err = s.text(f, wire.MaxModelBytes)
	case fieldPreviousResponseID:
		r.PreviousResponse, _, err = s.text(f, maxIDBytes)
	case fieldModels, fieldFallbacks, fieldConversation:
		err = s.absent(f)
	case fieldServiceTier:
		err = s.tier(r, f)
	case fieldSpeed:
		if e != wire.Messages {
			return s.skip() // that of speech, a number
		}
		err = s.tier(r, f)
	case fieldContainer:
		if e != wire.Messages {
			return s.skip()
		}
		err = s.container(f)
	case fieldStream:
		r.Stream, _, err = s.boolean(f)
	case fieldBackground:
		r.Background, _, err = s.boolean(f)
	case fieldStreamOptions:
		err = s.options(r)
	case fieldMaxTokens, fieldMaxCompletionTokens, fieldMaxOutputTokens:
		limit := &r.caps[f-fieldMaxTokens]
		limit.value, limit.at, err = s.integer(f, maxCap)
		if limit.value > 0 {
			r.Cap = max(r.Cap, limit.value)
		}
	case fieldN:
		c.n, _, err = s.integer(f, maxAnswers)
	case fieldBestOf:
		c.bestOf, _, err = s.integer(f, maxAnswers)
	default:
		err = s.content(e, r, c, f)
	}
	return err
}

// content reads a field that holds what the model reads.
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

// options reads stream_options.
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
	for seen := (fieldSet(0)); ; r.streamOptionsEmpty = false {
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

// absent refuses a field that has a value.
func (s *scanner) absent(f field) *wire.Error {
	at, err := s.next()
	if err == nil && s.body[at.start] != 'n' {
		err = paramErrorf(f.String(), "%s is not supported by this gateway.", f)
	}
	return err
}

// tier reads what decides how fast, and at what price, the request is served.
func (s *scanner) tier(r *Request, f field) *wire.Error {
	word, _, err := s.text(f, maxTierBytes)
	if err != nil {
		return err
	}
	// The dearer of the two counts, in whichever order they stand.
	if asked := wire.ParseTier([]byte(word)); f == fieldServiceTier || asked == wire.TierOther {
		r.Tier = max(r.Tier, asked)
	}
	return nil
}

// text reads a short string; "" for null.
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

// checkText refuses values that no API takes and that would spoil logs,
// headers or labels.
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

// boolean reads true or false; false for null.
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

// integer reads an integer of 1 to limit; 0 for null.
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

// parseInteger parses the digits of an integer of 1 to limit: no sign, point,
// exponent or leading zero.
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

// multiply multiplies two positive numbers; where the product is too large it
// is the largest number.
func multiply(a, b int64) int64 {
	if a > math.MaxInt64/b {
		return math.MaxInt64
	}
	return a * b
}
