package request

import (
	"bytes"
	"mime"
	"strings"
	"unicode/utf8"

	"github.com/amanycodes/pine-gate/internal/wire"
)

// Limits on a form.
const (
	maxBoundaryBytes = 70 // RFC 2046, section 5.1.1
	maxParts         = 64
	maxFieldContent  = 256 << 10 // bytes of a part that is not a file
	maxPartHeader    = 4 << 10
)

// ScanMultipart parses a multipart form (audio, image edits) in place: it does
// not copy files, and searches them only for the boundary. It reads model,
// stream, n, the caps and prompt.
//
// Form parsers differ more than JSON parsers: whether a lone line feed ends a
// line, what text may precede the first boundary, which of two equal names counts.
// ScanMultipart accepts only forms that all parsers read alike, and returns a
// KindBadRequest otherwise. For a content type that is not a form it returns a
// KindMediaType. stream may be written as servers read it (true, True, 1, on,
// …); all else is as with Scan.
func ScanMultipart(contentType string, body []byte) (*Request, *wire.Error) {
	boundary, err := parseBoundary(contentType)
	if err != nil {
		return nil, err
	}
	r := &Request{Cap: -1, N: 1, spans: spans{form: true}}
	var seen fieldSet
	p := parts{body: body, delimiter: append([]byte("--"), boundary...)}
	for {
		at, more, err := p.next()
		if err != nil {
			return nil, err
		}
		if !more {
			break
		}
		if err := r.part(body, at, &seen); err != nil {
			return nil, err
		}
	}
	r.setCap()
	if r.Model == "" {
		return nil, paramErrorf("model", "The request must name a model.")
	}
	return r, nil
}

