package request

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/amanycodes/pine-gate/internal/wire"
)

// A small body is copied into one piece, a large one stays in pieces: Read and
// WriteTo must return the same bytes for both.
func TestReaderReadsEditedBodiesOfAnySize(t *testing.T) {
	for _, size := range []int{1, joinedBytes - 200, joinedBytes, joinedBytes + 200, 1 << 20} {
		body := []byte(`{"model":"m","messages":[{"role":"user","content":"` + strings.Repeat("x", size) + `"}]}`)
		request, refusal := Scan(wire.Chat, body)
		if refusal != nil {
			t.Fatal(refusal)
		}
		edited := request.Edit(body, Edit{Model: "other", Cap: 7, CapName: "max_tokens", IncludeUsage: true})
		want := edited.Bytes()
		read, err := io.ReadAll(iotest.OneByteReader(edited.Reader()))
		if err != nil || !bytes.Equal(read, want) || int64(len(read)) != edited.Len() {
			t.Errorf("%d bytes: read %d of %d, %v", size, len(read), edited.Len(), err)
		}
		var written bytes.Buffer
		if _, err := io.Copy(&written, edited.Reader()); err != nil || !bytes.Equal(written.Bytes(), want) {
			t.Errorf("%d bytes: wrote %d of %d, %v", size, written.Len(), edited.Len(), err)
		}
	}
}
