package meter

import "github.com/amanycodes/pine-gate/internal/wire"

// extractor extracts the few values that the meter needs from a JSON value that
// arrives in pieces of any size. It is a push parser: it keeps the path of the
// containers that may contain such values, counts brackets in all others, and
// buffers only a name, a number or a short string that the end of a piece cuts
// in two. Its memory depends neither on the length nor on the depth of the value.
//
// The extractor is lenient, since it cannot refuse an answer: it ignores a usage
// value that it does not understand, and flags the answer.
type extractor struct {
	found   *tally
	names   wire.Names
	payload payload

	root  place
	state scanState
	here  place // place of the value that is expected or being read

	depth  int8 // containers on the path
	path   [maxPath]place
	arrays uint16 // bit set of the containers that are arrays

	nested int  // open brackets in a value that is skipped
	text   bool // the string or container being read is generated text

	escape  bool   // the previous byte was a backslash
	hex     uint8  // remaining digits of a \u escape
	unit    uint16 // value of the \u escape so far
	held    []byte // first part of a word that is cut in two
	partial bool   // part of the word was in an earlier piece
	escaped bool   // the word contains a backslash
	over    bool   // the word is too long to be kept
	mark    uint8  // number of bytes of [DONE] read

	nameAt    int64 // offset of the last member name
	lastComma int64 // offset of the last comma in the outermost object; -1 for none
}

const (
	// maxPath is the depth of the deepest place,
	// choices[].delta.tool_calls[].function.arguments, plus one.
	maxPath = 8
	// maxWordBytes is the maximum length of a string that is kept: model, id, type
	// or a number.
	maxWordBytes = 256
)

// payload holds what was found in one JSON value: a whole answer, or the data of
// one event. Offsets are relative to the at of feed.
type payload struct {
	kind       eventKind
	closed     bool // the value is complete
	done       bool // it is [DONE]
	broken     bool // it is not JSON
	errored    bool // it has an error
	hasChoices bool // it has choices
	hasMore    bool // it has members besides choices, usage and those of every chunk
	choices    bool // its choices are not empty
	usage      bool // it has a valid number of usage
	usageIsSet bool // its outermost usage is an object
	text       int64

	usageFrom, usageTo      int64 // the outermost member `usage`; -1 for none
	commaBefore, commaAfter int64 // the commas around usage; -1 for none
}

type scanState uint8

const (
	wantValue scanState = iota
	wantName
	wantColon
	afterValue
	inName
	inText       // a string that is generated text
	inWord       // a string that is kept
	inString     // a string that is skipped
	inScalar     // a number, true, false or null
	inSkipped    // a container that is skipped
	inSkippedStr // a string in a skipped container
	inMark       // [DONE]
	finished
)

const doneMark = "[DONE]"

// reset prepares the extractor for the next value.
func (x *extractor) reset() {
	x.payload = payload{usageFrom: -1, usageTo: -1, commaBefore: -1, commaAfter: -1}
	x.state, x.here, x.depth, x.arrays = wantValue, x.root, 0, 0
	x.escape, x.hex, x.lastComma = false, 0, -1
	x.clearWord()
	x.found.written.begin()
}

