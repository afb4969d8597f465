package backends

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"
)

const (
	// headSize is how many bytes of a stream's beginning are read, at most,
	// before it is passed on.
	headSize = 4 << 10

	// maxHeldBody is how many bytes of another answer are held until it is
	// complete: it is of no use to the caller before.
	maxHeldBody = 64 << 10

	// defaultPatience is [Attempt.Patience] if none is set.
	defaultPatience = 15 * time.Second
)

var heads = sync.Pool{New: func() any { return new([headSize]byte) }}

// begin wraps the body of a 2xx response so that the attempt's watchdog observes
// it, and waits until its beginning shows what it is. If it is an error in any
// form, res becomes a response with the status and the body of that error. If it
// ends without an answer, or is a web page, it becomes one with status 502. After
// an error res must not be used.
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
	j := newJudge(e, res.Header)
	if encoding := res.Header.Get("Content-Encoding"); encoding != "" && !strings.EqualFold(encoding, "identity") {
		j.text = true // it can't be read here
	}
	shown, err := body.awaitHead(&j, res.ContentLength, e.patience())
	switch {
	case err != nil:
		_ = body.Close()
	case shown == openFailure:
		_ = body.Close()
		e.Flag = FlagErrorBody
		if j.events {
			e.Flag = FlagErrorEvent
		}
		res.StatusCode = j.status
		e.replace(res, j.body)
	case shown == openEmpty:
		_ = body.Close()
		e.Flag, res.StatusCode = FlagNoAnswer, http.StatusBadGateway
		e.replace(res, nil)
	case shown == openNothing:
		body.comments = true
		e.unbegun = true
	}
	return err
}

// patience returns how long a beginning may be held back.
func (e *Attempt) patience() time.Duration {
	if e.Patience > 0 {
		return e.Patience
	}
	return defaultPatience
}

// replace makes body the JSON body of a response.
func (e *Attempt) replace(res *http.Response, body []byte) {
	res.Body = io.NopCloser(bytes.NewReader(bytes.Clone(body)))
	res.ContentLength = int64(len(body))
	res.Header.Set("Content-Type", "application/json")
	res.Header.Del("Content-Length")
}

// watchedBody is the body of a response as the backend sends it, observed by the
// attempt's watchdog. Its head is read before the first Read.
type watchedBody struct {
	io.ReadCloser
	watchdog *Watchdog

	buffer   *[headSize]byte // from the pool; nil if it was given back or is too small
	head     []byte
	err      error        // came with the head, which is then all of the body
	pending  chan oneRead // a Read behind the head that goes on; nil: none
	comments bool         // only comments were read: the answer has not begun
	inLine   bool         // the last comment has not ended
}

// oneRead is the result of a Read.
type oneRead struct {
	p   []byte
	err error
}

// awaitHead reads the beginning of a body until j has decided what it is, so that
// another backend can take over if this one fails before. It holds no more than
// headSize bytes of a stream and maxHeldBody of anything else, and nothing for
// longer than patience: a caller must see that the backend lives. It returns an
// error if the body breaks off before.
func (b *watchedBody) awaitHead(j *judge, length int64, patience time.Duration) (opening, error) {
	b.buffer = heads.Get().(*[headSize]byte)
	space := b.buffer[:]
	var late *time.Timer
	for {
		n, err, ok := b.read(space[len(b.head):], late)
		if !ok {
			return j.shown, nil
		}
		b.head = space[:len(b.head)+n]
		shown := j.of(b.head, err == io.EOF)
		j.shown = shown
		if err != nil && err != io.EOF && !j.decides(shown) {
			return shown, err
		}
		full := len(b.head) >= headSize
		if !j.events {
			full = len(b.head) >= maxHeldBody || shown == openPreamble && length > maxHeldBody
		}
		if j.decides(shown) || full {
			b.err = err
			return shown, nil
		}
		if len(b.head) > 0 && late == nil {
			late = time.NewTimer(patience)
			defer late.Stop()
		}
		if len(b.head) == len(space) {
			space = append(make([]byte, 0, min(4*len(space), maxHeldBody)), b.head...)
			space = space[:cap(space)]
			b.recycle()
		}
	}
}

// read reads once into p. With a timer, it returns false when that fires first;
// the read then goes on.
func (b *watchedBody) read(p []byte, late *time.Timer) (n int, err error, ok bool) {
	if late == nil {
		n, err = b.ReadCloser.Read(p)
		return n, err, true
	}
	b.pending = make(chan oneRead, 1)
	go func(body io.Reader, done chan<- oneRead) {
		n, err := body.Read(p)
		done <- oneRead{p[:n], err}
	}(b.ReadCloser, b.pending)
	select {
	case r := <-b.pending:
		b.pending = nil
		return len(r.p), r.err, true
	case <-late.C:
		return 0, nil, false
	}
}

// recycle gives the buffer back to the pool.
func (b *watchedBody) recycle() {
	if b.buffer != nil {
		heads.Put(b.buffer)
		b.buffer = nil
	}
}

func (b *watchedBody) Read(p []byte) (int, error) {
	if len(b.head) > 0 {
		n := copy(p, b.head)
		b.head = b.head[n:]
		b.observe(p[:n])
		if len(b.head) == 0 && b.pending == nil {
			b.recycle()
			return n, b.err
		}
		return n, nil
	}
	if b.err != nil {
		return 0, b.err
	}
	if b.comments {
		n, err := b.next(p)
		b.observe(p[:n])
		return n, err
	}
	b.watchdog.expect(waitNext)
	n, err := b.next(p)
	b.watchdog.expect(waitNone)
	return n, err
}

// next reads what follows the head.
func (b *watchedBody) next(p []byte) (int, error) {
	if b.pending == nil {
		return b.ReadCloser.Read(p)
	}
	r := <-b.pending
	b.pending, b.err = nil, r.err
	n := copy(p, r.p)
	if b.head = r.p[n:]; len(b.head) > 0 {
		return n, nil
	}
	b.recycle()
	return n, b.err
}

// observe finds the beginning of an answer behind comments. Until then the
// watchdog goes on waiting for it.
func (b *watchedBody) observe(p []byte) {
	for _, c := range p {
		if !b.comments {
			return
		}
		switch {
		case c == '\n' || c == '\r':
			b.inLine = false
		case b.inLine || c == ':':
			b.inLine = true
		default:
			b.comments = false
			b.watchdog.expect(waitNone)
		}
	}
}
