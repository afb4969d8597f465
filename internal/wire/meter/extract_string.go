package meter

import "encoding/json"

// skipString reads to the end of a string.
func (x *extractor) skipString(b []byte, i int) (next int, ended bool) {
	for i < len(b) {
		if x.escape {
			x.escape = false
			i++
			continue
		}
		if i = stringBreak(b, i); i == len(b) {
			break
		}
		if b[i] == '"' {
			return i + 1, true
		}
		x.escape = true
		i++
	}
	return i, false
}

// countText reads to the end of a string and adds the number of its UTF-8 bytes
// to the totals.
func (x *extractor) countText(b []byte, i int) (next int, ended bool) {
	var n int64
	for i < len(b) && !ended {
		switch {
		case x.hex > 0:
			if n += x.hexDigit(b[i]); x.hex == 0 {
				x.written().unit(x.unit)
			}
			i++
		case x.escape:
			x.escape = false
			if b[i] == 'u' {
				x.hex, x.unit = 4, 0
			} else {
				n++
				x.written().escaped(b[i])
			}
			i++
		default:
			j := stringBreak(b, i)
			n += int64(j - i)
			x.written().add(b[i:j])
			if i = j; i < len(b) {
				ended = b[i] == '"'
				x.escape = !ended
				i++
			}
		}
	}
	x.addText(n)
	return i, ended
}

// hexDigit reads a digit of a \u escape. At the last digit it returns the number
// of UTF-8 bytes of the character, which is two for each half of a surrogate pair.
func (x *extractor) hexDigit(c byte) int64 {
	digit := c & 0xf
	if c > '9' {
		digit += 9
	}
	x.unit = x.unit<<4 | uint16(digit&0xf)
	if x.hex--; x.hex > 0 {
		return 0
	}
	switch {
	case x.unit < 0x80:
		return 1
	case x.unit < 0x800, x.unit >= 0xD800 && x.unit < 0xE000:
		return 2
	}
	return 3
}

// skip reads on in a container that is skipped.
func (x *extractor) skip(b []byte, i int) (next int) {
	for i < len(b) {
		if x.state == inSkippedStr {
			next, ended := x.skipString(b, i)
			if i = next; ended {
				x.state = inSkipped
			}
			continue
		}
		if i = bracketOrQuote(b, i); i == len(b) {
			break
		}
		switch b[i] {
		case '"':
			x.state = inSkippedStr
		case '{', '[':
			x.nested++
		default:
			x.nested--
		}
		if i++; x.nested == 0 {
			break
		}
	}
	return i
}

// word reads on in a string that is kept, and returns it once it is complete; nil
// if it is too long.
func (x *extractor) word(b []byte, i int) (next int, word []byte, whole bool) {
	from := i
	for i < len(b) {
		if x.escape {
			x.escape = false
			i++
			continue
		}
		if i = stringBreak(b, i); i == len(b) {
			break
		}
		if b[i] == '"' {
			return i + 1, x.unescaped(x.joined(b[from:i])), true
		}
		x.escape, x.escaped = true, true
		i++
	}
	x.keep(b[from:])
	return i, nil, false
}

// keep buffers the part of a word at the end of a piece.
func (x *extractor) keep(part []byte) {
	x.partial = true
	if len(x.held)+len(part) > maxWordBytes {
		x.over = true
		return
	}
	x.held = append(x.held, part...)
}

// joined returns the word that ends with part. It does not copy part if that is
// the whole word.
func (x *extractor) joined(part []byte) []byte {
	if x.partial {
		x.keep(part)
		part = x.held
	}
	if x.over || len(part) > maxWordBytes {
		return nil
	}
	return part
}

func (x *extractor) clearWord() {
	x.held, x.partial, x.escaped, x.over = x.held[:0], false, false, false
}

func (x *extractor) unescaped(word []byte) []byte {
	if !x.escaped || word == nil {
		return word
	}
	quoted := append(append([]byte{'"'}, word...), '"')
	var s string
	if json.Unmarshal(quoted, &s) != nil {
		return nil
	}
	return []byte(s)
}
