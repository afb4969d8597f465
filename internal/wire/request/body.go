package request

import (
	"bytes"
	"io"
)

// Body is an edited body: pieces of the original and the replacements between
// them. The zero Body is empty. A Body is safe for concurrent use as long as the
// original is not modified.
type Body struct {
	inline [inlinePieces][]byte // enough for a new model name and one insertion
	more   [][]byte             // used instead of inline for more pieces
	n      int                  // number of pieces in inline
	length int64
}

const inlinePieces = 5

// newBody returns original with the splices s applied, which must be sorted and
// must not overlap.
func newBody(original []byte, s *splices) Body {
	var b Body
	if 2*s.n+1 > inlinePieces {
		b.more = make([][]byte, 0, 2*s.n+1)
	}
	from := 0
	for _, change := range s.list[:s.n] {
		b.append(original[from:change.at.start])
		b.append(change.with)
		from = change.at.end
	}
	b.append(original[from:])
	return b
}

func (b *Body) append(piece []byte) {
	switch {
	case len(piece) == 0:
		return
	case b.more != nil:
		b.more = append(b.more, piece)
	default:
		b.inline[b.n] = piece
		b.n++
	}
	b.length += int64(len(piece))
}

// Len returns the length in bytes.
func (b Body) Len() int64 { return b.length }

// pieces returns the pieces in order, none of which is empty.
func (b *Body) pieces() [][]byte {
	if b.more != nil {
		return b.more
	}
	return b.inline[:b.n]
}

// Bytes returns a copy of the body as one slice.
func (b Body) Bytes() []byte {
	all := make([]byte, 0, b.length)
	for _, piece := range b.pieces() {
		all = append(all, piece...)
	}
	return all
}

// Reader returns a new reader of the whole body, for one attempt. It implements
// io.WriterTo as well. Close is a no-op, so that a transport may close the reader
// while another of its goroutines is still reading.
//
// net/http sends the header and the body in one system call if it knows that
// reading cannot block, as with a bytes.Reader. So Reader returns a bytes.Reader
// for a body that has one piece, and copies a small body into one piece.
func (b Body) Reader() io.ReadCloser {
	switch pieces := b.pieces(); {
	case len(pieces) == 1:
		return io.NopCloser(bytes.NewReader(pieces[0]))
	case b.length <= joinedBytes:
		return io.NopCloser(bytes.NewReader(b.Bytes()))
	default:
		return &bodyReader{body: b}
	}
}

// joinedBytes is the maximum length of a body that Reader copies to save a
// system call. net/http's write buffer is 4 KiB, so that copying a longer body
// saves little.
const joinedBytes = 4 << 10

// bodyReader reads the pieces of a body in order.
type bodyReader struct {
	body  Body
	piece int // index of the current piece
	at    int // offset in it
}

// Read implements io.Reader.
func (r *bodyReader) Read(p []byte) (n int, err error) {
	pieces := r.body.pieces()
	for n < len(p) && r.piece < len(pieces) {
		copied := copy(p[n:], pieces[r.piece][r.at:])
		n += copied
		r.advance(copied, len(pieces[r.piece]))
	}
	if n == 0 && len(p) > 0 {
		return 0, io.EOF
	}
	return n, nil
}

// WriteTo implements io.WriterTo.
func (r *bodyReader) WriteTo(w io.Writer) (total int64, err error) {
	pieces := r.body.pieces()
	for r.piece < len(pieces) {
		rest := pieces[r.piece][r.at:]
		n, err := w.Write(rest)
		total += int64(n)
		r.advance(n, len(pieces[r.piece]))
		if err == nil && n < len(rest) {
			err = io.ErrShortWrite
		}
		if err != nil {
			return total, err
		}
	}
	return total, nil
}

// advance moves the reader n bytes ahead in the current piece, which has the
// given length.
func (r *bodyReader) advance(n, length int) {
	if r.at += n; r.at == length {
		r.piece, r.at = r.piece+1, 0
	}
}

// Close implements io.Closer.
func (r *bodyReader) Close() error { return nil }

// Interface guards
var (
	_ io.ReadCloser = (*bodyReader)(nil)
	_ io.WriterTo   = (*bodyReader)(nil)
)
