package backends

import (
	"io"
	"net/http"
	"sync"
)

// headSize is how many bytes of a stream's beginning are read, at most, before
// it is passed on.
const headSize = 4 << 10

var heads = sync.Pool{New: func() any { return new([headSize]byte) }}

// begin wraps the body of a 2xx response so that the attempt's watchdog observes
// it. If it is a stream, begin waits for its first chunk or, with Fallback set,
// for its first event. If that event is an error that another backend may not
// have, res becomes a response with the status of the error and without a body.
// An HTML page, which no endpoint returns, becomes a response with status 502.
// After an error res must not be used.
func (e *Attempt) begin(res *http.Response) error {
	if res.StatusCode < 200 || res.StatusCode >= 300 {
		return nil // error bodies are small, and read at once
	}
	if isMedia(res.Header, "text/html") { // from a proxy with a login, or the wrong server
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

// watchedBody is the body of a response as the backend sends it, observed by the
// attempt's watchdog. The head of a stream is read before the first Read.
type watchedBody struct {
	io.ReadCloser
	watchdog *Watchdog

	buffer *[headSize]byte // nil: no head is left
	head   []byte
	err    error // came with the head, which is then all of the body
}

// awaitHead reads the beginning of a stream until enough returns true, so that
// another backend can take over if this one sends headers and then nothing, or
// breaks off. It reads no more than headSize. It returns an error if the stream
// breaks off before.
func (b *watchedBody) awaitHead(enough func(head []byte) bool) error {
	b.buffer = heads.Get().(*[headSize]byte)
	for {
		n, err := b.ReadCloser.Read(b.buffer[len(b.head):])
		b.head = b.buffer[:len(b.head)+n]
		switch {
		case err == io.EOF && len(b.head) == 0:
			return io.ErrUnexpectedEOF // an empty stream
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
