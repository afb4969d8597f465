package handlers

import (
	"bytes"
	"errors"
	"io"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/amanycodes/pine-gate/internal/wire"
)

func TestReadBodyTakesWhatComesWhateverIsClaimed(t *testing.T) {
	content := bytes.Repeat([]byte("0123456789"), 30_000)
	for name, claimed := range map[string]int64{
		"length known": int64(len(content)), "chunked": -1,
	} {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest("POST", "/", iotest.OneByteReader(bytes.NewReader(content)))
			r.ContentLength = claimed
			got, err := readBody(r, int64(len(content)))
			if err != nil || !bytes.Equal(got, content) {
				t.Errorf("got %d bytes, %v", len(got), err)
			}
		})
	}
}

func TestReadBodyRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		body    io.Reader
		claimed int64
		want    wire.Kind
	}{
		"a length over the limit, unread": {iotest.ErrReader(errors.New("read")), 101, wire.KindTooLarge},
		"chunks over the limit":           {strings.NewReader(strings.Repeat("x", 101)), -1, wire.KindTooLarge},
		"a body that stands still":        {iotest.ErrReader(os.ErrDeadlineExceeded), 50, wire.KindBodyTimeout},
		"a body that breaks off":          {iotest.ErrReader(io.ErrUnexpectedEOF), 50, wire.KindBadRequest},
	} {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest("POST", "/", c.body)
			r.ContentLength = c.claimed
			if _, err := readBody(r, 100); err == nil || err.Kind != c.want {
				t.Errorf("got %v, want kind %d", err, c.want)
			}
		})
	}
}

func TestReadBodySetsAsideNoMoreThanCame(t *testing.T) {
	r := httptest.NewRequest("POST", "/", strings.NewReader("short"))
	r.ContentLength = 1 << 40
	body, err := readBody(r, 1<<41)
	if err != nil {
		t.Fatal(err)
	}
	if cap(body) > 2*firstRead {
		t.Errorf("%d bytes set aside for a claim", cap(body))
	}
}
