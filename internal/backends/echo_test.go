package backends

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/amanycodes/pine-gate/internal/wire"
	"github.com/amanycodes/pine-gate/internal/wire/meter"
)

// ask sends a request to the echo backend through a real reverse_proxy and
// returns the response, its body and the meter's result.
func ask(t *testing.T, method, path, body string, headers ...string) (*http.Response, string, meter.Result) {
	t.Helper()
	p := newProxied(t, `"api":"echo"`, "", "echo:80")
	res, text, out := p.do(method, path, body, headers...)
	if out.err != nil || !out.attempt.Dispatched {
		t.Fatalf("%v, attempt %+v", out.err, out.attempt)
	}
	var metered meter.Result
	if out.attempt.Meter != nil {
		metered = out.attempt.Meter.Result()
	}
	return res, text, metered
}

// tree decodes JSON; at walks it by a path of names and indices.
func tree(t *testing.T, text string) any {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return v
}

func at(v any, path string) any {
	for step := range strings.SplitSeq(path, ".") {
		switch node := v.(type) {
		case map[string]any:
			v = node[step]
		case []any:
			var i int
			if _, err := fmt.Sscan(step, &i); err != nil || i >= len(node) {
				return nil
			}
			v = node[i]
		default:
			return nil
		}
	}
	return v
}

