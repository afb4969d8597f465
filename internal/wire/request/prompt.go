package request

import (
	"bytes"
	"encoding/binary"
	"math/bits"

	"github.com/amanycodes/pine-gate/internal/wire"
)

// member classifies a name inside a prompt, to distinguish text from images,
// audio and files.
type member uint8

const (
	memberOther     member = iota
	memberType             // type of a source: "base64" or another one
	memberURL              // url of an image, in the object of a memberHolder or memberSource
	memberHolder           // image_url, video_url, …: an object or URL of an image
	memberSource           // Anthropic's source, which may also contain plain text
	memberAudio            // input_audio
	memberData             // base64 in memberSource and memberAudio, elsewhere plain text
	memberFile             // a reference: file_id, file_url
	memberBase64           // file_data, b64_json
	memberContainer        // container_id
	memberEncrypted        // encrypted_content, signature: data if it is long
)

func memberOf(quoted []byte) member {
	switch string(quoted[1 : len(quoted)-1]) {
	case "type":
		return memberType
	case "url":
		return memberURL
	case "image_url", "video_url", "audio_url", "image", "images":
		return memberHolder
	case "source":
		return memberSource
	case "input_audio":
		return memberAudio
	case "data":
		return memberData
	case "file_id", "file_url":
		return memberFile
	case "file_data", "b64_json":
		return memberBase64
	case "container_id":
		return memberContainer
	case "encrypted_content", "signature", "thought_signature":
		return memberEncrypted
	}
	return memberOther
}

// level is an object or array that is not closed yet.
type level struct {
	object   bool
	wantName bool   // the next token is a name
	parent   member // name of the enclosing member; elements of an array inherit it
	name     member // name of the member being read

	// The type of a source, base64 or text, may follow its data: the data is
	// classified when the object closes.
	data   span
	base64 bool
	text   bool
	watch  watch
	models bool // the strings in it, or the value of the member being read, name models
}

// prompt parses a part of the prompt and adds its sizes, which the estimate
// needs, to r. It returns the number of items: for an array the number of its
// elements, where all token ids together count as one; 0 for null, and 1 for any
// other value. If ids is set, each number counts as a token.
//
// It uses an explicit stack instead of recursion: a body of 10,000 levels must
// not cost a megabyte of stack.
func (s *scanner) prompt(e wire.Endpoint, r *Request, f field, ids bool) (items int64, err *wire.Error) {
	at, err := s.next()
	if err != nil || s.body[at.start] == 'n' {
		return 0, err
	}
	switch f {
	case fieldMessages, fieldInput, fieldPrompt:
		r.conversation = at
	}
	array := s.body[at.start] == '['
	if !array {
		items = 1
	}
	top := memberOther
	if f == fieldImage || f == fieldImages {
		top = memberHolder
	}
	s.levels = append(s.levels[:0], level{parent: top, name: top})
	s.watch, s.named, s.container = f.watch(e), false, false
	s.value(r, at, ids)

	numbers := int64(0)
	for len(s.levels) > 1 {
		at, err := s.next()
		if err != nil {
			return 0, err
		}
		switch c := s.body[at.start]; {
		case !array || len(s.levels) > 2 || c == ']':
		case isNumber(c):
			numbers = 1
		default:
			items++
		}
		s.token(r, at, ids)
		switch {
		case s.container:
			return 0, f.containerRefusal()
		case s.named:
			return 0, f.refusal()
		}
	}
	return items + numbers, nil
}

// token adds a JSON token inside a prompt to r.
func (s *scanner) token(r *Request, at span, ids bool) {
	open := &s.levels[len(s.levels)-1]
	switch c := s.body[at.start]; {
	case c == '}' || c == ']':
		s.close(r)
	case open.wantName:
		open.wantName = false
		open.name = memberOf(s.body[at.start:at.end])
		if open.watch != watchNone {
			s.watched(open.watch).name(s.body[at.start:at.end])
		}
		r.addText(s.quoted(at))
	default:
		open.wantName = open.object
		models := open.models
		if open.watch != watchNone {
			w := s.watched(open.watch)
			w.value(s.body[at.start:at.end])
			models = w.reading == namesModel
		}
		switch {
		case models && c == '"':
			r.addModel(s.body[at.start:at.end], fieldTools.String())
		case models && c == '{' && open.watch == watchTool:
			r.addModel([]byte(`""`), fieldTools.String()) // of unknown form: no model that a list could allow
		}
		s.value(r, at, ids)
	}
}

