package backends

import "io"

// keptBody is the body of a response that stays open when reverse_proxy closes
// it before its end, as it does when the caller has left.
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

// Rest returns the unread rest of a response body that KeepOpen kept open, or
// nil if the body was read to its end. It may be called once reverse_proxy has
// returned or panicked. The caller must read and close the result.
func (e *Attempt) Rest() io.ReadCloser {
	if e.kept == nil || e.kept.ended {
		return nil
	}
	return e.kept.body
}
