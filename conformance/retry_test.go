package conformance

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/anthropics/anthropic-sdk-go"
	anthropicoption "github.com/anthropics/anthropic-sdk-go/option"
	"github.com/openai/openai-go/v3"
	openaioption "github.com/openai/openai-go/v3/option"
)

// What a rate refuses, the SDK tries again when it was asked to, and succeeds.
func TestOpenAIWaitsForARate(t *testing.T) {
	t.Parallel()
	client, attempts := openAI(t, keySlow)
	const calls = 3
	for range calls {
		if _, err := client.Chat.Completions.New(t.Context(), chat("echo", question)); err != nil {
			t.Fatal(err)
		}
	}
	if attempts.count.Load() <= calls {
		t.Error("nothing was refused, so nothing was tried")
	}

	// Without retries the refusal shows.
	impatient, _ := openAI(t, keySlow, openaioption.WithMaxRetries(0))
	_, err := impatient.Chat.Completions.New(t.Context(), chat("echo", question))
	var failure *openai.Error
	if !errors.As(err, &failure) {
		t.Fatalf("error %v, expected a refusal", err)
	}
	if failure.StatusCode != http.StatusTooManyRequests || failure.Type != "requests" || failure.Code != "rate_limit_exceeded" {
		t.Errorf("%d %s %s", failure.StatusCode, failure.Type, failure.Code)
	}
	for _, name := range []string{"Retry-After", "Retry-After-Ms", "X-Ratelimit-Limit-Requests"} {
		if failure.Response.Header.Get(name) == "" {
			t.Errorf("no %s", name)
		}
	}
}

func TestAnthropicWaitsForARate(t *testing.T) {
	t.Parallel()
	client, attempts := anthropicClient(t, keySlow2)
	const calls = 3
	for range calls {
		if _, err := client.Messages.New(t.Context(), message("echo", question)); err != nil {
			t.Fatal(err)
		}
	}
	if attempts.count.Load() <= calls {
		t.Error("nothing was refused, so nothing was tried")
	}

	impatient, _ := anthropicClient(t, keySlow2, anthropicoption.WithMaxRetries(0))
	_, err := impatient.Messages.New(t.Context(), message("echo", question))
	var failure *anthropic.Error
	if !errors.As(err, &failure) {
		t.Fatalf("error %v, expected a refusal", err)
	}
	if failure.StatusCode != http.StatusTooManyRequests || failure.Type() != anthropic.ErrorTypeRateLimitError {
		t.Errorf("%d %s", failure.StatusCode, failure.Type())
	}
	for _, name := range []string{"Retry-After", "Anthropic-Ratelimit-Requests-Limit"} {
		if failure.Response.Header.Get(name) == "" {
			t.Errorf("no %s", name)
		}
	}
}

// Waiting does not make a request smaller: x-should-retry says so.
func TestTooLargeIsNotTriedAgain(t *testing.T) {
	t.Parallel()
	prompt := strings.Repeat("far too much ", 100)

	openAIClient, attempts := openAI(t, keyTiny)
	_, err := openAIClient.Chat.Completions.New(t.Context(), chat("echo", prompt))
	var failure *openai.Error
	if !errors.As(err, &failure) || failure.StatusCode != http.StatusTooManyRequests {
		t.Fatalf("error %v, expected a refusal", err)
	}
	if n := attempts.count.Load(); n != 1 {
		t.Errorf("OpenAI's SDK tried %d times", n)
	}

	client, attempts := anthropicClient(t, keyTiny)
	if _, err := client.Messages.New(t.Context(), message("echo", prompt)); err == nil {
		t.Fatal("expected a refusal")
	}
	if n := attempts.count.Load(); n != 1 {
		t.Errorf("Anthropic's SDK tried %d times", n)
	}
}

// A backend's failure is the SDK's to try again.
func TestABackendThatFailsOnce(t *testing.T) {
	t.Parallel()
	const gpt, claude = "gpt-fails-once", "claude-fails-once"
	openAIBackend.on(t, gpt, func(w http.ResponseWriter, r *http.Request, before int) {
		if before == 0 {
			refuse(w, r, before)
			return
		}
		answerJSON(w, http.StatusOK, chatAnswer(gpt, "at last"))
	})
	anthropicServer.on(t, claude, func(w http.ResponseWriter, r *http.Request, before int) {
		if before == 0 {
			answerJSON(w, 529, `{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}`)
			return
		}
		answerJSON(w, http.StatusOK, messageAnswer(claude, "at last"))
	})

	openAIClient, attempts := openAI(t, keyFull)
	answer, err := openAIClient.Chat.Completions.New(t.Context(), chat(gpt, question))
	if err != nil || answer.Choices[0].Message.Content != "at last" {
		t.Errorf("OpenAI: answer %+v, error %v", answer, err)
	}
	if n := attempts.count.Load(); n != 2 {
		t.Errorf("OpenAI's SDK tried %d times, expected 2", n)
	}

	client, attempts := anthropicClient(t, keyFull)
	reply, err := client.Messages.New(t.Context(), message(claude, question))
	if err != nil || reply.Content[0].Text != "at last" {
		t.Errorf("Anthropic: answer %+v, error %v", reply, err)
	}
	if n := attempts.count.Load(); n != 2 {
		t.Errorf("Anthropic's SDK tried %d times, expected 2", n)
	}
}
