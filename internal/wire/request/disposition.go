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
	text   textKind
	length int // of the headers, with the empty line after them
}

// textKind is how parsers read the content of a part as a field.
type textKind uint8

const (
	textUTF8  textKind = iota // as UTF-8; also without a content type
	textLatin                 // by a character set in which ASCII is ASCII
	textOther                 // in ways that differ
)

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
	var disposition, contentType, encoding int
	for line := range strings.SplitSeq(string(part[:end]), "\r\n") {
		name, value, ok := strings.Cut(line, ":")
		if !ok || name == "" || strings.ContainsFunc(name, func(c rune) bool { return !isAlphanumeric(c) && c != '-' && c != '_' }) || wire.HasControl(strings.ReplaceAll(value, "\t", " ")) {
			return bad("a malformed header")
		}
		value = strings.Trim(value, " \t")
		switch strings.ToLower(name) {
		case "content-disposition":
			disposition++
			h.name, h.file, ok = parseDisposition(value)
			if !ok {
				return bad("a Content-Disposition that is malformed or could be read in two ways")
			}
		case "content-type":
			contentType++
			h.text = textKindOf(value)
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

// textKindOf returns how parsers read a field of a content type.
func textKindOf(contentType string) textKind {
	mediaType, params, err := mime.ParseMediaType(contentType)
	if err != nil || mediaType != "text/plain" {
		return textOther
	}
	charset, ok := params["charset"]
	lower := strings.ToLower(charset)
	switch {
	case !ok || isUTF8(charset) || lower == "utf8" || lower == "ascii":
		return textUTF8
	case strings.HasPrefix(lower, "iso-8859-"), strings.HasPrefix(lower, "windows-125"), lower == "latin1": // Java's clients
		return textLatin
	}
	return textOther
}

// parseDisposition parses `form-data; name="…"; filename="…"`. It accepts only
// names in printable ASCII, without characters that some parsers decode, and
// parameters in lower case, each once. A value may hold escaped quotes if nothing
// behind them can be mistaken for another parameter, since for some parsers the
// value ends there.
func parseDisposition(value string) (name string, file, ok bool) {
	const form = "form-data"
	if len(value) < len(form) || !strings.EqualFold(value[:len(form)], form) {
		return "", false, false
	}
	rest := value[len(form):]
	seen := make(map[string]bool, 3)
	for rest = strings.Trim(rest, " \t"); rest != "" && rest != ";"; rest = strings.TrimLeft(rest, " \t") {
		if rest, ok = strings.CutPrefix(rest, ";"); !ok {
			return "", false, false
		}
		var key, val string
		key, rest, ok = strings.Cut(strings.TrimLeft(rest, " \t"), "=")
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
	name = strings.ReplaceAll(name, "%22", `"`) // browsers' escape
	return name, file, name != "" && !strings.ContainsFunc(name, oddInName)
}

// oddInName reports whether c must not occur in a field's name, since parsers may
// decode it or treat it as a delimiter.
func oddInName(c rune) bool { return c <= ' ' || c > '~' || strings.ContainsRune(`\%;=`, c) }

// parameterValue splits a value, quoted or not, off the front of s. It unescapes
// quotes, and returns false if a naive parser could find another parameter behind
// one.
func parameterValue(s string) (value, rest string, ok bool) {
	quoted, isQuoted := strings.CutPrefix(s, `"`)
	if !isQuoted {
		end := strings.IndexAny(s, "; \t\"")
		if end < 0 {
			end = len(s)
		}
		return s[:end], s[end:], end > 0
	}
	var b strings.Builder
	escaped := false // a quote was
	for i := 0; i < len(quoted); i++ {
		switch c := quoted[i]; {
		case c == '"':
			return b.String(), quoted[i+1:], true
		case c == '\\' && i+1 < len(quoted) && quoted[i+1] == '"':
			escaped = true
			i++
			b.WriteByte('"')
		case escaped && (c == ';' || c == '='):
			return "", "", false
		default:
			b.WriteByte(c)
		}
	}
	return "", "", false
}
