package meter

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/amanycodes/pine-gate/internal/wire"
)

// byBytes counts one token per byte.
func byBytes(text []byte) int64 { return int64(len(text)) }

func TestUnreportedTokensAreThoseOfTheTextThatNoUsageCovers(t *testing.T) {
	for _, tr := range transcripts {
		body := tr.read(t)
		s := tr.setup()
		var meter *Meter
		for how, p := range map[string]*pieces{"whole": inPieces(body), "byte by byte": byteByByte(body)} {
			s.config.Count = byBytes
			meter = New(s.config)
			r := meter.Wrap(s.header.Clone(), 200, -1, p)
			for buf := make([]byte, 4096); ; {
				if _, err := r.Read(buf); err != nil {
					break
				}
			}
			if got := meter.UnreportedTokens(); got != tr.want.Unreported {
				t.Errorf("%s, %s: %d, want %d", tr.file, how, got, tr.want.Unreported)
			}
		}
	}
}

// The count must not depend on how the stream is cut, nor on its length.
func TestUnreportedTokensOfAnyStream(t *testing.T) {
	events := []string{
		"data: {\"choices\":[{\"delta\":{\"content\":\"d\"}}]}\n\n",
		"data: {\"choices\":[{\"delta\":{\"content\":\"\\u00e9\\ud83d\\ude00\\n\\\"\"}}]}\n\n",
		"data: {\"choices\":[{\"delta\":{\"content\":\"" + strings.Repeat("word ", 1000) + "\"}}]}\n\n",
		"data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"function\":{\"arguments\":{\"a\":[1, 2]}}}]}}]}\n\n",
		"data: {\"choices\":[],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2}}\n\n",
		"data: {\"delta\":\"UklGRg\",\"type\":\"response.audio.delta\"}\n\n",
		"data: {\"type\":\"response.audio.delta\",\"delta\":\"UklGRg\"}\n\n",
		"data: {\"type\":\"response.output_text.delta\",\"delta\":\"text\"}\n\n",
		": ping\n\n",
	}
	rapid.Check(t, func(rt *rapid.T) {
		body := []byte(strings.Join(rapid.SliceOfN(rapid.SampledFrom(events), 0, 12).Draw(rt, "events"), ""))
		endpoint := rapid.SampledFrom([]wire.Endpoint{wire.Chat, wire.Responses}).Draw(rt, "endpoint")
		at := rapid.IntRange(0, len(body)).Draw(rt, "cut")
		meter := New(Config{Endpoint: endpoint, Count: byBytes})
		r := meter.Wrap(http.Header{"Content-Type": {"text/event-stream"}}, 200, -1, inPieces(body, at))
		for buf := make([]byte, 4096); ; {
			if _, err := r.Read(buf); err != nil {
				break
			}
			if got, want := meter.UnreportedTokens(), meter.Result().Unreported; at == 0 && got > want {
				rt.Fatalf("%d in the middle, at most %d", got, want)
			}
		}
		if got, want := meter.UnreportedTokens(), meter.Result().Unreported; got != want {
			rt.Fatalf("%d, want %d", got, want)
		}
	})
}

func TestWithoutACounterTokensAreAQuarterOfTheBytes(t *testing.T) {
	meter := New(Config{Endpoint: wire.Chat})
	r := meter.Wrap(http.Header{"Content-Type": {"text/event-stream"}}, 200, -1,
		inPieces(fmt.Appendf(nil, "data: {\"choices\":[{\"delta\":{\"content\":%q}}]}\n\n", "12345")))
	if _, err := r.Read(make([]byte, 4096)); err != nil {
		t.Fatal(err)
	}
	if got := meter.UnreportedTokens(); got != 2 {
		t.Errorf("%d, want 2", got)
	}
}
