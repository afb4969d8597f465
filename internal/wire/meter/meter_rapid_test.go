package meter

import (
	"bytes"
	"errors"
	"io"
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

// TestMeterOnAnyEvents joins events of several APIs that are alike: the result must not
// depend on how the stream is cut.
func TestMeterOnAnyEvents(t *testing.T) {
	texts := []string{"", "a", "word", "é", `\n`, `\"`, `\\`, `\u00e9`, `"},"x":{"y":"`, "\n", "\r", "\n\ndata: ", `"`, strings.Repeat("long ", 300), `{"usage":1}`}
	fill := func(rt *rapid.T, shape string) string {
		for strings.Contains(shape, "$") {
			shape = strings.Replace(shape, "$", rapid.SampledFrom(texts).Draw(rt, "text"), 1)
		}
		for strings.Contains(shape, "#") {
			shape = strings.Replace(shape, "#", rapid.SampledFrom([]string{"0", "7", "12", "-1", "null", "1e3", "1234567890123", "99999999999999", `"7"`}).Draw(rt, "number"), 1)
		}
		return shape
	}
	shapes := []string{
		`data: {"id":"c","model":"m","choices":[{"delta":{"content":"$"}}]}`,
		`data: {"id":"c","model":"m","choices":[{"delta":{"content":"$"}}],"usage":null}`,
		`data: {"usage":null,"choices":[{"delta":{"content":"$"}}],"obfuscation":"$"}`,
		`data: {"choices":[{"delta":{"content":"$"}}],"obfuscation":"$","usage":null,"x":"$"}`,
		`data: {"choices":[{"delta":{"content":"$"}}],"service_tier":"$"}`,
		`data: {"choices":[{"delta":{"content":"a"}}],"service_tier":"default"}`,
		`data: {"choices":[{"delta":{"content":"a"}}],"service_tier":"priority"}`,
		`data: {"choices":[{"delta":{"content":"$","reasoning":"$"}},{"delta":{"content":"$","tool_calls":[{"function":{"arguments":"$"}}]}}]}`,
		`data: {"choices":[{"delta":{"tool_calls":[{"function":{"arguments":{"a":"$"}}}]}}]}`,
		`data: {"choices":[{"delta":{"content":"$"}}],"usage":{"prompt_tokens":3,"completion_tokens":#}}`,
		`data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4}}`,
		`data: {"choices":[{"delta":{"content":"$"}}],"usage":{"prompt_tokens":"$"}}`,
		`data: {"choices":[{"delta":{"content":"$"}}],"error":"$"}`,
		`data: {"type":"a.delta","sequence_number":#,"delta":"$","obfuscation":"$"}`,
		`data: {"type":"a.delta","delta":"$","sequence_number":#}`,
		`data: {"type":"x.audio.delta","delta":"$"}`,
		`data: {"delta":"$","type":"x.audio.delta"}`,
		"event: delta\ndata: " + `{"type":"delta","delta":{"text":"$"}}`,
		"event: error\ndata: " + `{"type":"delta","delta":{"text":"$"}}`,
		"data: " + `{"delta":` + "\ndata: " + `"$"}`,
		": ping", "data: [DONE]", `data: {"type":"message_stop"}`, `data: {"x":"$"`,
	}
	rapid.Check(t, func(rt *rapid.T) {
		var body strings.Builder
		end := rapid.SampledFrom([]string{"\n\n", "\n\n", "\r\n\r\n", "\r\r"}).Draw(rt, "line breaks")
		for range rapid.IntRange(1, 6).Draw(rt, "events") {
			shape := rapid.SampledFrom(shapes).Draw(rt, "shape")
			for range rapid.IntRange(1, 4).Draw(rt, "times") {
				body.WriteString(fill(rt, shape) + end)
			}
		}
		config := Config{
			Endpoint:  rapid.SampledFrom([]wire.Endpoint{wire.Chat, wire.Responses, wire.Messages, wire.Transcriptions}).Draw(rt, "endpoint"),
			HideUsage: rapid.Bool().Draw(rt, "hide"),
			Fail:      func(error) *wire.Error { return wire.Errorf(wire.KindUpstream, "") }, // its event contains the sequence number
		}
		if rapid.Bool().Draw(rt, "count") {
			config.Count = func(text []byte) int64 { return int64(bytes.Count(text, []byte("o")) + len(text)/3) }
		}
		cuts := rapid.SliceOfNDistinct(rapid.IntRange(0, body.Len()), 0, 3, rapid.ID[int]).Draw(rt, "cuts")
		slow, slowOut, slowTokens := readBroken(config, byteByByte([]byte(body.String())))
		for how, pieces := range map[string]*pieces{"whole": inPieces([]byte(body.String())), "cut": inPieces([]byte(body.String()), slices.Sorted(slices.Values(cuts))...)} {
			result, out, tokens := readBroken(config, pieces)
			if result != slow || tokens != slowTokens || !bytes.Equal(out, slowOut) {
				rt.Fatalf("%s %q:\n%+v, %d tokens, %q\nbyte by byte:\n%+v, %d tokens, %q", how, body.String(), result, tokens, out, slow, slowTokens, slowOut)
			}
		}
	})
}

// readBroken reads a stream that ends with an error.
func readBroken(c Config, body *pieces) (Result, []byte, int64) {
	body.err = errors.New("broken")
	m := New(c)
	out, _ := io.ReadAll(m.Wrap(http.Header{"Content-Type": {"text/event-stream"}}, 200, -1, body))
	return m.Result(), out, m.UnreportedTokens()
}
