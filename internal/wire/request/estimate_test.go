package request

import (
	"strings"
	"testing"

	"github.com/amanycodes/pine-gate/internal/wire"
)

func TestTheEstimateErrsHigh(t *testing.T) {
	for _, c := range []struct {
		name, body string
		atLeast    int64 // approximate count of tokenizers
		atMost     int64
	}{
		{"English", `{"model":"m","messages":[{"role":"user","content":"` + strings.Repeat("The quick brown fox jumps over the lazy dog. ", 100) + `"}]}`, 1000, 1200},
		{"Chinese", `{"model":"m","messages":[{"role":"user","content":"` + strings.Repeat("敏捷的棕色狐狸", 100) + `"}]}`, 700, 1100},
		{"Chinese, escaped", `{"model":"m","messages":[{"role":"user","content":"` + strings.Repeat(`\u654f\u6377`, 350) + `"}]}`, 700, 1100},
		{"many short messages", `{"model":"m","messages":[` + strings.Repeat(`{"role":"user","content":"a"},`, 99) + `{"role":"user","content":"a"}]}`, 500, 1000},
		{"a picture of a megabyte", `{"model":"m","messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/png;base64,` + strings.Repeat("A", 1<<20) + `"}}]}]}`, 1600, 2100},
		{"nothing", `{"model":"m"}`, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := Scan(wire.Chat, []byte(c.body))
			if err != nil {
				t.Fatal(err)
			}
			if got := r.EstimateInput(); got < c.atLeast || got > c.atMost || got < r.PromptBytes/4+4*r.Messages {
				t.Errorf("got %d, want %d to %d", got, c.atLeast, c.atMost)
			}
		})
	}
}

func TestBytesOutsideASCIIAreCounted(t *testing.T) {
	text := strings.Repeat("aé", 50)
	for i := range text {
		want := int64(0)
		for _, c := range []byte(text[i:]) {
			if c >= 0x80 {
				want++
			}
		}
		if got := wide([]byte(text[i:])); got != want {
			t.Fatalf("from %d: got %d, want %d", i, got, want)
		}
	}
}
