package meter

import "bytes"

// eventKind is the meaning of an event's type for the meter.
type eventKind uint8

const (
	kindPlain    eventKind = iota
	kindTerminal           // completes the stream
	kindWhole              // completes the answer, but further totals may follow
	kindFailed             // completes the stream, and the backend failed
	kindError              // an error in the stream
	kindSound              // the delta is audio, not text
)

// kindOf returns the kind of an event by its type.
func kindOf(name []byte) eventKind {
	switch string(name) {
	case "message_stop",
		"response.completed", "response.incomplete", "response.cancelled",
		"transcript.text.done", "speech.audio.done":
		return kindTerminal
	case "image_generation.completed", "image_edit.completed":
		return kindWhole
	case "response.failed":
		return kindFailed
	case "error":
		return kindError
	}
	if bytes.HasSuffix(name, []byte("audio.delta")) {
		return kindSound
	}
	return kindPlain
}
