package conformance

import (
	"encoding/json"
	"net/http"
	"testing"
)

// What the backends reported is what /v1/usage says, right after the answers.
func TestUsageIsRightAfterTheAnswers(t *testing.T) {
	const gpt, claude = "gpt-metered", "claude-metered"
	openAIBackend.on(t, gpt, func(w http.ResponseWriter, r *http.Request, before int) {
		if before == 0 {
			answerJSON(w, http.StatusOK, chatAnswer(gpt, "one two"))
			return
		}
		send := startEvents(w)
		send(chatChunk(gpt, "one two"))
		for _, event := range chatEnd(gpt) {
			send(event)
		}
	})
	anthropicServer.on(t, claude, func(w http.ResponseWriter, r *http.Request, before int) {
		if before == 0 {
			answerJSON(w, http.StatusOK, messageAnswer(claude, "one two"))
			return
		}
		send := startEvents(w)
		for _, event := range messageEvents(claude, "one two") {
			send(event)
		}
	})

	openAIClient, _ := openAI(t, keyMetered)
	if _, err := openAIClient.Chat.Completions.New(t.Context(), chat(gpt, question)); err != nil {
		t.Fatal(err)
	}
	readChat(t, openAIClient.Chat.Completions.NewStreaming(t.Context(), chat(gpt, question)))
	client, _ := anthropicClient(t, keyMetered)
	if _, err := client.Messages.New(t.Context(), message(claude, question)); err != nil {
		t.Fatal(err)
	}
	readMessage(t, client.Messages.NewStreaming(t.Context(), message(claude, question)))

	type result struct {
		Key, Model       string
		Requests, Errors int64
		Input            int64 `json:"input_tokens"`
		Output           int64 `json:"output_tokens"`
		Estimated        int64 `json:"estimated_requests"`
	}
	var page struct {
		Data []struct{ Results []result }
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, gateURL+"/v1/usage?keys[]=metered&group_by[]=key&group_by[]=model", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+keyAdmin)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if err := json.NewDecoder(res.Body).Decode(&page); err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("usage: %s, %v", res.Status, err)
	}

	got := make(map[string]result)
	for _, bucket := range page.Data {
		for _, r := range bucket.Results {
			sum := got[r.Model]
			sum.Requests += r.Requests
			sum.Errors += r.Errors
			sum.Input += r.Input
			sum.Output += r.Output
			sum.Estimated += r.Estimated
			got[r.Model] = sum
		}
	}
	for _, model := range []string{gpt, claude} {
		if want := (result{Requests: 2, Input: 24, Output: 6}); got[model] != want {
			t.Errorf("%s: %+v, expected %+v", model, got[model], want)
		}
	}
}