func TestEchoWhole(t *testing.T) {
	for _, c := range []struct {
		name, method, path, body string
		headers                  []string
		status                   int
		want                     map[string]any
		tokens                   wire.Tokens
	}{
		{name: "chat", method: "POST", path: "/v1/chat/completions",
			body: `{"model":"gpt-9","messages":[{"role":"system","content":"be kind"},{"role":"user","content":"not me"},{"role":"user","content":"hello \"<big>\"\n🌲"},{"role":"assistant","content":"hi"}]}`,
			want: map[string]any{
				"object": "chat.completion", "model": "gpt-9", "choices.0.message.content": "hello \"<big>\"\n🌲", "choices.0.message.role": "assistant",
				"choices.0.finish_reason": "stop", "choices.1": nil, "usage.prompt_tokens": 9.0, "usage.completion_tokens": 4.0, "usage.total_tokens": 13.0,
			}, tokens: wire.Tokens{Input: 9, Output: 4}},
		{name: "chat in parts, n, cut", method: "POST", path: "/v1/chat/completions",
			body: `{"model":"m","n":2,"max_tokens":100,"max_completion_tokens":1,"messages":[{"role":"user","content":[{"type":"text","text":"ab"},{"type":"image_url","image_url":{"url":"u"}},{"type":"text","text":"cdef"}]}]}`,
			want: map[string]any{
				"choices.0.message.content": "abcd", "choices.1.message.content": "abcd", "choices.1.index": 1.0, "choices.1.finish_reason": "length", "choices.2": nil,
				"usage.prompt_tokens": 2.0, "usage.completion_tokens": 2.0,
			}, tokens: wire.Tokens{Input: 2, Output: 2}},
		{name: "chat without a user", method: "POST", path: "/v1/chat/completions", body: `{"messages":[{"role":"system","content":null}]}`,
			want: map[string]any{"choices.0.message.content": "", "usage.total_tokens": 0.0}},
		{name: "completions", method: "POST", path: "/v1/completions", body: `{"model":"m","prompt":["one","second"],"n":2}`,
			want: map[string]any{
				"object": "text_completion", "choices.1.text": "one", "choices.2.text": "second", "choices.3.index": 3.0, "choices.4": nil,
				"usage.prompt_tokens": 3.0, "usage.completion_tokens": 6.0,
			}, tokens: wire.Tokens{Input: 3, Output: 6}},
		{name: "completions of tokens", method: "POST", path: "/v1/completions", body: `{"prompt":[1,2]}`, want: map[string]any{"choices.0.text": "1 2"}, tokens: wire.Tokens{Input: 1, Output: 1}},
		{name: "responses", method: "POST", path: "/v1/responses", body: `{"model":"m","input":"hello you","instructions":"be"}`,
			want: map[string]any{
				"object": "response", "status": "completed", "output.0.content.0.text": "hello you", "output.0.content.0.type": "output_text", "output.0.status": "completed",
				"usage.input_tokens": 4.0, "usage.output_tokens": 3.0, "usage.total_tokens": 7.0, "incomplete_details": nil, "instructions": "be",
			}, tokens: wire.Tokens{Input: 4, Output: 3}},
		{name: "responses of items, cut", method: "POST", path: "/v1/responses",
			body:   `{"max_output_tokens":2,"input":[{"role":"user","content":[{"type":"input_text","text":"12345678 and more"}]},{"type":"function_call_output","output":"x"}]}`,
			want:   map[string]any{"status": "incomplete", "incomplete_details.reason": "max_output_tokens", "output.0.content.0.text": "12345678", "max_output_tokens": 2.0},
			tokens: wire.Tokens{Input: 5, Output: 2}},
		{name: "messages", method: "POST", path: "/v1/messages", body: `{"model":"claude","max_tokens":100,"system":[{"type":"text","text":"be kind"}],"messages":[{"role":"user","content":"hello"}]}`,
			want: map[string]any{
				"type": "message", "role": "assistant", "model": "claude", "content.0.type": "text", "content.0.text": "hello", "stop_reason": "end_turn",
				"usage.input_tokens": 4.0, "usage.output_tokens": 2.0,
			}, tokens: wire.Tokens{Input: 4, Output: 2}},
		{name: "messages, cut", method: "POST", path: "/v1/messages", body: `{"max_tokens":1,"messages":[{"role":"user","content":"hello"}]}`,
			want: map[string]any{"content.0.text": "hell", "stop_reason": "max_tokens"}, tokens: wire.Tokens{Input: 2, Output: 1}},
		{name: "count_tokens", method: "POST", path: "/v1/messages/count_tokens", body: `{"messages":[{"role":"user","content":"hello"}]}`,
			want: map[string]any{"input_tokens": 2.0}, tokens: wire.Tokens{Input: 2}},
		{name: "models", method: "GET", path: "/v1/models", want: map[string]any{"object": "list", "data.0.id": "echo", "data.0.object": "model", "data.1": nil}},
		{name: "models of Anthropic", method: "GET", path: "/v1/models", headers: []string{"Anthropic-Version: 2023-06-01"},
			want: map[string]any{"data.0.id": "echo", "data.0.type": "model", "has_more": false}},
		{name: "a model", method: "GET", path: "/v1/models/echo", want: map[string]any{"id": "echo"}},
		{name: "another model", method: "GET", path: "/v1/models/other", status: 404, want: map[string]any{"error.code": "model_not_found"}},
		{name: "images", method: "POST", path: "/v1/images/generations", body: `{}`, status: 404, want: map[string]any{"error.code": "unknown_url"}},
		{name: "moderations", method: "POST", path: "/v1/moderations", body: `{}`, status: 404, want: map[string]any{"error.code": "unknown_url"}},
		{name: "no messages", method: "POST", path: "/v1/chat/completions", body: `{}`, status: 400, want: map[string]any{"error.message": "'messages' must not be empty"}},
		{name: "no messages of Anthropic", method: "POST", path: "/v1/messages", body: `{}`, status: 400, want: map[string]any{"type": "error", "error.type": "invalid_request_error"}},
		{name: "no JSON", method: "POST", path: "/v1/chat/completions", body: `{"messages":1}`, status: 400, want: map[string]any{"error.type": "invalid_request_error"}},
		{name: "too many choices", method: "POST", path: "/v1/chat/completions", body: `{"n":129,"messages":[{"role":"user","content":"a"}]}`, status: 400, want: map[string]any{"error.param": nil}},
		{name: "too many choices of prompts", method: "POST", path: "/v1/completions", body: `{"n":100,"prompt":["a","b"]}`, status: 400, want: map[string]any{"choices": nil}},
		{name: "no choice", method: "POST", path: "/v1/chat/completions", body: `{"n":0,"messages":[{"role":"user","content":"a"}]}`, status: 400, want: map[string]any{"choices": nil}},
	} {
		t.Run(c.name, func(t *testing.T) {
			res, body, metered := ask(t, c.method, c.path, c.body, c.headers...)
			if c.status == 0 {
				c.status = 200
			}
			if res.StatusCode != c.status || res.Header.Get("Content-Type") != "application/json" {
				t.Errorf("answered %d %v %s", res.StatusCode, res.Header, body)
			}
			answer := tree(t, body)
			for path, want := range c.want {
				if got := at(answer, path); got != want {
					t.Errorf("%s: %v, want %v, in %s", path, got, want, body)
				}
			}
			if metered.Tokens != c.tokens || metered.Flagged {
				t.Errorf("metered %+v, want %+v", metered, c.tokens)
			}
		})
	}
}

