package meter

import (
	"bytes"
	"net/http"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/amanycodes/pine-gate/internal/wire"
)

// TestMeterOnAnyTokens joins fragments of streams in any order: the result must
// not depend on how the stream is cut.
func TestMeterOnAnyTokens(t *testing.T) {
	tokens := []string{
		"data:", "data: ", "data", "event: ", "event:error", ": ping", "id: 1", "\n", "\n", "\n\n", "\r", "\r\n", "\r\r", "\xEF\xBB\xBF",
		"[DONE]", "[DO", "{", "}", "}", "[", "]", `"`, `\`, `\"`, `\u00e9`, `\ud83d`, ":", ",", ",", " ", "null", "1", "-1", "1.5", "true", "x",
		`"usage":`, `"usage":null`, `"usage":{"prompt_tokens":3,"completion_tokens":4}`, `"choices":[]`, `"choices":[{"delta":{"content":"abc"}}]`,
		`"type":"message_stop"`, `"model":"m"`, `"id":"\u0069"`, `"us\u0061ge":null`, `"error":{}`, `"sequence_number":7`, strings.Repeat("y", 70),
		"data: {\"choices\":[],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2}}\n\n",
		"data: {\"choices\":[{\"delta\":{\"content\":\"d\"}}],\"usage\":null}\r\n\r\n",
		"data: {\"choices\":[{\"delta\":{\"content\":\"d\"}}],\rdata:\"usage\":null}\r\r",
	}
	rapid.Check(t, func(rt *rapid.T) {
		body := []byte(strings.Join(rapid.SliceOfN(rapid.SampledFrom(tokens), 0, 40).Draw(rt, "tokens"), ""))
		hide, stream := rapid.Bool().Draw(rt, "hide"), rapid.Bool().Draw(rt, "stream")
		contentType := "text/event-stream"
		if !stream {
			contentType = rapid.SampledFrom([]string{"application/json", "text/plain"}).Draw(rt, "type")
		}
		read := func(p *pieces) reading {
			return readMetered(setup{
				config: Config{Endpoint: wire.Chat, HideUsage: hide},
				header: http.Header{"Content-Type": {contentType}}, length: -1,
			}, p)
		}
		cuts := rapid.SliceOfNDistinct(rapid.IntRange(0, len(body)), 0, 8, rapid.ID[int]).Draw(rt, "cuts")
		slices.Sort(cuts)
		whole := read(inPieces(body))
		for how, got := range map[string]reading{"byte by byte": read(byteByByte(body)), "cut": read(inPieces(body, cuts...))} {
			if got.result != whole.result || !bytes.Equal(got.out, whole.out) || got.calls != whole.calls {
				rt.Fatalf("%s of %q:\n%+v %q %s\nwhole:\n%+v %q %s", how, body, got.result, got.out, got.calls, whole.result, whole.out, whole.calls)
			}
		}
		if !(stream && hide) && !bytes.Equal(whole.out, body) {
			rt.Fatalf("%q was changed to %q", body, whole.out)
		}
	})
}
