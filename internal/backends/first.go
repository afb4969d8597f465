package backends

import (
	"io"
	"net/http"
	"sync"
)

// headSize is how much of a stream's beginning is read before it is passed on.
const headSize = 4 << 10

var heads = sync.Pool{New: func() any { return new([headSize]byte) }}

// begin puts the body of an answer under the watch of the attempt and waits, if
// it is a stream, for its first chunk; where another backend can answer instead,
// for its first event, too. An answer whose first event is an error that another
// backend may not have becomes one of that status, without a body. After an error
// there is no answer. A page for people, which is none to any endpoint, becomes one
// of status 502.
func (e *Attempt) begin(res *http.Response) error {
	if res.StatusCode < 200 || res.StatusCode >= 300 {
		return nil // small, and read at once
	}
	if isMedia(res.Header, "text/html") { // of a proxy with a login, or of the wrong server
		_ = res.Body.Close()
		e.Flag, res.StatusCode, res.Body = FlagHTML, http.StatusBadGateway, http.NoBody
		return nil
	}
	body := &watchedBody{ReadCloser: res.Body, watchdog: &e.Watchdog}
	res.Body = body
	if !isEvents(res.Header) {
		return nil
	}
	status := 0
	begun := func([]byte) bool { return true }
	if e.Fallback && res.Header.Get("Content-Encoding") == "" {
		begun = func(head []byte) bool {
			first, whole := cutEvent(head)
			if whole {
				status = eventStatus(first)
			}
			return whole
		}
	}
	err := body.awaitHead(begun)
	if err != nil || status != 0 {
		_ = body.Close()
	}
	if status != 0 {
		e.Flag, res.StatusCode, res.Body = FlagErrorEvent, status, http.NoBody
	}
	return err
}

// watchedBody is the body of an answer as the backend sends it, read under the
// watch of the attempt. Its head was read already.
type watchedBody struct {
	io.ReadCloser
	watchdog *Watchdog

	buffer *[headSize]byte // nil: there is no head any more
	head   []byte
	err    error // that came with the head, behind which nothing is
}

// awaitHead reads the beginning of a stream until that is said to be enough, so
// that a backend which sends headers and then nothing, or breaks off, can still
// give way to another one. It never waits for more than fits into a head. The
// error is that of a stream which broke off before.
func (b *watchedBody) awaitHead(enough func(head []byte) bool) error {
	b.buffer = heads.Get().(*[headSize]byte)
	for {
		n, err := b.ReadCloser.Read(b.buffer[len(b.head):])
		b.head = b.buffer[:len(b.head)+n]
		switch {
		case err == io.EOF && len(b.head) == 0:
			return io.ErrUnexpectedEOF // no answer at all
		case n > 0 && enough(b.head), len(b.head) == headSize, err == io.EOF:
			b.err = err
			return nil
		case err != nil:
			return err
		}
	}
}

func (b *watchedBody) Read(p []byte) (int, error) {
	if b.buffer != nil {
		n := copy(p, b.head)
		if b.head = b.head[n:]; len(b.head) > 0 {
			return n, nil
		}
		heads.Put(b.buffer)
		b.buffer = nil
		if n > 0 || b.err != nil {
			return n, b.err
		}
	}
	if b.err != nil {
		return 0, b.err
	}

	b.watchdog.expect(waitNext)
	n, err := b.ReadCloser.Read(p)
	b.watchdog.expect(waitNone)
	return n, err
}