// sseEvent is an event of a stream.
type sseEvent struct {
	name string
	data string
}

func parseEvents(t *testing.T, stream string) []sseEvent {
	t.Helper()
	var list []sseEvent
	for block := range strings.SplitSeq(strings.TrimSuffix(stream, "\n\n"), "\n\n") {
		var e sseEvent
		for line := range strings.SplitSeq(block, "\n") {
			name, value, _ := strings.Cut(line, ": ")
			switch name {
			case "event":
				e.name = value
			case "data":
				e.data = value
			default:
				t.Fatalf("line %q", line)
			}
		}
		list = append(list, e)
	}
	return list
}

func TestEchoStreamsChat(t *testing.T) {
	for _, usage := range []bool{false, true} {
		body := fmt.Sprintf(`{"model":"m","stream":true,"stream_options":{"include_usage":%v},"n":2,"messages":[{"role":"user","content":"one  two\nthree"}]}`, usage)
		res, stream, metered := ask(t, "POST", "/v1/chat/completions", body)
		if got := res.Header.Get("Content-Type"); !strings.HasPrefix(got, "text/event-stream") {
			t.Errorf("Content-Type %q", got)
		}
		list := parseEvents(t, stream)
		if last := list[len(list)-1].data; last != "[DONE]" {
			t.Errorf("the end is %q", last)
		}
		list = list[:len(list)-1]
		if usage {
			last := tree(t, list[len(list)-1].data)
			if at(last, "usage.completion_tokens") != 8.0 || at(last, "usage.prompt_tokens") != 4.0 || len(at(last, "choices").([]any)) != 0 {
				t.Errorf("the usage is %v", last)
			}
			if metered.Tokens != (wire.Tokens{Input: 4, Output: 8}) {
				t.Errorf("metered %+v", metered)
			}
			list = list[:len(list)-1]
		}
		var words [2][]string
		var finished int
		for _, e := range list {
			chunk := tree(t, e.data)
			if value, present := chunk.(map[string]any)["usage"]; present != usage || value != nil {
				t.Errorf("usage %v in %s", usage, e.data)
			}
			if at(chunk, "object") != "chat.completion.chunk" || at(chunk, "model") != "m" || at(chunk, "id") == "" {
				t.Errorf("chunk %s", e.data)
			}
			i := int(at(chunk, "choices.0.index").(float64))
			if content, ok := at(chunk, "choices.0.delta.content").(string); ok {
				words[i] = append(words[i], content)
			}
			if reason := at(chunk, "choices.0.finish_reason"); reason != nil {
				finished++
				if reason != "stop" {
					t.Errorf("finished by %v", reason)
				}
			}
		}
		if want := []string{"", "one  ", "two\n", "three"}; !slices.Equal(words[0], want) || !slices.Equal(words[1], want) || finished != 2 {
			t.Errorf("words %q, finished %d times", words, finished)
		}
		if !metered.Complete || metered.Delivered == 0 {
			t.Errorf("metered %+v", metered)
		}
	}
}

