package backends

import (
	"io"

	"github.com/amanycodes/pine-gate/internal/wire/meter"
)

// betweenBody is a stream that reports when a Read starts between two events.
type betweenBody struct {
	io.ReadCloser
	meter *meter.Meter
	tell  func(lineBreak string)
}

func (b *betweenBody) Read(p []byte) (int, error) {
	lineBreak := b.meter.BetweenEvents()
	if lineBreak == "" {
		return b.ReadCloser.Read(p)
	}
	b.tell(lineBreak)
	defer b.tell("") // also if Read panics: no event may be written after it
	return b.ReadCloser.Read(p)
}
