package conformance

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/anthropics/anthropic-sdk-go"
	anthropicoption "github.com/anthropics/anthropic-sdk-go/option"
	"github.com/openai/openai-go/v3"
	openaioption "github.com/openai/openai-go/v3/option"
	openaistream "github.com/openai/openai-go/v3/packages/ssestream"
)

// refuse is a backend's answer that a caller must see as a generic failure.
func refuse(w http.ResponseWriter, _ *http.Request, _ int) {
	answerJSON(w, http.StatusInternalServerError, `{"error":{"message":"gpu 3 on host model-7 fell over","type":"oops","param":null,"code":17}}`)
}

func TestOpenAIErrors(t *testing.T) {
	openAIBackend.on(t, "gpt-broken", refuse)
	ask := func(model string) func(context.Context, *openai.Client) error {
		return func(ctx context.Context, c *openai.Client) error {
			_, err := c.Chat.Completions.New(ctx, chat(model, question))
			return err
		}
	}
	for _, test := range []struct {
		name              string
		key               string
		call              func(context.Context, *openai.Client) error
		status            int
		kind, code, param string
	}{
		{"unknown key", keyOfNobody, ask("echo"), 401, "invalid_request_error", "invalid_api_key", ""},
		{"admin key", keyAdmin, ask("echo"), 401, "invalid_request_error", "invalid_api_key", ""},
		{"model not for this key", keyScoped, ask("gpt-broken"), 403, "permission_error", "model_not_allowed", "model"},
		{"endpoint not for this key", keyScoped, func(ctx context.Context, c *openai.Client) error {
			_, err := c.Embeddings.New(ctx, openai.EmbeddingNewParams{Model: "echo", Input: openai.EmbeddingNewParamsInputUnion{OfString: openai.String("x")}})
			return err
		}, 403, "permission_error", "insufficient_permissions", ""},
		{"unknown model", keyFull, ask(unknownModel), 404, "invalid_request_error", "model_not_found", "model"},
		{"unknown model looked up", keyFull, func(ctx context.Context, c *openai.Client) error {
			_, err := c.Models.Get(ctx, unknownModel)
			return err
		}, 404, "invalid_request_error", "model_not_found", "model"},
		{"unknown path", keyFull, func(ctx context.Context, c *openai.Client) error {
			return c.Get(ctx, "files", nil, nil)
		}, 404, "invalid_request_error", "unknown_url", ""},
		{"bad request", keyFull, func(ctx context.Context, c *openai.Client) error {
			_, err := c.Chat.Completions.New(ctx, chat("echo", question), openaioption.WithJSONSet("stream", "yes"))
			return err
		}, 400, "invalid_request_error", "", "stream"},
		{"broken backend", keyFull, ask("gpt-broken"), 500, "server_error", "upstream_error", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			client, _ := openAI(t, test.key, openaioption.WithMaxRetries(0))
			err := test.call(t.Context(), client)
			var failure *openai.Error
			if !errors.As(err, &failure) {
				t.Fatalf("error %v (%T), expected the SDK's own", err, err)
			}
			if failure.StatusCode != test.status || failure.Type != test.kind || failure.Code != test.code {
				t.Errorf("%d %s %s, expected %d %s %s", failure.StatusCode, failure.Type, failure.Code, test.status, test.kind, test.code)
			}
			if test.param != "" && failure.Param != test.param {
				t.Errorf("param %q, expected %q", failure.Param, test.param)
			}
			if failure.Message == "" || strings.Contains(failure.Message, "model-7") {
				t.Errorf("message %q", failure.Message)
			}
			if failure.Response.Header.Get("X-Request-Id") == "" {
				t.Error("no x-request-id")
			}
		})
	}
}