func TestEchoStreamsCompletions(t *testing.T) {
	_, stream, _ := ask(t, "POST", "/v1/completions", `{"stream":true,"max_tokens":2,"prompt":["a b","123456789"]}`)
	texts := make(map[float64]string)
	var reasons []any
	for _, e := range parseEvents(t, stream) {
		if e.data == "[DONE]" {
			continue
		}
		chunk := tree(t, e.data)
		texts[at(chunk, "choices.0.index").(float64)] += at(chunk, "choices.0.text").(string)
		if reason := at(chunk, "choices.0.finish_reason"); reason != nil {
			reasons = append(reasons, reason)
		}
	}
	if texts[0] != "a b" || texts[1] != "12345678" || !slices.Equal(reasons, []any{"stop", "length"}) {
		t.Errorf("texts %v, reasons %v", texts, reasons)
	}
}

func TestEchoStreamsMessages(t *testing.T) {
	_, stream, metered := ask(t, "POST", "/v1/messages", `{"model":"m","stream":true,"max_tokens":2,"messages":[{"role":"user","content":"one two three"}]}`)
	var names []string
	var text string
	for _, e := range parseEvents(t, stream) {
		names = append(names, e.name)
		data := tree(t, e.data)
		if at(data, "type") != e.name {
			t.Errorf("event %s has %s", e.name, e.data)
		}
		switch e.name {
		case "message_start":
			if at(data, "message.usage.input_tokens") != 4.0 || at(data, "message.stop_reason") != nil || len(at(data, "message.content").([]any)) != 0 {
				t.Errorf("start %s", e.data)
			}
		case "content_block_start":
			if at(data, "content_block.type") != "text" || at(data, "index") != 0.0 {
				t.Errorf("block %s", e.data)
			}
		case "content_block_delta":
			if at(data, "delta.type") != "text_delta" {
				t.Errorf("delta %s", e.data)
			}
			text += at(data, "delta.text").(string)
		case "message_delta":
			if at(data, "delta.stop_reason") != "max_tokens" || at(data, "usage.output_tokens") != 2.0 {
				t.Errorf("end %s", e.data)
			}
		}
	}
	want := []string{"message_start", "content_block_start", "ping", "content_block_delta", "content_block_delta", "content_block_stop", "message_delta", "message_stop"}
	if !slices.Equal(names, want) || text != "one two " {
		t.Errorf("events %v of %q", names, text)
	}
	if metered.Tokens != (wire.Tokens{Input: 4, Output: 2}) || !metered.Reported || !metered.Complete {
		t.Errorf("metered %+v", metered)
	}
}

func TestEchoStreamsResponses(t *testing.T) {
	_, stream, metered := ask(t, "POST", "/v1/responses", `{"model":"m","stream":true,"input":"one two"}`)
	var names []string
	var text string
	var id any
	for i, e := range parseEvents(t, stream) {
		names = append(names, e.name)
		data := tree(t, e.data)
		if at(data, "type") != e.name || at(data, "sequence_number") != float64(i) {
			t.Errorf("event %d %s has %s", i, e.name, e.data)
		}
		switch e.name {
		case "response.created":
			id = at(data, "response.id")
			if at(data, "response.status") != "in_progress" || at(data, "response.usage") != nil {
				t.Errorf("created %s", e.data)
			}
		case "response.output_text.delta":
			text += at(data, "delta").(string)
		case "response.output_text.done":
			if at(data, "text") != "one two" {
				t.Errorf("done %s", e.data)
			}
		case "response.completed":
			if at(data, "response.id") != id || at(data, "response.output.0.content.0.text") != "one two" || at(data, "response.usage.output_tokens") != 2.0 {
				t.Errorf("completed %s", e.data)
			}
		}
	}
	want := []string{
		"response.created", "response.in_progress", "response.output_item.added", "response.content_part.added", "response.output_text.delta", "response.output_text.delta",
		"response.output_text.done", "response.content_part.done", "response.output_item.done", "response.completed",
	}
	if !slices.Equal(names, want) || text != "one two" {
		t.Errorf("events %v of %q", names, text)
	}
	if metered.Tokens != (wire.Tokens{Input: 2, Output: 2}) || !metered.Complete {
		t.Errorf("metered %+v", metered)
	}

	_, stream, _ = ask(t, "POST", "/v1/responses", `{"stream":true,"max_output_tokens":1,"input":"one two"}`)
	if list := parseEvents(t, stream); list[len(list)-1].name != "response.incomplete" {
		t.Errorf("the end of a cut answer is %s", list[len(list)-1].name)
	}
}

