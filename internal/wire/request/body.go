package request

import (
	"bytes"
	"io"
)

// Body is an edited body: pieces of the original and what stands between them.
// The zero Body is empty. It is safe for use by several goroutines, as long as
// nobody changes the original.
type Body struct {
	inline [inlinePieces][]byte // enough for a new name and one insertion
	more   [][]byte             // instead of inline, where there are more
	n      int                  // pieces in inline
	length int64
}

const inlinePieces = 5

// newBody applies splices, which are in order and do not overlap, to a body.
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

// Len is the length in bytes.
func (b Body) Len() int64 { return b.length }

// pieces returns the pieces in their order, none of them empty.
func (b *Body) pieces() [][]byte {
	if b.more != nil {
		return b.more
	}
	return b.inline[:b.n]
}

// Bytes returns a copy of the body in one piece.
func (b Body) Bytes() []byte {
	all := make([]byte, 0, b.length)
	for _, piece := range b.pieces() {
		all = append(all, piece...)
	}
	return all
}

// Reader returns a new reader over the whole body, one for each attempt. It is
// an io.WriterTo as well. Close does nothing, so that a transport may close it
// while another of its goroutines still reads.
//
// net/http sends a body together with the header, in one system call, where it
// knows that reading can't block: that is, of a bytes.Reader. So what is in one
// piece is given as one, and what is small is put together.
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

// joinedBytes is the most that is copied to save a system call. net/http's
// buffer for writing holds 4 KiB, so beyond that there is little to save.
const joinedBytes = 4 << 10

// bodyReader reads the pieces of a body one after the other.
type bodyReader struct {
	body  Body
	piece int // the one being read
	at    int // how much of it has been
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

// advance steps over n bytes of the piece.
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
