package conformance

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"github.com/openai/openai-go/v3/packages/ssestream"
	"github.com/openai/openai-go/v3/responses"
)

const question = "How many words does an echo have?"

func chat(model, text string) openai.ChatCompletionNewParams {
	return openai.ChatCompletionNewParams{
		Model:    model,
		Messages: []openai.ChatCompletionMessageParamUnion{openai.UserMessage(text)},
	}
}

func TestOpenAIChat(t *testing.T) {
	client, _ := openAI(t, keyFull)
	var raw *http.Response
	answer, err := client.Chat.Completions.New(t.Context(), chat("echo", question), option.WithResponseInto(&raw))
	if err != nil {
		t.Fatal(err)
	}
	if got := answer.Choices[0].Message.Content; got != question {
		t.Errorf("content %q, expected %q", got, question)
	}
	if u := answer.Usage; u.PromptTokens <= 0 || u.CompletionTokens <= 0 || u.TotalTokens != u.PromptTokens+u.CompletionTokens {
		t.Errorf("usage %+v does not add up", u)
	}
	if raw.Header.Get("X-Request-Id") == "" {
		t.Error("no x-request-id")
	}
}

// readChat reads a stream to its end and returns its text and its usage chunks.
func readChat(t *testing.T, stream *ssestream.Stream[openai.ChatCompletionChunk]) (text string, usage []openai.CompletionUsage) {
	t.Helper()
	var b strings.Builder
	for stream.Next() {
		chunk := stream.Current()
		for _, choice := range chunk.Choices {
			b.WriteString(choice.Delta.Content)
		}
		if chunk.JSON.Usage.Valid() {
			usage = append(usage, chunk.Usage)
		}
	}
	if err := stream.Err(); err != nil {
		t.Fatalf("stream: %v", err)
	}
	return b.String(), usage
}

func TestOpenAIChatStream(t *testing.T) {
	client, _ := openAI(t, keyFull)
	text, usage := readChat(t, client.Chat.Completions.NewStreaming(t.Context(), chat("echo", question)))
	if text != question {
		t.Errorf("content %q, expected %q", text, question)
	}
	if len(usage) != 0 {
		t.Errorf("usage %+v, which was not asked for", usage)
	}
}

func TestOpenAIChatStreamWithUsage(t *testing.T) {
	client, _ := openAI(t, keyFull)
	params := chat("echo", question)
	whole, err := client.Chat.Completions.New(t.Context(), params)
	if err != nil {
		t.Fatal(err)
	}
	params.StreamOptions.IncludeUsage = openai.Bool(true)
	text, usage := readChat(t, client.Chat.Completions.NewStreaming(t.Context(), params))
	if text != question {
		t.Errorf("content %q, expected %q", text, question)
	}
	if len(usage) != 1 {
		t.Fatalf("%d chunks with usage, expected one", len(usage))
	}
	if usage[0].PromptTokens != whole.Usage.PromptTokens || usage[0].CompletionTokens != whole.Usage.CompletionTokens {
		t.Errorf("streamed usage %+v, expected as without a stream: %+v", usage[0], whole.Usage)
	}
}

// The gate asks every stream for its usage; a caller who didn't sees none of it.
func TestOpenAIUsageIsAskedForAndHidden(t *testing.T) {
	const model = "gpt-hidden-usage"
	openAIBackend.on(t, model, func(w http.ResponseWriter, _ *http.Request, _ int) {
		send := startEvents(w)
		send(chatChunk(model, "one "))
		send(chatChunk(model, "two"))
		for _, event := range chatEnd(model) {
			send(event)
		}
	})
	client, _ := openAI(t, keyFull)
	text, usage := readChat(t, client.Chat.Completions.NewStreaming(t.Context(), chat(model, question)))
	if text != "one two" || len(usage) != 0 {
		t.Errorf("text %q, usage %+v", text, usage)
	}

	calls := openAIBackend.seen(model)
	if len(calls) != 1 {
		t.Fatalf("the backend saw %d requests, expected one", len(calls))
	}
	if options, _ := calls[0].body["stream_options"].(map[string]any); options["include_usage"] != true {
		t.Errorf("stream_options %v, expected include_usage", calls[0].body["stream_options"])
	}
	if calls[0].path != "/v1/chat/completions" {
		t.Errorf("path %s", calls[0].path)
	}
	if got := calls[0].header.Get("Authorization"); got != "Bearer "+keyUpstream {
		t.Errorf("Authorization %q, expected the provider's key", got)
	}
}

