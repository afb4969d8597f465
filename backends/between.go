package backends

import (
	"io"

	"github.com/amanycodes/pine-gate/wire"
)

// betweenBody is a stream that tells when it waits between two events.
type betweenBody struct {
	io.ReadCloser
	meter *wire.Meter
	tell  func(open bool)
}

func (b *betweenBody) Read(p []byte) (int, error) {
	if !b.meter.BetweenEvents() {
		return b.ReadCloser.Read(p)
	}
	b.tell(true)
	defer b.tell(false) // a Read that panics, too: nobody may write behind it
	return b.ReadCloser.Read(p)
}
