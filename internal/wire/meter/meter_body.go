package meter

import (
	"compress/gzip"
	"io"
	"sync"
)

// meteredBody is a body that is read past a meter, byte for byte as it comes.
type meteredBody struct {
	m   *Meter
	src io.ReadCloser

	tail []byte // what is put out behind the last byte of the source,
	err  error  // and what comes after that, once it is known

	closing  sync.Once
	closeErr error
}

// Read reads from the source and meters what it got.
func (r *meteredBody) Read(p []byte) (int, error) {
	if r.err != nil {
		return r.readTail(p)
	}
	n, err := r.src.Read(p)
	r.m.mu.Lock()
	r.m.observe(p[:n])
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

// finish decides how the body ends, now that its source has ended with err.
// The caller holds the meter's lock.
func (r *meteredBody) finish(err error) {
	m := r.m
	r.err = err
	switch {
	case err == io.EOF && m.torn():
		r.err = io.ErrUnexpectedEOF
	case err == io.EOF:
		m.ended()
	case m.form == formEvents && m.tally.complete:
		// The caller has its whole answer; how the connection to the backend
		// ended is no concern of its.
		r.err = io.EOF
		m.ended()
	}
}

// breakOff puts the error event behind a stream that failed midway, and before
// it what ends the event that was cut off. It is called without the meter's
// lock, since Fail may ask for the result.
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

// gunzipped decodes a gzip'd body. The header is read at the first Read, so
// that wrapping a stream does not wait for it.
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
