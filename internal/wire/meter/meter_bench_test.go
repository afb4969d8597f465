package meter

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"
	"unsafe"

	"github.com/amanycodes/pine-gate/internal/wire"
)

// chatDelta is a typical event of a stream, with its blank line.
const chatDelta = `data: {"id":"chatcmpl-9aT3xQm0","object":"chat.completion.chunk","created":1760000000,"model":"gpt-4o-mini","choices":[{"index":0,"delta":{"content":" word"},"logprobs":null,"finish_reason":null}]}` + "\n\n"

const chatDeltaNull = `data: {"id":"chatcmpl-9aT3xQm0","object":"chat.completion.chunk","created":1760000000,"model":"gpt-4o-mini","choices":[{"index":0,"delta":{"content":" word"},"logprobs":null,"finish_reason":null}],"usage":null}` + "\n\n"

const chatDeltaUsage = `data: {"id":"chatcmpl-9aT3xQm0","object":"chat.completion.chunk","created":1760000000,"model":"gpt-4o-mini","choices":[{"index":0,"delta":{"content":" word"},"logprobs":null,"finish_reason":null}],"usage":{"prompt_tokens":17,"total_tokens":18,"completion_tokens":1}}` + "\n\n"

// endless is a body that returns the same piece at every Read.
type endless []byte

func (e endless) Read(p []byte) (int, error) { return copy(p, e), nil }
func (e endless) Close() error               { return nil }

func streamOf(piece string, hide bool) (*Meter, io.ReadCloser) {
	m := New(Config{Endpoint: wire.Chat, HideUsage: hide})
	return m, m.Wrap(http.Header{"Content-Type": {"text/event-stream"}}, 200, -1, endless(piece))
}

func TestMeterAllocatesNothingPerEvent(t *testing.T) {
	buf := make([]byte, 32<<10)
	for name, piece := range map[string]string{
		"plain": chatDelta, "null usage": chatDeltaNull, "continuous usage": chatDeltaUsage,
		"responses":     `event: response.output_text.delta` + "\n" + `data: {"type":"response.output_text.delta","sequence_number":3,"delta":"Hi"}` + "\n\n",
		"cut in a word": chatDelta[:50],
	} {
		for _, hide := range []bool{false, true} {
			if hide && name == "cut in a word" {
				continue // the buffer of an unfinished event grows
			}
			_, r := streamOf(piece, hide)
			r.Read(buf)
			if n := testing.AllocsPerRun(100, func() { r.Read(buf) }); n > 0 {
				t.Errorf("%s, hide %v: %v allocations an event", name, hide, n)
			}
		}
	}
	// A stream in which every event is cut in two.
	for _, hide := range []bool{false, true} {
		half := &halves{text: chatDeltaUsage}
		m := New(Config{Endpoint: wire.Chat, HideUsage: hide})
		r := m.Wrap(http.Header{"Content-Type": {"text/event-stream"}}, 200, -1, half)
		for range 100 {
			r.Read(buf)
		}
		if n := testing.AllocsPerRun(200, func() { r.Read(buf) }); n > 0 {
			t.Errorf("halves, hide %v: %v allocations an event", hide, n)
		}
	}
}

// halves is a body that returns text repeatedly, in two pieces with a moving cut.
type halves struct {
	text     string
	at, turn int
}

func (h *halves) Read(p []byte) (int, error) {
	h.turn++
	if h.turn%2 == 1 {
		h.at = 1 + (h.at+7)%(len(h.text)-1)
		return copy(p, h.text[:h.at]), nil
	}
	return copy(p, h.text[h.at:]), nil
}

func (h *halves) Close() error { return nil }

func BenchmarkMeterEvent(b *testing.B) {
	for _, c := range []struct {
		name, piece string
		hide        bool
	}{
		{"observe", chatDelta, false},
		{"observe continuous usage", chatDeltaUsage, false},
		{"hide", chatDelta, true},
		{"hide null usage", chatDeltaNull, true},
		{"hide continuous usage", chatDeltaUsage, true},
	} {
		b.Run(c.name, func(b *testing.B) {
			_, r := streamOf(c.piece, c.hide)
			buf := make([]byte, 32<<10)
			b.SetBytes(int64(len(c.piece)))
			b.ReportAllocs()
			for b.Loop() {
				r.Read(buf)
			}
		})
	}
}

func BenchmarkMeterEventsTogether(b *testing.B) {
	for _, breaks := range []string{"\n", "\r\n", "\r"} {
		b.Run(map[string]string{"\n": "lf", "\r\n": "crlf", "\r": "cr"}[breaks], func(b *testing.B) {
			const events = 100
			_, r := streamOf(strings.Repeat(strings.ReplaceAll(chatDelta, "\n", breaks), events), false)
			buf := make([]byte, 32<<10)
			b.ReportAllocs()
			for b.Loop() {
				r.Read(buf)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*events), "ns/event")
		})
	}
}

func BenchmarkMeterJSON(b *testing.B) {
	text := strings.Repeat("The quick brown fox jumps over the lazy dog.\\n", 26)
	chat := []byte(`{"id":"chatcmpl-B1","object":"chat.completion","created":1760000000,"model":"gpt-4o-mini","choices":[{"index":0,"message":{"role":"assistant","content":"` + text + `","refusal":null},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":19,"completion_tokens":10,"total_tokens":29,"prompt_tokens_details":{"cached_tokens":0},"completion_tokens_details":{"reasoning_tokens":0}}}`)
	vector := []byte(`{"object":"list","data":[{"object":"embedding","index":0,"embedding":[` + strings.Repeat("-0.0023064255,", 1<<16) + `0]}],"usage":{"prompt_tokens":8,"total_tokens":8}}`)
	for name, body := range map[string][]byte{"chat 1.5kB": chat, "embedding 900kB": vector} {
		b.Run(name, func(b *testing.B) {
			buf := make([]byte, 32<<10)
			header := http.Header{"Content-Type": {"application/json"}}
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				m := New(Config{Endpoint: wire.Chat})
				r := m.Wrap(header, 200, int64(len(body)), io.NopCloser(bytes.NewReader(body)))
				for {
					if _, err := r.Read(buf); err != nil {
						break
					}
				}
				if !m.Result().Complete {
					b.Fatal("not complete")
				}
			}
		})
	}
}

func TestMeterIsSmall(t *testing.T) {
	var m Meter
	var events eventReader
	var body hidingBody
	if size := unsafe.Sizeof(m) + unsafe.Sizeof(events) + unsafe.Sizeof(body) + maxWordBytes; size > 1100 {
		t.Errorf("%d bytes a stream", size)
	} else {
		t.Logf("%d bytes a stream", size)
	}
}
