package handlers

import (
	"errors"
	"io"
	"mime"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/amanycodes/pine-gate/internal/wire"
	wirerequest "github.com/amanycodes/pine-gate/internal/wire/request"
)

// A body that takes longer than bodyGrace must arrive at bodyPace bytes a
// second on average. Caddy's idle timeout ends a body that stalls; this ends
// one that trickles and would hold its memory for hours.
const (
	bodyGrace = 15 * time.Second
	bodyPace  = 1 << 10
)

// firstRead bounds in bytes the buffer that is allocated for a body whose
// length is only claimed, or not known: memory follows what has arrived.
const firstRead = 64 << 10

// readRequest reads the body and parses what the gate needs of it.
func (q *request) readRequest() *wire.Error {
	form, err := q.checkContent()
	if err != nil {
		return err
	}
	waiting := time.Now()
	q.body, err = readBody(q.r, q.g.MaxBody)
	q.bodyTime = time.Since(waiting)
	if err != nil {
		return err
	}
	if form {
		q.parsed, err = wirerequest.ScanMultipart(q.r.Header.Get("Content-Type"), q.body)
	} else {
		q.parsed, err = wirerequest.Scan(q.endpoint, q.body)
		if err != nil && wirerequest.ReplaceSurrogates(q.body) {
			q.parsed, err = wirerequest.Scan(q.endpoint, q.body)
		}
	}
	return err
}

// checkContent refuses content types and encodings that a backend might
// interpret differently, and reports whether the body is a form.
func (q *request) checkContent() (form bool, err *wire.Error) {
	h := q.r.Header
	if len(h["Content-Type"]) > 1 || len(h["Content-Encoding"]) > 1 {
		return false, wire.Errorf(wire.KindMediaType, "")
	}
	if encoding := h.Get("Content-Encoding"); encoding != "" && encoding != "identity" {
		return false, wire.Errorf(wire.KindMediaType, "Request bodies must not be compressed.")
	}
	if h.Get("Content-Type") == "application/json" && !q.endpoint.Form() {
		return false, nil // the common case
	}
	media, params, parseErr := mime.ParseMediaType(h.Get("Content-Type"))
	switch {
	case parseErr != nil || !utf8Charset(params["charset"]):
	case media == "multipart/form-data" && q.endpoint.Form():
		return true, nil
	case media == "application/json" && (!q.endpoint.Form() || q.endpoint == wire.ImageEdits):
		return false, nil
	}
	want := "application/json"
	if q.endpoint.Form() {
		want = "multipart/form-data"
	}
	return false, wire.Errorf(wire.KindMediaType, "The content type must be %s.", want)
}

func utf8Charset(charset string) bool {
	switch charset {
	case "", "utf-8", "UTF-8", "utf8":
		return true
	}
	return false
}

// readBody reads a body of at most limit bytes into one slice.
func readBody(r *http.Request, limit int64) ([]byte, *wire.Error) {
	if r.ContentLength > limit {
		return nil, tooLarge(limit)
	}
	size := r.ContentLength
	if size < 0 || size > firstRead {
		size = firstRead
	}
	body := make([]byte, 0, size+1) // one more, to reach the end without growing
	start := time.Now()
	for {
		n, err := r.Body.Read(body[len(body):cap(body)])
		body = body[:len(body)+n]
		switch {
		case int64(len(body)) > limit:
			return nil, tooLarge(limit)
		case err == io.EOF:
			return body, nil
		case err != nil:
			return nil, readError(err, limit)
		}
		if elapsed := time.Since(start); elapsed > bodyGrace && float64(len(body)) < elapsed.Seconds()*bodyPace {
			return nil, wire.Errorf(wire.KindBodyTimeout, "")
		}
		if len(body) == cap(body) {
			body = grow(body, r.ContentLength)
		}
	}
}

// grow doubles the capacity, but goes to the claimed length at once when a
// quarter of that has arrived.
func grow(body []byte, claimed int64) []byte {
	room := 2 * int64(cap(body))
	if claimed > int64(cap(body)) && claimed <= 2*room {
		room = claimed + 1
	}
	bigger := make([]byte, len(body), room)
	copy(bigger, body)
	return bigger
}

// readError returns the caller's error for a failed read.
func readError(err error, limit int64) *wire.Error {
	var timeout net.Error
	var maxBytes *http.MaxBytesError
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return wire.Errorf(wire.KindBodyTimeout, "")
	case errors.As(err, &maxBytes): // from Caddy's request_body in front of the gate
		return tooLarge(min(limit, maxBytes.Limit))
	}
	var handlerErr caddyhttp.HandlerError
	if errors.As(err, &handlerErr) && handlerErr.StatusCode == http.StatusRequestEntityTooLarge {
		return tooLarge(limit)
	}
	return wire.Errorf(wire.KindBadRequest, "The request body could not be read.")
}

func tooLarge(limit int64) *wire.Error {
	return wire.Errorf(wire.KindTooLarge, "The request body is larger than %d bytes.", limit)
}
