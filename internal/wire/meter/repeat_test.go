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

// alike holds pairs of similar events, as providers send them.
var alike = map[string][2]string{
	"chat": {chatDelta, strings.Replace(chatDelta, " word", " other words", 1)},
	"chat of OpenAI": {
		`data: {"id":"chatcmpl-9","object":"chat.completion.chunk","created":1760000000,"model":"gpt-4o-mini","service_tier":"default","system_fingerprint":"fp_1","choices":[{"index":0,"delta":{"content":"Hi"},"logprobs":null,"finish_reason":null}],"usage":null,"obfuscation":"xGpo"}` + "\n\n",
		`data: {"id":"chatcmpl-9","object":"chat.completion.chunk","created":1760000000,"model":"gpt-4o-mini","service_tier":"default","system_fingerprint":"fp_1","choices":[{"index":0,"delta":{"content":" there"},"logprobs":null,"finish_reason":null}],"usage":null,"obfuscation":"q"}` + "\n\n",
	},
	"arguments": {
		`data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{"}}]}}]}` + "\r\n\r\n",
		`data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":" 1,"}}]}}]}` + "\r\n\r\n",
	},
	"responses": {
		"event: response.output_text.delta\ndata: " + `{"type":"response.output_text.delta","sequence_number":9,"item_id":"msg_1","output_index":0,"content_index":0,"delta":"Hi","logprobs":[],"obfuscation":"aB3dE"}` + "\n\n",
		"event: response.output_text.delta\ndata: " + `{"type":"response.output_text.delta","sequence_number":10,"item_id":"msg_1","output_index":0,"content_index":0,"delta":" there","logprobs":[],"obfuscation":""}` + "\n\n",
	},
	"messages": {
		"event: content_block_delta\ndata: " + `{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hello"}}` + "\n\n",
		"event: content_block_delta\ndata: " + `{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"!"}}` + "\n\n",
	},
}

func TestEventsThatAreAlikeAreReadByComparing(t *testing.T) {
	for name, events := range alike {
		t.Run(name, func(t *testing.T) {
			r := newEventReader(&tally{}, nil, func(*payload) {})
			r.next([]byte(events[0]))
			r.begin()
			b := []byte(events[1] + events[0])
			if n := r.repeats(b); n != len(events[1]) {
				t.Errorf("read %d bytes of %q by comparing, want %d", n, b, len(events[1]))
			}
		})
	}
}

// A stream that is read byte by byte never has a complete event to compare. Both
// ways of reading must have the same result, also for events that only look alike.
func TestComparingEventsChangesNothing(t *testing.T) {
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

// Values of the template event must not overwrite those of later events.
func TestComparingEventsForgets(t *testing.T) {
	const standard, priority = `data: {"choices":[{"delta":{"content":"a"}}],"service_tier":"default"}` + "\n\n", `data: {"choices":[{"delta":{"content":"a"}}],"service_tier":"priority"}` + "\n\n"
	const first, huge = `data: {"type":"a.delta","sequence_number":1,"delta":"a"}` + "\n\n", `data: {"type":"a.delta","sequence_number":1234567890123,"delta":"a"}` + "\n\n"
	second := strings.Replace(first, "1", "2", 1)
	for name, c := range map[string]struct {
		endpoint wire.Endpoint
		pieces   []string
	}{
		"another tier":              {wire.Chat, []string{standard, priority, standard}},
		"another tier, in parts":    {wire.Chat, []string{standard, priority[:30], priority[30:] + standard}},
		"another number":            {wire.Responses, []string{first, second}},
		"another number, in parts":  {wire.Responses, []string{first, second[:30], second[30:], second}},
		"a number that is no count": {wire.Responses, []string{first, second, huge}},
	} {
		t.Run(name, func(t *testing.T) {
			config := Config{Endpoint: c.endpoint, Fail: func(error) *wire.Error { return wire.Errorf(wire.KindUpstream, "") }}
			body := new(pieces)
			for _, piece := range c.pieces {
				body.parts = append(body.parts, []byte(piece))
			}
			want, wantOut, _ := readBroken(config, byteByByte([]byte(strings.Join(c.pieces, ""))))
			if got, out, _ := readBroken(config, body); got != want || !bytes.Equal(out, wantOut) {
				t.Errorf("%+v, %q\nbyte by byte: %+v, %q", got, out, want, wantOut)
			}
		})
	}
}

// readBroken reads a stream that ends with an error.
func readBroken(c Config, body *pieces) (Result, []byte, int64) {
	body.err = errors.New("broken")
	m := New(c)
	out, _ := io.ReadAll(m.Wrap(http.Header{"Content-Type": {"text/event-stream"}}, 200, -1, body))
	return m.Result(), out, m.UnreportedTokens()
}