func TestAnthropicErrors(t *testing.T) {
	anthropicServer.on(t, "claude-broken", refuse)
	ask := func(model string) func(context.Context, *anthropic.Client) error {
		return func(ctx context.Context, c *anthropic.Client) error {
			_, err := c.Messages.New(ctx, message(model, question))
			return err
		}
	}
	for _, test := range []struct {
		name   string
		key    string
		call   func(context.Context, *anthropic.Client) error
		status int
		kind   anthropic.ErrorType
	}{
		{"unknown key", keyOfNobody, ask("echo"), 401, anthropic.ErrorTypeAuthenticationError},
		{"admin key", keyAdmin, ask("echo"), 401, anthropic.ErrorTypeAuthenticationError},
		{"model not for this key", keyScoped, ask("claude-broken"), 403, anthropic.ErrorTypePermissionError},
		{"unknown model", keyFull, ask(unknownModel), 404, anthropic.ErrorTypeNotFoundError},
		{"bad request", keyFull, func(ctx context.Context, c *anthropic.Client) error {
			_, err := c.Messages.New(ctx, message("echo", question), anthropicoption.WithJSONSet("max_tokens", "many"))
			return err
		}, 400, anthropic.ErrorTypeInvalidRequestError},
		{"broken backend", keyFull, ask("claude-broken"), 500, anthropic.ErrorTypeAPIError},
	} {
		t.Run(test.name, func(t *testing.T) {
			client, _ := anthropicClient(t, test.key, anthropicoption.WithMaxRetries(0))
			err := test.call(t.Context(), client)
			var failure *anthropic.Error
			if !errors.As(err, &failure) {
				t.Fatalf("error %v (%T), expected the SDK's own", err, err)
			}
			if failure.StatusCode != test.status || failure.Type() != test.kind {
				t.Errorf("%d %s, expected %d %s", failure.StatusCode, failure.Type(), test.status, test.kind)
			}
			if failure.RequestID == "" {
				t.Error("no request-id")
			}
			if strings.Contains(failure.RawJSON(), "model-7") {
				t.Errorf("the backend's own words reach the caller: %s", failure.RawJSON())
			}
		})
	}
}

// A backend that dies in the middle of a stream must not look like one that ended.
func TestOpenAIStreamCutMidway(t *testing.T) {
	const model = "gpt-cut"
	openAIBackend.on(t, model, func(w http.ResponseWriter, _ *http.Request, _ int) {
		send := startEvents(w)
		send(chatChunk(model, "half"))
		panic(http.ErrAbortHandler)
	})
	client, _ := openAI(t, keyFull)
	stream := client.Chat.Completions.NewStreaming(t.Context(), chat(model, question))
	for stream.Next() {
	}
	var failure *openaistream.StreamError
	if err := stream.Err(); !errors.As(err, &failure) {
		t.Fatalf("error %v (%T), expected an error event", err, err)
	}
}

func TestAnthropicStreamCutMidway(t *testing.T) {
	const model = "claude-cut"
	anthropicServer.on(t, model, func(w http.ResponseWriter, _ *http.Request, _ int) {
		send := startEvents(w)
		for _, event := range messageEvents(model, "half of it")[:3] {
			send(event)
		}
		panic(http.ErrAbortHandler)
	})
	client, _ := anthropicClient(t, keyFull)
	stream := client.Messages.NewStreaming(t.Context(), message(model, question))
	for stream.Next() {
	}
	if err := stream.Err(); err == nil || !strings.Contains(err.Error(), "_error") {
		t.Fatalf("error %v, expected an error event", err)
	}
}

// An error event of the backend's own reaches the SDK as one.
func TestAnthropicStreamErrorEvent(t *testing.T) {
	const model = "claude-overloaded"
	anthropicServer.on(t, model, func(w http.ResponseWriter, _ *http.Request, _ int) {
		send := startEvents(w)
		for _, event := range messageEvents(model, "half of it")[:3] {
			send(event)
		}
		send("event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}")
	})
	client, _ := anthropicClient(t, keyFull)
	stream := client.Messages.NewStreaming(t.Context(), message(model, question))
	for stream.Next() {
	}
	if err := stream.Err(); err == nil || !strings.Contains(err.Error(), "overloaded_error") {
		t.Fatalf("error %v, expected overloaded_error", err)
	}
}
