package meter

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/amanycodes/pine-gate/internal/wire"
)

// A backend's own report counts wherever a real server puts it, and of a stream the
// last one.
func TestUsageIsReadWhereServersPutIt(t *testing.T) {
	const text = `data: {"choices":[{"index":0,"delta":{"content":"some text"}}]}` + "\n\n"
	event := func(data ...string) string {
		var b strings.Builder
		for _, d := range data {
			b.WriteString("data: " + d + "\n\n")
		}
		return b.String()
	}
	done := event("[DONE]")
	for name, c := range map[string]struct {
		endpoint wire.Endpoint
		body     string
		want     wire.Tokens
	}{
		"Gemini, thoughts in the total alone": {wire.Chat, `{"choices":[{"message":{"content":"x"}}],"usage":{"prompt_tokens":20,"completion_tokens":424,"total_tokens":1016}}`,
			wire.Tokens{Input: 20, Output: 996}},
		"xAI, reasoning beside the output": {wire.Chat, `{"choices":[],"usage":{"prompt_tokens":20,"completion_tokens":4,"total_tokens":34,"completion_tokens_details":{"reasoning_tokens":10}}}`,
			wire.Tokens{Input: 20, Output: 14, Reasoning: 10}},
		"Gemini's own names": {wire.Chat, `{"choices":[],"usageMetadata":{"promptTokenCount":20,"candidatesTokenCount":4,"thoughtsTokenCount":10,"totalTokenCount":34}}`,
			wire.Tokens{Input: 20, Output: 14, Reasoning: 10}},
		"Moonshot, in the choice": {wire.Chat, text + event(`{"choices":[{"index":0,"delta":{},"finish_reason":"stop","usage":{"prompt_tokens":19,"completion_tokens":13,"total_tokens":32}}]}`) + done,
			wire.Tokens{Input: 19, Output: 13}},
		"Groq, in x_groq": {wire.Chat, text + event(`{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"x_groq":{"id":"req_1","usage":{"prompt_tokens":18,"completion_tokens":7,"total_tokens":25}}}`) + done,
			wire.Tokens{Input: 18, Output: 7}},
		"two reports, text between": {wire.Chat, text + event(`{"choices":[],"usage":{"prompt_tokens":100,"completion_tokens":10}}`) + text + event(`{"choices":[],"usage":{"prompt_tokens":100,"completion_tokens":40}}`) + done,
			wire.Tokens{Input: 100, Output: 40}},
		"two reports without text between": {wire.Chat, text + event(`{"choices":[],"usage":{"prompt_tokens":100,"completion_tokens":10}}`, `{"choices":[],"usage":{"prompt_tokens":100,"completion_tokens":40}}`),
			wire.Tokens{Input: 100, Output: 40}},
		"Anthropic, iterations": {wire.Messages, `{"type":"message","content":[],"usage":{"input_tokens":23000,"output_tokens":1000,"iterations":[{"type":"compaction","input_tokens":180000,"output_tokens":3500},{"type":"message","input_tokens":23000,"output_tokens":1000}]}}`,
			wire.Tokens{Input: 203000, Output: 4500}},
		"Anthropic, iterations of a stream": {wire.Messages, event(
			`{"type":"message_start","message":{"usage":{"input_tokens":9,"output_tokens":1}}}`,
			`{"type":"message_delta","delta":{},"usage":{"input_tokens":9,"output_tokens":5,"iterations":[{"input_tokens":7,"output_tokens":2,"cache_read_input_tokens":30},{"input_tokens":9,"output_tokens":5}]}}`,
			`{"type":"message_stop"}`), wire.Tokens{Input: 46, CacheRead: 30, Output: 7}},
		"Bedrock, beside a message": {wire.Chat, text + event(`{"choices":[],"amazon-bedrock-invocationMetrics":{"inputTokenCount":8,"outputTokenCount":3}}`) + done,
			wire.Tokens{Input: 8, Output: 3}},
		"Cohere, in meta": {wire.Rerank, `{"results":[],"meta":{"tokens":{"input_tokens":12}}}`, wire.Tokens{Input: 12}},
	} {
		kind := "application/json"
		if strings.HasPrefix(c.body, "data:") {
			kind = "text/event-stream"
		}
		m := New(Config{Endpoint: c.endpoint})
		if _, err := io.Copy(io.Discard, m.Wrap(http.Header{"Content-Type": {kind}}, 200, -1, io.NopCloser(strings.NewReader(c.body)))); err != nil {
			t.Fatal(err)
		}
		if r := m.Result(); r.Tokens != c.want || !r.Reported || r.Flagged || !r.Complete {
			t.Errorf("%s: %+v, want %+v", name, r, c.want)
		}
	}
}

func TestAReportedZeroIsAZero(t *testing.T) {
	r := meterJSON(t, wire.Transcriptions, `{"text":"x","usage":{"input_tokens":14,"output_tokens":3,"total_tokens":17,"input_token_details":{"audio_tokens":0,"text_tokens":14}}}`)
	if r.AudioInput != 0 {
		t.Errorf("%d tokens of sound", r.AudioInput)
	}
	if r := meterJSON(t, wire.Transcriptions, `{"text":"x","usage":{"input_tokens":14,"output_tokens":3,"total_tokens":17}}`); r.AudioInput != 14 {
		t.Errorf("%d tokens of sound of 14 that nobody splits", r.AudioInput)
	}
}

// A caller who did not ask for usage loses it, and nothing else.
func TestOnlyUsageIsHidden(t *testing.T) {
	const usage = `"usage":{"prompt_tokens":1,"completion_tokens":2}`
	for data, want := range map[string]string{
		`{"id":"1","choices":[],` + usage + `}`: ``,
		`{"id":"1","object":"c","created":1,"model":"m","choices":[],` + usage + `,"system_fingerprint":"f"}`: ``,
		`{"choices":[],"timings":{"n":1},` + usage + `}`:                                                      `{"choices":[],"timings":{"n":1}}`,
		`{"choices":[{"delta":{}}],"timings":{"n":1},` + usage + `}`:                                          `{"choices":[{"delta":{}}],"timings":{"n":1}}`,
	} {
		m := New(Config{Endpoint: wire.Chat, HideUsage: true})
		b, err := io.ReadAll(m.Wrap(http.Header{"Content-Type": {"text/event-stream"}}, 200, -1, io.NopCloser(strings.NewReader("data: "+data+"\n\n"))))
		if want != "" {
			want = "data: " + want + "\n\n"
		}
		if err != nil || string(b) != want {
			t.Errorf("%s\n got %q, %v\nwant %q", data, b, err, want)
		}
	}
}
