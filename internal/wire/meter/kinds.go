package meter

import "bytes"

// eventKind is what the type of an event means to the meter.
type eventKind uint8

const (
	kindPlain    eventKind = iota
	kindTerminal           // the stream is whole with it
	kindWhole              // the answer is whole with it, but its totals may follow
	kindFailed             // the same, and the backend failed
	kindError              // an error midway
	kindSound              // its delta is sound, not text
)

// kindOf reads the type of an event.
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
