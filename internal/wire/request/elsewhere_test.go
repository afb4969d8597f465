package request

import (
	"strings"
	"testing"

	"github.com/amanycodes/pine-gate/internal/wire"
)

func TestModelsInOtherPlacesAreNamed(t *testing.T) {
	for _, c := range []struct {
		name     string
		endpoint wire.Endpoint
		member   string
		want     string // model@param, separated by spaces
	}{
		{"none", wire.Chat, `"messages":[{"role":"user","content":"x","model":"y"}],"temperature":1,"user":"z"`, ""},
		{"Anthropic's advisor", wire.Messages, `"tools":[{"type":"advisor_20260301","name":"advisor","model":"big"}]`, "big@tools"},
		{"a picture's model", wire.Responses, `"tools":[{"type":"function","name":"f","parameters":{}},{"type":"image_generation","model":"gpt-image-1"}]`, "gpt-image-1@tools"},
		{"in another case, escaped", wire.Responses, `"tools":[{"type":"image_generation","Mod\u0065l":"b\u0069g"}]`, "big@tools"},
		{"a model after a model", wire.Chat, `"tools":[{"model":"a","model":"b"}]`, "a@tools b@tools"},
		{"OpenRouter's tools", wire.Chat, `"tools":[{"type":"openrouter:fusion","parameters":{"model":"judge","analysis_models":["a","b"]}}]`, "judge@tools a@tools b@tools"},
		{"a tool's list of models", wire.Chat, `"tools":[{"type":"x","models":["a",["b"]]}]`, "a@tools b@tools"},
		{"a tool's model of unknown form", wire.Chat, `"tools":[{"type":"x","model":{"id":"a"}}]`, "@tools"},
		{"OpenRouter's plugins", wire.Chat, `"plugins":[{"id":"web","model":"a"},{"id":"auto-router","allowed_models":["b/*"]}]`, "a@plugins b/*@plugins"},
		{"LM Studio's draft model", wire.Chat, `"draft_model":"tiny"`, "tiny@draft_model"},
		{"settings of a proxy", wire.Chat, `"extra_body":{"model":"a","fallback_models":["b"],"x":{"models":[{"model":"c"}]}}`, "a@model b@fallback_models c@x"},
		{"a new member", wire.Messages, `"compaction":{"model":"a","edits":[{"summary_model":"b"}]}`, "a@compaction b@compaction"},

		{"a function's argument", wire.Chat, `"tools":[{"type":"function","function":{"name":"f","parameters":{"properties":{"model":{"type":"string"}},"examples":[{"model":"x"}]}}}]`, ""},
		{"a function's argument, in responses", wire.Responses, `"tools":[{"type":"function","name":"f","parameters":{"properties":{"model":{"type":"string","enum":["x"]}},"required":["model"]}}]`, ""},
		{"a function's argument, in messages", wire.Messages, `"tools":[{"name":"f","input_schema":{"properties":{"model":{"type":"string"}}}}]`, ""},
		{"a schema", wire.Chat, `"guided_json":{"properties":{"model":{"type":"string"},"models":{"items":{"type":"string"}}},"required":["model"]}`, ""},
		{"metadata", wire.Chat, `"metadata":{"model":"x"},"litellm_metadata":{"model":"x"}`, ""},
		{"no strings", wire.Chat, `"plugins":[{"model":null},{"model":7},{"models":[null,1]}],"draft_model":null`, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := Scan(c.endpoint, []byte(`{"model":"m",`+c.member+`}`))
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, named := range r.NamedModels() {
				got = append(got, named.Model+"@"+named.Param)
			}
			if text := strings.Join(got, " "); text != c.want {
				t.Errorf("got %q, want %q", text, c.want)
			}
		})
	}
}

func TestTheNumberOfNamedModelsIsBounded(t *testing.T) {
	r, err := Scan(wire.Chat, []byte(`{"model":"m","plugins":[{"models":[`+strings.Repeat(`"a",`, 100_000)+`"b"]}]}`))
	if err != nil {
		t.Fatal(err)
	}
	if named := r.NamedModels(); len(named) != maxNamedModels+1 || named[maxNamedModels].Model != "" {
		t.Errorf("got %d models", len(named))
	}
}

func TestStoredSettingsOfOpenRouterAreRefused(t *testing.T) {
	for _, name := range []string{"models", "fallbacks", "preset", "route"} {
		refuses(t, wire.Chat, `{"model":"m","`+name+`":"canary"}`, name)
		if _, err := Scan(wire.Chat, []byte(`{"model":"m","`+name+`":null}`)); err != nil {
			t.Errorf("%s of null: %v", name, err)
		}
	}
}

func TestBackgroundOfAResponseIsABoolean(t *testing.T) {
	refuses(t, wire.Responses, `{"model":"m","background":"transparent"}`, "background")
	refuses(t, wire.Compact, `{"model":"m","background":1}`, "background")
}