// feed parses the next piece of the value. at is the offset of its first byte.
func (x *extractor) feed(b []byte, at int64) {
	for i := 0; i < len(b); {
		switch x.state {
		case wantName:
			c := b[i]
			i++
			if c != '"' {
				if c == '}' {
					x.pop(at + int64(i))
				} else if !jsonSpace(c) {
					x.giveUp()
				}
				continue
			}
			x.nameAt = at + int64(i) - 1
			x.state = inName
			fallthrough
		case inName:
			if j := stringBreak(b, i); j < len(b) && b[j] == '"' && !x.partial {
				x.named(b[i:j]) // the fast path, for nearly all names
				i = j + 1
			} else {
				next, name, whole := x.word(b, i)
				if i = next; !whole {
					continue
				}
				x.named(name)
				x.clearWord()
			}
			if x.state = wantColon; i < len(b) && b[i] == ':' {
				x.state = wantValue
				i++
			}
		case wantColon:
			if c := b[i]; c == ':' {
				x.state = wantValue
			} else if !jsonSpace(c) {
				x.giveUp()
			}
			i++
		case wantValue:
			i = x.begin(b, i, at)
		case inString:
			next, ended := x.skipString(b, i)
			if i = next; ended {
				x.ended(at + int64(i))
			}
		case inText:
			next, ended := x.countText(b, i)
			if i = next; ended {
				x.ended(at + int64(i))
			}
		case inWord:
			next, word, whole := x.word(b, i)
			if i = next; whole {
				x.wordRead(word)
				x.clearWord()
				x.ended(at + int64(i))
			}
		case inScalar:
			i = x.scalar(b, i, at)
		case afterValue:
			x.separator(b[i], at+int64(i))
			i++
		case inSkipped, inSkippedStr:
			from := i
			i = x.skip(b, i)
			if x.text {
				x.addText(int64(i - from))
				x.written().add(b[from:i])
			}
			if x.nested == 0 {
				x.ended(at + int64(i))
			}
		case inMark:
			if b[i] != doneMark[x.mark] {
				x.giveUp()
			} else if x.mark++; int(x.mark) == len(doneMark) {
				x.payload.done, x.payload.closed = true, true
				x.state = finished
			}
			i++
		case finished:
			return
		}
	}
}

// giveUp stops parsing a value that is not JSON.
func (x *extractor) giveUp() {
	x.payload.broken = true
	x.state = finished
}

// named sets the place of the member with the given name.
func (x *extractor) named(name []byte) {
	in := x.path[x.depth-1]
	x.here = placeElsewhere
	if len(name) <= maxNameBytes {
		x.here = in.member(x.names.Known(name))
	}
	if x.depth > 1 {
		return
	}
	switch x.here {
	case placeUsage:
		p := &x.payload
		p.usageFrom, p.usageTo = x.nameAt, -1
		p.commaBefore, p.commaAfter = x.lastComma, -1
	case placeChoices, placeBodyChoices:
		x.payload.hasChoices = true
	case placeElsewhere:
		switch string(name) {
		case "object", "created", "system_fingerprint", "provider", "obfuscation":
		default:
			x.payload.hasMore = true
		}
	case placeAround:
		x.payload.hasMore = true
	}
}

// begin reads the first byte of a value and sets the state for the rest.
func (x *extractor) begin(b []byte, i int, at int64) (next int) {
	c := b[i]
	s := &shapes[x.here]
	switch {
	case x.depth == 0 && c != '{' && c != '[':
		// White space and a byte order mark may precede the value.
		if !jsonSpace(c) && c != 0xEF && c != 0xBB && c != 0xBF {
			x.giveUp()
		}
	case c == '"':
		switch {
		case s.text:
			x.state = inText
		case x.here == placeType, x.here == placeModel && x.found.model == "", x.here == placeID && x.found.id == "",
			x.here == placeTier, x.here == placeSpeed:
			x.state = inWord
		default:
			x.odd()
			x.state = inString
		}
	case c == '{':
		if s.object && x.depth < maxPath {
			x.opened()
			x.push(0)
			x.state = wantName
		} else {
			x.skipContainer(s)
		}
	case c == '[':
		switch {
		case x.depth == 0 && x.root == placeEvent:
			x.state, x.mark = inMark, 1
		case s.array && x.depth < maxPath:
			if x.here == placeIterations {
				x.found.usage.clearIterations()
			}
			x.push(1)
			x.here = s.element
		default:
			x.skipContainer(s)
		}
	case c == ']' && x.depth > 0 && x.inArray():
		x.pop(at + int64(i) + 1)
	case c == '-' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || c == 'N' || c == 'I':
		x.state = inScalar
		return i // the byte is part of the scalar
	case !jsonSpace(c):
		x.giveUp()
	}
	return i + 1
}

// opened records an object whose presence is significant.
func (x *extractor) opened() {
	switch x.here {
	case placeChoice, placeBodyChoice:
		x.payload.choices = true
	case placeUsage:
		if x.depth == 1 {
			x.payload.usageIsSet = true
		}
	}
}

