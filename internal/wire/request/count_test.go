package request

import (
	"strings"
	"testing"

	"github.com/amanycodes/pine-gate/internal/wire"
)

// byBytes counts one token per byte.
func byBytes(text []byte) int64 { return int64(len(text)) }

func TestCountInputCountsTheText(t *testing.T) {
	for _, c := range []struct {
		name string
		e    wire.Endpoint
		body string
		want int64
	}{
		{"a chat", wire.Chat, `{"model":"m","messages":[{"role":"user","content":"hello"}]}`, int64(len("roleusercontenthello")) + 4},
		{"escapes", wire.Chat, `{"model":"m","messages":[{"content":"a\n\u00e9\ud83d\ude00"}]}`, int64(len("contenta\né😀")) + 4},
		{"a picture", wire.Chat, `{"model":"m","messages":[{"content":[{"image_url":{"url":"data:image/png;base64,AAAA"}}]}]}`, int64(len("contentimage_urlurl")) + 4 + 2000},
		{"token ids", wire.Completions, `{"model":"m","prompt":[1,22,333]}`, 3 + 4},
		{"a number in a schema", wire.Chat, `{"model":"m","tools":[{"max":12345678}]}`, 3 + 2},
		{"nothing", wire.Chat, `{"model":"m"}`, 0},
		{"too long", wire.Chat, `{"model":"m","messages":[{"content":"` + strings.Repeat("x", maxCounted) + `"}]}`, (maxCounted+7+3)/4 + 4},
	} {
		r, err := Scan(c.e, []byte(c.body))
		if err != nil {
			t.Fatal(c.name, err)
		}
		before := *r
		if got := r.CountInput(c.e, []byte(c.body), byBytes); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
		if *r != before {
			t.Errorf("%s: counting changed the request", c.name)
		}
	}
}

func TestCountInputOfAFormIsTheEstimate(t *testing.T) {
	const body = "--b\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nm\r\n" +
		"--b\r\nContent-Disposition: form-data; name=\"prompt\"\r\n\r\nhello\r\n--b--\r\n"
	r, err := ScanMultipart("multipart/form-data; boundary=b", []byte(body))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := r.CountInput(wire.Transcriptions, []byte(body), byBytes), r.EstimateInput(); got != want {
		t.Errorf("%d, want %d", got, want)
	}
}