// parseBoundary returns the boundary in contentType.
func parseBoundary(contentType string) (string, *wire.Error) {
	mediaType, params, err := mime.ParseMediaType(contentType)
	if mediaType != "multipart/form-data" {
		return "", wire.Errorf(wire.KindMediaType, "The content type must be multipart/form-data.")
	}
	boundary := params["boundary"]
	switch {
	case err != nil, strings.Contains(contentType, "*"), strings.Contains(contentType, `\`):
		return "", wire.Errorf(wire.KindBadRequest, "The content type of the form is malformed.")
	case boundary == "" || len(boundary) > maxBoundaryBytes:
		return "", wire.Errorf(wire.KindBadRequest, "The form's boundary must be 1 to %d characters long.", maxBoundaryBytes)
	case strings.ContainsFunc(boundary, func(c rune) bool { return !isBoundaryChar(c) }):
		return "", wire.Errorf(wire.KindBadRequest, "The form's boundary holds characters that it must not.")
	}
	for name, value := range params {
		// Some parsers decode the fields in this character set.
		if name != "boundary" && (name != "charset" || !isUTF8(value)) {
			return "", wire.Errorf(wire.KindBadRequest, "The form's content type may have no parameter but its boundary and charset=utf-8.")
		}
	}
	return boundary, nil
}

// isBoundaryChar reports whether c may occur in a boundary: it is one of RFC
// 2046's bchars other than the space, which some parsers strip and others keep.
func isBoundaryChar(c rune) bool {
	return isAlphanumeric(c) || strings.ContainsRune("'()+_,-./:=?", c)
}

func isAlphanumeric(c rune) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

func isUTF8(charset string) bool {
	return strings.EqualFold(charset, "utf-8") || strings.EqualFold(charset, "us-ascii")
}

// parts iterates over the parts of a form.
type parts struct {
	body      []byte
	delimiter []byte // two hyphens and the boundary
	pos       int    // offset after the last delimiter; 0 at the start
	count     int
}

// next returns the next part, with its headers; more is false after the last
// one. The delimiter may occur only as a whole line, behind which there may be
// blanks. Lines must end in CR LF. Line breaks may stand before the first
// delimiter and behind the last one (RFC 2046, section 5.1.1), but no text.
func (p *parts) next() (at span, more bool, err *wire.Error) {
	if p.pos == 0 {
		lines := len(p.body) - len(trimLines(p.body))
		if !bytes.HasPrefix(p.body[lines:], p.delimiter) {
			return at, false, wire.Errorf(wire.KindBadRequest, "The form must start with its boundary.")
		}
		p.pos = lines + len(p.delimiter)
	}
	rest := p.body[p.pos:]
	padded := bytes.TrimLeft(rest, " \t")
	last, closes := bytes.CutPrefix(rest, []byte("--"))
	switch {
	case bytes.HasPrefix(padded, []byte("\r\n")):
		p.pos += len(rest) - len(padded) + len("\r\n")
	case closes && len(bytes.Trim(last, " \t\r\n")) == 0:
		if p.count == 0 {
			return at, false, wire.Errorf(wire.KindBadRequest, "The form is empty.")
		}
		return at, false, nil
	default:
		return at, false, wire.Errorf(wire.KindBadRequest, "The form is malformed or truncated at a boundary (at byte %d).", p.pos)
	}
	if p.count++; p.count > maxParts {
		return at, false, wire.Errorf(wire.KindBadRequest, "The form must have no more than %d parts.", maxParts)
	}
	length := bytes.Index(p.body[p.pos:], p.delimiter)
	if length < 0 {
		return at, false, wire.Errorf(wire.KindBadRequest, "The form is truncated.")
	}
	at = span{p.pos, p.pos + length}
	if !bytes.HasSuffix(p.body[at.start:at.end], []byte("\r\n")) {
		return at, false, wire.Errorf(wire.KindBadRequest, "The form's boundary stands where it must not (at byte %d).", at.end)
	}
	p.pos = at.end + len(p.delimiter)
	at.end -= len("\r\n")
	return at, true, nil
}

// trimLines returns b without the line breaks that it starts with.
func trimLines(b []byte) []byte {
	for bytes.HasPrefix(b, []byte("\r\n")) {
		b = b[len("\r\n"):]
	}
	return b
}

// part parses one part of the form.
func (r *Request) part(body []byte, at span, seen *fieldSet) *wire.Error {
	header, err := parsePartHeader(body[at.start:at.end])
	if err != nil {
		return err
	}
	at.start += header.length
	content := body[at.start:at.end]
	if err := r.formName(header, seen); err != nil {
		return err
	}
	f := formField(header.name)
	switch {
	case f == fieldNone && header.file:
		r.Images++
		r.FileBytes += int64(len(content))
		return nil
	case len(content) > maxFieldContent:
		return wire.Errorf(wire.KindBadRequest, "A field of the form is longer than %d bytes.", maxFieldContent)
	case f == fieldNone:
		return nil
	case header.file || header.text == textOther || header.text == textLatin && !isASCII(content):
		return paramErrorf(f.String(), "%s must be a plain field of the form, in UTF-8.", f)
	case !utf8.Valid(content):
		return paramErrorf(f.String(), "%s must be valid UTF-8.", f)
	}
	return r.formValue(f, at, content)
}

// formName returns an error for names that only some parsers read as a field.
func (r *Request) formName(header partHeader, seen *fieldSet) *wire.Error {
	folded, _ := foldName(header.name)
	base, _, _ := strings.Cut(string(folded), "[") // some parsers read model[] and model[0] as lists
	base, _, _ = strings.Cut(base, `"`)            // some parsers end a name at an escaped quote
	f := formField(base)
	switch {
	case base == "_charset_":
		return wire.Errorf(wire.KindBadRequest, "The form must be in UTF-8, without a field that says otherwise.")
	case f == fieldNone:
		return nil
	case header.name != f.String():
		return paramErrorf(f.String(), "%s must be spelled in lower case and without brackets.", f)
	case !seen.add(f):
		return paramErrorf(f.String(), "%s stands in the form twice.", f)
	}
	return nil
}

// formField returns the field with the given name that the gate reads in a form,
// or fieldNone.
func formField(name string) field {
	f := byName[name]
	if f == fieldModel || f == fieldStream || f == fieldPrompt || f.isCount() || f.isCap() || f.isRefused() {
		return f
	}
	return fieldNone
}

// formValue parses the value of field f.
func (r *Request) formValue(f field, at span, content []byte) *wire.Error {
	switch f {
	case fieldModel:
		r.Model, r.model = string(content), at
		return checkText(f, r.Model, wire.MaxModelBytes)
	case fieldStream:
		var ok bool
		if r.Stream, ok = parseFormBool(content); !ok {
			return paramErrorf(f.String(), "%s must be true or false.", f)
		}
	case fieldPrompt:
		r.addText(content)
		r.Messages++
	}
	switch {
	case f.isCount():
		n, ok := parseInteger(content, maxAnswers)
		if !ok {
			return paramErrorf(f.String(), "%s must be an integer of 1 to %d.", f, maxAnswers)
		}
		r.N = max(r.N, n)
	case f.isCap():
		return r.addCap(capValue{field: f, at: at}, content)
	case f.isRefused():
		return refused(f)
	}
	return nil
}

// parseFormBool parses a boolean of a form, which has no type: Python's clients
// write True, others 1, and servers read all of these.
func parseFormBool(content []byte) (value, ok bool) {
	switch strings.ToLower(string(content)) {
	case "true", "1", "t", "yes", "y", "on":
		return true, true
	case "false", "0", "f", "no", "n", "off":
		return false, true
	}
	return false, false
}

func isASCII(content []byte) bool { return wide(content) == 0 }