// odd records a value of an unexpected JSON type.
func (x *extractor) odd() {
	switch {
	case x.here == placeError:
		x.payload.errored = true // an object; some servers send a string
	case x.here == placeUsage:
		x.found.flagged = true
	case x.here.isCount():
		x.found.usage.refuse(x.here)
		x.found.flagged = true
	}
}

func (x *extractor) skipContainer(s *shape) {
	x.odd()
	// Some servers send the arguments of a tool call as an object.
	x.text = s.text
	x.state, x.nested = inSkipped, 1
}

func (x *extractor) inArray() bool { return x.arrays&(1<<(x.depth-1)) != 0 }

func (x *extractor) push(array uint16) {
	x.path[x.depth] = x.here
	x.arrays = x.arrays&^(1<<x.depth) | array<<x.depth
	x.depth++
}

func (x *extractor) pop(at int64) {
	x.depth--
	x.here = x.path[x.depth]
	x.ended(at)
}

// ended records that a value ended before the offset at.
func (x *extractor) ended(at int64) {
	switch x.depth {
	case 0:
		x.payload.closed = true
		x.state = finished
		return
	case 1:
		if x.here == placeUsage {
			x.payload.usageTo = at
		}
	}
	x.state = afterValue
}

// separator reads a byte between two values or after the last one.
func (x *extractor) separator(c byte, at int64) {
	switch {
	case c == ',':
		if x.depth == 1 {
			x.lastComma = at
			if p := &x.payload; p.usageTo >= 0 && p.commaAfter < 0 {
				p.commaAfter = at
			}
		}
		if x.inArray() {
			x.here = shapes[x.path[x.depth-1]].element
			x.state = wantValue
		} else {
			x.state = wantName
		}
	case c == '}' && !x.inArray(), c == ']' && x.inArray():
		x.pop(at + 1)
	case !jsonSpace(c):
		x.giveUp()
	}
}

// scalar reads a number, true, false or null up to its end.
func (x *extractor) scalar(b []byte, i int, at int64) (next int) {
	from := i
	for i < len(b) && !scalarEnd(b[i]) {
		i++
	}
	wanted := x.here.isCount() || x.here == placeSequence || x.here == placeUsage || x.here == placeError
	if i == len(b) {
		if wanted {
			x.keep(b[from:])
		}
		return i
	}
	if wanted {
		x.scalarRead(x.joined(b[from:i]))
		x.clearWord()
	}
	x.ended(at + int64(i))
	return i
}

func (x *extractor) scalarRead(word []byte) {
	if string(word) == "null" {
		return // null counts as absent: the earlier value stays
	}
	switch {
	case x.here == placeSequence:
		if n, ok, _ := parseCount(word); ok {
			x.found.sequence = n
		}
	case x.here.isCount() && x.path[x.depth-1] == placeIteration:
		if !x.found.usage.addIteration(x.here, word) {
			x.found.flagged = true
		}
	case x.here.isCount():
		taken, exact := x.found.usage.set(x.here, word)
		if taken {
			x.payload.usage = true
			x.found.covered()
		}
		if !exact {
			x.found.flagged = true
		}
	case string(word) != "false":
		x.odd()
	}
}

func (x *extractor) wordRead(word []byte) {
	if x.here == placeType {
		x.payload.kind = kindOf(x.names.Known(word))
		return
	}
	switch x.here {
	case placeModel:
		x.found.model = string(word)
	case placeID:
		x.found.id = string(word)
	case placeTier:
		x.found.tier = wire.ParseTier(word)
	case placeSpeed:
		x.found.fast = string(word) != "standard"
	}
}

// written returns the token counter for the text being read, or nil if the text is
// not counted.
func (x *extractor) written() *written {
	if x.payload.kind == kindSound {
		return nil
	}
	return x.found.written
}

func (x *extractor) addText(n int64) {
	if x.payload.kind == kindSound {
		return // audio in base64
	}
	x.payload.text += n
	x.found.delivered += n
	x.found.unreported += n
}

func jsonSpace(c byte) bool { return c == ' ' || c == '\n' || c == '\r' || c == '\t' }

func scalarEnd(c byte) bool { return c == ',' || c == '}' || c == ']' || jsonSpace(c) }
