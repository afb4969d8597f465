package request

import (
	"bytes"
	"mime"
	"strings"

	"github.com/amanycodes/pine-gate/internal/wire"
)

// partHeader holds the parsed headers of a form's part.
type partHeader struct {
	name   string
	file   bool // the part has a filename, possibly empty
	text   bool // the content type is text in UTF-8, or absent
	length int  // of the headers, with the empty line after them
}

// parsePartHeader parses the headers at the start of a part. They must contain
// exactly one Content-Disposition. It refuses an encoding that changes the
// content, since some parsers decode it and others do not.
func parsePartHeader(part []byte) (h partHeader, err *wire.Error) {
	bad := func(what string) (partHeader, *wire.Error) {
		return partHeader{}, wire.Errorf(wire.KindBadRequest, "A part of the form has %s.", what)
	}
	end := bytes.Index(part[:min(len(part), maxPartHeader)], []byte("\r\n\r\n"))
	if end < 0 {
		return bad("headers that do not end or are too long")
	}
	h.length = end + len("\r\n\r\n")
	h.text = true
	var disposition, contentType, encoding int
	for line := range strings.SplitSeq(string(part[:end]), "\r\n") {
		name, value, ok := strings.Cut(line, ":")
		if !ok || name == "" || strings.ContainsFunc(name, func(c rune) bool { return !isAlphanumeric(c) && c != '-' && c != '_' }) || wire.HasControl(value) {
			return bad("a malformed header")
		}
		value = strings.Trim(value, " ")
		switch strings.ToLower(name) {
		case "content-disposition":
			disposition++
			h.name, h.file, ok = parseDisposition(value)
			if !ok {
				return bad("a Content-Disposition that is malformed or could be read in two ways")
			}
		case "content-type":
			contentType++
			h.text = isPlainText(value)
		case "content-transfer-encoding":
			encoding++
			switch strings.ToLower(value) {
			case "7bit", "8bit", "binary":
			default:
				return bad("an encoding that is not supported")
			}
		}
	}
	if disposition != 1 || contentType > 1 || encoding > 1 {
		return bad("a Content-Disposition, Content-Type or encoding that is missing or stands twice")
	}
	return h, nil
}

// isPlainText reports whether every parser accepts contentType as that of a
// field.
func isPlainText(contentType string) bool {
	mediaType, params, err := mime.ParseMediaType(contentType)
	if err != nil || mediaType != "text/plain" {
		return false
	}
	charset, ok := params["charset"]
	return !ok || isUTF8(charset)
}

// parseDisposition parses `form-data; name="…"; filename="…"`. It accepts no
// escaped quote: for some parsers the value ends there, and the rest could be
// another name. It accepts only names in printable ASCII, without characters
// that some parsers decode, and parameters in lower case, each once.
func parseDisposition(value string) (name string, file, ok bool) {
	rest, ok := strings.CutPrefix(value, "form-data")
	if !ok || strings.Contains(value, `\"`) {
		return "", false, false
	}
	seen := make(map[string]bool, 3)
	for rest != "" {
		if rest, ok = strings.CutPrefix(strings.TrimLeft(rest, " "), ";"); !ok {
			return "", false, false
		}
		var key, val string
		key, rest, ok = strings.Cut(strings.TrimLeft(rest, " "), "=")
		if !ok || seen[key] {
			return "", false, false
		}
		seen[key] = true
		if val, rest, ok = parameterValue(rest); !ok {
			return "", false, false
		}
		switch key {
		case "name":
			name = val
		case "filename", "filename*":
			file = true
		default:
			return "", false, false
		}
	}
	return name, file, name != "" && !strings.ContainsFunc(name, oddInName)
}

// oddInName reports whether c must not occur in a field's name, since parsers may
// decode it or treat it as a delimiter.
func oddInName(c rune) bool { return c <= ' ' || c > '~' || strings.ContainsRune(`"\%;=`, c) }

// parameterValue splits a value, quoted or not, off the front of s.
func parameterValue(s string) (value, rest string, ok bool) {
	if quoted, isQuoted := strings.CutPrefix(s, `"`); isQuoted {
		return strings.Cut(quoted, `"`)
	}
	end := strings.IndexAny(s, "; \"")
	if end < 0 {
		end = len(s)
	}
	return s[:end], s[end:], end > 0
}
