package wire

import (
	"strings"
	"testing"
	"time"
)

func TestParseModels(t *testing.T) {
	for _, c := range []struct {
		name, body string
		ids        string // separated by spaces
		next       string
		err        string
	}{
		{name: "OpenAI", body: `{"object":"list","data":[{"id":"gpt-5","object":"model","created":1,"owned_by":"system"},{"id":"o3"}]}`, ids: "gpt-5 o3"},
		{name: "vLLM", body: `{"object":"list","data":[{"id":"org/Llama-3.1-8B","object":"model","created":1.5,"owned_by":"vllm","root":"/models/llama","parent":null,"max_model_len":8192,"permission":[{"id":"modelperm-1"}]}]}`, ids: "org/Llama-3.1-8B"},
		{name: "Ollama without models", body: `{"object":"list","data":[]}`, ids: ""},
		{name: "Anthropic", body: `{"data":[{"type":"model","id":"claude-9","display_name":"Claude","created_at":"2025-02-19T00:00:00Z"}],"has_more":true,"first_id":"claude-9","last_id":"claude-9"}`, ids: "claude-9", next: "claude-9"},
		{name: "Anthropic's last page", body: `{"data":[{"id":"claude-9"}],"has_more":false,"last_id":"claude-9"}`, ids: "claude-9"},
		{name: "an array", body: ` [{"id":"a"},{"id":"b"}]`, ids: "a b"},
		{name: "odd entries", body: `{"data":[{"id":""},{"name":"x"},{"id":"a\nb"},{"id":"` + strings.Repeat("x", 257) + `"},{"id":"ok","created":"soon","created_at":7}]}`, ids: "ok"},
		{name: "an answer of something else", body: `{"id":"chatcmpl-1","choices":[]}`, err: "has no data"},
		{name: "null", body: `null`, err: "has no data"},
		{name: "data that is no list", body: `{"data":{"secret":1}}`, err: "is no JSON"},
		{name: "a page", body: `<html>secret</html>`, err: "is no JSON"},
		{name: "nothing", body: ``, err: "is no JSON"},
	} {
		models, next, err := ParseModels([]byte(c.body))
		var ids []string
		for _, m := range models {
			ids = append(ids, m.ID)
		}
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) || strings.Contains(err.Error(), "secret") {
				t.Errorf("%s: error %v, want %q", c.name, err, c.err)
			}
			continue
		}
		if err != nil || strings.Join(ids, " ") != c.ids || next != c.next {
			t.Errorf("%s: %q, next %q, %v", c.name, ids, next, err)
		}
	}
}

func TestParseModelsReadsWhenTheyWereMade(t *testing.T) {
	models, _, err := ParseModels([]byte(`[{"id":"a","created":1700000000},{"id":"b","created_at":"2025-02-19T00:00:00Z"},{"id":"c","created":-1},{"id":"d","created":1e300}]`))
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []time.Time{time.Unix(1700000000, 0), time.Date(2025, 2, 19, 0, 0, 0, 0, time.UTC), {}, {}} {
		if !models[i].Created.Equal(want) {
			t.Errorf("%s was made %v, want %v", models[i].ID, models[i].Created, want)
		}
	}
}
