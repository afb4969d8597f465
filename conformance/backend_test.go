package conformance

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// backend is a model server that answers as a test says, model by model.
type backend struct {
	server *httptest.Server

	mu      sync.Mutex
	scripts map[string]script
	calls   map[string][]call
}

// script answers one request. The number of those before it comes with it.
type script func(w http.ResponseWriter, r *http.Request, before int)

// call is what the backend saw of a request.
type call struct {
	path   string
	header http.Header
	body   map[string]any
}

func newBackend() *backend {
	b := &backend{scripts: make(map[string]script), calls: make(map[string][]call)}
	b.server = httptest.NewServer(b)
	return b
}

func (b *backend) address() string { return b.server.Listener.Addr().String() }

// on sets what the backend answers to requests for a model. Each test has a model
// of its own, so that tests don't see each other's calls.
func (b *backend) on(t *testing.T, model string, s script) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, ok := b.scripts[model]; ok {
		t.Fatalf("two tests use the model %s", model)
	}
	b.scripts[model] = s
}

// seen returns the requests for a model so far.
func (b *backend) seen(model string) []call {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]call(nil), b.calls[model]...)
}

func (b *backend) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var body map[string]any
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		http.Error(w, "the mock can't read the body: "+err.Error(), http.StatusTeapot)
		return
	}
	model, _ := body["model"].(string)
	b.mu.Lock()
	answer, before := b.scripts[model], len(b.calls[model])
	b.calls[model] = append(b.calls[model], call{path: r.URL.Path, header: r.Header.Clone(), body: body})
	b.mu.Unlock()
	if answer == nil {
		http.Error(w, "the mock has no script for "+model, http.StatusTeapot)
		return
	}
	answer(w, r, before)
}

// answerJSON writes a JSON answer.
func answerJSON(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(body))
}

// startEvents begins an answer of server-sent events; send sends one and flushes.
func startEvents(w http.ResponseWriter) (send func(event string)) {
	w.Header().Set("Content-Type", "text/event-stream")
	w.WriteHeader(http.StatusOK)
	controller := http.NewResponseController(w)
	return func(event string) {
		_, _ = w.Write([]byte(event + "\n\n"))
		_ = controller.Flush()
	}
}

// chatAnswer is a chat completion of 12 input and 3 output tokens.
func chatAnswer(model, text string) string {
	return fmt.Sprintf(`{"id":"chatcmpl-1","object":"chat.completion","created":1700000000,"model":%q,"choices":[{"index":0,"message":{"role":"assistant","content":%q},"finish_reason":"stop"}],"usage":{"prompt_tokens":12,"completion_tokens":3,"total_tokens":15}}`, model, text)
}

// chatChunk is an event of a chat stream.
func chatChunk(model, text string) string {
	return fmt.Sprintf(`data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1700000000,"model":%q,"choices":[{"index":0,"delta":{"content":%q},"finish_reason":null}],"usage":null}`, model, text)
}

// chatEnd ends a chat stream that was asked for its usage: 12 and 3 tokens.
func chatEnd(model string) []string {
	return []string{
		fmt.Sprintf(`data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1700000000,"model":%q,"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":null}`, model),
		fmt.Sprintf(`data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1700000000,"model":%q,"choices":[],"usage":{"prompt_tokens":12,"completion_tokens":3,"total_tokens":15}}`, model),
		`data: [DONE]`,
	}
}

// messageEvents is a stream of Messages that says text word by word: 12 input and
// 3 output tokens.
func messageEvents(model, text string) []string {
	events := []string{
		fmt.Sprintf("event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"type\":\"message\",\"role\":\"assistant\",\"model\":%q,\"content\":[],\"stop_reason\":null,\"stop_sequence\":null,\"usage\":{\"input_tokens\":12,\"output_tokens\":1}}}", model),
		"event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}",
	}
	for _, word := range strings.SplitAfter(text, " ") {
		events = append(events, fmt.Sprintf("event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":%q}}", word))
	}
	return append(events,
		"event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}",
		"event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\",\"stop_sequence\":null},\"usage\":{\"output_tokens\":3}}",
		"event: message_stop\ndata: {\"type\":\"message_stop\"}",
	)
}

// messageAnswer is a message of 12 input and 3 output tokens.
func messageAnswer(model, text string) string {
	return fmt.Sprintf(`{"id":"msg_1","type":"message","role":"assistant","model":%q,"content":[{"type":"text","text":%q}],"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":12,"output_tokens":3}}`, model, text)
}
