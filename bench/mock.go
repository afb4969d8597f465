package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"time"
)

// chatAnswer is what the mock backend says to every request.
const chatAnswer = `{"id":"chatcmpl-bench","object":"chat.completion","created":1700000000,"model":"bench-model","choices":[{"index":0,"message":{"role":"assistant","content":"The quick brown fox jumps over the lazy dog, and the gate lets it through."},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":312,"completion_tokens":17,"total_tokens":329}}`

// The stream of the mock backend.
const (
	streamChunks   = 5
	streamInterval = 150 * time.Millisecond
)

// newMock starts a model server that answers at once, or streams slowly if it is
// asked to stream. It lives in this process, so that its CPU time is in none of the
// gateways'.
func newMock() *httptest.Server {
	return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		if bytes.Contains(body, []byte(`"stream":true`)) {
			events, every := asked(r.Header)
			stream(w, events, every, bytes.Contains(body, []byte(`"include_usage":true`)))
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", strconv.Itoa(len(chatAnswer)))
		_, _ = io.WriteString(w, chatAnswer)
	}))
}

// asked tells how many chunks a stream is to have and how far apart: a header that
// the gate passes says so, as in `100 20ms`.
func asked(h http.Header) (events int, every time.Duration) {
	count, interval, ok := strings.Cut(h.Get(streamHeader), " ")
	if !ok {
		return streamChunks, streamInterval
	}
	events, _ = strconv.Atoi(count) // the load's own words
	every, _ = time.ParseDuration(interval)
	return events, every
}

const streamHeader = "X-Title"

// stream sends chunks, each of which says when it was sent, and the usage if that
// was asked for.
func stream(w http.ResponseWriter, events int, every time.Duration, usage bool) {
	w.Header().Set("Content-Type", "text/event-stream")
	controller := http.NewResponseController(w)
	for i := range events {
		if i > 0 {
			time.Sleep(every)
		}
		fmt.Fprintf(w, "data: {\"id\":\"chatcmpl-bench\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":\"bench-model\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"%d\"},\"finish_reason\":null}]}\n\n", time.Now().UnixNano())
		_ = controller.Flush()
	}
	if usage {
		fmt.Fprint(w, "data: {\"id\":\"chatcmpl-bench\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":\"bench-model\",\"choices\":[],\"usage\":{\"prompt_tokens\":312,\"completion_tokens\":5,\"total_tokens\":317}}\n\n")
	}
	fmt.Fprint(w, "data: [DONE]\n\n")
}
