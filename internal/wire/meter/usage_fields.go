package meter

import (
	"math"
	"strconv"

	"github.com/amanycodes/pine-gate/internal/wire"
)

// maxCount bounds what is believed of one number of usage: 2^40 tokens are
// more than any model has ever been asked for in one answer.
const maxCount = 1 << 40

// numCounts is how many integer fields a usageFields has: those of the places
// from placePrompt to placeReasoning.
const numCounts = placeSeconds - placePrompt

// usageFields is what a backend said an answer cost, field by field as it
// named them. A later value replaces an earlier one, null and absence keep it:
// so it is with messages, whose message_delta repeats only some of what
// message_start said, and elsewhere each usage object is whole and cumulative.
type usageFields struct {
	value   [numCounts]int64
	known   uint32 // bit per field, from placePrompt on
	bad     uint32 // fields whose last value was refused
	seconds float64
	cost    [maxNumberBytes]byte
	costLen uint8
}

// maxNumberBytes bounds the digits of a number. A float64 in its shortest
// form has no more than 24.
const maxNumberBytes = 32

func bit(p place) uint32 { return 1 << (p - placePrompt) }

func (u *usageFields) has(p place) bool { return u.known&bit(p) != 0 }

func (u *usageFields) get(p place) int64 { return u.value[p-placePrompt] }

// refuse notes that a field came with a value that is no count: what was known
// of it stays, and the answer does not count as reported.
func (u *usageFields) refuse(p place) { u.bad |= bit(p) }

// set takes the text of a JSON number, or of true and false. A number that can
// be no count is not taken; a fraction is taken as the next whole number; in
// both cases exact is false.
func (u *usageFields) set(p place, text []byte) (taken, exact bool) {
	switch p {
	case placeSeconds:
		f, err := strconv.ParseFloat(string(text), 64)
		if err != nil || !(f >= 0 && f <= maxCount) {
			u.refuse(p)
			return false, false
		}
		u.seconds = f
		exact = true
	case placeCost:
		// It stays text: whoever turns it into money decides how to round.
		f, err := strconv.ParseFloat(string(text), 64)
		if err != nil || !(f >= 0 && f <= maxCount) || len(text) > maxNumberBytes {
			return false, false
		}
		u.costLen = uint8(copy(u.cost[:], text))
		return true, true
	default:
		var n int64
		if n, taken, exact = parseCount(text); !taken {
			u.refuse(p)
			return false, false
		}
		u.value[p-placePrompt] = n
	}
	u.known |= bit(p)
	u.bad &^= bit(p)
	return true, exact
}

// parseCount reads the text of a JSON number as a count of tokens. It is not
// ok below zero and above maxCount; exact is false if it had to be rounded.
func parseCount(text []byte) (n int64, ok, exact bool) {
	if len(text) == 0 {
		return 0, false, false
	}
	for _, c := range text {
		if c < '0' || c > '9' || n > maxCount {
			return parseOddCount(text)
		}
		n = n*10 + int64(c-'0')
	}
	return n, n <= maxCount, n <= maxCount
}

// parseOddCount reads what is not plain digits: "12.0", "1e3", "-0".
func parseOddCount(text []byte) (n int64, ok, exact bool) {
	f, err := strconv.ParseFloat(string(text), 64)
	if err != nil || !(f >= 0 && f <= maxCount) {
		return 0, false, false
	}
	up := math.Ceil(f)
	return int64(up), true, up == f
}

// Fields of which one must be known for an answer to count as reported, and
// none may have been refused.
var (
	inputFields  = bit(placePrompt) | bit(placeInput)
	outputFields = bit(placeCompletion) | bit(placeOutput)
	// billedFields are all that take part in the sums.
	billedFields = inputFields | outputFields | bit(placeTotal) | bit(placeSeconds) |
		bit(placeCacheCreation) | bit(placeCacheRead)
)

// reported reports whether the backend said what the answer cost: the input,
// and the output where the endpoint has any.
func (u *usageFields) reported(e wire.Endpoint) bool {
	switch {
	case u.bad&billedFields != 0:
		return false
	case u.known&bit(placeSeconds) != 0:
		return true
	case !e.Generates():
		return u.known&(inputFields|bit(placeTotal)) != 0
	}
	return u.known&inputFields != 0 && u.known&(outputFields|bit(placeTotal)) != 0
}

// tokens brings the fields into the normal form. It is not sane if they
// contradict each other; parts are then cut down to their whole.
func (u *usageFields) tokens(e wire.Endpoint) (t wire.Tokens, sane bool) {
	sane = true
	beside := e.Dialect().CacheBesideInput
	in, out := placePrompt, placeCompletion
	if !u.has(in) || beside && u.has(placeInput) {
		in = placeInput
	}
	if !u.has(out) || beside && u.has(placeOutput) {
		out = placeOutput
	}
	t.Input, t.Output, t.Reasoning = u.get(in), u.get(out), u.get(placeReasoning)
	t.CacheRead = u.first(placeCachedDetail, placeCacheRead, placeCacheHit)
	t.CacheWrite = u.first(placeWriteDetail, placeCacheCreation)
	if beside && in == placeInput {
		t.CacheRead, t.CacheWrite = u.get(placeCacheRead), u.get(placeCacheCreation)
		t.Input += t.CacheRead + t.CacheWrite
	}

	if total := u.get(placeTotal); u.has(placeTotal) {
		switch {
		case !e.Generates() && !u.has(in):
			t.Input = total // rerank
		case !u.has(in):
			// Nothing says how much of it is which.
		case !u.has(out):
			t.Output = max(0, total-t.Input)
		case total == t.Input+t.Output:
		case total == t.Input+t.Output+t.Reasoning:
			t.Output += t.Reasoning // xAI counts reasoning beside the completion
		default:
			sane = false
		}
	}

	if t.CacheRead+t.CacheWrite > t.Input {
		sane = false
		t.CacheRead = min(t.CacheRead, t.Input)
		t.CacheWrite = min(t.CacheWrite, t.Input-t.CacheRead)
	}
	if t.Reasoning > t.Output {
		sane = false
		t.Reasoning = t.Output
	}
	return t, sane
}

// parts returns which of the tokens have a price of their own. It is not sane if
// they are more than the whole; then they are cut down to it.
func (u *usageFields) parts(e wire.Endpoint, t wire.Tokens) (p wire.Parts, sane bool) {
	p = wire.Parts{
		AudioInput: u.get(placeAudioIn), ImageInput: u.get(placeImageIn),
		AudioOutput: u.get(placeAudioOut), ImageOutput: u.get(placeImageOut),
		HourWrite: u.get(placeHourWrite),
	}
	told := p
	p.AudioInput = min(p.AudioInput, t.Input)
	p.ImageInput = min(p.ImageInput, t.Input-p.AudioInput)
	p.AudioOutput = min(p.AudioOutput, t.Output)
	p.ImageOutput = min(p.ImageOutput, t.Output-p.AudioOutput)
	p.HourWrite = min(p.HourWrite, t.CacheWrite)
	sane = p == told
	p.Assume(e, t)
	return p, sane
}

// first returns the first of the fields that is known, else 0.
func (u *usageFields) first(fields ...place) int64 {
	for _, p := range fields {
		if u.has(p) {
			return u.get(p)
		}
	}
	return 0
}