// value adds a scalar, or opens an object or array.
func (s *scanner) value(r *Request, at span, ids bool) {
	open := &s.levels[len(s.levels)-1]
	switch c := s.body[at.start]; {
	case c == '{':
		s.levels = append(s.levels, level{object: true, wantName: true, parent: open.name, watch: s.begin(open)})
	case c == '[':
		models := open.models || open.watch != watchNone && s.watched(open.watch).reading == namesModel
		s.levels = append(s.levels, level{parent: open.parent, name: open.name, models: models})
	case c == '"':
		s.addString(r, open, at)
	case isNumber(c) && ids:
		r.PromptBytes += wire.BytesPerToken
	default:
		r.PromptBytes += max(int64(at.end-at.start), wire.BytesPerToken)
	}
}

// quoted returns the bytes between the quotes of the string at the span at.
func (s *scanner) quoted(at span) []byte { return s.body[at.start+1 : at.end-1] }

func isNumber(c byte) bool { return c == '-' || '0' <= c && c <= '9' }

// addString adds a string in the open object or array: text, or an image, audio
// or file by its id, by its URL or as base64.
func (s *scanner) addString(r *Request, open *level, at span) {
	text := s.quoted(at)
	switch open.name {
	case memberFile, memberHolder:
		r.addReference(text)
	case memberEncrypted:
		if len(text) >= minBlob {
			r.addBlob(text)
			return
		}
		r.addText(text)
	case memberContainer:
		s.container = s.container || s.watch == watchItem
		r.addText(text)
	case memberURL:
		if open.parent == memberHolder || open.parent == memberSource {
			r.addReference(text)
			return
		}
		r.addText(text)
	case memberBase64:
		r.addPayload(text)
	case memberData:
		s.addData(r, open, at)
	case memberType:
		if string(text) == "base64" {
			open.base64 = true
		} else {
			open.text = true
		}
		r.addText(text)
	default:
		r.addText(text)
	}
}

// addData adds a member named data, which is base64 in input_audio, base64 or
// text in a source, and counts as text elsewhere.
func (s *scanner) addData(r *Request, open *level, at span) {
	switch {
	case open.parent == memberAudio:
		r.addPayload(s.quoted(at))
	case open.parent == memberSource && !open.data.present():
		open.data = at
	default:
		r.addText(s.quoted(at))
	}
}

// close closes the open object or array and adds its deferred data.
func (s *scanner) close(r *Request) {
	open := s.levels[len(s.levels)-1]
	s.levels = s.levels[:len(s.levels)-1]
	if open.watch != watchNone {
		s.named = s.named || s.watched(open.watch).named()
	}
	switch {
	case !open.data.present():
	case open.base64 && !open.text:
		r.Images++
	default:
		r.addText(s.quoted(open.data))
	}
}

// addReference adds an image, audio or file by its id or URL. The id or URL
// itself is part of the prompt, unless it is a data URL.
func (r *Request) addReference(url []byte) {
	if bytes.HasPrefix(url, []byte("data:")) {
		r.addPayload(url)
		return
	}
	r.Images++
	r.addText(url)
}

// addPayload adds an image, audio or file in base64, whose length is no measure
// of its tokens. A plain text document counts as text.
func (r *Request) addPayload(data []byte) {
	if bytes.HasPrefix(data, []byte("data:text/")) {
		r.addText(data)
		return
	}
	r.Images++
}

// addText adds text as encoded in JSON, without its quotes.
func (r *Request) addText(text []byte) {
	for len(text) >= minBlob {
		at := findBlob(text)
		if !at.present() {
			break
		}
		r.addPlain(text[:at.start])
		r.addBlob(text[at.start:at.end])
		text = text[at.end:]
	}
	r.addPlain(text)
}

// addPlain adds text without data in base64.
func (r *Request) addPlain(text []byte) {
	r.PromptBytes += int64(len(text))
	r.wideBytes += wide(text)
	if r.counting != nil {
		r.counting.add(text)
	}
}

// wide returns the number of non-ASCII bytes. It reads eight at a time.
func wide(text []byte) (n int64) {
	const high = 0x8080808080808080
	for ; len(text) >= 8; text = text[8:] {
		n += int64(bits.OnesCount64(binary.LittleEndian.Uint64(text) & high))
	}
	for _, c := range text {
		n += int64(c >> 7)
	}
	return n
}
