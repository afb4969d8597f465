package backends

import "io"

// keptBody is the body of an answer that stays open when reverse_proxy closes it
// before its end, which it does when the caller has left.
type keptBody struct {
	body  io.ReadCloser
	ended bool
}

func (b *keptBody) Read(p []byte) (int, error) {
	n, err := b.body.Read(p)
	b.ended = b.ended || err != nil
	return n, err
}

func (b *keptBody) Close() error {
	if !b.ended {
		return nil // for Attempt.Rest
	}
	return b.body.Close()
}

// Rest returns what reverse_proxy has left of the body of an answer that is kept
// open by KeepOpen, nil where it was read to its end. It must be read after
// reverse_proxy has returned, or panicked, and be closed.
func (e *Attempt) Rest() io.ReadCloser {
	if e.kept == nil || e.kept.ended {
		return nil
	}
	return e.kept.body
}