func TestEchoEmbeddings(t *testing.T) {
	vector := func(list any) (v []float64) {
		for _, n := range list.([]any) {
			v = append(v, n.(float64))
		}
		return v
	}
	_, body, metered := ask(t, "POST", "/v1/embeddings", `{"model":"m","input":["hello","there","hello"],"encoding_format":"float"}`)
	answer := tree(t, body)
	first, second, third := vector(at(answer, "data.0.embedding")), vector(at(answer, "data.1.embedding")), vector(at(answer, "data.2.embedding"))
	if !slices.Equal(first, third) || slices.Equal(first, second) || len(first) != 8 {
		t.Errorf("vectors %v %v %v", first, second, third)
	}
	var sum float64
	for _, n := range first {
		sum += n * n
	}
	if math.Abs(sum-1) > 1e-6 {
		t.Errorf("its length is %v", math.Sqrt(sum))
	}
	if metered.Tokens != (wire.Tokens{Input: 6}) || at(answer, "usage.total_tokens") != 6.0 || at(answer, "model") != "m" {
		t.Errorf("metered %+v of %s", metered, body)
	}

	_, body, _ = ask(t, "POST", "/v1/embeddings", `{"input":"hello","encoding_format":"base64","dimensions":16}`)
	raw, err := base64.StdEncoding.DecodeString(at(tree(t, body), "data.0.embedding").(string))
	if err != nil || len(raw) != 64 {
		t.Fatalf("%v, %d bytes", err, len(raw))
	}
	floats := make([]float32, 16)
	if err := binary.Read(bytes.NewReader(raw), binary.LittleEndian, floats); err != nil {
		t.Fatal(err)
	}
	_, body, _ = ask(t, "POST", "/v1/embeddings", `{"input":"hello","dimensions":16}`)
	for i, n := range vector(at(tree(t, body), "data.0.embedding")) {
		if float32(n) != floats[i] {
			t.Errorf("number %d is %v in base64, and %v", i, floats[i], n)
		}
	}
	for _, bad := range []string{`{}`, `{"input":[]}`, `{"input":null}`, `{"input":"a","dimensions":0}`, `{"input":"a","dimensions":4097}`, `{"input":"a","encoding_format":"int8"}`, `{"input":{}}`} {
		if res, body, _ := ask(t, "POST", "/v1/embeddings", bad); res.StatusCode != 400 {
			t.Errorf("%s: %d %s", bad, res.StatusCode, body)
		}
	}
}

func TestEchoIsBounded(t *testing.T) {
	_, body, metered := ask(t, "POST", "/v1/chat/completions", `{"messages":[{"role":"user","content":"`+strings.Repeat("x", 1<<20)+`"}]}`)
	if len(body) > 80<<10 || metered.Output != 16<<10 || at(tree(t, body), "choices.0.finish_reason") != "length" {
		t.Errorf("%d bytes, %d tokens", len(body), metered.Output)
	}
}

func TestEchoWithoutAttemptAnswersHealthChecks(t *testing.T) {
	tr := provision(t, `"api":"echo"`)
	for path, want := range map[string]int{"/v1/models": 200, "/nothing": 404} {
		res, err := tr.RoundTrip(httptest.NewRequest("GET", path, nil))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, res.Body); err != nil || res.StatusCode != want {
			t.Errorf("%s: %d, %v", path, res.StatusCode, err)
		}
	}
}
