package conformance

import (
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/anthropics/anthropic-sdk-go"
	"github.com/anthropics/anthropic-sdk-go/option"
	"github.com/anthropics/anthropic-sdk-go/packages/ssestream"
)

func message(model, text string) anthropic.MessageNewParams {
	return anthropic.MessageNewParams{
		Model:     model,
		MaxTokens: 64,
		Messages:  []anthropic.MessageParam{anthropic.NewUserMessage(anthropic.NewTextBlock(text))},
	}
}

func TestAnthropicMessages(t *testing.T) {
	client, _ := anthropicClient(t, keyFull)
	var raw *http.Response
	answer, err := client.Messages.New(t.Context(), message("echo", question), option.WithResponseInto(&raw))
	if err != nil {
		t.Fatal(err)
	}
	if got := answer.Content[0].Text; got != question {
		t.Errorf("content %q, expected %q", got, question)
	}
	if answer.Usage.InputTokens <= 0 || answer.Usage.OutputTokens <= 0 {
		t.Errorf("usage %+v", answer.Usage)
	}
	if raw.Header.Get("Request-Id") == "" {
		t.Error("no request-id")
	}
}

// readMessage reads a stream to its end and returns the message that it makes up.
func readMessage(t *testing.T, stream *ssestream.Stream[anthropic.MessageStreamEventUnion]) (m anthropic.Message, last string) {
	t.Helper()
	for stream.Next() {
		event := stream.Current()
		last = event.Type
		if err := m.Accumulate(event); err != nil {
			t.Fatalf("accumulating: %v", err)
		}
	}
	if err := stream.Err(); err != nil {
		t.Fatalf("stream: %v", err)
	}
	return m, last
}

func TestAnthropicStream(t *testing.T) {
	client, _ := anthropicClient(t, keyFull)
	whole, err := client.Messages.New(t.Context(), message("echo", question))
	if err != nil {
		t.Fatal(err)
	}
	m, last := readMessage(t, client.Messages.NewStreaming(t.Context(), message("echo", question)))
	if last != "message_stop" {
		t.Errorf("the stream ended with %q, expected message_stop", last)
	}
	if got := m.Content[0].Text; got != question {
		t.Errorf("content %q, expected %q", got, question)
	}
	if m.Usage.InputTokens != whole.Usage.InputTokens || m.Usage.OutputTokens != whole.Usage.OutputTokens {
		t.Errorf("streamed usage %+v, expected as without a stream: %+v", m.Usage, whole.Usage)
	}
}

func TestAnthropicStreamHoldsNothingBack(t *testing.T) {
	const model = "claude-step-by-step"
	const text = "one two three four five"
	arrived := make(chan struct{})
	anthropicServer.on(t, model, func(w http.ResponseWriter, r *http.Request, _ int) {
		send := startEvents(w)
		for _, event := range messageEvents(model, text) {
			send(event)
			select {
			case <-arrived:
			case <-r.Context().Done():
				return
			case <-time.After(10 * time.Second):
				return // the answer stays unfinished, which fails the test
			}
		}
	})
	client, _ := anthropicClient(t, keyFull)
	stream := client.Messages.NewStreaming(t.Context(), message(model, question))
	var m anthropic.Message
	for stream.Next() {
		if err := m.Accumulate(stream.Current()); err != nil {
			t.Fatal(err)
		}
		arrived <- struct{}{}
	}
	if err := stream.Err(); err != nil || len(m.Content) != 1 || m.Content[0].Text != text {
		t.Errorf("message %+v, error %v", m.Content, err)
	}

	calls := anthropicServer.seen(model)
	if len(calls) != 1 {
		t.Fatalf("the backend saw %d requests, expected one", len(calls))
	}
	header := calls[0].header
	if header.Get("X-Api-Key") != keyUpstream || header.Get("Authorization") != "" {
		t.Errorf("x-api-key %q, authorization %q: expected the provider's key and nothing else", header.Get("X-Api-Key"), header.Get("Authorization"))
	}
	if header.Get("Anthropic-Version") == "" {
		t.Error("anthropic-version did not reach the backend")
	}
	if calls[0].path != "/v1/messages" {
		t.Errorf("path %s", calls[0].path)
	}
}

func TestAnthropicCountTokens(t *testing.T) {
	client, _ := anthropicClient(t, keyFull)
	count, err := client.Messages.CountTokens(t.Context(), anthropic.MessageCountTokensParams{
		Model:    "echo",
		Messages: message("echo", question).Messages,
	})
	if err != nil {
		t.Fatal(err)
	}
	whole, err := client.Messages.New(t.Context(), message("echo", question))
	if err != nil {
		t.Fatal(err)
	}
	if count.InputTokens != whole.Usage.InputTokens {
		t.Errorf("%d tokens counted, %d used", count.InputTokens, whole.Usage.InputTokens)
	}
}

func TestAnthropicModels(t *testing.T) {
	client, _ := anthropicClient(t, keyFull)
	page, err := client.Models.List(t.Context(), anthropic.ModelListParams{})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(page.Data, func(m anthropic.ModelInfo) bool { return m.ID == "echo" }) {
		t.Errorf("the list lacks echo: %+v", page.Data)
	}
	model, err := client.Models.Get(t.Context(), "echo", anthropic.ModelGetParams{})
	if err != nil || model.ID != "echo" {
		t.Errorf("model %+v, error %v", model, err)
	}
}
