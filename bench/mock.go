package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"time"
)

// chatAnswer is what the mock backend says to every request.
const chatAnswer = `{"id":"chatcmpl-bench","object":"chat.completion","created":1700000000,"model":"bench-model","choices":[{"index":0,"message":{"role":"assistant","content":"The quick brown fox jumps over the lazy dog, and the gate lets it through."},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":312,"completion_tokens":17,"total_tokens":329}}`

// newMock starts a model server that answers at once, or streams if it is asked to
// stream. It lives in this process, so that its CPU time is in none of the
// gateways'.
func newMock(address string) (*httptest.Server, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listening for the mock model server: %w", err)
	}
	mock := &httptest.Server{Listener: l, Config: &http.Server{Handler: http.HandlerFunc(serveMock)}}
	mock.Start()
	return mock, nil
}

func serveMock(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if bytes.Contains(body, []byte(`"stream"`)) {
		asked, err := parseStream(body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		asked.send(w)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(chatAnswer)))
	_, _ = io.WriteString(w, chatAnswer)
}

// stream is what a request asks the mock backend for.
type stream struct {
	events int
	every  time.Duration // between two events; 0: as fast as the connection takes them
	usage  bool
}

// request is the body of a chat that asks for s: what says so is the user's words,
// which every gateway passes.
func (s stream) request(model string) string {
	return fmt.Sprintf(`{"model":%q,"stream":true,"messages":[{"role":"user","content":"%d %s"}]}`, model, s.events, s.every)
}

func parseStream(body []byte) (s stream, err error) {
	var asked struct {
		Messages []struct{ Content string }
		Options  struct {
			Usage bool `json:"include_usage"`
		} `json:"stream_options"`
	}
	if err := json.Unmarshal(body, &asked); err != nil {
		return s, fmt.Errorf("reading a request: %w", err)
	}
	if len(asked.Messages) != 1 {
		return s, fmt.Errorf("%d messages are not one", len(asked.Messages))
	}
	var every string
	if _, err := fmt.Sscan(asked.Messages[0].Content, &s.events, &every); err != nil {
		return s, fmt.Errorf("%q asks for no stream: %w", asked.Messages[0].Content, err)
	}
	s.every, err = time.ParseDuration(every)
	s.usage = asked.Options.Usage
	return s, err
}

const (
	eventHead = `data: {"id":"chatcmpl-bench","object":"chat.completion.chunk","created":1700000000,"model":"bench-model","choices":[{"index":0,"delta":{"content":"`
	eventTail = `"},"finish_reason":null}]}` + "\n\n"

	usageEvent = `data: {"id":"chatcmpl-bench","object":"chat.completion.chunk","created":1700000000,"model":"bench-model","choices":[],"usage":{"prompt_tokens":312,"completion_tokens":5,"total_tokens":317}}` + "\n\n"
	doneEvent  = "data: [DONE]\n\n"
)

// send sends events, each of which says when it was sent and leaves at once, and the
// usage if that was asked for.
func (s stream) send(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "text/event-stream")
	controller := http.NewResponseController(w)
	var next <-chan time.Time
	if s.every > 0 {
		ticker := time.NewTicker(s.every) // one that was late makes the rest no later
		defer ticker.Stop()
		next = ticker.C
	}
	event := make([]byte, 0, len(eventHead)+len(eventTail)+20)
	for i := range s.events {
		if i > 0 && next != nil {
			<-next
		}
		event = append(event[:0], eventHead...)
		event = strconv.AppendInt(event, time.Now().UnixNano(), 10)
		event = append(event, eventTail...)
		if _, err := w.Write(event); err != nil {
			return
		}
		_ = controller.Flush()
	}
	if s.usage {
		_, _ = io.WriteString(w, usageEvent)
	}
	_, _ = io.WriteString(w, doneEvent)
}
