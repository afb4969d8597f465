package meter

import (
	"math"
	"slices"
	"strconv"

	"github.com/amanycodes/pine-gate/internal/wire"
)

// maxCount is the maximum accepted value of a number of usage: 2^40 tokens are
// more than any single answer has ever had.
const maxCount = 1 << 40

// numCounts is the number of integer fields of a usageFields: those of the places
// from placePrompt up to but not including placeSeconds.
const numCounts = placeSeconds - placePrompt

// usageFields holds the usage of an answer, field by field as the backend reported
// it. A later value replaces an earlier one; a null or absent value keeps it. This
// is required for messages, whose message_delta repeats only some fields of
// message_start. In other APIs each usage object is complete and cumulative.
type usageFields struct {
	value   [numCounts]int64
	known   uint32 // bit set of fields with a value, from placePrompt on
	bad     uint32 // bit set of fields whose last value was refused
	seconds float64
	cost    [maxNumberBytes]byte
	costLen uint8

	// The sums of usage.iterations, which servers bill (compaction, advisor), indexed
	// by iterationPlaces. The totals cover the last iteration only.
	iterated   bool
	iterations [len(iterationPlaces)]int64
}

// iterationPlaces are the places of the numbers of an iteration.
var iterationPlaces = [...]place{placeInput, placeOutput, placeCacheCreation, placeCacheRead}

// addIteration adds a number of an iteration, and reports whether it is a count.
func (u *usageFields) addIteration(p place, text []byte) bool {
	n, ok, exact := parseCount(text)
	if i := slices.Index(iterationPlaces[:], p); ok && i >= 0 {
		u.iterated = true
		u.iterations[i] = min(u.iterations[i]+n, maxCount)
	}
	return ok && exact
}

// clearIterations starts a list of iterations, which replaces the one before.
func (u *usageFields) clearIterations() {
	u.iterated, u.iterations = false, [len(iterationPlaces)]int64{}
}

// maxNumberBytes is the maximum length of a number's text. The shortest form of a
// float64 has at most 24 bytes.
const maxNumberBytes = 32

func bit(p place) uint32 { return 1 << (p - placePrompt) }

func (u *usageFields) has(p place) bool { return u.known&bit(p) != 0 }

func (u *usageFields) get(p place) int64 { return u.value[p-placePrompt] }

// refuse records that the value of field p was not a valid count: the earlier
// value stays, and the answer does not count as reported.
func (u *usageFields) refuse(p place) { u.bad |= bit(p) }

// set sets field p to text, a JSON number, true or false. taken is false if text
// is not a valid count. A fraction is rounded up. In both cases exact is false.
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
		// Keep the text: the consumer that converts it to money decides on rounding.
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

// parseCount parses the text of a JSON number as a count of tokens. ok is false
// below zero and above maxCount; exact is false if the number was rounded.
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

// parseOddCount parses a number that is not plain digits: "12.0", "1e3", "-0".
func parseOddCount(text []byte) (n int64, ok, exact bool) {
	f, err := strconv.ParseFloat(string(text), 64)
	if err != nil || !(f >= 0 && f <= maxCount) {
		return 0, false, false
	}
	up := math.Ceil(f)
	return int64(up), true, up == f
}

// Sets of fields. For an answer to count as reported, one field of the sets that
// it needs must be known, and none may have been refused.
var (
	inputFields  = bit(placePrompt) | bit(placeInput)
	outputFields = bit(placeCompletion) | bit(placeOutput)
	// billedFields are all fields from which the totals are computed.
	billedFields = inputFields | outputFields | bit(placeTotal) | bit(placeSeconds) |
		bit(placeCacheCreation) | bit(placeCacheRead)
)

// reported reports whether the backend reported complete usage: the input, and
// the output if e generates any.
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

// tokens returns the normalized token counts. sane is false if the fields
// contradict each other; parts are then reduced to their whole.
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
	if i := &u.iterations; u.iterated && i[0]+i[2]+i[3] >= t.Input && i[1] >= t.Output {
		t.Input, t.Output, t.CacheWrite, t.CacheRead = i[0]+i[2]+i[3], i[1], i[2], i[3]
	}

	if total := u.get(placeTotal); u.has(placeTotal) {
		switch {
		case !e.Generates() && !u.has(in):
			t.Input = total // rerank
		case !u.has(in):
			// The split into input and output is unknown.
		case !u.has(out):
			t.Output = max(0, total-t.Input)
		case total == t.Input+t.Output:
		case total == t.Input+t.Output+t.Reasoning:
			t.Output += t.Reasoning // xAI's completion tokens exclude reasoning
		case total > t.Input+t.Output && e.Generates():
			t.Output = total - t.Input // Gemini's thoughts are in the total alone
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

// parts returns the counts of tokens with a separate price. sane is false if they
// exceed their whole; they are then reduced to it.
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
	assumed := p
	assumed.Assume(e, t)
	for _, part := range []struct {
		at      place
		to      *int64
		assumed int64
	}{
		{placeAudioIn, &p.AudioInput, assumed.AudioInput},
		{placeAudioOut, &p.AudioOutput, assumed.AudioOutput},
		{placeImageOut, &p.ImageOutput, assumed.ImageOutput},
	} {
		if !u.has(part.at) { // a zero that was reported stays
			*part.to = part.assumed
		}
	}
	return p, sane
}

// first returns the value of the first field that is known, or 0.
func (u *usageFields) first(fields ...place) int64 {
	for _, p := range fields {
		if u.has(p) {
			return u.get(p)
		}
	}
	return 0
}