// Each event is sent only after the one before has arrived: a gate that held one
// back would never see the next.
func TestOpenAIStreamHoldsNothingBack(t *testing.T) {
	const model = "gpt-step-by-step"
	arrived := make(chan struct{})
	openAIBackend.on(t, model, func(w http.ResponseWriter, r *http.Request, _ int) {
		send := startEvents(w)
		for range 5 {
			send(chatChunk(model, "word "))
			select {
			case <-arrived:
			case <-r.Context().Done():
				return
			case <-time.After(10 * time.Second):
				return // the answer stays unfinished, which fails the test
			}
		}
		for _, event := range chatEnd(model) {
			send(event)
		}
	})
	client, _ := openAI(t, keyFull)
	stream := client.Chat.Completions.NewStreaming(t.Context(), chat(model, question))
	words := 0
	for stream.Next() {
		if c := stream.Current().Choices; len(c) > 0 && c[0].Delta.Content != "" {
			words++
			arrived <- struct{}{}
		}
	}
	if err := stream.Err(); err != nil || words != 5 {
		t.Errorf("%d words, error %v", words, err)
	}
}

func TestOpenAICompletions(t *testing.T) {
	client, _ := openAI(t, keyFull)
	params := openai.CompletionNewParams{
		Model:  "echo",
		Prompt: openai.CompletionNewParamsPromptUnion{OfString: openai.String(question)},
	}
	answer, err := client.Completions.New(t.Context(), params)
	if err != nil {
		t.Fatal(err)
	}
	if got := answer.Choices[0].Text; got != question {
		t.Errorf("text %q, expected %q", got, question)
	}

	stream := client.Completions.NewStreaming(t.Context(), params)
	var text strings.Builder
	for stream.Next() {
		for _, choice := range stream.Current().Choices {
			text.WriteString(choice.Text)
		}
	}
	if err := stream.Err(); err != nil || text.String() != question {
		t.Errorf("streamed text %q, error %v", text.String(), err)
	}
}

func TestOpenAIEmbeddings(t *testing.T) {
	client, _ := openAI(t, keyFull)
	answer, err := client.Embeddings.New(t.Context(), openai.EmbeddingNewParams{
		Model: "echo",
		Input: openai.EmbeddingNewParamsInputUnion{OfArrayOfStrings: []string{"one", "two"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(answer.Data) != 2 || len(answer.Data[0].Embedding) == 0 {
		t.Errorf("%d embeddings, expected two that are not empty", len(answer.Data))
	}
	if answer.Usage.PromptTokens <= 0 {
		t.Errorf("usage %+v", answer.Usage)
	}
}

func TestOpenAIResponses(t *testing.T) {
	client, _ := openAI(t, keyFull)
	params := responses.ResponseNewParams{
		Model: "echo",
		Input: responses.ResponseNewParamsInputUnion{OfString: openai.String(question)},
	}
	answer, err := client.Responses.New(t.Context(), params)
	if err != nil {
		t.Fatal(err)
	}
	if answer.OutputText() != question {
		t.Errorf("text %q, expected %q", answer.OutputText(), question)
	}

	stream := client.Responses.NewStreaming(t.Context(), params)
	var text strings.Builder
	var last responses.ResponseStreamEventUnion
	for stream.Next() {
		last = stream.Current()
		if last.Type == "response.output_text.delta" {
			text.WriteString(last.Delta)
		}
	}
	if err := stream.Err(); err != nil {
		t.Fatal(err)
	}
	if text.String() != question {
		t.Errorf("streamed text %q, expected %q", text.String(), question)
	}
	if last.Type != "response.completed" {
		t.Fatalf("the stream ended with %q, expected response.completed", last.Type)
	}
	if got, want := last.Response.Usage.TotalTokens, answer.Usage.TotalTokens; got != want || got <= 0 {
		t.Errorf("streamed usage of %d tokens, expected as without a stream: %d", got, want)
	}
}

func TestOpenAIModels(t *testing.T) {
	client, _ := openAI(t, keyFull)
	page, err := client.Models.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(page.Data, func(m openai.Model) bool { return m.ID == "echo" }) {
		t.Errorf("the list lacks echo: %+v", page.Data)
	}
	model, err := client.Models.Get(t.Context(), "echo")
	if err != nil || model.ID != "echo" {
		t.Errorf("model %+v, error %v", model, err)
	}
}
