package meter

import (
	"compress/gzip"
	"io"
	"sync"
)

// meteredBody is a body that is metered as it is read, and passes unchanged.
type meteredBody struct {
	m   *Meter
	src io.ReadCloser

	tail []byte // returned after the last byte of the source
	err  error  // returned after tail; nil until the source has ended

	closing  sync.Once
	closeErr error
}

// Read reads from the source and meters what it returns.
func (r *meteredBody) Read(p []byte) (int, error) {
	if r.err != nil {
		return r.readTail(p)
	}
	n, err := r.src.Read(p)
	r.m.mu.Lock()
	r.m.observe(p[:n])
	if r.m.tally.bytes == r.m.length && r.m.cutJSON() {
		n, err = 0, io.EOF // else the caller would take it for complete
	}
	if err != nil {
		r.finish(err)
	}
	r.m.mu.Unlock()
	if err != nil {
		r.breakOff(r.m.brokenLine())
		err = r.err
		if len(r.tail) > 0 {
			err = nil
		}
	}
	r.m.release()
	return n, err
}

// Close closes the source, once.
func (r *meteredBody) Close() error {
	r.closing.Do(func() { r.closeErr = r.src.Close() })
	return r.closeErr
}

func (r *meteredBody) readTail(p []byte) (int, error) {
	n := copy(p, r.tail)
	if r.tail = r.tail[n:]; len(r.tail) > 0 || n > 0 && len(p) > 0 {
		return n, nil
	}
	return n, r.err
}

// finish sets the error with which the body ends, after its source has ended with
// err. m.mu must be held.
func (r *meteredBody) finish(err error) {
	m := r.m
	r.err = err
	switch {
	case err == io.EOF && m.torn():
		r.err = io.ErrUnexpectedEOF
	case err == io.EOF && m.cutJSON():
		m.tally.flagged = true
		r.err = io.ErrUnexpectedEOF
	case err == io.EOF:
		m.ended()
	case m.form == formEvents && m.tally.complete:
		// The caller has the complete answer; an error of the backend's
		// connection no longer matters.
		r.err = io.EOF
		m.ended()
	}
}

// breakOff sets the tail of a stream that failed midway: lineBreaks, which end the
// event that was cut off, and the error event. m.mu must not be held, since Fail
// may call Result.
func (r *meteredBody) breakOff(lineBreaks []byte) {
	m := r.m
	if r.err == io.EOF || m.form != formEvents || m.config.Fail == nil {
		return
	}
	e := m.config.Fail(r.err)
	if e == nil {
		return
	}
	r.tail = append(lineBreaks, e.Event(m.config.Endpoint, m.tally.sequence+1)...)
	r.err = io.EOF
}

// gunzipped decodes a gzipped body. It reads the gzip header at the first Read, so
// that wrapping a stream does not block.
type gunzipped struct {
	src io.ReadCloser
	zip *gzip.Reader
}

func (g *gunzipped) Read(p []byte) (int, error) {
	if g.zip == nil {
		zip, err := gzip.NewReader(g.src)
		if err != nil {
			return 0, err
		}
		g.zip = zip
	}
	return g.zip.Read(p)
}

func (g *gunzipped) Close() error { return g.src.Close() }
